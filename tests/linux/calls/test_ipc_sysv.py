"""System V IPC, direct and through o32's `ipc`, on the host's own objects."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Callable, Iterator

import pytest

from pemu.linux.structs.ipc import MSG, MSGINFO, SEM, SEMINFO, SHM, SHM_INFO, SHMINFO, Kind
from pemu.linux.structs.layout import Record
from pemu.linux.structs.time import TIMESPEC, TIMESPEC64
from pemu.linux.syscall import ERESTART_RESTARTBLOCK
from tests.linux.fakeguest import LIBC, Guest, GuestError

IPC_PRIVATE, IPC_CREAT, IPC_RMID, IPC_SET, IPC_STAT, IPC_INFO = 0, 0o1000, 0, 1, 2, 3
GETPID, GETVAL, GETALL, SETVAL, SETALL = 11, 12, 13, 16, 17
NOWAIT = 0o4000
IPC_64 = 0x100


class Way:
    """How a guest calls: directly, or by `ipc` as an o32 C library does."""

    def __init__(self, guest: Guest, through_ipc: bool) -> None:
        self.guest = guest
        self.through_ipc = through_ipc
        self.version = IPC_64 if through_ipc or guest.target.abi != "o32" else 0

    def semget(self, count: int) -> int:
        if self.through_ipc:
            return self.guest.call("ipc", 2, IPC_PRIVATE, count, IPC_CREAT | 0o600, 0, 0)
        return self.guest.call("semget", IPC_PRIVATE, count, IPC_CREAT | 0o600)

    def semctl(self, ident: int, number: int, command: int, argument: int = 0) -> int:
        command |= self.version
        if self.through_ipc:
            place = self.guest.alloc(4)
            self.guest.mem.put_u32(place, argument)
            return self.guest.call("ipc", 3, ident, number, command, place, 0)
        return self.guest.call("semctl", ident, number, command, argument)

    def semop(self, ident: int, *operations: tuple[int, int, int]) -> int:
        order = ">" if self.guest.target.big_endian else "<"
        data = b"".join(struct.pack(order + "Hhh", *operation) for operation in operations)
        place = self.guest.put(data)
        if self.through_ipc:
            return self.guest.call("ipc", 1, ident, len(operations), 0, place, 0)
        if self.guest.target.abi == "o32":
            return self.guest.call("semtimedop_time64", ident, place, len(operations), 0)
        return self.guest.call("semop", ident, place, len(operations))

    def msgget(self) -> int:
        if self.through_ipc:
            return self.guest.call("ipc", 13, IPC_PRIVATE, IPC_CREAT | 0o600, 0, 0, 0)
        return self.guest.call("msgget", IPC_PRIVATE, IPC_CREAT | 0o600)

    def msgsnd(self, ident: int, message: int, size: int, flags: int) -> int:
        if self.through_ipc:
            return self.guest.call("ipc", 11, ident, size, flags, message, 0)
        return self.guest.call("msgsnd", ident, message, size, flags)

    def msgrcv(self, ident: int, message: int, size: int, kind: int, flags: int) -> int:
        if self.through_ipc:
            order = ">" if self.guest.target.big_endian else "<"
            kludge = self.guest.put(struct.pack(order + "Ii", message, kind))
            return self.guest.call("ipc", 12, ident, size, flags, kludge, 0)
        return self.guest.call("msgrcv", ident, message, size, kind, flags)

    def control(self, name: str, ident: int, command: int, address: int = 0) -> int:
        command |= self.version
        if self.through_ipc:
            number = {"msgctl": 14, "shmctl": 24}[name]
            return self.guest.call("ipc", number, ident, command, 0, address, 0)
        return self.guest.call(name, ident, command, address)

    def shmget(self, size: int) -> int:
        if self.through_ipc:
            return self.guest.call("ipc", 23, IPC_PRIVATE, size, IPC_CREAT | 0o600, 0, 0)
        return self.guest.call("shmget", IPC_PRIVATE, size, IPC_CREAT | 0o600)

    def shmat(self, ident: int, address: int = 0, flags: int = 0) -> int:
        if self.through_ipc:
            place = self.guest.alloc(4)
            assert self.guest.call("ipc", 21, ident, flags, place, address, 0) == 0
            return self.guest.mem.u32(place)
        return self.guest.call("shmat", ident, address, flags)

    def shmdt(self, address: int) -> int:
        if self.through_ipc:
            return self.guest.call("ipc", 22, 0, 0, 0, address, 0)
        return self.guest.call("shmdt", address)

    def record(self, kind: Kind, fill: Callable[[int], int]) -> Record:
        """What a control call stores, without the upper halves of times."""
        layout = kind.guest(self.guest.target.word, self.guest.mem.order, True)
        place = self.guest.alloc(layout.size)
        fill(place)
        return layout.unpack(self.guest.mem.read(place, layout.size))


@pytest.fixture(params=[False, True], ids=["direct", "ipc"])
def way(request: pytest.FixtureRequest, guest: Guest) -> Way:
    if request.param and guest.target.abi != "o32":
        pytest.skip("only o32 has `ipc`")
    return Way(guest, request.param)


@pytest.fixture
def semaphores(way: Way) -> Iterator[int]:
    ident = way.semget(3)
    yield ident
    way.semctl(ident, 0, IPC_RMID)


@pytest.fixture
def queue(way: Way) -> Iterator[int]:
    ident = way.msgget()
    yield ident
    way.control("msgctl", ident, IPC_RMID)


@pytest.fixture
def segment(way: Way) -> Iterator[int]:
    ident = way.shmget(0x5000)
    yield ident
    way.control("shmctl", ident, IPC_RMID)


def union_int(guest: Guest, value: int) -> int:
    """An int in the union that semctl's last argument is, as its register holds it."""
    wide = guest.target.word == 8 and guest.target.big_endian
    return value << 32 if wide else value


