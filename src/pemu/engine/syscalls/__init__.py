"""Linux system calls that generated code makes itself, without entering Python.

`layout.call_table` describes them; `call` is the native function that reads it.
"""
