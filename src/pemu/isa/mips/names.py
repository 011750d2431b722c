"""Names of MIPS registers as debuggers and assemblers write them."""

from __future__ import annotations

GPR_O32 = (
    *("zero", "at", "v0", "v1", "a0", "a1", "a2", "a3"),
    *("t0", "t1", "t2", "t3", "t4", "t5", "t6", "t7"),
    *("s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"),
    *("t8", "t9", "k0", "k1", "gp", "sp", "s8", "ra"),
)
"""General registers in the o32 calling convention."""

GPR_N64 = (*GPR_O32[:8], "a4", "a5", "a6", "a7", "t0", "t1", "t2", "t3", *GPR_O32[16:])
"""General registers in the n32 and n64 calling conventions."""

FPR = tuple(f"f{number}" for number in range(32))
FCC = tuple(f"fcc{number}" for number in range(8))
HI = ("hi", "hi1", "hi2", "hi3")
LO = ("lo", "lo1", "lo2", "lo3")
