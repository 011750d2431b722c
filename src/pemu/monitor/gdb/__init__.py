"""The gdb remote server: framing, commands, and what a debuggee has to offer.

Source: "Debugging with GDB", appendix "GDB Remote Serial Protocol".
"""
