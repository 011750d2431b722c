"""The UHCI controller: frames, descriptors, ports."""

from __future__ import annotations

import random

import pytest

from pemu.devices.usb.bus import IN, OUT, SETUP, Answer, UsbDevice
from pemu.devices.usb.uhci import ACTIVE, STALLED, Uhci
from pemu.machine.clock import MILLISECOND
from pemu.machine.irq import Irq
from pemu.machine.machine import Machine
from pemu.machine.pci import IO, MASTER, PciBus
from pemu.machine.region import Ram, Region
from tests.devices.anyaccess import advance, check_state
from tests.machine.battering import batter

BASE = 0xC000
LIST, QUEUE, FIRST, DATA = 0x1000, 0x3000, 0x4000, 0x5000
COMMAND, STATUS, INTERRUPTS, NUMBER, PORT = 0, 2, 4, 6, 0x10


class Echo(UsbDevice):
    """A device that sends back what it was sent."""

    driver = "echo"

    def realize(self) -> None:
        self.held: bytes | Answer = Answer.NAK

    def transaction(self, token: int, endpoint: int, data: bytes, length: int) -> bytes | Answer:
        if token == IN:
            return self.held
        self.held = data
        return b""


class Bench:
    """A machine with the controller, whose list has one queue in each frame."""

    def __init__(self) -> None:
        self.machine = Machine()
        self.ram = Ram("ram", 1 << 16)
        self.machine.memory.root.add(self.ram, 0)
        pci = PciBus(
            self.machine,
            "pci",
            None,
            Region("pci", 1 << 32),
            self.machine.io.root,
            [Irq() for _ in range(4)],
        )
        self.uhci = self.machine.create(Uhci, pci, addr=0x52)
        self.machine.reset()
        pci.config_write(0, 0x52, 0x20, BASE, 4)
        pci.config_write(0, 0x52, 4, IO | MASTER, 2)
        for frame in range(1024):
            self.put(LIST + 4 * frame, QUEUE | 2)
        self.put(QUEUE, 1, 1)
        self.write(8, LIST, 4)

    def put(self, address: int, *words: int) -> None:
        self.ram.write_bytes(address, b"".join(word.to_bytes(4, "little") for word in words))

    def get(self, address: int) -> int:
        return int.from_bytes(self.ram.read_bytes(address, 4), "little")

    def read(self, register: int, size: int = 2) -> int:
        return self.machine.io.read(BASE + register, size)

    def write(self, register: int, value: int, size: int = 2) -> None:
        self.machine.io.write(BASE + register, value, size)

    def plug(self) -> Echo:
        device = self.machine.create(Echo, self.uhci.usb)
        self.write(PORT, 0x0E)
        return device

    def queue(self, *transfers: tuple[int, int, int]) -> None:
        """Descriptors (token, length, further control bits) for the queue."""
        for number, (token, length, control) in enumerate(transfers):
            address = FIRST + 32 * number
            link = address + 32 | 4 if number + 1 < len(transfers) else 1
            self.put(address, link, ACTIVE | control, (length - 1 & 0x7FF) << 21 | token, DATA)
        self.put(QUEUE, 1, FIRST)

    def run(self, frames: int = 2) -> None:
        self.write(COMMAND, 1)
        advance(self.machine, frames * MILLISECOND)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_two_ports_are_there(bench: Bench) -> None:
    assert [bench.read(PORT + 2 * port) & 0x80 for port in range(3)] == [0x80, 0x80, 0]
    assert bench.read(STATUS) == 0x20


def test_device_is_seen_at_its_port(bench: Bench) -> None:
    bench.machine.create(Echo, bench.uhci.usb)
    assert bench.read(PORT) == 0x83
    bench.write(PORT, 2)
    assert bench.read(PORT) == 0x81


def test_frames_are_counted_by_time(bench: Bench) -> None:
    bench.run(5)
    assert (bench.read(NUMBER), bench.read(STATUS)) == (5, 0)
    bench.write(COMMAND, 0)
    advance(bench.machine, 5 * MILLISECOND)
    assert (bench.read(NUMBER), bench.read(STATUS)) == (5, 0x20)


def test_transfers_out_and_in(bench: Bench) -> None:
    bench.plug()
    bench.write(INTERRUPTS, 4)
    bench.ram.write_bytes(DATA, b"pemu")
    bench.queue((OUT, 4, 0), (IN, 64, 1 << 24))
    bench.run()
    assert bench.uhci.intx.level
    assert bench.get(QUEUE + 4) == 1
    assert bench.get(FIRST + 36) & 0x7FF == 3
    bench.write(STATUS, 1)
    assert not bench.uhci.intx.level


def test_naks_are_tried_again(bench: Bench) -> None:
    device = bench.plug()
    bench.queue((IN, 8, 0))
    bench.run()
    assert bench.get(FIRST + 4) & ACTIVE
    device.held = b"now"
    advance(bench.machine, 2 * MILLISECOND)
    assert not bench.get(FIRST + 4) & ACTIVE
    assert bench.ram.read_bytes(DATA, 3) == b"now"


def test_nobody_answers(bench: Bench) -> None:
    bench.write(INTERRUPTS, 1)
    bench.queue((SETUP, 8, 3 << 27))
    bench.run(60)
    assert bench.get(FIRST + 4) & (ACTIVE | STALLED) == STALLED
    assert bench.uhci.intx.level


def test_babble(bench: Bench) -> None:
    bench.plug().held = bytes(100)
    bench.queue((IN, 8, 0))
    bench.run()
    assert bench.get(FIRST + 4) & STALLED


def test_lists_that_are_circles_end(bench: Bench) -> None:
    bench.plug()
    bench.put(QUEUE, QUEUE | 2, QUEUE | 2)
    bench.run(10)
    bench.put(LIST, *([FIRST] * 1024))
    bench.put(FIRST, FIRST, ACTIVE, OUT, DATA)
    advance(bench.machine, 10 * MILLISECOND)
    assert bench.read(NUMBER) == 20


def test_nonsense_halts_the_controller(bench: Bench) -> None:
    bench.queue((0x12, 8, 0))
    bench.run(20)
    assert bench.read(STATUS) == 0x30
    assert bench.uhci.intx.level


def test_random_accesses(bench: Bench) -> None:
    bench.plug()
    batter(bench.machine, 10_000, seed=1)
    check_state(bench.machine)


def test_random_lists(bench: Bench) -> None:
    bench.plug()
    chance = random.Random(1)
    for _ in range(50):
        for at in range(0, 0x2000, 4):
            word = chance.choice((chance.getrandbits(14), chance.getrandbits(32), ACTIVE | OUT))
            bench.put(QUEUE + at, word)
        bench.write(PORT, 0x0E)
        bench.run(3)
    check_state(bench.machine)
