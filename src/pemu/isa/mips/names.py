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

V0, V1, A0, A1, A2, A3 = range(2, 8)
T9, SP, FP, RA = 25, 29, 30, 31
"""Numbers of general registers that have a part in all calling conventions."""

FPR = tuple(f"f{number}" for number in range(32))
FCC = tuple(f"fcc{number}" for number in range(8))
HI = ("hi", "hi1", "hi2", "hi3")
LO = ("lo", "lo1", "lo2", "lo3")

CP0 = (
    "index mvpcontrol mvpconf0 mvpconf1",
    "random vpecontrol vpeconf0 vpeconf1 yqmask vpeschedule vpeschefback",
    "entrylo0 tcstatus tcbind tcrestart tchalt tccontext tcschedule tcschefback",
    "entrylo1",
    "context contextconfig",
    "pagemask pagegrain",
    "wired srsconf0 srsconf1 srsconf2 srsconf3 srsconf4",
    "hwrena",
    "badvaddr",
    "count",
    "entryhi",
    "compare",
    "status intctl srsctl srsmap",
    "cause",
    "epc",
    "prid ebase",
    "config config1 config2 config3",
    "lladdr",
    "watchlo watchlo,1 watchlo,2 watchlo,3 watchlo,4 watchlo,5 watchlo,6 watchlo,7",
    "watchhi watchhi,1 watchhi,2 watchhi,3 watchhi,4 watchhi,5 watchhi,6 watchhi,7",
    "xcontext",
    "",
    "",
    "debug tracecontrol tracecontrol2 usertracedata tracebpc",
    "depc",
    "perfcnt perfcnt,1 perfcnt,2 perfcnt,3 perfcnt,4 perfcnt,5 perfcnt,6 perfcnt,7",
    "errctl",
    "cacheerr cacheerr,1 cacheerr,2 cacheerr,3",
    "taglo datalo taglo1 datalo1 taglo2 datalo2 taglo3 datalo3",
    "taghi datahi taghi1 datahi1 taghi2 datahi2 taghi3 datahi3",
    "errorepc",
    "desave",
)
"""Registers of coprocessor 0 (Release 2): for each number the names of selections 0, 1, ..."""


def cp0_name(number: int, selection: int) -> str:
    """Return how assemblers write a coprocessor 0 register."""
    known = CP0[number].split()
    if selection < len(known):
        return f"c0_{known[selection]}"
    return f"${number},{selection}" if selection else f"${number}"


FLOAT_CONTROL = {
    0: "c1_fir",
    1: "c1_ufr",
    4: "c1_unfr",
    25: "c1_fccr",
    26: "c1_fexr",
    28: "c1_fenr",
    31: "c1_fcsr",
}
"""Control registers of coprocessor 1; the others are written by number."""
