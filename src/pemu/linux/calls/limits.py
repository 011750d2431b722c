"""Resource limits and usage.

Limits on memory bind the guest's program, not Pemu around it: those on data, address space and
stack are kept here and told back, and only a stack limit that leaves the host's own stack room
is given to the host, from which children inherit it.
"""

from __future__ import annotations

import errno
import os
import struct

from pemu.linux.hostcalls import NR, HostBuffer, address_of
from pemu.linux.mips.resource_numbers import INFINITY_32, RLIMITS
from pemu.linux.structs.layout import Struct
from pemu.linux.structs.time import RUSAGE
from pemu.linux.syscall import passthrough, syscall
from pemu.linux.types.base import EnumType, Int
from pemu.linux.types.names import Named
from pemu.linux.types.pointers import In, Out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.linux.process import Thread

INFINITY = (1 << 64) - 1
RLIMIT_DATA, RLIMIT_STACK, RLIMIT_AS = 2, 3, 9
HOST_STACK_MIN = 8 << 20
"""The least stack limit, in bytes, under which a process of Pemu itself surely runs."""

RLIMIT = Struct("rlimit", "ulong rlim_cur", "ulong rlim_max")
RLIMIT64 = Struct("rlimit64", "u64 rlim_cur", "u64 rlim_max")
_HOST_RLIMIT = struct.Struct("<QQ")

Resource = EnumType("resource", RLIMITS)
RusageWho = Named("int", "RUSAGE_CHILDREN RUSAGE_SELF RUSAGE_THREAD", -1)

passthrough("getrusage", RusageWho, Out(RUSAGE))

_kept: dict[int, tuple[int, int]] = {}
"""Limits (soft, hard) of this process that the host does not know, by the host's number."""


def kept_limit(resource: int) -> int | None:
    """A soft limit of this process that the host does not know; None for any other."""
    return _kept[resource][0] if resource in _kept else None


def _limit(
    t: Thread, pid: int, resource: int, new: tuple[int, int] | None
) -> tuple[int, tuple[int, int]]:
    """Get, and set if `new` is given, a limit; the host's result, and the limit before."""
    own = pid in (0, os.getpid())
    old = HostBuffer(16)
    data = b""
    if new is not None:
        if own and resource in (RLIMIT_DATA, RLIMIT_STACK, RLIMIT_AS):
            return _keep(t, resource, new)
        data = _HOST_RLIMIT.pack(*new)
    result = t.host_syscall(
        NR["prlimit64"], pid, resource, address_of(data) if new is not None else 0, old.address
    )
    soft, hard = _HOST_RLIMIT.unpack(old.raw)
    if own and resource in _kept:
        soft, hard = _kept[resource]
    return result, (soft, hard)


def _keep(t: Thread, resource: int, new: tuple[int, int]) -> tuple[int, tuple[int, int]]:
    """Set a limit that the host is not to enforce, by the host's rules."""
    result, old = _limit(t, 0, resource, None)
    if result < 0:
        return result, old
    soft, hard = new
    if soft > hard:
        return -errno.EINVAL, old
    if hard > old[1] and t.host_syscall(NR["geteuid"]) != 0:
        return -errno.EPERM, old
    _kept[resource] = new
    if resource == RLIMIT_STACK and soft >= HOST_STACK_MIN:
        data = _HOST_RLIMIT.pack(*new)
        if t.host_syscall(NR["prlimit64"], 0, resource, address_of(data), 0) >= 0:
            del _kept[resource]
    return 0, old


@syscall("getrlimit", Resource, Out(RLIMIT))
def getrlimit(t: Thread, resource: int, result: int) -> int:
    done, (soft, hard) = _limit(t, 0, resource, None)
    if done < 0:
        return done
    if t.target.word == 4:
        soft, hard = min(soft, INFINITY_32), min(hard, INFINITY_32)
    RLIMIT.write(t.mem, result, rlim_cur=soft, rlim_max=hard)
    return 0


@syscall("setrlimit", Resource, In(RLIMIT))
def setrlimit(t: Thread, resource: int, new: int) -> int:
    limit = RLIMIT.read(t.mem, new)
    soft, hard = limit.rlim_cur, limit.rlim_max
    if t.target.word == 4:
        soft = INFINITY if soft >= INFINITY_32 else soft
        hard = INFINITY if hard >= INFINITY_32 else hard
    return _limit(t, 0, resource, (soft, hard))[0]


@syscall("prlimit64", Int, Resource, In(RLIMIT64), Out(RLIMIT64))
def prlimit64(t: Thread, pid: int, resource: int, new: int, old: int) -> int:
    wanted = None
    if new:
        limit = RLIMIT64.read(t.mem, new)
        wanted = (limit.rlim_cur, limit.rlim_max)
    result, (soft, hard) = _limit(t, pid, resource, wanted)
    if result >= 0 and old:
        RLIMIT64.write(t.mem, old, rlim_cur=soft, rlim_max=hard)
    return result
