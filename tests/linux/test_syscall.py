"""The dispatcher, argument passing and results of system calls."""

from __future__ import annotations

import errno
import os
import tempfile

import pytest

from pemu.linux import fdtable, syscall
from pemu.linux.abi import Abi
from pemu.linux.nativecalls import NativeTable
from pemu.linux.types.base import Int, Off64
from tests.linux.fakeguest import DATA, STACK, Guest, GuestError


def test_passthrough_reads_into_guest_memory(guest: Guest) -> None:
    read, write = os.pipe()
    os.write(write, b"hello")
    start = guest.alloc(16)
    assert guest.call("read", read, start, 16) == 5
    assert guest.mem.read(start, 6) == b"hello\0"
    os.close(read)
    os.close(write)


def test_error_number_is_the_guests(guest: Guest) -> None:
    guest.load("flock", 1000, 8 | 1 | 4)
    guest.load("read", 0, 0xFFFF, 1)
    guest.load("close", 999)
    guest.trap()
    assert (guest.cpu.gpr[2], guest.cpu.gpr[7]) == (9, 1)


def test_unknown_number_is_enosys_and_logged_with_name_number_and_pc(guest: Guest) -> None:
    guest.log.items.add("unimp")
    with pytest.raises(GuestError) as caught:
        guest.call("vserver")
    assert caught.value.errno == errno.ENOSYS
    assert guest.cpu.gpr[2] == 89
    line = guest.log.take()
    assert f"vserver (number {guest.numbers['vserver']})" in line
    assert "0x00400000" in line


def test_negative_result_of_a_seek_is_sign_extended(guest: Guest) -> None:
    with tempfile.TemporaryFile() as file:
        assert guest.call("lseek", file.fileno(), 1234, 0) == 1234
        with pytest.raises(GuestError) as caught:
            guest.call("lseek", file.fileno(), -1, 0)
        assert caught.value.errno == errno.EINVAL


def test_memory_outside_the_address_space_is_efault(guest: Guest) -> None:
    read, write = os.pipe()
    os.write(write, b"x")
    for start in (guest.mem.size - 1, 0, DATA - 4096):
        with pytest.raises(GuestError) as caught:
            guest.call("read", read, start, 8)
        assert caught.value.errno == errno.EFAULT
    os.close(read)
    os.close(write)


def test_read_into_a_page_with_translated_code_makes_it_writable(guest: Guest) -> None:
    start = guest.alloc(3 * 4096, 4096)
    guest.mem.write(start, b"." * 3 * 4096)
    guest.mem.track(start + 4096)
    with tempfile.TemporaryFile() as file:
        file.write(b"n" * 3 * 4096)
        file.seek(0)
        assert guest.call("read", file.fileno(), start, 3 * 4096) == 3 * 4096
    assert guest.mem.read(start, 3 * 4096) == b"n" * 3 * 4096
    assert not guest.mem.flags[(start >> 12) + 1] & 16


def test_o32_takes_arguments_from_the_stack_and_pairs_from_even_slots(o32: Guest) -> None:
    with tempfile.TemporaryFile() as file:
        data = o32.put(b"abcdef")
        place = o32.pair(0x1_0000_0003)
        assert o32.call("pwrite64", file.fileno(), data, 6, 0, *place) == 6
        assert os.pread(file.fileno(), 6, 0x1_0000_0003) == b"abcdef"


def test_o32_pair_alignment() -> None:
    abi = Abi("o32", 4, 32, True)
    assert abi.slots((Int, Off64, Int)) == [0, 2, 4]
    assert abi.slots((Int, Int, Off64, Off64)) == [0, 1, 2, 4]
    assert abi.slots((Int, Off64), shift=1) == [1, 3]


def test_indirect_call_shifts_its_arguments(o32: Guest) -> None:
    read, write = os.pipe()
    start = o32.put(b"indirect")
    o32.load("syscall", o32.numbers["write"], write, start, 8)
    assert o32.dispatch() == 8
    assert os.read(read, 8) == b"indirect"
    os.close(read)
    os.close(write)


