"""The 16550A as its driver sees it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from pemu.chardev.interface import Event, FrontEnd, LineSettings, ModemLines
from pemu.devices.serial.ns16550a import IsaSerial, SerialMm
from pemu.machine.isa import IsaBus
from pemu.machine.machine import Machine
from pemu.options.error import OptionError
from tests.devices.anyaccess import Access, accesses, advance, check_state, perform

DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR = range(8)
FIFOS = 0xC0


class Line:
    """A back end that notes what it is told, and takes as many bytes as `room` says."""

    def __init__(self) -> None:
        self.sent = bytearray()
        self.room = 1 << 30
        self.settings: LineSettings | None = None
        self.breaks: list[bool] = []
        self.driven: tuple[bool, bool] | None = None
        self.lines: ModemLines | None = None
        self.accepted = 0
        self.front: FrontEnd | None = None

    def attach(self, front: FrontEnd) -> Line:
        self.front = front
        return self

    def detach(self) -> None:
        self.front = None

    def write(self, data: bytes) -> int:
        taken = data[: self.room]
        self.sent += taken
        self.room -= len(taken)
        return len(taken)

    def set_line(self, settings: LineSettings) -> None:
        self.settings = settings

    def set_break(self, on: bool) -> None:
        self.breaks.append(on)

    def set_modem_lines(self, rts: bool, dtr: bool) -> None:
        self.driven = (rts, dtr)

    def modem_lines(self) -> ModemLines | None:
        return self.lines

    def accept_input(self) -> None:
        self.accepted += 1


class Port:
    """A port with a line, and short words for accesses."""

    def __init__(self) -> None:
        self.machine = Machine("little")
        bus = IsaBus(self.machine, "isa.0", None, self.machine.memory.root, self.machine.io.root)
        self.line = Line()
        self.uart = self.machine.create(IsaSerial, bus, chardev=self.line)
        self.bus = bus
        self.machine.reset_devices()

    def read(self, register: int) -> int:
        return self.machine.io.read(0x3F8 + register, 1)

    def write(self, register: int, value: int) -> None:
        self.machine.io.write(0x3F8 + register, value, 1)

    def irq(self) -> int:
        return self.bus.irqs[4].level


@pytest.fixture
def port() -> Port:
    return Port()


def test_reset_values(port: Port) -> None:
    assert [port.read(register) for register in range(1, 8)] == [0, 1, 0, 0, 0x60, 0xB0, 0]


def test_sends_to_the_back_end(port: Port) -> None:
    for byte in b"hello":
        port.write(DATA, byte)
    assert port.line.sent == b"hello"
    assert port.read(LSR) == 0x60


def test_receives_one_byte_without_fifos(port: Port) -> None:
    assert port.uart.can_receive() == 1
    port.uart.receive(b"x")
    assert port.uart.can_receive() == 0
    assert port.read(LSR) == 0x61
    assert port.read(DATA) == ord("x")
    assert port.line.accepted == 1
    assert port.read(LSR) == 0x60


def test_fifo_holds_16(port: Port) -> None:
    port.write(IIR, 1)
    assert port.uart.can_receive() == 16
    port.uart.receive(bytes(range(16)))
    assert port.uart.can_receive() == 0
    assert [port.read(DATA) for _ in range(16)] == list(range(16))
    assert port.read(DATA) == 0


def test_received_interrupt_without_fifos(port: Port) -> None:
    port.write(IER, 1)
    port.uart.receive(b"x")
    assert port.irq()
    assert port.read(IIR) == 4
    port.read(DATA)
    assert not port.irq()
    assert port.read(IIR) == 1


def test_trigger_level(port: Port) -> None:
    port.write(IIR, 0x81)
    port.write(IER, 1)
    port.uart.receive(b"1234567")
    assert not port.irq()
    port.uart.receive(b"8")
    assert port.read(IIR) == FIFOS | 4
    port.read(DATA)
    assert not port.irq()


def test_receive_timeout(port: Port) -> None:
    port.write(IIR, 0x81)
    port.write(IER, 1)
    port.write(LCR, 3)
    port.uart.receive(b"12")
    advance(port.machine, 4 * 10 * 10**9 // 9600 - 2000)
    assert not port.irq()
    advance(port.machine, 4000)
    assert port.irq()
    assert port.read(IIR) == FIFOS | 0xC
    port.read(DATA)
    assert not port.irq()
    advance(port.machine, 10**9)
    assert port.read(IIR) == FIFOS | 0xC


def test_thr_interrupt_comes_when_enabled_and_after_each_byte(port: Port) -> None:
    port.write(IER, 2)
    assert port.irq()
    assert port.read(IIR) == 2
    assert not port.irq()
    assert port.read(IIR) == 1
    port.write(DATA, 65)
    assert port.read(IIR) == 2


def test_thr_interrupt_is_an_edge_for_each_byte(port: Port) -> None:
    port.write(IER, 2)
    edges: list[int] = []
    port.uart.irq.connect(edges.append)
    edges.clear()
    port.write(DATA, 65)
    assert edges == [0, 1]


def test_bytes_wait_for_a_slow_back_end(port: Port) -> None:
    port.write(IIR, 1)
    port.write(IER, 2)
    port.line.room = 1
    for byte in b"abc":
        port.write(DATA, byte)
    assert port.line.sent == b"a"
    assert port.read(LSR) == 0
    assert not port.irq()
    port.line.room = 10
    port.uart.writable()
    assert port.line.sent == b"abc"
    assert port.irq()
    assert port.read(LSR) == 0x60


def test_line_status_comes_first(port: Port) -> None:
    port.write(IER, 7)
    port.uart.receive(b"x")
    port.uart.event(Event.BREAK)
    assert port.read(IIR) == 6
    assert port.read(LSR) == 0x60 | 0x10 | 0x02 | 1
    assert port.read(IIR) == 4
    port.read(DATA)
    assert port.read(IIR) == 2


def test_break_is_seen_when_its_byte_is_next(port: Port) -> None:
    port.write(IIR, 1)
    port.uart.receive(b"x")
    port.uart.event(Event.BREAK)
    assert port.read(LSR) == 0x60 | 1 | 0x80
    assert port.read(DATA) == ord("x")
    assert port.read(LSR) == 0x60 | 1 | 0x80 | 0x10
    assert port.read(LSR) == 0x60 | 1
    assert port.read(DATA) == 0


def test_overrun_in_loopback(port: Port) -> None:
    port.write(IIR, 1)
    port.write(MCR, 0x10)
    for byte in range(17):
        port.write(DATA, byte)
    assert port.read(LSR) == 0x60 | 1 | 2
    assert port.read(LSR) == 0x60 | 1
    assert [port.read(DATA) for _ in range(17)] == [*range(16), 0]
    assert port.line.sent == b""


def test_loopback_of_modem_lines(port: Port) -> None:
    port.write(MCR, 0x10 | 0x08 | 0x02)
    assert port.read(MSR) & 0xF0 == 0x90
    for out, there in ((1, 0x20), (2, 0x10), (4, 0x40), (8, 0x80)):
        port.write(MCR, 0x10 | out)
        assert port.read(MSR) & 0xF0 == there


def test_modem_status_interrupt(port: Port) -> None:
    port.read(MSR)
    port.write(IER, 8)
    port.write(MCR, 0x10 | 2 | 1 | 8)
    assert not port.irq()
    port.write(MCR, 0x10 | 2)
    assert port.irq()
    assert port.read(IIR) == 0
    assert port.read(MSR) == 0x10 | 8 | 2
    assert not port.irq()


def test_ring_counts_at_its_end_only(port: Port) -> None:
    port.write(MCR, 0x10)
    port.read(MSR)
    port.write(MCR, 0x14)
    assert port.read(MSR) == 0x40
    port.write(MCR, 0x10)
    assert port.read(MSR) == 0x04


def test_modem_lines_of_a_real_port(port: Port) -> None:
    port.read(MSR)
    port.line.lines = ModemLines(cts=True, dsr=False, ri=False, dcd=True)
    port.write(IER, 8)
    advance(port.machine, 11_000_000)
    assert port.irq()
    assert port.read(MSR) == 0x90 | 2


def test_modem_outputs_reach_the_back_end(port: Port) -> None:
    port.write(MCR, 2)
    assert port.line.driven == (True, False)
    port.write(MCR, 1)
    assert port.line.driven == (False, True)


def test_divisor_and_format_reach_the_back_end(port: Port) -> None:
    port.write(LCR, 0x80)
    port.write(DATA, 3)
    port.write(IER, 0)
    assert (port.read(DATA), port.read(IER)) == (3, 0)
    port.write(LCR, 0x1E)
    assert port.line.settings == LineSettings(38400, "E", 7, 2)
    assert port.read(IER) == 0


def test_break_is_sent(port: Port) -> None:
    port.write(LCR, 0x40)
    port.write(LCR, 0)
    assert port.line.breaks == [True, False]


def test_switching_fifos_empties_them(port: Port) -> None:
    port.write(IIR, 1)
    port.uart.receive(b"abc")
    port.write(IIR, 0)
    assert port.read(LSR) == 0x60
    assert port.read(IIR) == 1


def test_fifo_is_cleared_on_demand(port: Port) -> None:
    port.write(IIR, 1)
    port.write(IER, 1)
    port.uart.receive(b"abc")
    assert port.irq()
    port.write(IIR, 3)
    assert port.read(LSR) == 0x60
    assert not port.irq()


def test_scratch(port: Port) -> None:
    port.write(SCR, 0xA5)
    assert port.read(SCR) == 0xA5


def test_port_without_back_end() -> None:
    machine = Machine("little")
    bus = IsaBus(machine, "isa.0", None, machine.memory.root, machine.io.root)
    machine.create(IsaSerial, bus)
    second = machine.create(IsaSerial, bus)
    machine.reset_devices()
    machine.io.write(0x2F8, 65, 1)
    assert machine.io.read(0x2F8 + LSR, 1) == 0x60
    assert (second.index, second.iobase, second.isairq) == (1, 0x2F8, 3)


def test_fifth_port_is_refused() -> None:
    machine = Machine("little")
    bus = IsaBus(machine, "isa.0", None, machine.memory.root, machine.io.root)
    for _ in range(4):
        machine.create(IsaSerial, bus)
    with pytest.raises(OptionError, match="no more than 4"):
        machine.create(IsaSerial, bus)


@pytest.mark.parametrize("order", ["little", "big"])
def test_registers_apart(order: Any) -> None:
    machine = Machine(order)
    line = Line()
    uart = machine.create(SerialMm, regshift=3, chardev=line)
    machine.memory.root.add(uart.region, 0x1F000900)
    machine.reset_devices()
    machine.memory.write(0x1F000900, ord("a"), 1)
    machine.memory.write(0x1F000900, ord("b"), 4)
    machine.memory.write(0x1F000938, 0x5A, 8)
    assert line.sent == b"ab"
    assert machine.memory.read(0x1F000928, 4) == 0x60
    assert machine.memory.read(0x1F000938, 1) == 0x5A


@given(accesses(8))
def test_any_accesses(made: list[Access]) -> None:
    port = Port()
    for count, access in enumerate(made):
        perform(port.machine.io, 0x3F8, [access])
        if count % 5 == 0:
            port.uart.receive(b"0123456789abcdef"[: port.uart.can_receive()])
        if count % 7 == 0:
            port.uart.event(Event.BREAK)
        advance(port.machine, 1_000_000)
    check_state(port.machine)


# What native code sends (tests/machine/test_native.py) is passed on together


@pytest.fixture
def gathering(port: Port) -> Port:
    """A port whose guest has begun to send, while native code makes its accesses."""
    port.uart.bound = True
    port.write(DATA, ord("a"))
    return port


def test_first_byte_is_passed_on_at_once(gathering: Port) -> None:
    assert gathering.line.sent == b"a"


def test_bytes_after_it_are_passed_on_soon(gathering: Port) -> None:
    for byte in b"bcd":
        gathering.write(DATA, byte)
    assert gathering.line.sent == b"a"
    clock = gathering.machine.clocks.realtime
    assert (clock.deadline() or 0) - clock.now() <= 1_000_000
    gathering.uart._pass_on()
    assert gathering.line.sent == b"abcd"


def test_after_a_pause_a_byte_is_passed_on_at_once(gathering: Port) -> None:
    gathering.uart._pass_on()
    gathering.write(DATA, ord("b"))
    assert gathering.line.sent == b"ab"


def test_many_bytes_are_passed_on_in_order(gathering: Port) -> None:
    data = bytes(number & 0xFF for number in range(3000))
    for byte in data:
        gathering.write(DATA, byte)
    gathering.uart._pass_on()
    assert gathering.line.sent == b"a" + data


@pytest.mark.parametrize("end", ["reset", "save", "unplugged"])
def test_no_byte_is_lost_at_the_end(gathering: Port, end: str) -> None:
    gathering.write(DATA, ord("b"))
    getattr(gathering.uart, end)()
    assert gathering.line.sent == b"ab"


def test_bytes_that_the_back_end_refuses_wait_in_order(gathering: Port) -> None:
    gathering.line.room = 2
    for byte in b"bcdef":
        gathering.write(DATA, byte)
    gathering.uart._pass_on()
    assert gathering.line.sent == b"abc"
    assert gathering.read(LSR) == 0  # more is to be sent when these are
    gathering.line.room = 10
    gathering.uart.writable()
    gathering.write(DATA, ord("g"))
    gathering.uart._pass_on()
    assert gathering.line.sent == b"abcdefg"
    assert gathering.read(LSR) == 0x60
