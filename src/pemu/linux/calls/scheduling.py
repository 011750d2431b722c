"""Scheduling: policies, priorities, affinity."""

from __future__ import annotations

import errno

from pemu.engine.layout import call_table as k
from pemu.linux.hostcalls import NR, HostBuffer, address_of
from pemu.linux.native_argument import moves_of
from pemu.linux.native_forms import Form, Given, Moved
from pemu.linux.structs.byteorder import swap
from pemu.linux.structs.layout import Struct
from pemu.linux.structs.time import TIMESPEC, TIMESPEC64
from pemu.linux.syscall import passthrough, syscall
from pemu.linux.types.base import Int, UInt
from pemu.linux.types.names import Named
from pemu.linux.types.pointers import In, Out, Ptr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.linux.abi import Abi
    from pemu.linux.native_forms import Forms
    from pemu.linux.process import Thread

SCHED_PARAM = Struct("sched_param", "int sched_priority")
U32 = Struct("unsigned int", "u32 value")

SCHED_ATTR = "2IQ2I3Q2I"
"""`struct sched_attr` in `byteorder`'s notation; the same for every word size."""
SCHED_ATTR_BYTES_MIN, SCHED_ATTR_BYTES_MAX = 48, 4096

Policy = Named("int", "SCHED_OTHER SCHED_FIFO SCHED_RR SCHED_BATCH - SCHED_IDLE SCHED_DEADLINE")
PriorityWhich = Named("int", "PRIO_PROCESS PRIO_PGRP PRIO_USER")
IoprioWhich = Named("int", "IOPRIO_WHO_PROCESS IOPRIO_WHO_PGRP IOPRIO_WHO_USER", 1)

passthrough("sched_setparam", Int, In(SCHED_PARAM))
passthrough("sched_getparam", Int, Out(SCHED_PARAM))
passthrough("sched_setscheduler", Int, Policy, In(SCHED_PARAM))
passthrough("sched_getscheduler", Int)
passthrough("sched_get_priority_max", Policy)
passthrough("sched_get_priority_min", Policy)
passthrough("sched_rr_get_interval", Int, Out(TIMESPEC))
passthrough(
    "sched_rr_get_interval_time64",
    Int,
    Out(TIMESPEC64),
    abis=("o32", "n32"),
    host="sched_rr_get_interval",
)
passthrough("getpriority", PriorityWhich, Int)
passthrough("setpriority", PriorityWhich, Int, Int)
passthrough("ioprio_set", IoprioWhich, Int, Int)
passthrough("ioprio_get", IoprioWhich, Int)
passthrough("getcpu", Out(U32), Out(U32))
passthrough("membarrier", Int, UInt, Int)


@syscall("nice", Int, abis=("o32",))
def nice(t: Thread, increment: int) -> int:
    raw = t.host_syscall(NR["getpriority"], 0, 0)
    if raw < 0:
        return raw
    wanted = 20 - raw + max(-40, min(increment, 40))
    result = t.host_syscall(NR["setpriority"], 0, 0, max(-20, min(wanted, 19)))
    return -errno.EPERM if result == -errno.EACCES else result


# Affinity: an array of longs, bit n of the whole stands for processor n


def _mask_to_host(t: Thread, data: bytes) -> bytes:
    if not t.target.big_endian:
        return data
    word = t.target.word
    return b"".join(data[i : i + word][::-1] for i in range(0, len(data), word))


@syscall("sched_setaffinity", Int, UInt, Ptr)
def sched_setaffinity(t: Thread, pid: int, size: int, mask: int) -> int:
    # The kernel clears what a short mask leaves open, and ignores what is beyond its processors.
    size = min(size, 1024)
    word = t.target.word
    data = t.mem.read(mask, size) + b"\0" * (-size % word)
    data = _mask_to_host(t, data)
    return t.host_syscall(NR["sched_setaffinity"], pid, len(data), address_of(data))


_NATIVE_MASK = 1024
"""Bytes of a mask that native code gets at most: more than any kernel's."""


def _mask_moves(abi: Abi) -> bytes:
    """Eight bytes of the host's mask; the last number divides the call's result."""
    how = k.FIELD_LEAVES
    return moves_of(8, 8, [(at, at, abi.word, abi.word, how) for at in range(0, 8, abi.word)], 8)


def _native_getaffinity(abi: Abi) -> Forms:
    mask = Moved(k.RESULTING, _mask_moves, _NATIVE_MASK, other=1)
    size = Given(k.LIMITED, _NATIVE_MASK)
    return Form("sched_getaffinity", Int, size, mask, successes=True)


@syscall("sched_getaffinity", Int, UInt, Ptr, native=_native_getaffinity)
def sched_getaffinity(t: Thread, pid: int, size: int, mask: int) -> int:
    word = t.target.word
    if size & (word - 1):
        return -errno.EINVAL
    buffer = HostBuffer(min((size + 7) & ~7, 8192))
    result = t.host_syscall(NR["sched_getaffinity"], pid, buffer.size, buffer.address)
    if result < 0:
        return result
    used = buffer.raw[:result]
    if any(used[size:]):
        return -errno.EINVAL
    used = used[:size]
    t.mem.write(mask, _mask_to_host(t, used))
    return len(used)


@syscall("sched_setattr", Int, Ptr, UInt)
def sched_setattr(t: Thread, pid: int, attr: int, flags: int) -> int:
    if not attr:
        return -errno.EINVAL
    size = t.mem.u32(attr) or SCHED_ATTR_BYTES_MIN
    if not SCHED_ATTR_BYTES_MIN <= size <= SCHED_ATTR_BYTES_MAX:
        return -errno.E2BIG
    data = t.mem.read(attr, size)
    buffer = HostBuffer(size, swap(data, SCHED_ATTR) if t.target.big_endian else data)
    result = t.host_syscall(NR["sched_setattr"], pid, buffer.address, flags)
    if result == -errno.E2BIG:
        t.mem.put_u32(attr, int.from_bytes(buffer.raw[:4], "little"))
    return result


@syscall("sched_getattr", Int, Ptr, UInt, UInt)
def sched_getattr(t: Thread, pid: int, attr: int, size: int, flags: int) -> int:
    if not attr or not SCHED_ATTR_BYTES_MIN <= size <= SCHED_ATTR_BYTES_MAX:
        return -errno.EINVAL
    buffer = HostBuffer(size)
    result = t.host_syscall(NR["sched_getattr"], pid, buffer.address, size, flags)
    if result >= 0:
        data = buffer.raw
        t.mem.write(attr, swap(data, SCHED_ATTR) if t.target.big_endian else data)
    return result