def test_semaphores_count(way: Way, semaphores: int) -> None:
    way.semctl(semaphores, 1, SETVAL, union_int(way.guest, 5))
    assert way.semctl(semaphores, 1, GETVAL) == 5
    assert way.semop(semaphores, (1, -2, 0), (2, 4, 0)) == 0
    assert way.semctl(semaphores, 1, GETVAL) == 3
    assert way.semctl(semaphores, 2, GETPID) == os.getpid()


def test_semaphores_are_set_and_got_together(way: Way, semaphores: int) -> None:
    guest = way.guest
    values = guest.alloc(8)
    for i, value in enumerate((7, 300, 9)):
        guest.mem.put_u16(values + 2 * i, value)
    way.semctl(semaphores, 0, SETALL, values)
    assert way.semctl(semaphores, 1, GETVAL) == 300
    again = guest.alloc(8)
    way.semctl(semaphores, 0, GETALL, again)
    assert guest.mem.read(again, 6) == guest.mem.read(values, 6)


def test_semaphore_that_would_wait_says_so(way: Way, semaphores: int) -> None:
    with pytest.raises(GuestError) as error:
        way.semop(semaphores, (0, -1, NOWAIT))
    assert error.value.errno == errno.EAGAIN


def test_semaphores_tell_their_owner_and_take_a_mode(way: Way, semaphores: int) -> None:
    guest = way.guest
    found = way.record(SEM, lambda place: way.semctl(semaphores, 0, IPC_STAT, place))
    assert (found.nsems, found.perm.uid, found.perm.mode & 0o777) == (3, os.getuid(), 0o600)
    layout = SEM.guest(guest.target.word, guest.mem.order, True)
    found.perm.mode = 0o640
    new = guest.put(layout.pack(found.__dict__))
    way.semctl(semaphores, 0, IPC_SET, new)
    found = way.record(SEM, lambda place: way.semctl(semaphores, 0, IPC_STAT, place))
    assert found.perm.mode & 0o777 == 0o640
    assert found.ctime > 1_000_000_000


