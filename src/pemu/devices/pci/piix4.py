"""The PIIX4 south bridge: its ISA bridge with what is inside, and its power management.

Intel 82371AB (PIIX4) data sheet, April 1997. Function 0 has the interrupt and DMA controllers, the
interval timer, the real-time clock, the routing of PCI interrupts and the reset control register;
function 3 power management. The IDE, USB and SMBus controllers are devices of their own. Left out:
system management interrupts, device monitors, clock control and suspending to RAM.
"""

from __future__ import annotations

from functools import partial

from pemu.devices.dma import i8237
from pemu.devices.irq.i8259 import I8259, pair
from pemu.devices.timer.i8254 import I8254
from pemu.devices.timer.mc146818 import Mc146818
from pemu.machine import prop, state
from pemu.machine.clock import SECOND
from pemu.machine.declare import Output, Outputs, inputs, timer
from pemu.machine.irq import Irq
from pemu.machine.isa import LINES, IsaBus
from pemu.machine.native import native
from pemu.machine.pci import PciDevice
from pemu.machine.region import Region
from pemu.machine.registers import Register, RegisterBank, Registers

ROUTE_OFF = 0x80
ROUTABLE = frozenset(1 << number for number in (3, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15))
"""Interrupts, as bits, that a PCI interrupt can be routed to."""

RESET_CPU = 4
SCI = 9
"""The interrupt of power management."""

PM_TIMER = 3_579_545
PM_TIMER_BITS = 24
TIMER_OVERFLOW, GLOBAL, POWER_BUTTON, RTC = 1, 1 << 5, 1 << 8, 1 << 10
"""Bits of PMSTS and PMEN."""
SCI_ENABLE, SUSPEND_ENABLE = 1, 1 << 13
"""Bits of PMCNTRL, in which bits 10 to 12 say how to suspend."""
SOFT_OFF, SUSPEND_TO_DISK = 0, 2
"""Ways to suspend. What suspends to disk is as QEMU has it."""


