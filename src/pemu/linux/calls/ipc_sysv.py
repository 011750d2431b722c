"""System V semaphores, message queues and shared memory, direct and through o32's `ipc`."""

from __future__ import annotations

import errno
import time

from pemu.linux.hostcalls import NR, HostBuffer, address_of
from pemu.linux.process import AT_EXECUTE
from pemu.linux.structs.byteorder import swap
from pemu.linux.structs.ipc import (
    MSG,
    MSGINFO,
    SEM,
    SEMINFO,
    SHM,
    SHM_INFO,
    SHMINFO,
    SHMINFO_OLD,
    Kind,
)
from pemu.linux.structs.time import TIMESPEC, TIMESPEC64, interval, pack_nanoseconds
from pemu.linux.syscall import (
    ERESTART_RESTARTBLOCK,
    ERESTARTNOHAND,
    ERESTARTSYS,
    Restart,
    passthrough,
    syscall,
)
from pemu.linux.types.base import HexLong, Int, Size, UInt, ULong, signed
from pemu.linux.types.names import Bits
from pemu.linux.types.pointers import Ptr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.linux.process import Thread
    from pemu.linux.structs.layout import Struct

IPC_RMID, IPC_SET, IPC_STAT, IPC_INFO = 0, 1, 2, 3
IPC_64 = 0x100
_INTERRUPTED = (-errno.EINTR, -ERESTARTSYS)

GetFlags = Bits("int", "IPC_CREAT 0o1000 IPC_EXCL 0o2000 IPC_NOWAIT 0o4000")

passthrough("semget", Int, Int, GetFlags)
passthrough("msgget", Int, GetFlags)
passthrough("shmget", Int, Size, GetFlags)


def _version(t: Thread, command: int) -> tuple[int, bool]:
    """The command without its version bit, and whether structures have the newer layout.

    o32's direct calls came late and know the newer layout only.
    """
    return command & ~IPC_64, bool(command & IPC_64) or t.target.abi == "o32"


def _write(t: Thread, address: int, struct: Struct, values: object) -> None:
    t.mem.write(address, struct.of(t.mem).pack(vars(values)))


def _stat_or_set(
    t: Thread, call: str, ident: int, command: int, kind: Kind, address: int, new: bool
) -> int:
    """IPC_STAT, IPC_SET and the commands like IPC_STAT that take an index."""
    layout = kind.guest(t.target.word, t.mem.order, new)
    content = b""
    if command == IPC_SET:
        content = kind.to_host(t.mem.read(address, layout.size), layout)
    buffer = HostBuffer(kind.host.size, content)
    before = (0,) if call == "semctl" else ()
    result = t.host_syscall(NR[call], ident, *before, command, buffer.address)
    if result >= 0 and command != IPC_SET:
        t.mem.write(address, kind.to_guest(buffer.raw, layout))
    return result


# Semaphores

SEMOPM = 32000
SEMBUF = "3H"
SEMBUF_BYTES = 6
GETPID, GETVAL, GETALL, GETNCNT, GETZCNT, SETVAL, SETALL = 11, 12, 13, 14, 15, 16, 17
SEM_STAT, SEM_INFO, SEM_STAT_ANY = 18, 19, 20


def _semctl(t: Thread, ident: int, number: int, command: int, argument: int, new: bool) -> int:
    if command in (IPC_STAT, IPC_SET, SEM_STAT, SEM_STAT_ANY):
        return _stat_or_set(t, "semctl", ident, command, SEM, argument, new)
    if command in (IPC_INFO, SEM_INFO):
        buffer = HostBuffer(SEMINFO.host().size)
        result = t.host_syscall(NR["semctl"], ident, 0, command, buffer.address)
        if result >= 0:
            _write(t, argument, SEMINFO, SEMINFO.host().unpack(buffer.raw))
        return result
    if command in (GETALL, SETALL):
        return _all_values(t, ident, command, argument)
    if command == SETVAL:
        if t.target.word == 8 and t.target.big_endian:
            argument >>= 32  # `int val` lies in the upper half of the union
        return t.host_syscall(NR["semctl"], ident, number, command, signed(argument, 32))
    return t.host_syscall(NR["semctl"], ident, number, command, 0)


