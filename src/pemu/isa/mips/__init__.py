"""MIPS: instructions, state, processor models, disassembly.

`cpu.architecture` builds what the engine wants to know of a model; it imports no instruction.
"""