class Piix4Isa(PciDevice):
    """Function 0. The board connects `pirqs` to the bus, and `intr` to the processor."""

    driver = "piix4-isa"
    description = "PIIX4 ISA bridge"
    category = "bridge"
    user_creatable = False

    vendor = 0x8086
    product = 0x7110
    class_code = 0x0601

    intr = Output("the interrupt to the processor")
    pic_lines = Outputs(LINES, "to the interrupt controllers")

    isa_levels = state.uint(LINES, kept=True, help="interrupts that ISA devices assert")
    pci_levels = state.uint(4, kept=True, help="PIRQA to PIRQD, as they are asserted")
    _routed = state.derived(help="interrupts that PCI interrupts are routed to and assert")

    status = Register(0x06, 16, reset=0x0200, writable=0, clears=0x7800, bank="config")
    io_recovery = Register(0x4C, reset=0x4D, bank="config")
    xbus_select = Register(0x4E, 16, reset=0x0003, bank="config")
    routes = Registers(0x60, 4, reset=ROUTE_OFF, writable=0x8F, bank="config")
    serial_irq = Register(0x64, reset=0x10, bank="config")
    top_of_memory = Register(0x69, reset=0x02, bank="config")
    miscellaneous = Register(0x6A, 16, bank="config")
    board_irq = Register(0x70, reset=0x80, bank="config")
    board_dma = Registers(0x76, 2, reset=0x0C, bank="config")
    chip_select = Register(0x78, 16, reset=0x0002, bank="config")
    apic_base = Register(0x80, bank="config")
    latency_control = Register(0x82, bank="config")
    dma_config = Register(0x90, 16, bank="config")
    dma_base = Registers(0x92, 2, bits=16, bank="config")
    general = Register(0xB0, 32, bank="config")
    rtc_config = Register(0xCB, reset=0x21, bank="config")

    reset_control = Register(0, writable=2, bank="reset")

    isa: IsaBus
    pic: I8259

    @inputs(LINES)
    @native
    def isa_pins(self, number: int, level: int) -> None:
        """Interrupts of ISA devices."""
        bit = 1 << number
        self.isa_levels = self.isa_levels | bit if level else self.isa_levels & ~bit
        self.pic_lines[number].set(bool(level or self._routed >> number & 1))

    def _unheard(self, number: int, pin: Irq) -> bool:
        """Whether nothing changes when an ISA interrupt, which is high, falls and rises."""
        return bool(self._routed >> number & 1) or pin.unheard()

    @inputs(4)
    def pirqs(self, number: int, level: int) -> None:
        """PIRQA to PIRQD; a high level is an asserted interrupt."""
        bit = 1 << number
        self.pci_levels = self.pci_levels | bit if level else self.pci_levels & ~bit
        self._route()

    def realize(self) -> None:
        io = self.bus.io
        self.isa = IsaBus(self.machine, "isa.0", self, self.bus.memory, io, self.isa_pins)
        self.pic, pins = pair(self.isa, self.intr)
        for number, (line, pin) in enumerate(zip(self.pic_lines, pins, strict=True)):
            line.connect(pin)
            self.isa_pins[number].unheard = partial(self._unheard, number, pin)
        i8237.pair(self.isa)
        pit = self.machine.create(I8254, self.isa)
        pit.irq.connect(self.isa_pins[0])
        self.rtc = self.machine.create(Mc146818, self.isa)
        bank = RegisterBank(self, "reset-control", 1, "reset")
        self.own(bank)
        io.add(bank, 0xCF9, 1)

    def reset(self) -> None:
        self._route()

    def loaded(self) -> None:
        super().loaded()
        self._routed = self._asserted()

    def _asserted(self) -> int:
        """The interrupts, as bits, that PCI interrupts are routed to and assert."""
        return sum({1 << self.routes[n] for n in range(4) if self.pci_levels >> n & 1} & ROUTABLE)

    def _route(self) -> None:
        """Drive what PCI interrupts share with ISA devices."""
        self._routed = self._asserted()
        levels = self.isa_levels | self._routed
        for number, line in enumerate(self.pic_lines):
            line.set(levels >> number & 1)

    @routes.on_write
    def _route_written(self, pirq: int, written: int, old: int) -> None:
        self._route()

    @status.on_read
    def _read_status(self) -> int:
        return super()._read_status()

    @reset_control.on_write
    def _reset_control_written(self, written: int, old: int) -> None:
        if written & RESET_CPU:
            self.machine.control.request_reset()


