"""The keyboard controller, keyboard and mouse as a driver sees them."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from pemu.devices.input.i8042 import I8042
from pemu.devices.input.ps2_keys import SET2, SET3, codes, translated
from pemu.machine.irq import Irq
from pemu.machine.isa import IsaBus
from pemu.machine.machine import Machine
from tests.devices.anyaccess import check_state
from tests.machine.battering import batter


class Pc:
    """A machine with the controller."""

    def __init__(self) -> None:
        self.machine = Machine()
        self.lines = [Irq() for _ in range(16)]
        self.edges = [0] * 16
        for number, line in enumerate(self.lines):
            line.connect(self._counting(number))
        bus = IsaBus(
            self.machine, "isa", None, self.machine.memory.root, self.machine.io.root, self.lines
        )
        self.device = self.machine.create(I8042, bus)
        self.machine.reset()

    def _counting(self, number: int) -> Callable[[int], None]:
        def changed(level: int) -> None:
            self.edges[number] += level

        return changed

    def command(self, value: int, *data: int) -> None:
        self.machine.io.write(0x64, value, 1)
        for one in data:
            self.machine.io.write(0x60, one, 1)

    def data(self, value: int) -> None:
        self.machine.io.write(0x60, value, 1)

    def status(self) -> int:
        return self.machine.io.read(0x64, 1)

    def read(self) -> int:
        return self.machine.io.read(0x60, 1)

    def drain(self) -> list[int]:
        """All that is there to be read."""
        values = []
        while self.status() & 1:
            values.append(self.read())
        return values

    def mouse(self, value: int) -> list[int]:
        self.command(0xD4, value)
        return self.drain()


@pytest.fixture
def pc() -> Pc:
    return Pc()


def test_self_test(pc: Pc) -> None:
    assert pc.status() == 0x18
    pc.command(0xAA)
    assert (pc.status(), pc.read(), pc.status()) == (0x1D, 0x55, 0x1C)


def test_command_byte(pc: Pc) -> None:
    pc.command(0x60, 0x47)
    pc.command(0x20)
    assert pc.drain() == [0x47]


def test_keyboard_is_identified(pc: Pc) -> None:
    pc.data(0xF2)
    assert pc.drain() == [0xFA, 0xAB, 0x83]
    pc.data(0xFF)
    assert pc.drain() == [0xFA, 0xAA]


def test_each_byte_of_a_key_interrupts(pc: Pc) -> None:
    pc.machine.input.key("up", True)
    pc.machine.input.key("up", False)
    assert pc.lines[1].level
    assert pc.drain() == [0xE0, 0x75, 0xE0, 0xF0, 0x75]
    assert (pc.edges[1], pc.lines[1].level) == (5, 0)


def test_translation_to_set_1(pc: Pc) -> None:
    pc.command(0x60, 0x41)
    for key in ("a", "up"):
        pc.machine.input.key(key, True)
        pc.machine.input.key(key, False)
    assert pc.drain() == [0x1E, 0x9E, 0xE0, 0x48, 0xE0, 0xC8]


@pytest.mark.parametrize(("scan_set", "sent"), [(1, [0x1E, 0x9E]), (3, [0x1C, 0xF0, 0x1C])])
def test_other_sets(pc: Pc, scan_set: int, sent: list[int]) -> None:
    pc.data(0xF0)
    pc.drain()
    pc.data(scan_set)
    pc.drain()
    pc.data(0xF0)
    pc.drain()
    pc.data(0)
    assert pc.drain() == [0xFA, scan_set]
    pc.machine.input.key("a", True)
    pc.machine.input.key("a", False)
    assert pc.drain() == sent


def test_disabled_keyboard_is_not_heard(pc: Pc) -> None:
    pc.command(0xAD)
    pc.machine.input.key("a", True)
    assert not pc.status() & 1
    pc.command(0xAE)
    assert pc.drain() == [0x1C]


def test_keys_that_nobody_reads_are_lost(pc: Pc) -> None:
    for _ in range(100):
        pc.machine.input.key("a", True)
    sent = pc.drain()
    assert len(sent) <= 18
    assert 0 in sent


def test_mouse_is_identified_and_knows_a_wheel(pc: Pc) -> None:
    assert pc.mouse(0xFF) == [0xFA, 0xAA, 0x00]
    assert pc.mouse(0xF2) == [0xFA, 0x00]
    for rate in (200, 100, 80):
        pc.mouse(0xF3)
        assert pc.mouse(rate) == [0xFA]
    assert pc.mouse(0xF2) == [0xFA, 0x03]
    assert pc.mouse(0xE9) == [0xFA, 0x00, 0x02, 80]


def test_mouse_reports(pc: Pc) -> None:
    pc.mouse(0xF4)
    pointer = pc.machine.input.pointer
    assert pointer is not None
    pointer.move(5, 3)
    pointer.button("left", True)
    pointer.sync()
    assert pc.status() & 0x21 == 0x21
    assert pc.drain() == [0x29, 5, 0xFD]
    pointer.move(-300, 0)
    pointer.sync()
    assert pc.drain() == [0x19, 0x81, 0, 0x19, 0x81, 0, 0x19, 0xD2, 0]
    assert pc.edges[12] > 9


def test_reset_by_the_controller(pc: Pc) -> None:
    asked: list[bool] = []
    pc.machine.control.request_reset = lambda cause="guest-reset": asked.append(True)  # type: ignore
    pc.command(0xFE)
    assert asked


def test_translation_is_that_of_the_scan_code_sets() -> None:
    row = "q w e r t y u i o p bracket_left bracket_right ret ctrl a s d f g h j k l".split()
    assert [translated(SET2[key]) for key in row] == list(range(0x10, 0x27))
    numbers = [f"f{number}" for number in range(1, 11)]
    assert [translated(SET2[key]) for key in numbers] == list(range(0x3B, 0x45))
    assert codes("kp_enter", False, 1) == b"\xe0\x9c"
    assert codes("nothing", True, 2) == b""
    assert len(SET3) > 100


def test_random_accesses(pc: Pc) -> None:
    chance = random.Random(1)
    pointer = pc.machine.input.pointer
    assert pointer is not None
    for seed in range(100):
        batter(pc.machine, 200, seed)
        pc.machine.input.key(chance.choice(list(SET2)), bool(chance.randrange(2)))
        pointer.move(chance.randrange(-1000, 1000), chance.randrange(-1000, 1000))
        pointer.sync()
    check_state(pc.machine)
