"""The floating-point unit: single, double, paired single, and the MIPS-3D extension."""
