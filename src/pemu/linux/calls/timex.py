"""Tuning the clock: adjtimex and clock_adjtime."""

from __future__ import annotations

from pemu.linux.structs.layout import Struct
from pemu.linux.structs.time import TIMEVAL, TIMEVAL64
from pemu.linux.syscall import passthrough
from pemu.linux.types.names import ClockId
from pemu.linux.types.pointers import InOut

_TAIL = (
    "int tai",
    *(f"int _pad{i}" for i in range(11)),
)
TIMEX = Struct(
    "timex",
    "uint modes",
    "long offset",
    "long freq",
    "long maxerror",
    "long esterror",
    "int status",
    "long constant",
    "long precision",
    "long tolerance",
    (TIMEVAL, "time"),
    "long tick",
    "long ppsfreq",
    "long jitter",
    "int shift",
    "long stabil",
    "long jitcnt",
    "long calcnt",
    "long errcnt",
    "long stbcnt",
    *_TAIL,
)
TIMEX64 = Struct(
    "timex",
    "uint modes",
    "s64 offset",
    "s64 freq",
    "s64 maxerror",
    "s64 esterror",
    "int status",
    "s64 constant",
    "s64 precision",
    "s64 tolerance",
    (TIMEVAL64, "time"),
    "s64 tick",
    "s64 ppsfreq",
    "s64 jitter",
    "int shift",
    "s64 stabil",
    "s64 jitcnt",
    "s64 calcnt",
    "s64 errcnt",
    "s64 stbcnt",
    *_TAIL,
)

passthrough("adjtimex", InOut(TIMEX))
passthrough("clock_adjtime", ClockId, InOut(TIMEX))
passthrough("clock_adjtime64", ClockId, InOut(TIMEX64), abis=("o32", "n32"), host="clock_adjtime")
