"""Flags of memory mappings on MIPS; sources: the kernel's MIPS and generic `asm/mman.h`."""

from __future__ import annotations

from pemu.linux.flags import Flags
from pemu.linux.types.base import FlagsType
from pemu.linux.types.names import Bits

MAP_FLAGS = Flags(
    """
    MAP_SHARED          0x1
    MAP_PRIVATE         0x2
    MAP_SHARED_VALIDATE 0x3
    MAP_FIXED           0x10
    MAP_NORESERVE       0x400     0x4000
    MAP_ANONYMOUS       0x800     0x20
    MAP_GROWSDOWN       0x1000    0x100
    MAP_DENYWRITE       0x2000    0x800
    MAP_EXECUTABLE      0x4000    0x1000
    MAP_LOCKED          0x8000    0x2000
    MAP_POPULATE        0x10000   0x8000
    MAP_NONBLOCK        0x20000   0x10000
    MAP_STACK           0x40000   0x20000
    MAP_HUGETLB         0x80000   0x40000
    MAP_FIXED_NOREPLACE 0x100000  0x100000
    """,
    fields=(0xF,),
)

MapFlags = FlagsType("map flags", MAP_FLAGS)
MapProtection = Bits(
    "protection",
    "PROT_READ 1 PROT_WRITE 2 PROT_EXEC 4 PROT_SEM 0x10 PROT_GROWSDOWN 0x1000000"
    " PROT_GROWSUP 0x2000000",
    "PROT_NONE",
)
MremapFlags = Bits("mremap flags", "MREMAP_MAYMOVE 1 MREMAP_FIXED 2 MREMAP_DONTUNMAP 4")
MsyncFlags = Bits("msync flags", "MS_ASYNC 1 MS_INVALIDATE 2 MS_SYNC 4")
MlockFlags = Bits("mlock flags", "MCL_CURRENT 1 MCL_FUTURE 2 MCL_ONFAULT 4")
