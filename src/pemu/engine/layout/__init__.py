"""What Python and native code agree on: byte offsets, field by field, and what the numbers mean.

The processor's state, the context that all threads of a process share, pages of guest memory, the
reasons for leaving native code, and the tables of system calls and of signals.
"""
