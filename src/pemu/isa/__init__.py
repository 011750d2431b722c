"""Instruction sets, one folder each. They use the engine and know no operating system."""
