"""The 8259A interrupt controller, and its edge/level control register.

Intel 8259A data sheet, December 1988; the edge/level registers, which take the place of the trigger
mode bit of ICW1, as in the 82371AB (PIIX4) data sheet, April 1997. An edge is latched until it is
acknowledged, also when the line falls before, unless it is that of a slave. Left out: MCS-80/85
mode, whose three-byte acknowledge no PCI bridge makes, and buffered mode, which only concerns pins.
"""

from __future__ import annotations

from functools import partial

from pemu.machine import prop, state
from pemu.machine.declare import Output, inputs
from pemu.machine.irq import Irq
from pemu.machine.isa import IsaBus, IsaDevice
from pemu.machine.native import in_python, native
from pemu.machine.region import Mmio
from pemu.machine.registers import Register, RegisterBank

CASCADE = 2
"""The master's input that the slave's output is connected to."""

ICW1_ICW4, ICW1_SINGLE, ICW1 = 1, 2, 0x10
ICW4_AUTO_EOI, ICW4_NESTED = 2, 0x10
OCW3, OCW3_POLL, OCW3_READ, OCW3_READ_ISR, OCW3_SET_MASK_MODE, OCW3_MASK_MODE = 8, 4, 2, 1, 64, 32

DONE, WANTS_ICW2, WANTS_ICW3, WANTS_ICW4 = range(4)
"""Which initialization word is expected next."""


