"""The 16550A UART: on ISA as in PCs, or on a memory bus with its registers some bytes apart.

National Semiconductor PC16550D data sheet, June 1995. What is sent leaves as soon as the back end
takes it, whatever the baud rate; the rate counts for the receive timeout, and is passed on to back
ends that are serial lines. DMA signalling (FCR bit 3) is left out: the pins are not connected.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pemu.chardev.interface import Chardev, Event, FrontEnd, LineSettings
from pemu.machine import prop, state
from pemu.machine.clock import MILLISECOND, SECOND
from pemu.machine.declare import Declaring, Output, timer
from pemu.machine.device import Device
from pemu.machine.isa import IsaDevice
from pemu.machine.native import in_python, native
from pemu.machine.region import Mmio, Order
from pemu.machine.registers import Register, RegisterBank
from pemu.options.error import OptionError

FIFO_SIZE = 16
TRIGGERS = (1, 4, 8, 14)

IER_RECEIVED, IER_THR_EMPTY, IER_LINE, IER_MODEM = 1, 2, 4, 8
IIR_MODEM, IIR_NONE, IIR_THR_EMPTY, IIR_RECEIVED, IIR_LINE, IIR_TIMEOUT = 0, 1, 2, 4, 6, 0xC
IIR_FIFOS = 0xC0
FCR_ENABLE, FCR_CLEAR_RECEIVED, FCR_CLEAR_SENT = 1, 2, 4
LCR_WORD, LCR_STOP, LCR_PARITY, LCR_EVEN, LCR_BREAK, LCR_DLAB = 3, 4, 8, 16, 64, 128
MCR_DTR, MCR_RTS, MCR_OUT1, MCR_OUT2, MCR_LOOP = 1, 2, 4, 8, 16
LSR_DATA, LSR_OVERRUN, LSR_BREAK, LSR_THR_EMPTY, LSR_IDLE, LSR_FIFO_ERROR = 1, 2, 16, 32, 64, 128
LSR_ERRORS = 0x1E
MSR_CTS, MSR_DSR, MSR_RI, MSR_DCD = 16, 32, 64, 128
MSR_TERI, MSR_DELTAS = 4, 15
MSR_CONNECTED = MSR_DCD | MSR_DSR | MSR_CTS
"""What it shows where no real lines are."""

_BYTES = [bytes((byte,)) for byte in range(256)]

GATHERED = 1024
"""Bytes that are sent without telling the back end of each: more than a guest sends meanwhile."""

GATHER = MILLISECOND
"""For how long that goes on at most: nobody sees it, and it is many accesses."""

POLL_MODEM = 10 * MILLISECOND
"""How often the modem lines of a host's port are read while their interrupt is enabled."""


