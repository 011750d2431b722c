"""Command lines: one module per command family, with no emulation in it."""