class Piix4Pm(PciDevice):
    """Function 3. `irq` is the system control interrupt; `smbus` is where the SMBus host goes."""

    driver = "PIIX4_PM"
    description = "PIIX4 power management"
    category = "bridge"
    user_creatable = False

    vendor = 0x8086
    product = 0x7113
    class_code = 0x0680
    revision = 3
    pin = 1

    smb_io_base = prop.uint(
        32, 0, "I/O port of the SMBus host as firmware sets it", key="smb_io_base"
    )
    disable_s3 = prop.uint(8, 0, "firmware is not to suspend to memory", key="disable_s3")
    disable_s4 = prop.uint(8, 0, "firmware is not to suspend to disk", key="disable_s4")
    s4_val = prop.uint(8, SUSPEND_TO_DISK, "what suspends to disk, as SUS_TYP", key="s4_val")

    irq = Output("the system control interrupt")

    status = Register(0x06, 16, reset=0x0280, writable=0, clears=0xF900, bank="config")
    base = Register(0x40, 32, reset=1, writable=0xFFC0, bank="config")
    counters = Registers(0x44, 2, bits=32, bank="config")
    general = Registers(0x4C, 3, bits=32, bank="config")
    activity = Registers(0x58, 2, bits=32, bank="config")
    resources = Registers(0x60, 7, bits=32, bank="config")
    io_enable = Register(0x80, writable=1, bank="config")
    smbus_base = Register(0x90, 32, reset=1, writable=0xFFF0, bank="config")
    smbus_config = Register(0xD2, reset=0x09, bank="config")
    smbus_slave = Registers(0xD3, 3, bank="config")
    smbus_revision = Register(0xD6, writable=0, bank="config")

    events = Register(0x00, 16, writable=0, clears=0x8D31, bank="pm", help="PMSTS")
    enabled_events = Register(0x02, 16, writable=0x0521, bank="pm", help="PMEN")
    control = Register(0x04, 16, writable=0x1C07, bank="pm", help="PMCNTRL")
    pm_timer = Register(0x08, 32, writable=0, bank="pm", help="PMTMR")
    general_events = Register(0x0C, 16, writable=0, clears=0x0F81, bank="pm", help="GPSTS")
    enabled_general = Register(0x0E, 16, writable=0x0F01, bank="pm", help="GPEN")
    processor = Register(0x10, 32, bank="pm", help="PCNTRL")
    global_events = Register(0x18, 16, writable=0, clears=0x087F, bank="pm", help="GLBSTS")
    device_events = Register(0x1C, 32, writable=0, clears=0x3FFF0000, bank="pm", help="DEVSTS")
    enabled_global = Register(0x20, 16, bank="pm", help="GLBEN")
    global_control = Register(0x28, 32, bank="pm", help="GLBCTL")
    device_control = Register(0x2C, 32, bank="pm", help="DEVCTL")
    gpi = Registers(0x30, 3, writable=0, bank="pm", help="GPIREG")
    gpo = Register(0x34, 32, reset=0x7FFFBFFF, bank="pm", help="GPOREG")

    apm = Registers(0, 2, bank="apm", help="APMC, APMS")

    region: RegisterBank
    smbus: Region

    def realize(self) -> None:
        self.region = RegisterBank(self, "piix4-pm", 64, "pm")
        self.smbus = Region("pm-smbus", 16, self)
        self.own(self.region)
        self.region.enabled = self.smbus.enabled = False
        self.bus.io.add(self.region, 0)
        self.bus.io.add(self.smbus, 0)
        apm = RegisterBank(self, "apm-io", 2, "apm")
        self.own(apm)
        self.bus.io.add(apm, 0xB2)
        self.machine.control.powerdown.append(self._power_button)

    def reset_fields(self) -> None:
        super().reset_fields()
        self.smbus_base = self.smb_io_base & 0xFFF0 | 1

    def reset(self) -> None:
        self._place()

    def loaded(self) -> None:
        super().loaded()
        self._place()

    def _place(self) -> None:
        """Put the registers where configuration space says."""
        for region, base, on in (
            (self.region, self.base & 0xFFC0, self.io_enable),
            (self.smbus, self.smbus_base & 0xFFF0, self.smbus_config & 1),
        ):
            region.move(base)
            region.enabled = bool(base and on)

    @base.on_write
    @io_enable.on_write
    @smbus_base.on_write
    @smbus_config.on_write
    def _place_written(self, written: int, old: int) -> None:
        self._place()

    @status.on_read
    def _read_status(self) -> int:
        return super()._read_status()

    # Power management

    def _ticks(self) -> int:
        return self.clocks.virtual.now() * PM_TIMER // SECOND

    @pm_timer.on_read
    def _read_timer(self) -> int:
        return self._ticks() & (1 << PM_TIMER_BITS) - 1

    @timer
    def overflow(self) -> None:
        """The highest bit of the timer has changed."""
        self.events |= TIMER_OVERFLOW
        self._update()

    @events.on_write
    @enabled_events.on_write
    def _events_written(self, written: int, old: int) -> None:
        self._update()

    @control.on_write
    def _control_written(self, written: int, old: int) -> None:
        if written & SUSPEND_ENABLE:
            kind = self.control >> 10 & 7
            if kind in (SOFT_OFF, self.s4_val):
                self.machine.control.request_shutdown()
            else:
                self.unimplemented(f"suspending in way {kind}")
        self._update()

    def _power_button(self) -> None:
        self.events |= POWER_BUTTON
        self._update()

    def _update(self) -> None:
        """Drive the interrupt, and run the timer's overflow if it is to interrupt."""
        self.irq.set(self.control & SCI_ENABLE and self.events & self.enabled_events)
        if self.enabled_events & ~self.events & TIMER_OVERFLOW:
            half = 1 << (PM_TIMER_BITS - 1)
            change = (self._ticks() // half + 1) * half
            self.overflow.arm(-(-change * SECOND // PM_TIMER))
        else:
            self.overflow.cancel()
