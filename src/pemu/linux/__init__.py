"""Linux user mode: programs, their memory, system calls, signals and threads."""