class Uart(Device, FrontEnd):
    """What both variants share: registers in `bank`, at offsets 0 to 7, and the back end."""

    category: ClassVar[str] = "input"

    baudbase = prop.uint(32, 115200, "baud rate of divisor 1")
    chardev = prop.chardev()

    irq = Output("high while an enabled interrupt is pending")

    received = state.buffer(FIFO_SIZE, help="the receive FIFO, or the one byte without FIFOs")
    errors = state.buffer(FIFO_SIZE, help="line status bits of each byte received")
    to_send = state.buffer(FIFO_SIZE + GATHERED, help="what the back end has not taken yet")
    divisor = state.uint(16, reset=12)
    line_errors = state.uint(8, help="error bits of LSR")
    thr_interrupt = state.flag(help="whether there is an interrupt for the empty THR")
    timed_out = state.flag(help="whether bytes have waited in the FIFO for four characters' time")

    filled = state.derived(help="bytes in the receive FIFO")
    waiting = state.derived(help="bytes that the back end has not taken yet")
    gathering = state.derived_array(GATHERED, help="bytes sent that it has not been told of")
    gathered = state.derived(help="how many they are")
    gathers = state.derived(help="how many there may be at the moment")
    real_lines = state.derived(help="whether the modem lines are those of a host's port")

    data = Register(0, writable=0, help="RBR, THR, low byte of the divisor")
    ier = Register(1, writable=0)
    fcr = Register(2, writable=0xC9, help="FCR, IIR")
    lcr = Register(3)
    mcr = Register(4, writable=0x1F)
    lsr = Register(5, writable=0)
    msr = Register(6, writable=0, reset=MSR_CONNECTED)
    scr = Register(7)

    bank: RegisterBank
    backend: Chardev | None

    def realize(self) -> None:
        self.bank = RegisterBank(self, self.driver, 8)
        self._choked = False
        self._line: LineSettings | None = None
        self.backend = None
        self._gathered_enough = self.machine.clocks.realtime.timer(self._pass_on)

    def realized(self) -> None:
        if self.chardev is not None:
            self.backend = self.chardev.attach(self)
            self.real_lines = self.backend.modem_lines() is not None

    def unplugged(self) -> None:
        self._stop_gathering()
        if self.backend is not None:
            self.backend.detach()
            self.backend = None

    def reset(self) -> None:
        self._stop_gathering()
        self._count()
        self.msr = self._modem_inputs()
        self._drive_modem_lines()
        self._accept_input()

    def save(self) -> dict[str, Any]:
        self._stop_gathering()
        return super().save()

    def loaded(self) -> None:
        self._count()
        self._set_line()
        self._drive_modem_lines()
        self._transmit()
        self._accept_input()

    # Interrupts

    @native
    def _pending(self) -> int:
        """The identification of the most urgent interrupt."""
        ier = self.ier
        if not ier:
            return IIR_NONE
        if ier & IER_LINE and self.line_errors:
            return IIR_LINE
        if ier & IER_RECEIVED:
            if self.filled and self.filled >= self._trigger():
                return IIR_RECEIVED
            if self.timed_out:
                return IIR_TIMEOUT
        if ier & IER_THR_EMPTY and self.thr_interrupt:
            return IIR_THR_EMPTY
        if ier & IER_MODEM and self.msr & MSR_DELTAS:
            return IIR_MODEM
        return IIR_NONE

    @native
    def _update_irq(self) -> None:
        self.irq.set(self._pending() != IIR_NONE)

    @native
    def _trigger(self) -> int:
        return TRIGGERS[self.fcr >> 6] if self.fcr & FCR_ENABLE else 1

    @property
    def _loop(self) -> int:
        return self.mcr & MCR_LOOP

    # Receiving

    def can_receive(self) -> int:
        size = FIFO_SIZE if self.fcr & FCR_ENABLE else 1
        room = 0 if self._loop else max(size - len(self.received), 0)
        self._choked = not room
        return room

    def receive(self, data: bytes) -> None:
        for byte in data:
            self._receive(byte, 0)
        self._update_irq()

    def event(self, event: Event) -> None:
        if event is Event.BREAK and not self._loop:
            self._receive(0, LSR_BREAK)
            self._update_irq()

    def writable(self) -> None:
        self._transmit()
        self._update_irq()

    def _receive(self, byte: int, errors: int) -> None:
        size = FIFO_SIZE if self.fcr & FCR_ENABLE else 1
        if len(self.received) >= size:
            self.line_errors |= LSR_OVERRUN
            if size > 1:
                return  # the byte in the shift register is lost, not one of the FIFO
            self.received.clear()
            self.errors.clear()
        if not self.received:
            self.line_errors |= errors  # those of the byte that is read next are seen
        self.received.append(byte)
        self.errors.append(errors)
        self._count()
        self._watch_timeout()

    def _take(self) -> int:
        """The byte that the guest reads from RBR."""
        if not self.received:
            return 0
        byte = self.received.pop(0)
        del self.errors[0]
        self._count()
        if self.errors:
            self.line_errors |= self.errors[0]
        self._watch_timeout()
        self._update_irq()
        self._accept_input()
        return byte

    def _watch_timeout(self) -> None:
        self.timed_out = False
        if self.received and self.fcr & FCR_ENABLE:
            self.waited.arm_in(4 * self._character_time())
        else:
            self.waited.cancel()

    @timer
    def waited(self) -> None:
        """Bytes are in the receive FIFO, and for four characters' time nothing has happened."""
        self.timed_out = bool(self.received)
        self._update_irq()

    def _character_time(self) -> int:
        """Nanoseconds that a character takes on the line."""
        bits = 7 + (self.lcr & LCR_WORD) + bool(self.lcr & LCR_PARITY) + bool(self.lcr & LCR_STOP)
        return bits * (self.divisor or 1) * SECOND // (self.baudbase or 1)

    def _accept_input(self) -> None:
        if self._choked and self.backend is not None:
            self._choked = False
            self.backend.accept_input()

    # Sending

    @native
    def _send(self, byte: int) -> None:
        if self.mcr & MCR_LOOP or self.waiting or self.gathered >= self.gathers:
            in_python()
            self._send_now(byte)
            return
        self.thr_interrupt = False
        others = self._pending() != IIR_NONE
        self.gathering[self.gathered] = byte
        self.gathered += 1
        self.thr_interrupt = True
        self._renew_irq(others)

    def _send_now(self, byte: int) -> None:
        self.thr_interrupt = False
        if self.mcr & MCR_LOOP:
            self._update_irq()
            self._receive(byte, 0)
            self.thr_interrupt = True
            self._update_irq()
            return
        others = self._pending() != IIR_NONE
        self._tell_gathered()
        waiting, backend = self.to_send, self.backend
        if not waiting and backend is not None and backend.write(_BYTES[byte]):
            self.thr_interrupt = True
            if self.bound and not self.gathers:
                self.gathers = GATHERED
                self._gathered_enough.arm_in(GATHER)
        else:
            if waiting and len(waiting) >= (FIFO_SIZE if self.fcr & FCR_ENABLE else 1):
                waiting.pop()
            waiting.append(byte)
            self._transmit()
        self._renew_irq(others)

    @native
    def _renew_irq(self, others: bool) -> None:
        """A byte has been sent; others: whether another interrupt than its own is pending."""
        if not self.ier & IER_THR_EMPTY or others:
            return
        if self.irq.level and self.thr_interrupt:
            self.irq.renew()  # where interrupts are edges, each byte sent is to make one
        else:
            self.irq.set(self.thr_interrupt)

    def _transmit(self) -> None:
        """Pass on what the back end takes; `writable` is called when it takes the rest."""
        waiting, backend = self.to_send, self.backend
        while waiting:
            taken = backend.write(bytes(waiting)) if backend else len(waiting)
            if not taken:
                break
            del waiting[:taken]
            self.thr_interrupt = not waiting
        self._count()

    # Bytes that native code has sent. The guest sends on while the back end hears of them together.

    def _pass_on(self) -> None:
        """Tell the back end of the bytes that have been sent in the last time, and go on so."""
        if self._tell_gathered():
            self._gathered_enough.arm_in(GATHER)
        else:
            self.gathers = 0

    def _tell_gathered(self) -> int:
        """Tell the back end of the bytes that have been sent; returns how many they were."""
        count = self.gathered
        if not count:
            return 0
        data = bytes(list(self.gathering[:count]))
        self.gathered = 0
        taken = self.backend.write(data) if self.backend else count
        if taken < count:
            self.to_send[:0] = data[taken:]
            self.thr_interrupt = False
            self._count()
            self._update_irq()
        return count

    def _stop_gathering(self) -> None:
        self._tell_gathered()
        self.gathers = 0
        self._gathered_enough.cancel()

    def _count(self) -> None:
        """Note how full the FIFOs are."""
        self.filled = len(self.received)
        self.waiting = len(self.to_send)

    # The line

    def _set_line(self) -> None:
        """Tell the back end speed and format."""
        if self.backend is None or not self.divisor:
            return
        lcr = self.lcr
        parity = "N" if not lcr & LCR_PARITY else "E" if lcr & LCR_EVEN else "O"
        line = LineSettings(
            self.baudbase // self.divisor,
            parity,
            5 + (lcr & LCR_WORD),
            2 if lcr & LCR_STOP else 1,
        )
        if line != self._line and line.speed:
            self._line = line
            self.backend.set_line(line)

    def _drive_modem_lines(self) -> None:
        if self.backend is not None and not self._loop:
            self.backend.set_modem_lines(bool(self.mcr & MCR_RTS), bool(self.mcr & MCR_DTR))

    def _modem_inputs(self) -> int:
        """The upper half of MSR."""
        if self.mcr & MCR_LOOP:
            pairs = (
                (MCR_RTS, MSR_CTS),
                (MCR_DTR, MSR_DSR),
                (MCR_OUT1, MSR_RI),
                (MCR_OUT2, MSR_DCD),
            )
            return sum(there for here, there in pairs if self.mcr & here)
        lines = self.backend.modem_lines() if self.backend else None
        if lines is None:
            return MSR_CONNECTED
        return MSR_CTS * lines.cts | MSR_DSR * lines.dsr | MSR_RI * lines.ri | MSR_DCD * lines.dcd

    def _read_modem_lines(self) -> None:
        """Bring MSR up to date, with its bits for what has changed."""
        inputs = self._modem_inputs()
        changed = (inputs ^ self.msr) >> 4
        if inputs & MSR_RI:
            changed &= ~MSR_TERI  # that bit is for the trailing edge
        self.msr = inputs | self.msr & MSR_DELTAS | changed

    @timer
    def modem_polled(self) -> None:
        """Modem lines of a host's port are to be looked at again."""
        self._read_modem_lines()
        self._update_irq()
        self._poll_modem_lines()

    def _poll_modem_lines(self) -> None:
        if self.ier & IER_MODEM and self.backend and self.backend.modem_lines() is not None:
            self.modem_polled.arm_in(POLL_MODEM)
        else:
            self.modem_polled.cancel()

    # Registers

    @data.on_read
    def _read_data(self) -> int:
        return self.divisor & 0xFF if self.lcr & LCR_DLAB else self._take()

    @data.on_write
    @native
    def _data_written(self, written: int, old: int) -> None:
        if self.lcr & LCR_DLAB:
            in_python()
            self.divisor = self.divisor & 0xFF00 | written
            self._set_line()
        else:
            self._send(written)

    @ier.on_read
    @native
    def _read_ier(self) -> int:
        return self.divisor >> 8 if self.lcr & LCR_DLAB else self.ier

    @ier.on_write
    @native
    def _ier_written(self, written: int, old: int) -> None:
        if self.lcr & LCR_DLAB:
            in_python()
            self.divisor = self.divisor & 0xFF | written << 8
            self._set_line()
            return
        if (written ^ old) & IER_MODEM:
            in_python()
            self.ier = written & 0x0F
            self._poll_modem_lines()
        self.ier = written & 0x0F
        if self.ier & ~old & IER_THR_EMPTY and not self.waiting:
            self.thr_interrupt = True
        self._update_irq()

    @fcr.on_read
    @native
    def _read_iir(self) -> int:
        pending = self._pending()
        if pending == IIR_THR_EMPTY:
            self.thr_interrupt = False
            self._update_irq()
        return pending | (IIR_FIFOS if self.fcr & FCR_ENABLE else 0)

    @fcr.on_write
    def _fcr_written(self, written: int, old: int) -> None:
        if not written & FCR_ENABLE:
            self.fcr = 0  # the other bits are programmed only with this one
        switched = (written ^ old) & FCR_ENABLE
        if switched or written & FCR_ENABLE and written & FCR_CLEAR_RECEIVED:
            self.received.clear()
            self.errors.clear()
            self._watch_timeout()
        if switched or written & FCR_ENABLE and written & FCR_CLEAR_SENT:
            self.to_send.clear()
            self.thr_interrupt = True
        self._count()
        self._update_irq()
        self._accept_input()

    @lcr.on_write
    def _lcr_written(self, written: int, old: int) -> None:
        self._set_line()
        if (written ^ old) & LCR_BREAK and self.backend is not None and not self._loop:
            self.backend.set_break(bool(written & LCR_BREAK))

    @mcr.on_write
    def _mcr_written(self, written: int, old: int) -> None:
        self._drive_modem_lines()
        self._read_modem_lines()
        self._update_irq()
        self._accept_input()

    @lsr.on_read
    @native
    def _read_lsr(self) -> int:
        status = 0 if self.waiting else LSR_THR_EMPTY | LSR_IDLE
        if not self.filled and not self.line_errors:
            return status
        in_python()
        status |= self.line_errors
        if self.received:
            status |= LSR_DATA
        if self.fcr & FCR_ENABLE and any(self.errors):
            status |= LSR_FIFO_ERROR
        if self.line_errors:
            self.line_errors = 0
            if self.errors:
                self.errors[0] = 0
            self._update_irq()
        return status

    @msr.on_read
    @native
    def _read_msr(self) -> int:
        if not self.real_lines and not self.mcr & MCR_LOOP and self.msr == MSR_CONNECTED:
            return self.msr
        in_python()
        self._read_modem_lines()
        value = self.msr
        if value & MSR_DELTAS:
            self.msr = value & ~MSR_DELTAS
            self._update_irq()
        return value


