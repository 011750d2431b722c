"""The parallel port as a driver sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from pemu.chardev.interface import Chardev, Host
from pemu.devices.misc.parallel import IsaParallel
from pemu.machine.irq import Irq
from pemu.machine.isa import IsaBus
from pemu.machine.machine import Machine
from pemu.options.error import OptionError
from tests.devices.anyaccess import check_state
from tests.machine.battering import batter

DATA, STATUS, CONTROL = 0x378, 0x379, 0x37A


class Paper(Chardev):
    """A back end that keeps what is printed, and takes `room` bytes."""

    def __init__(self, host: Host) -> None:
        super().__init__(host, "paper", {})
        self.printed = b""
        self.room = 1000

    def _write(self, data: bytes, whole: bool) -> int:
        taken = data[: self.room]
        self.printed += taken
        self.room -= len(taken)
        return len(taken)


class Bench:
    """A machine with the port."""

    def __init__(self, host: Host) -> None:
        self.machine = Machine()
        self.paper = Paper(host)
        self.line = Irq()
        lines = [Irq() for _ in range(16)]
        lines[7].connect(self.line)
        root = self.machine.io.root
        self.bus = IsaBus(self.machine, "isa", None, self.machine.memory.root, root, lines)
        self.port = self.machine.create(IsaParallel, self.bus, chardev=self.paper)
        self.machine.reset()

    def read(self, port: int) -> int:
        return self.machine.io.read(port, 1)

    def write(self, port: int, value: int) -> None:
        self.machine.io.write(port, value, 1)

    def print(self, byte: int, control: int = 0x0C) -> None:
        self.write(DATA, byte)
        self.write(CONTROL, control | 1)
        self.write(CONTROL, control)


@pytest.fixture
def bench() -> Iterator[Bench]:
    loop = asyncio.new_event_loop()
    yield Bench(Host(loop))
    loop.close()


def test_bytes_are_printed_at_the_strobe(bench: Bench) -> None:
    for byte in b"pemu":
        bench.print(byte)
    assert bench.paper.printed == b"pemu"
    assert [bench.read(STATUS) for _ in range(2)] == [0x98, 0xD8]
    assert (bench.read(DATA), bench.read(CONTROL)) == (ord("u"), 0xCC)


def test_taken_byte_interrupts(bench: Bench) -> None:
    bench.print(1, 0x1C)
    levels = [bench.line.level]
    bench.read(STATUS)
    assert [*levels, bench.line.level] == [1, 0]


def test_printer_is_busy_while_the_back_end_takes_nothing(bench: Bench) -> None:
    bench.paper.room = 0
    bench.print(ord("a"))
    assert bench.read(STATUS) & 0x80 == 0
    bench.print(ord("b"))
    bench.paper.room = 10
    bench.port.writable()
    assert (bench.paper.printed, bench.read(STATUS) & 0x80) == (b"a", 0x80)


def test_a_fourth_port_has_no_place(bench: Bench) -> None:
    for _ in range(2):
        bench.machine.create(IsaParallel, bench.bus)
    with pytest.raises(OptionError, match="at most 3"):
        bench.machine.create(IsaParallel, bench.bus)


def test_random_accesses(bench: Bench) -> None:
    batter(bench.machine, 20_000, seed=1)
    check_state(bench.machine)