class I8259(IsaDevice):
    """One 8259A. The one who makes it connects `irq` and gives the master its `slave`."""

    driver = "isa-i8259"
    description = "8259A interrupt controller"
    category = "misc"
    user_creatable = False

    iobase = prop.uint(32, 0x20, "first I/O port")
    elcr_addr = prop.uint(32, 0x4D0, "I/O port of the edge/level register", key="elcr_addr")
    elcr_mask = prop.uint(8, 0xF8, "inputs that can be level triggered", key="elcr_mask")
    master = prop.flag(True, "whether it is the master of a pair")

    irq = Output("INT, high while an interrupt is to be acknowledged")

    requests = state.uint(8, help="IRR")
    mask = state.uint(8, help="IMR")
    in_service = state.uint(8, help="ISR")
    levels = state.uint(8, kept=True, help="the inputs; a reset of this chip does not change them")
    base = state.uint(8, help="the vector of input 0")
    first = state.uint(3, help="the input of highest priority")
    step = state.uint(2, help="which initialization word is expected")
    wants_icw4 = state.flag()
    single = state.flag(help="no slave is there")
    icw3 = state.uint(8, help="master: inputs with slaves; slave: its number")
    auto_eoi = state.flag()
    rotates_on_auto_eoi = state.flag()
    nested = state.flag(help="special fully nested mode")
    special_mask = state.flag()
    polled = state.flag(help="the next read is a poll")
    reads_isr = state.flag()

    elcr = Register(0, bank="elcr", help="inputs that are level triggered")

    counts = state.derived_array(8, help="interrupts of each input since power-on, for users")

    region: Mmio
    slave: I8259 | None = None

    @inputs(8)
    @native
    def pins(self, number: int, level: int) -> None:
        """IR0 to IR7."""
        bit = 1 << number
        if level:
            if not self.levels & bit:
                self.counts[number] += 1
            self.levels |= bit
            if self.requests & bit:
                return  # as drivers of serial ports make it, for each byte they send
            self.requests |= bit
        else:
            self.levels &= ~bit
            follows = bool(self.elcr & bit or self.slave is not None and number == CASCADE)
            if not follows or not self.requests & bit:
                return
            self.requests &= ~bit
        self._update()

    def _latched(self, number: int) -> bool:
        """An input falls and rises: whether that changes nothing, as it is requested already."""
        bit = 1 << number
        if not self.requests & bit or self.elcr & bit or number == CASCADE:
            return False
        self.counts[number] += 1
        return True

    def realize(self) -> None:
        for number, line in enumerate(self.pins):
            line.unheard = partial(self._latched, number)
        self.region = Mmio("pic", 2, self._read, self._write, self, maximum=1)
        self.ports(self.region, self.iobase)
        self.ports(RegisterBank(self, "elcr", 1, "elcr"), self.elcr_addr)

    def reset(self) -> None:
        self._update()

    # Priorities

    @native
    def _highest(self, bits: int) -> int | None:
        """The input of highest priority among `bits`, None if they are 0."""
        if not bits:
            return None
        if not self.first:
            return (bits & -bits).bit_length() - 1
        turned = (bits << 8 | bits) >> self.first
        return (self.first + (turned & -turned).bit_length() - 1) & 7

    @native
    def _next(self) -> int | None:
        """The input that is to be served next, None if none is."""
        wanted = self._highest(self.requests & ~self.mask)
        if wanted is None:
            return None
        serving = self.in_service
        if self.special_mask:
            serving &= ~self.mask
        if self.nested and self.master:
            serving &= ~(1 << CASCADE)  # the slave knows which of its own come first
        if not serving:
            return wanted
        current = self._highest(serving)
        if current is None or (wanted - self.first) & 7 < (current - self.first) & 7:
            return wanted
        return None

    @native
    def _update(self) -> None:
        wanted = self.requests & ~self.mask
        if wanted and (not self.in_service or self._next() is not None):
            if not self.irq.level:
                self.irq.raise_()
        elif self.irq.level:
            self.irq.lower()

    # Acknowledging

    @native
    def acknowledge(self) -> int:
        """Be asked for a vector by the bus; returns it."""
        if self.slave is not None and not self.single and self._next() == CASCADE:
            in_python()
            self._serve()
            return self.slave.acknowledge()
        number = self._serve()
        if number is None:
            number = 7  # the request is gone: the default interrupt, which is not in service
        return self.base + number

    @native
    def _serve(self) -> int | None:
        """Begin to serve the next input, if there is one."""
        number = self._next()
        if number is None:
            return None
        bit = 1 << number
        if not self.elcr & bit:
            self.requests &= ~bit
        if not self.auto_eoi:
            self.in_service |= bit
        elif self.rotates_on_auto_eoi:
            self.first = (number + 1) & 7
        self._update()
        return number

    @native
    def _end(self, number: int | None, rotate: bool) -> None:
        """End the service of input `number`; of the most urgent one if it is None."""
        if number is None:
            served = self.in_service & ~self.mask if self.special_mask else self.in_service
            number = self._highest(served)
        if number is not None:
            self.in_service &= ~(1 << number)
            if rotate:
                self.first = (number + 1) & 7
        self._update()

    # Ports

    @native
    def _read(self, offset: int, size: int) -> int:
        if self.polled:
            self.polled = False
            number = self._serve()
            return 0 if number is None else 0x80 | number
        if offset:
            return self.mask
        return self.in_service if self.reads_isr else self.requests

    @native
    def _write(self, offset: int, value: int, size: int) -> None:
        if offset:
            self._initialize(value)
        elif value & ICW1:
            self._begin(value)
        elif value & OCW3:
            self._operate(value)
        else:
            self._command(value)

    @native
    def _begin(self, icw1: int) -> None:
        """Take ICW1: forget everything and expect the other words."""
        self.requests = self.levels & self.elcr  # edges are to come anew
        self.mask = self.in_service = self.first = 0
        self.special_mask = self.reads_isr = self.polled = False
        self.auto_eoi = self.rotates_on_auto_eoi = self.nested = False
        self.wants_icw4 = bool(icw1 & ICW1_ICW4)
        self.single = bool(icw1 & ICW1_SINGLE)
        self.step = WANTS_ICW2
        self._update()

    @native
    def _initialize(self, value: int) -> None:
        """Take a word at the odd port: ICW2 to ICW4, then the mask."""
        if self.step == DONE:
            self.mask = value
        elif self.step == WANTS_ICW2:
            self.base = value & 0xF8
            last = WANTS_ICW4 if self.wants_icw4 else DONE
            self.step = last if self.single else WANTS_ICW3
        elif self.step == WANTS_ICW3:
            self.icw3 = value
            self.step = WANTS_ICW4 if self.wants_icw4 else DONE
        else:
            self.auto_eoi = bool(value & ICW4_AUTO_EOI)
            self.nested = bool(value & ICW4_NESTED)
            self.step = DONE
        self._update()

    @native
    def _operate(self, ocw3: int) -> None:
        self.polled = bool(ocw3 & OCW3_POLL)
        if ocw3 & OCW3_READ:
            self.reads_isr = bool(ocw3 & OCW3_READ_ISR)
        if ocw3 & OCW3_SET_MASK_MODE:
            self.special_mask = bool(ocw3 & OCW3_MASK_MODE)
        self._update()

    @native
    def _command(self, ocw2: int) -> None:
        """End of interrupt and rotation, by the three bits R, SL, EOI."""
        number = ocw2 & 7
        rotate = ocw2 & 0x80
        specific = ocw2 & 0x40
        end = ocw2 & 0x20
        if end:
            self._end(number if specific else None, bool(rotate))
        elif not specific:
            self.rotates_on_auto_eoi = bool(rotate)
        elif rotate:
            self.first = (number + 1) & 7
            self._update()

    @elcr.on_write
    def _elcr_written(self, written: int, old: int) -> None:
        self.elcr = written & self.elcr_mask
        changed = self.elcr ^ old
        self.requests = self.requests & ~changed | self.levels & self.elcr
        self._update()

    def line(self, name: str) -> str:
        """The chip as `info pic` shows it."""
        return (
            f"{name}: irr={self.requests:02x} imr={self.mask:02x} isr={self.in_service:02x} "
            f"hprio={self.first} irq_base={self.base:02x} rr_sel={self.reads_isr:d} "
            f"elcr={self.elcr:02x} fnm={self.nested:d}"
        )


def pair(bus: IsaBus, output: Irq) -> tuple[I8259, list[Irq]]:
    """The two controllers of a PC on `bus`, whose interrupts go to `output`.

    Returns the master and the 16 inputs.
    """
    create = bus.machine.create
    master = create(I8259, bus, iobase=0x20, elcr_addr=0x4D0, elcr_mask=0xF8)
    slave = create(I8259, bus, iobase=0xA0, elcr_addr=0x4D1, elcr_mask=0xDE, master=False)
    master.slave = slave
    slave.irq.connect(master.pins[CASCADE])
    master.irq.connect(output)
    return master, [*master.pins, *slave.pins]
