"""A Linux process under a debugger: gdb's, or another Python process with `pemu.api`."""