def test_interrupted_call_keeps_its_registers_and_is_settled_by_the_signal(guest: Guest) -> None:
    outcomes = [(True, True, None), (True, False, errno.EINTR), (False, False, None)]
    for handler_ran, restart, expected in outcomes:
        guest.load("flock", 0, 8)
        guest.interrupt_next = True
        before = list(guest.cpu.gpr)
        guest.cpu.pc = 0x400004
        guest.trap()
        assert list(guest.cpu.gpr) == before
        assert guest.restart == syscall.ERESTARTSYS
        syscall.settle_restart(guest.thread, handler_ran, restart)
        assert guest.restart == 0
        if expected is None:
            assert guest.cpu.pc == 0x400000
        else:
            assert (guest.cpu.pc, guest.cpu.gpr[2], guest.cpu.gpr[7]) == (0x400004, expected, 1)


def test_restart_block_is_resumed_by_restart_syscall(guest: Guest) -> None:
    guest.load("getppid")
    guest.restart = syscall.ERESTART_RESTARTBLOCK
    guest.restart_block = lambda t: 77
    syscall.settle_restart(guest.thread, False)
    assert guest.cpu.gpr[2] == guest.numbers["restart_syscall"]
    assert guest.dispatch() == 77


def test_guest_cannot_close_or_duplicate_a_descriptor_of_pemus_own(guest: Guest) -> None:
    own = fdtable.reserve(os.open("/dev/null", os.O_RDONLY))
    for call in ("close", "dup"):
        with pytest.raises(GuestError) as caught:
            guest.call(call, own)
        assert caught.value.errno == errno.EBADF
    os.fstat(own)
    fdtable.release(own)
    os.close(own)


class Swapped(fdtable.Translator):
    def from_host(self, t: object, data: bytes) -> bytes:
        return data[::-1]

    to_host = from_host


def test_translator_stands_between_guest_and_descriptor_and_its_duplicates(guest: Guest) -> None:
    read, write = os.pipe()
    fdtable.set_translator(read, Swapped())
    copy = guest.call("dup", read)
    assert guest.call("close", read) == 0
    os.write(write, b"abc")
    start = guest.alloc(8)
    assert guest.call("read", copy, start, 8) == 3
    assert guest.mem.read(start, 3) == b"cba"
    guest.call("close", copy)
    assert fdtable.special(copy) == fdtable.special(read) == 0
    os.close(write)


def test_native_table_describes_calls_once_they_have_been_made(guest: Guest) -> None:
    table = syscall.SyscallTable(guest.target)
    table.entry(guest.numbers["read"])
    native = table.native = NativeTable(table)
    table.describe()
    table.entry(guest.numbers["pread64"])
    table.entry(guest.numbers["clone"])
    described = {name for name, number in guest.numbers.items() if native.has(number)}
    assert described == {"read", "pread64"}


def test_strace_shows_arguments_filled_by_the_call_afterwards(guest: Guest) -> None:
    guest.trace()
    read, write = os.pipe()
    guest.call("write", write, b"line\n\1" + b"2", 7)
    start = guest.alloc(64)
    guest.call("read", read, start, 64)
    with pytest.raises(GuestError):
        guest.call("read", 999, start, 64)
    tid = guest.tid
    assert guest.log.take().splitlines() == [
        f'{tid} write({write}, "line\\n\\0012", 7) = 7',
        f'{tid} read({read}, "line\\n\\0012", 64) = 7',
        f"{tid} read(999, {start:#x}, 64) = -1 EBADF (Bad file descriptor)",
    ]
    os.close(read)
    os.close(write)


def test_stack_argument_on_a_missing_page_is_efault(o32: Guest) -> None:
    o32.load("pwrite64", 1, 0, 0, 0)
    o32.cpu.gpr[29] = STACK + 0x100000
    with pytest.raises(GuestError) as caught:
        o32.dispatch()
    assert caught.value.errno == errno.EFAULT


def test_a_call_that_never_waits_is_made_again_after_any_handler(guest: Guest) -> None:
    guest.load("getpid")
    guest.interrupt_next = True
    guest.trap()
    assert guest.restart == syscall.ERESTARTNOINTR
