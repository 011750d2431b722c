"""Argument types of system calls: how each arrives, what the host is given, what -strace shows."""