def test_semaphore_limits(way: Way, semaphores: int) -> None:
    place = way.guest.out(SEMINFO)
    way.semctl(0, 0, IPC_INFO, place)
    with open("/proc/sys/kernel/sem") as file:
        per_set, total, operations, sets = map(int, file.read().split())
    values = way.guest.get(SEMINFO, place).values
    assert (values[1], values[2], values[4], values[5]) == (sets, total, per_set, operations)


def test_semtimedop_ends_in_time(way: Way, semaphores: int) -> None:
    guest = way.guest
    order = ">" if guest.target.big_endian else "<"
    operation = guest.put(struct.pack(order + "Hhh", 0, -1, 0))
    limit = guest.put_struct(TIMESPEC, tv_nsec=1_000_000)
    wide_limit = guest.put_struct(TIMESPEC64, tv_nsec=1 << 32 | 1_000_000)
    call: tuple[int | str, ...] = ("semtimedop", semaphores, operation, 1, limit)
    if way.through_ipc:
        call = ("ipc", 4, semaphores, 1, 0, operation, limit)
    elif guest.target.abi == "o32":
        call = ("semtimedop_time64", semaphores, operation, 1, wide_limit)
    with pytest.raises(GuestError) as error:
        guest.call(*call)  # type: ignore[arg-type]
    assert error.value.errno == errno.EAGAIN


def test_interrupted_semaphore_wait_goes_on(way: Way, semaphores: int) -> None:
    guest = way.guest
    order = ">" if guest.target.big_endian else "<"
    operation = guest.put(struct.pack(order + "Hhh", 0, 1, 0))
    if way.through_ipc:
        guest.load("ipc", 1, semaphores, 1, 0, operation, 0)
    elif guest.target.abi == "o32":
        guest.load("semtimedop_time64", semaphores, operation, 1, 0)
    else:
        guest.load("semop", semaphores, operation, 1)
    guest.interrupt_next = True
    guest.trap()
    assert guest.restart == ERESTART_RESTARTBLOCK
    guest.restart = 0
    assert guest.call("restart_syscall") == 0
    assert way.semctl(semaphores, 0, GETVAL) == 1


def message(guest: Guest, kind: int, text: bytes) -> int:
    place = guest.alloc(guest.target.word + 256)
    guest.mem.put_word(place, kind)
    guest.mem.write(place + guest.target.word, text)
    return place


def test_messages_are_sent_and_received_by_type(way: Way, queue: int) -> None:
    guest = way.guest
    way.msgsnd(queue, message(guest, 5, b"five"), 4, 0)
    way.msgsnd(queue, message(guest, 7, b"seven"), 5, 0)
    place = message(guest, 0, b"")
    assert way.msgrcv(queue, place, 256, 7, 0) == 5
    assert guest.mem.word(place) == 7
    assert guest.mem.read(place + guest.target.word, 5) == b"seven"
    assert way.msgrcv(queue, place, 256, -6, 0) == 4
    assert guest.mem.word(place) == 5


def test_message_that_is_too_long_is_an_error(way: Way, queue: int) -> None:
    way.msgsnd(queue, message(way.guest, 1, b"12345"), 5, 0)
    with pytest.raises(GuestError) as error:
        way.msgrcv(queue, message(way.guest, 0, b""), 3, 0, 0)
    assert error.value.errno == errno.E2BIG


def test_message_type_must_be_positive(way: Way, queue: int) -> None:
    with pytest.raises(GuestError) as error:
        way.msgsnd(queue, message(way.guest, -1, b"x"), 1, 0)
    assert error.value.errno == errno.EINVAL


def test_empty_queue_says_so(way: Way, queue: int) -> None:
    with pytest.raises(GuestError) as error:
        way.msgrcv(queue, message(way.guest, 0, b""), 3, 0, NOWAIT)
    assert error.value.errno == errno.ENOMSG