def _all_values(t: Thread, ident: int, command: int, array: int) -> int:
    stat = HostBuffer(SEM.host.size)
    result = t.host_syscall(NR["semctl"], ident, 0, IPC_STAT, stat.address)
    if result < 0:
        return result
    size = 2 * SEM.host.unpack(stat.raw).nsems
    values = b""
    if command == SETALL:
        values = t.mem.read(array, size)
        values = swap(values, "H*") if t.target.big_endian else values
    buffer = HostBuffer(size, values)
    result = t.host_syscall(NR["semctl"], ident, 0, command, buffer.address)
    if result >= 0 and command == GETALL:
        values = buffer.raw
        t.mem.write(array, swap(values, "H*") if t.target.big_endian else values)
    return result


@syscall("semctl", Int, Int, Int, ULong)
def semctl(t: Thread, ident: int, number: int, command: int, argument: int) -> int:
    command, new = _version(t, command)
    return _semctl(t, ident, number, command, argument, new)


def _semop(
    t: Thread, ident: int, operations: int, count: int, timeout: int = 0, layout: Struct = TIMESPEC
) -> int:
    if not 0 < count <= SEMOPM:
        return -errno.E2BIG if count else -errno.EINVAL
    deadline = None
    if timeout:
        deadline = time.monotonic_ns() + interval(t.mem, timeout, layout)
    data = t.mem.read(operations, SEMBUF_BYTES * count)
    return _semop_until(t, ident, swap(data, "H*") if t.target.big_endian else data, deadline)


def _semop_until(t: Thread, ident: int, operations: bytes, deadline: int | None) -> int:
    left = b""
    if deadline is not None:
        left = pack_nanoseconds(max(0, deadline - time.monotonic_ns()))
    result = t.host_syscall(
        NR["semtimedop"],
        ident,
        address_of(operations),
        len(operations) // SEMBUF_BYTES,
        address_of(left) if left else 0,
    )
    if result in _INTERRUPTED:
        raise Restart(ERESTART_RESTARTBLOCK, lambda t: _semop_until(t, ident, operations, deadline))
    return result


@syscall("semop", Int, Ptr, UInt, abis=("n32", "n64"))
def semop(t: Thread, ident: int, operations: int, count: int) -> int:
    return _semop(t, ident, operations, count)


@syscall("semtimedop", Int, Ptr, UInt, Ptr, abis=("n32", "n64"))
def semtimedop(t: Thread, ident: int, operations: int, count: int, timeout: int) -> int:
    return _semop(t, ident, operations, count, timeout)


@syscall("semtimedop_time64", Int, Ptr, UInt, Ptr, abis=("o32", "n32"))
def semtimedop_time64(t: Thread, ident: int, operations: int, count: int, timeout: int) -> int:
    return _semop(t, ident, operations, count, timeout, TIMESPEC64)


# Message queues

MSG_STAT, MSG_INFO, MSG_STAT_ANY = 11, 12, 13
TEXT_MAX = 64 << 20
"""Room for a received message is never made larger than this many bytes."""


def _msgctl(t: Thread, ident: int, command: int, address: int, new: bool) -> int:
    if command in (IPC_STAT, IPC_SET, MSG_STAT, MSG_STAT_ANY):
        return _stat_or_set(t, "msgctl", ident, command, MSG, address, new)
    if command in (IPC_INFO, MSG_INFO):
        buffer = HostBuffer(MSGINFO.host().size)
        result = t.host_syscall(NR["msgctl"], ident, command, buffer.address)
        if result >= 0:
            _write(t, address, MSGINFO, MSGINFO.host().unpack(buffer.raw))
        return result
    return t.host_syscall(NR["msgctl"], ident, command, 0)


@syscall("msgctl", Int, Int, Ptr)
def msgctl(t: Thread, ident: int, command: int, address: int) -> int:
    command, new = _version(t, command)
    return _msgctl(t, ident, command, address, new)


@syscall("msgsnd", Int, Ptr, Size, GetFlags)
def msgsnd(t: Thread, ident: int, message: int, size: int, flags: int) -> int:
    if size > TEXT_MAX:
        return -errno.EINVAL
    word = t.target.word
    kind = signed(t.mem.word(message), 8 * word)
    data = kind.to_bytes(8, "little", signed=True) + t.mem.read(message + word, size)
    result = t.host_syscall(NR["msgsnd"], ident, address_of(data), size, flags)
    if result in _INTERRUPTED:
        raise Restart(ERESTARTNOHAND)
    return result


