"""What instructions are declared with, and what native functions are written with.

`architecture` and `insn` say what a processor and its instructions are; `builder` is the `cpu` that
an instruction's meaning is given, `function` the same for the engine's own native functions. Both
write LLVM IR by the values of `values`. `softmmu`, `blocktable` and `fp` are phrases that they use.
"""