def test_queue_tells_its_state_and_takes_a_size(way: Way, queue: int) -> None:
    guest = way.guest
    way.msgsnd(queue, message(guest, 1, b"12345"), 5, 0)
    found = way.record(MSG, lambda place: way.control("msgctl", queue, IPC_STAT, place))
    assert (found.qnum, found.cbytes, found.lspid) == (1, 5, os.getpid())
    assert found.stime > 1_000_000_000
    layout = MSG.guest(guest.target.word, guest.mem.order, True)
    found.__dict__["qbytes"] = 1000
    way.control("msgctl", queue, IPC_SET, guest.put(layout.pack(found.__dict__)))
    found = way.record(MSG, lambda place: way.control("msgctl", queue, IPC_STAT, place))
    assert found.qbytes == 1000


def test_queue_limits(way: Way, queue: int) -> None:
    place = way.guest.out(MSGINFO)
    way.control("msgctl", 0, IPC_INFO, place)
    with open("/proc/sys/kernel/msgmax") as file:
        assert way.guest.get(MSGINFO, place).values[2] == int(file.read())


def test_segment_is_shared_memory(way: Way, segment: int) -> None:
    guest = way.guest
    start = way.shmat(segment)
    assert start % 0x40000 == 0
    guest.mem.write(start + 0x4000, b"from the guest")
    LIBC.shmat.restype = ctypes.c_void_p
    host = LIBC.shmat(segment, None, 0)
    try:
        assert ctypes.string_at(host + 0x4000, 14) == b"from the guest"
    finally:
        LIBC.shmdt(ctypes.c_void_p(host))
    found = way.record(SHM, lambda place: way.control("shmctl", segment, IPC_STAT, place))
    assert (found.segsz, found.nattch, found.cpid) == (0x5000, 1, os.getpid())
    assert way.shmdt(start) == 0
    found = way.record(SHM, lambda place: way.control("shmctl", segment, IPC_STAT, place))
    assert found.nattch == 0
    assert not guest.mem.readable(start, 1)


def test_segment_is_attached_where_the_guest_wants_it(way: Way, segment: int) -> None:
    wanted = 0x10000000
    assert way.shmat(segment, wanted + 0x1234, 0o20000) == wanted
    with pytest.raises(GuestError) as error:
        way.shmat(segment, wanted)
    assert error.value.errno == errno.EINVAL
    assert way.shmat(segment, wanted, 0o40000) == wanted
    way.shmdt(wanted)


def test_segment_address_must_be_aligned(way: Way, segment: int) -> None:
    with pytest.raises(GuestError) as error:
        way.shmat(segment, 0x10001000)
    assert error.value.errno == errno.EINVAL


def test_segment_can_be_attached_for_reading_only(way: Way, segment: int) -> None:
    start = way.shmat(segment, 0, 0o10000)
    assert way.guest.mem.readable(start, 1)
    assert not way.guest.mem.writable(start, 1)
    way.shmdt(start)


def test_detaching_what_is_not_attached_is_an_error(way: Way) -> None:
    with pytest.raises(GuestError) as error:
        way.shmdt(0x12340000)
    assert error.value.errno == errno.EINVAL


def test_segment_limits(way: Way) -> None:
    guest = way.guest
    place = guest.out(SHMINFO)
    way.control("shmctl", 0, IPC_INFO, place)
    with open("/proc/sys/kernel/shmmni") as file:
        assert guest.get(SHMINFO, place).values[2] == int(file.read())
    info = guest.out(SHM_INFO)
    way.control("shmctl", 0, 14, info)
    assert guest.get(SHM_INFO, info).used_ids >= 0


def test_older_layout_without_ipc_64(o32: Guest) -> None:
    way = Way(o32, True)
    ident = way.shmget(0x3000)
    layout = SHM.guest(4, o32.mem.order, False)
    place = o32.alloc(layout.size)
    o32.call("ipc", 24, ident, IPC_STAT, 0, place, 0)
    found = layout.unpack(o32.mem.read(place, layout.size))
    assert (found.segsz, found.cpid, found.perm.mode & 0o777) == (0x3000, os.getpid(), 0o600)
    way.control("shmctl", ident, IPC_RMID)


def test_unknown_operation_of_ipc(o32: Guest) -> None:
    with pytest.raises(GuestError) as error:
        o32.call("ipc", 99, 0, 0, 0, 0, 0)
    assert error.value.errno == errno.ENOSYS
