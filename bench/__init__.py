"""Benchmarks: Pemu beside QEMU's user mode, program by program. `python -m bench -h`."""