class IsaSerial(Uart, IsaDevice):
    """A serial port of a PC."""

    driver = "isa-serial"
    description = "16550A serial port"

    index = prop.uint(32, 0xFFFFFFFF, "number of the port, 0 to 3; the rest means the next")
    iobase = prop.uint(32, 0xFFFFFFFF, "first I/O port; too large a number means the usual one")
    isairq = prop.uint(32, 0xFFFFFFFF, "interrupt; too large a number: the usual one", key="irq")

    PORTS: ClassVar[tuple[int, ...]] = (0x3F8, 0x2F8, 0x3E8, 0x2E8)
    IRQS: ClassVar[tuple[int, ...]] = (4, 3, 4, 3)

    def realize(self) -> None:
        if self.index == 0xFFFFFFFF:
            others = [one.index for one in self.bus.devices if isinstance(one, IsaSerial)]
            self.index = next(number for number in range(len(others) + 1) if number not in others)
        if self.index >= len(self.PORTS):
            raise OptionError(f"isa-serial: there are no more than {len(self.PORTS)} of them")
        if self.iobase == 0xFFFFFFFF:
            self.iobase = self.PORTS[self.index]
        if self.isairq == 0xFFFFFFFF:
            self.isairq = self.IRQS[self.index]
        super().realize()
        self.ports(self.bank, self.iobase)
        self.bus.connect(self.irq, self.isairq)


class _Spaced(Mmio):
    """Registers some bytes apart, which any access reaches."""

    owner: SerialMm

    def native(
        self, offset: int, size: int, order: Order, stores: bool
    ) -> tuple[Declaring, str, int] | None:
        if not self._takes(offset, size):
            return None
        return self.owner.bank.native(offset >> self.owner.regshift, 1, order, stores)


class SerialMm(Uart):
    """A 16550A whose registers are `1 << regshift` bytes apart. The board maps `region`."""

    driver = "serial-mm"
    description = "16550A on a memory bus"
    user_creatable = False

    regshift = prop.uint(8, 0, "registers are 2 to the power of this many bytes apart")

    region: Mmio

    def realize(self) -> None:
        if self.regshift > 12:
            raise OptionError(f"serial-mm: regshift={self.regshift} is more than 12")
        super().realize()
        size = 8 << self.regshift
        self.region = _Spaced("serial", size, self._read, self._write, self, maximum=8, order=None)
        self.own(self.region)

    def _read(self, offset: int, size: int) -> int:
        return self.bank.read(offset >> self.regshift, 1)

    def _write(self, offset: int, value: int, size: int) -> None:
        self.bank.write(offset >> self.regshift, value & 0xFF, 1)
