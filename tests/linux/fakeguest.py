"""A guest without a processor: registers and memory that tests make system calls from."""

from __future__ import annotations

import ctypes
import errno
import os
from array import array
from types import SimpleNamespace
from typing import Any

import pytest

from pemu.engine.memory.process import AddressSpace
from pemu.linux import fdtable, syscall
from pemu.linux.mips.errno import TO_HOST
from pemu.linux.strace import Tracer
from pemu.linux.structs.layout import Record, Struct

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long

TARGETS = {
    "mips": ("o32", True, 4, 32),
    "mipsel": ("o32", False, 4, 32),
    "mips64": ("n64", True, 8, 64),
    "mips64el": ("n64", False, 8, 64),
    "mipsn32": ("n32", True, 4, 64),
    "mipsn32el": ("n32", False, 4, 64),
}

RW = 3
ANONYMOUS = 0x22
DATA = 0x100000
DATA_SIZE = 0x40000
STACK = 0x200000


class GuestError(OSError):
    """A call failed; `errno` is the host's number of the guest's error."""


_spaces: dict[str, AddressSpace] = {}


def empty_space(name: str, word: int, big_endian: bool) -> AddressSpace:
    """A target's address space, one for all tests: each reserves terabytes of host addresses."""
    space = _spaces.get(name)
    if space is None:
        space = _spaces[name] = AddressSpace(32 if word == 4 else 41, big_endian)
    for start, end, *_ in list(space.regions()):
        space.unmap(start, end - start)
    space.on_code_change = None
    return space


class FakeLog:
    """Keeps what is logged under `items` in `text`."""

    def __init__(self) -> None:
        self.items: set[str] = set()
        self.events: set[str] = set()
        self.read_fd, self.fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def enabled(self, item: str) -> bool:
        return item in self.items

    def traced(self, event: str) -> bool:
        return event in self.events

    def write(self, text: str) -> None:
        os.write(self.fd, (text if text.endswith("\n") else text + "\n").encode())

    def take(self) -> str:
        """What was logged since the last time."""
        try:
            return os.read(self.read_fd, 1 << 16).decode()
        except BlockingIOError:
            return ""

    def close(self) -> None:
        os.close(self.fd)
        os.close(self.read_fd)


class Guest:
    """A thread of a guest process: what system calls need of `Thread` and `Process`."""

    def __init__(self, name: str) -> None:
        abi, big_endian, word, xlen = TARGETS[name]
        self.target: Any = SimpleNamespace(
            name=name, abi=abi, big_endian=big_endian, word=word, xlen=xlen
        )
        self.mem = empty_space(name, word, big_endian)
        self.mem.map(DATA, DATA_SIZE, RW, ANONYMOUS)
        self.mem.map(STACK - 0x10000, 0x20000, RW, ANONYMOUS)
        gpr = memoryview(bytearray(32 * xlen // 8)).cast("I" if xlen == 32 else "Q")
        self.cpu: Any = SimpleNamespace(gpr=gpr, pc=0x400004, take_call_begun=lambda: True)
        gpr[29] = STACK
        self.log = FakeLog()
        self.process: Any = SimpleNamespace(
            prefix="", log=self.log, mem=self.mem, target=self.target, threads={}, exe="/bin/guest"
        )
        self.process.options = SimpleNamespace(child=False)
        self.process.tracer = None
        self.process.engine = SimpleNamespace(invalidate=self._invalidate, rest=lambda: None)
        self.invalidated: list[tuple[int, int]] = []
        self.tid = os.getpid()
        self.restart = 0
        self.restart_block: Any = None
        self.waited = False
        self.thread: Any = self
        """The guest, for functions that want a `Thread`."""
        self._next = DATA
        names = syscall.table_for(self.thread.target).names
        self.numbers = {call: number for number, call in names.items()}
        self.interrupt_next = False

    def _invalidate(self, start: int, end: int) -> None:
        self.invalidated.append((start, end))

    def trace(self) -> None:
        """Log calls as -strace does."""
        self.log.items.add("strace")
        self.process.tracer = Tracer(child=False)

    def close(self) -> None:
        """End the guest; what is known of its descriptors must not hold for others' later."""
        self.log.close()
        for fd in list(fdtable._translators):
            fdtable.forget(fd)

    def host_syscall(self, number: int, *args: int) -> int:
        if self.interrupt_next:
            self.interrupt_next = False
            return -512
        result: int = LIBC.syscall(ctypes.c_long(number), *[ctypes.c_long(a) for a in args])
        return result if result != -1 else -ctypes.get_errno()

    def alloc(self, size: int, alignment: int = 16) -> int:
        """The guest address of `size` bytes that nothing else uses."""
        start = -(-self._next // alignment) * alignment
        self._next = start + size
        assert self._next <= DATA + DATA_SIZE
        return start

    def put(self, data: bytes) -> int:
        """Place `data` in guest memory; returns the address."""
        start = self.alloc(len(data) or 1)
        if data:
            self.mem.write(start, data)
        return start

    def put_struct(self, struct: Struct, **fields: Any) -> int:
        start = self.alloc(struct.size(self.mem))
        struct.write(self.mem, start, **fields)
        return start

    def out(self, struct: Struct) -> int:
        """The address of room for a structure."""
        return self.alloc(struct.size(self.mem))

    def get(self, struct: Struct, start: int) -> Record:
        return struct.read(self.mem, start)

    def load(self, call: str, *args: int | bytes) -> None:
        """Set the registers for a call, as a C library does.

        Bytes are placed in memory with a NUL after them.  64-bit arguments of o32 must be given as
        `pair` makes them.
        """
        regs = self.cpu.gpr
        mask = (1 << self.target.xlen) - 1
        regs[2] = self.numbers[call]
        regs[7] = 0x55
        words = [self.put(a + b"\0") if isinstance(a, bytes) else a for a in args]
        registers = 4 if self.target.abi == "o32" else 8
        for slot, value in enumerate(words):
            if slot < registers:
                regs[4 + slot] = value & mask
            else:
                self.mem.put_u32(STACK + 4 * slot, value & 0xFFFFFFFF)

    def call(self, call: str, *args: int | bytes) -> int:
        """Make a call; raises GuestError."""
        self.load(call, *args)
        return self.dispatch(call)

    def trap(self) -> None:
        """Make the call that the registers ask for."""
        syscall.dispatch(self.thread)

    def dispatch(self, call: str = "system call") -> int:
        self.trap()
        regs = self.cpu.gpr
        if regs[7]:
            number = TO_HOST[regs[2]]
            raise GuestError(number, f"{call}: {errno.errorcode.get(number)}")
        return int(regs[2])

    def pair(self, value: int) -> tuple[int, ...]:
        """A 64-bit argument: two words on o32, else one register."""
        if self.target.xlen == 64:
            return (value,)
        low, high = value & 0xFFFFFFFF, value >> 32 & 0xFFFFFFFF
        return (high, low) if self.target.big_endian else (low, high)

    def aligned(self, *value: int) -> tuple[int, ...]:
        """The padding word that o32 wants before a pair in odd position, then the pair."""
        return (0, *value) if self.target.xlen == 32 else value


def fails(number: int) -> pytest.RaisesExc[GuestError]:
    """A `with` statement whose call has to fail with this error."""
    return pytest.raises(GuestError, match=f": {errno.errorcode[number]}$")


def words(*values: int) -> bytes:
    """Little-endian 32-bit words, for comparison with host data."""
    return array("I", values).tobytes()