@syscall("msgrcv", Int, Ptr, Size, ULong, GetFlags)
def msgrcv(t: Thread, ident: int, message: int, size: int, wanted: int, flags: int) -> int:
    word = t.target.word
    if size >> (8 * word - 1):
        return -errno.EINVAL
    size = min(size, TEXT_MAX)
    buffer = HostBuffer(8 + size)
    result = t.host_syscall(
        NR["msgrcv"], ident, buffer.address, size, signed(wanted, 8 * word), flags
    )
    if result in _INTERRUPTED:
        raise Restart(ERESTARTNOHAND)
    if result >= 0:
        data = buffer.raw
        t.mem.put_word(message, int.from_bytes(data[:8], "little") & ((1 << 8 * word) - 1))
        t.mem.write(message + word, data[8 : 8 + result])
    return result


# Shared memory

SHM_LOCK, SHM_UNLOCK, SHM_STAT, SHM_INFO_COMMAND, SHM_STAT_ANY = 11, 12, 13, 14, 15
SHM_RDONLY, SHM_RND, SHM_REMAP, SHM_EXEC = 0o10000, 0o20000, 0o40000, 0o100000
SHMLBA = 0x40000
"""Alignment of attached segments in bytes: MIPS kernels keep it for caches with aliases."""
PROT_READ, PROT_WRITE, PROT_EXEC = 1, 2, 4
MAP_SHARED_ANONYMOUS, MAP_FIXED, MAP_FIXED_NOREPLACE = 0x21, 0x10, 0x100010

ShmFlags = Bits("int", "SHM_RDONLY 0o10000 SHM_RND 0o20000 SHM_REMAP 0o40000 SHM_EXEC 0o100000")


def _shmctl(t: Thread, ident: int, command: int, address: int, new: bool) -> int:
    if command in (IPC_STAT, IPC_SET, SHM_STAT, SHM_STAT_ANY):
        return _stat_or_set(t, "shmctl", ident, command, SHM, address, new)
    if command in (IPC_INFO, SHM_INFO_COMMAND):
        kind = SHMINFO if command == IPC_INFO else SHM_INFO
        buffer = HostBuffer(kind.host().size)
        result = t.host_syscall(NR["shmctl"], ident, command, buffer.address)
        if result >= 0:
            fields = kind.host().unpack(buffer.raw).__dict__
            largest = (1 << 8 * t.target.word - 1) - 1
            fields["values"] = [min(value, largest) for value in fields["values"]]
            if command == IPC_INFO and not new:
                kind = SHMINFO_OLD
                fields["values"] = [min(value, 0x7FFFFFFF) for value in fields["values"][:5]]
            t.mem.write(address, kind.of(t.mem).pack(fields))
        return result
    return t.host_syscall(NR["shmctl"], ident, command, 0)


@syscall("shmctl", Int, Int, Ptr)
def shmctl(t: Thread, ident: int, command: int, address: int) -> int:
    command, new = _version(t, command)
    return _shmctl(t, ident, command, address, new)


@syscall("shmat", Int, Ptr, ShmFlags, returns="x")
def shmat(t: Thread, ident: int, address: int, flags: int) -> int:
    stat = HostBuffer(SHM.host.size)
    result = t.host_syscall(NR["shmctl"], ident, IPC_STAT, stat.address)
    if result < 0:
        return result
    size = SHM.host.unpack(stat.raw).segsz
    if address & (SHMLBA - 1):
        if not flags & SHM_RND:
            return -errno.EINVAL
        address &= -SHMLBA
    elif not address and flags & SHM_REMAP:
        return -errno.EINVAL
    return _attach(t, ident, address, size, flags)


_attached: dict[int, int] = {}
"""Sizes in bytes of attached segments by guest address."""
AT_EXECUTE.append(_attached.clear)


