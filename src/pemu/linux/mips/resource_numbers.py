"""Resource limits of MIPS: their numbers, and what stands for "no limit".

Source: the kernel's MIPS `asm/resource.h`.
"""

from __future__ import annotations

from pemu.linux.flags import Enum

RLIMITS = Enum(
    """
    RLIMIT_CPU 0
    RLIMIT_FSIZE 1
    RLIMIT_DATA 2
    RLIMIT_STACK 3
    RLIMIT_CORE 4
    RLIMIT_NOFILE 5 7
    RLIMIT_AS 6 9
    RLIMIT_RSS 7 5
    RLIMIT_NPROC 8 6
    RLIMIT_MEMLOCK 9 8
    RLIMIT_LOCKS 10
    RLIMIT_SIGPENDING 11
    RLIMIT_MSGQUEUE 12
    RLIMIT_NICE 13
    RLIMIT_RTPRIO 14
    RLIMIT_RTTIME 15
    """
)

INFINITY_32 = 0x7FFFFFFF
"""RLIM_INFINITY of ABIs with a 32-bit long; prlimit64 has 64-bit numbers and all ones."""
