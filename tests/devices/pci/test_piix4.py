"""The south bridge: routing of interrupts, reset, power management."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pemu.devices.pci.piix4 import Piix4Isa, Piix4Pm
from pemu.devices.serial.ns16550a import IsaSerial
from pemu.machine.irq import Irq
from pemu.machine.machine import Machine
from pemu.machine.pci import PciBus
from pemu.machine.region import Region
from tests.devices.anyaccess import Access, accesses, advance, check_state, perform

ISA, PM = 0x50, 0x53
PMSTS, PMEN, PMCNTRL, PMTMR = 0x1000, 0x1002, 0x1004, 0x1008
SECOND = 1_000_000_000


class Bridge:
    """A PIIX4 in slot 10 of a bus."""

    def __init__(self) -> None:
        self.machine = Machine("little")
        memory = Region("pci", 1 << 32)
        self.pirqs = [Irq() for _ in range(4)]
        self.bus = PciBus(self.machine, "pci", None, memory, self.machine.io.root, self.pirqs)
        self.isa = self.machine.create(Piix4Isa, self.bus, addr=ISA, multifunction=True)
        self.pm = self.machine.create(Piix4Pm, self.bus, addr=PM, smb_io_base=0x1100)
        self.pm.irq.connect(self.isa.isa_pins[9])
        for number in range(4):
            self.pirqs[number].connect(self.isa.pirqs[number])
        self.requests: list[str] = []
        self.machine.control.request_reset = lambda *_: self.requests.append("reset")  # type: ignore[method-assign]
        self.machine.control.request_shutdown = lambda *_: self.requests.append("off")  # type: ignore[method-assign]
        self.machine.reset_devices()
        for port, values in ((0x20, (0x11, 0, 4, 1, 0)), (0xA0, (0x11, 8, 2, 1, 0))):
            self.out(port, values[0])
            for value in values[1:]:
                self.out(port + 1, value)
        self.out(0x4D1, 0x0C)

    def out(self, port: int, value: int, size: int = 1) -> None:
        self.machine.io.write(port, value, size)

    def read(self, port: int, size: int = 1) -> int:
        return self.machine.io.read(port, size)

    def config(self, devfn: int, offset: int, size: int = 1) -> int:
        return self.bus.config_read(0, devfn, offset, size)

    def configure(self, devfn: int, offset: int, value: int, size: int = 1) -> None:
        self.bus.config_write(0, devfn, offset, value, size)

    def interrupt(self) -> int | None:
        """The vector of the pending interrupt, which is served; None without one."""
        if not self.isa.intr.level:
            return None
        vector = self.isa.pic.acknowledge()
        self.out(0xA0, 0x20)
        self.out(0x20, 0x20)
        return vector


@pytest.fixture
def piix4() -> Bridge:
    made = Bridge()
    made.configure(PM, 0x40, 0x1000, 4)
    made.configure(PM, 0x80, 1)
    return made


def test_identity(piix4: Bridge) -> None:
    assert piix4.config(ISA, 0, 4) == 0x71108086
    assert piix4.config(ISA, 8, 4) == 0x06010000
    assert piix4.config(ISA, 0x0E) == 0x80
    assert piix4.config(ISA, 6, 2) == 0x0200
    assert piix4.config(PM, 0, 4) == 0x71138086
    assert piix4.config(PM, 8, 4) == 0x06800003


def test_isa_interrupt(piix4: Bridge) -> None:
    piix4.isa.isa_pins[4].raise_()
    assert piix4.interrupt() == 4


def test_timer_and_clock_interrupt(piix4: Bridge) -> None:
    piix4.out(0x43, 0x34)
    piix4.out(0x40, 0)
    piix4.out(0x40, 4)
    advance(piix4.machine, 1_000_000)
    assert piix4.interrupt() == 0


def test_pci_interrupt_is_routed(piix4: Bridge) -> None:
    assert piix4.config(ISA, 0x60, 4) == 0x80808080
    piix4.pirqs[1].raise_()
    assert piix4.interrupt() is None
    piix4.configure(ISA, 0x61, 10)
    assert piix4.interrupt() == 10
    piix4.pirqs[1].lower()
    assert piix4.interrupt() is None


def test_pci_interrupts_share_a_line(piix4: Bridge) -> None:
    piix4.configure(ISA, 0x60, 0x0B0B0A0A, 4)
    piix4.pirqs[2].raise_()
    piix4.pirqs[3].raise_()
    piix4.pirqs[2].lower()
    assert piix4.interrupt() == 11
    piix4.pirqs[3].lower()
    assert piix4.interrupt() is None


def test_route_moves_an_asserted_interrupt(piix4: Bridge) -> None:
    piix4.configure(ISA, 0x60, 10)
    piix4.pirqs[0].raise_()
    piix4.configure(ISA, 0x60, 11)
    assert piix4.interrupt() == 11
    piix4.configure(ISA, 0x60, 0x80 | 11)
    assert piix4.interrupt() is None


def test_routes_to_reserved_interrupts_lead_nowhere(piix4: Bridge) -> None:
    piix4.pirqs[0].raise_()
    for number in (0, 1, 2, 8, 13):
        piix4.configure(ISA, 0x60, number)
        assert piix4.interrupt() is None


def test_reset_control(piix4: Bridge) -> None:
    piix4.out(0xCF9, 2)
    assert piix4.read(0xCF9) == 2
    assert piix4.requests == []
    piix4.out(0xCF9, 6)
    assert piix4.requests == ["reset"]


def test_power_off_as_linux_does_it(piix4: Bridge) -> None:
    piix4.pm._power_button()
    assert piix4.read(PMSTS, 2) == 0x100
    piix4.out(PMSTS, 0x100, 2)
    assert piix4.read(PMSTS, 2) == 0
    piix4.out(PMCNTRL, 1 << 13, 2)
    assert piix4.requests == ["off"]
    assert piix4.read(PMCNTRL, 2) == 0


def test_suspend_to_ram_is_not_power_off(piix4: Bridge) -> None:
    piix4.out(PMCNTRL, 1 << 13 | 1 << 10, 2)
    assert piix4.requests == []


def test_what_suspends_to_disk_powers_off(piix4: Bridge) -> None:
    piix4.out(PMCNTRL, 1 << 13 | 2 << 10, 2)
    assert piix4.requests == ["off"]


def test_registers_are_where_the_guest_puts_them() -> None:
    piix4 = Bridge()
    assert piix4.config(PM, 0x40, 4) == 1
    piix4.configure(PM, 0x40, 0x8000, 4)
    assert piix4.machine.io.find(0x8000) is None
    piix4.configure(PM, 0x80, 1)
    assert piix4.read(0x8034, 4) == 0x7FFFBFFF
    piix4.configure(PM, 0x40, 0x1000, 4)
    assert piix4.machine.io.find(0x8000) is None


def test_smbus_base_is_what_the_board_says(piix4: Bridge) -> None:
    assert piix4.config(PM, 0x90, 4) == 0x1101
    assert piix4.config(PM, 0xD2) == 9
    assert piix4.pm.smbus.address == 0x1100


def test_timer_counts(piix4: Bridge) -> None:
    advance(piix4.machine, SECOND)
    assert piix4.read(PMTMR, 4) == 3_579_545
    advance(piix4.machine, 4 * SECOND)
    assert piix4.read(PMTMR, 4) == 5 * 3_579_545 & 0xFFFFFF


def test_timer_overflow_interrupts(piix4: Bridge) -> None:
    piix4.out(PMEN, 1, 2)
    piix4.out(PMCNTRL, 1, 2)
    advance(piix4.machine, (1 << 23) * SECOND // 3_579_545 - 1000)
    assert piix4.interrupt() is None
    advance(piix4.machine, 2000)
    assert piix4.interrupt() == 9
    piix4.out(PMSTS, 1, 2)
    assert not piix4.pm.irq.level


def test_power_button_interrupts(piix4: Bridge) -> None:
    piix4.out(PMEN, 0x100, 2)
    piix4.out(PMCNTRL, 1, 2)
    [button] = piix4.machine.control.powerdown
    button()
    assert piix4.interrupt() == 9


STEPS = (
    *((0x3F8, 65), (0x3F8, 66), (0x3F9, 0), (0x3F9, 2), (0x3FA, 1), (0x3FC, 0), (0x3FC, 16)),
    *((0x20, 0x20), (0x21, 0), (0x21, 0x10), (0x4D0, 0), (0x4D0, 0x10)),
)
"""Ports and what is written to them: a serial port, its interrupt controller."""


@pytest.mark.parametrize("seed", range(10))
def test_edges_that_are_left_out_would_change_nothing(seed: int) -> None:
    seen = []
    for shortened in (True, False):
        choice = random.Random(seed)
        bridge = Bridge()
        serial = bridge.machine.create(IsaSerial, bridge.isa.isa)
        if not shortened:
            serial.irq.unheard = lambda: False
        pic = bridge.isa.pic
        results: list[object] = []
        for _ in range(2000):
            kind = choice.randrange(8)
            if kind == 0:
                results.append(bridge.interrupt())
            elif kind == 1:
                results.append(bridge.read(0x3FA))
            elif kind == 2:
                bridge.pirqs[0].set(choice.randrange(2))
            elif kind == 3:
                bridge.configure(ISA, 0x60, choice.choice((4, 0x80, 0x80)))
            else:
                bridge.out(*choice.choice(STEPS))
            results.append((bridge.isa.intr.level, pic.requests, pic.in_service, pic.levels))
            results.append(list(pic.counts))
        seen.append(results)
    assert seen[0] == seen[1]


@given(
    st.lists(
        st.tuples(
            st.sampled_from((ISA, PM)),
            st.integers(0, 255),
            st.sampled_from((1, 2, 4)),
            st.integers(0, 0xFFFFFFFF),
        )
    ),
    accesses(64),
)
def test_any_accesses(configured: list[tuple[int, int, int, int]], made: list[Access]) -> None:
    piix4 = Bridge()
    for devfn, offset, size, value in configured:
        piix4.configure(devfn, offset, value & (1 << 8 * size) - 1, size)
    perform(piix4.machine.io, piix4.pm.region.address, made)
    perform(piix4.machine.io, 0xB2, [(0, 2, 0x1234)])
    advance(piix4.machine, 3 * SECOND)
    check_state(piix4.machine)