def _attach(t: Thread, ident: int, address: int, size: int, flags: int) -> int:
    """Reserve guest memory, then have the host put the segment in its place."""
    protection = PROT_READ if flags & SHM_RDONLY else PROT_READ | PROT_WRITE
    if flags & SHM_EXEC:
        protection |= PROT_EXEC
    how = MAP_SHARED_ANONYMOUS | (MAP_FIXED if flags & SHM_REMAP else MAP_FIXED_NOREPLACE)
    while True:
        start = address or t.mem.find_free(size, SHMLBA)
        try:
            t.mem.map(start, size, protection, how)
            break
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise
            if address:
                return -errno.EINVAL
    result = t.host_syscall(NR["shmat"], ident, t.mem.host(start), flags & SHM_RDONLY | SHM_REMAP)
    if -4096 < result < 0:
        t.mem.unmap(start, size)
        return result
    _attached[start] = size
    return start


@syscall("shmdt", Ptr)
def shmdt(t: Thread, address: int) -> int:
    size = _attached.pop(address, None)
    if size is None:
        return -errno.EINVAL
    t.mem.unmap(address, size)  # what takes its place lets the host detach the segment
    return 0


# The one call of o32 for all of them


# Its calls; source: `linux/ipc.h`.
SEMOP, SEMGET, SEMCTL, SEMTIMEDOP = 1, 2, 3, 4
MSGSND, MSGRCV, MSGGET, MSGCTL = 11, 12, 13, 14
SHMAT, SHMDT, SHMGET, SHMCTL = 21, 22, 23, 24


@syscall("ipc", UInt, Int, ULong, ULong, Ptr, HexLong, abis=("o32",))
def ipc(t: Thread, call: int, first: int, second: int, third: int, pointer: int, fifth: int) -> int:
    version, call = call >> 16, call & 0xFFFF
    if call <= SEMTIMEDOP:
        return _ipc_semaphores(t, call, first, second, third, pointer, fifth)
    if call <= MSGCTL:
        return _ipc_messages(t, call, version, first, second, third, pointer, fifth)
    return _ipc_memory(t, call, version, first, second, third, pointer)


def _ipc_semaphores(
    t: Thread, call: int, first: int, second: int, third: int, pointer: int, fifth: int
) -> int:
    if call == SEMOP:
        return _semop(t, first, pointer, second)
    if call == SEMTIMEDOP:
        return _semop(t, first, pointer, second, fifth)
    if call == SEMGET:
        return t.host_syscall(NR["semget"], first, signed(second, 32), signed(third, 32))
    if call == SEMCTL:
        if not pointer:
            return -errno.EINVAL
        command, new = _ipc_command(third)
        return _semctl(t, first, signed(second, 32), command, t.mem.u32(pointer), new)
    return -errno.ENOSYS


def _ipc_messages(
    t: Thread,
    call: int,
    version: int,
    first: int,
    second: int,
    third: int,
    pointer: int,
    fifth: int,
) -> int:
    if call == MSGSND:
        return msgsnd(t, first, pointer, second, third)
    if call == MSGRCV and not version:
        if not pointer:
            return -errno.EINVAL
        return msgrcv(t, first, t.mem.u32(pointer), second, t.mem.u32(pointer + 4), third)
    if call == MSGRCV:
        return msgrcv(t, first, pointer, second, fifth, third)
    if call == MSGGET:
        return t.host_syscall(NR["msgget"], first, signed(second, 32))
    if call == MSGCTL:
        command, new = _ipc_command(second)
        return _msgctl(t, first, command, pointer, new)
    return -errno.ENOSYS


def _ipc_memory(
    t: Thread, call: int, version: int, first: int, second: int, third: int, pointer: int
) -> int:
    if call == SHMAT:
        if version == 1:
            return -errno.EINVAL
        attached = shmat(t, first, pointer, signed(second, 32))
        if attached < 0:
            return attached
        t.mem.put_u32(third, attached)
        return 0
    if call == SHMDT:
        return shmdt(t, pointer)
    if call == SHMGET:
        return t.host_syscall(NR["shmget"], first, second, signed(third, 32))
    if call == SHMCTL:
        command, new = _ipc_command(second)
        return _shmctl(t, first, command, pointer, new)
    return -errno.ENOSYS


def _ipc_command(word: int) -> tuple[int, bool]:
    """The command of a control call, and whether structures have the newer layout."""
    command = signed(word, 32)
    return command & ~IPC_64, bool(command & IPC_64)
