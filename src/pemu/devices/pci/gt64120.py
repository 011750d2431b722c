"""The Galileo GT-64120 system controller: where memory is, and the first PCI bus.

Galileo Technology GT-64120 data sheet, revision 1.4, 1999; what Linux (arch/mips/pci) and YAMON use
of it. Windows onto PCI and the chip's own registers move as the guest says; RAM and devices stay
where the board has put them, whatever their decoders say. Left out: the DMA channels, the
timers, I2O messages, the second PCI bus.

Registers are little-endian. Data cross to PCI so that each byte keeps its address, as with the byte
swapping that guests set up for their own byte order; only configuration cycles heed the swap bit.
"""

from __future__ import annotations

from collections.abc import Callable

from pemu.machine.declare import Output, Outputs
from pemu.machine.device import Device
from pemu.machine.native import native
from pemu.machine.pci import PciBus, PciDevice
from pemu.machine.region import Alias, Mmio, Region, transaction
from pemu.machine.registers import Register, RegisterBank, Registers

UNIT = 21
"""Decoders count units of 2 MiB."""
LOW, HIGH, REMAP = 0x7FFF, 0x7F, 0x7FF
"""The bits that the decoders' registers have."""

CPU_LITTLE = 1 << 12
MASTER_KEEPS_BYTES, SLAVE_KEEPS_BYTES = 1, 1 << 16
"""Bits of the PCI command register that are set where no bytes are swapped."""
CAUSE_SUMMARY, CAUSE_MASTER_ABORT = 1, 1 << 18

CONFIG_ENABLE = 1 << 31
CONFIG_DATA = 0xCFC
SPECIAL_CYCLE = 0xFF
"""The function to which configuration writes become special cycles, which nobody answers."""

SDRAM_RESET = {
    0x404: 0x07,
    0x408: 0x08,
    0x40C: 0x0F,
    0x410: 0x10,
    0x414: 0x17,
    0x418: 0x18,
    0x41C: 0x1F,
    0x420: 0xC0,
    0x424: 0xC7,
    0x428: 0xC8,
    0x42C: 0xCF,
    0x430: 0xD0,
    0x434: 0xDF,
    0x438: 0xF0,
    0x43C: 0xFB,
    0x440: 0xFC,
    0x444: 0xFF,
    0x448: 0x200,
    0x44C: 0x05,
    0x450: 0x05,
    0x454: 0x05,
    0x458: 0x05,
    0x45C: 0x386FFFFF,
    0x460: 0x386FFFFF,
    0x464: 0x386FFFFF,
    0x468: 0x386FFFFF,
    0x46C: 0x146FFFFF,
    0x470: 0xFFFFFFFF,
    0x478: 0x07,
    0x47C: 0x02,
}
"""Reset values of the registers for SDRAM and devices: decoders, parameters, operation."""

BARS = (0x00000008, 0x01000008, 0x1C000000, 0x1F000000, 0x14000000, 0x14000001)
"""Where PCI masters see SDRAM, devices and registers; here they see what the processor sees."""


class Window:
    """A part of the processor's addresses that leads to PCI."""

    def __init__(self, alias: Alias, low: str, high: str, remap: str) -> None:
        self.alias = alias
        self.low, self.high, self.remap = low, high, remap


class Gt64120(Device):
    """The controller. It makes the bus, and maps itself and its windows.

    acknowledge: what an interrupt acknowledge cycle on PCI does; the board sets it.
    route: as that of `PciBus`.
    """

    driver = "gt64120"
    description = "GT-64120 system controller"
    category = "bridge"
    user_creatable = False

    irq = Output("the interrupt to the processor")
    pirqs = Outputs(4, "interrupts of the PCI bus")

    cpu = Register(0x000, 32, help="CPU interface configuration")
    scs10_low = Register(0x008, 32, writable=LOW)
    scs10_high = Register(0x010, 32, writable=HIGH, reset=0x07)
    scs32_low = Register(0x018, 32, writable=LOW, reset=0x08)
    scs32_high = Register(0x020, 32, writable=HIGH, reset=0x0F)
    cs20_low = Register(0x028, 32, writable=LOW, reset=0xE0)
    cs20_high = Register(0x030, 32, writable=HIGH, reset=0x70)
    boot_low = Register(0x038, 32, writable=LOW, reset=0xF8)
    boot_high = Register(0x040, 32, writable=HIGH, reset=0x7F)
    io_low = Register(0x048, 32, writable=LOW, reset=0x80)
    io_high = Register(0x050, 32, writable=HIGH, reset=0x0F)
    memory0_low = Register(0x058, 32, writable=LOW, reset=0x90)
    memory0_high = Register(0x060, 32, writable=HIGH, reset=0x1F)
    isd = Register(0x068, 32, writable=LOW, reset=0xA0, help="where the registers are")
    error_address = Registers(0x070, 2, bits=32, stride=8, writable=0)
    memory1_low = Register(0x080, 32, writable=LOW, reset=0x790)
    memory1_high = Register(0x088, 32, writable=HIGH, reset=0x1F)
    io1_low = Register(0x090, 32, writable=LOW, reset=0x100)
    io1_high = Register(0x098, 32, writable=HIGH, reset=0x0F)
    memory10_low = Register(0x0A0, 32, writable=LOW, reset=0x110)
    memory10_high = Register(0x0A8, 32, writable=HIGH, reset=0x1F)
    memory11_low = Register(0x0B0, 32, writable=LOW, reset=0x120)
    memory11_high = Register(0x0B8, 32, writable=HIGH, reset=0x2F)
    sync = Registers(0x0C0, 2, bits=32, stride=8, writable=0, help="barriers: reads only")
    scs10_remap = Register(0x0D0, 32, writable=REMAP)
    scs32_remap = Register(0x0D8, 32, writable=REMAP, reset=0x08)
    cs20_remap = Register(0x0E0, 32, writable=REMAP, reset=0xE0)
    boot_remap = Register(0x0E8, 32, writable=REMAP, reset=0xF8)
    io_remap = Register(0x0F0, 32, writable=REMAP, reset=0x80)
    memory0_remap = Register(0x0F8, 32, writable=REMAP, reset=0x90)
    memory1_remap = Register(0x100, 32, writable=REMAP, reset=0x790)
    io1_remap = Register(0x108, 32, writable=REMAP, reset=0x100)
    memory10_remap = Register(0x110, 32, writable=REMAP, reset=0x110)
    memory11_remap = Register(0x118, 32, writable=REMAP, reset=0x120)
    multi = Register(0x120, 32, writable=0, reset=0x03)
    error_data = Registers(0x128, 2, bits=32, stride=8, writable=0, reset=0xFFFFFFFF)
    error_parity = Register(0x138, 32, writable=0, reset=0xFF)

    sdram = Registers(0x400, 37, bits=32, help="SDRAM and devices; see SDRAM_RESET")

    pci_command = Register(0xC00, 32)
    pci_timeout = Register(0xC04, 32, reset=0x070F)
    pci_sizes = Registers(0xC08, 4, bits=32, reset=0x00FFF000)
    cause = Register(0xC18, 32, writable=0, help="interrupt cause: writing 0 clears")
    cause_mask = Register(0xC1C, 32)
    pci_cause_mask = Register(0xC24, 32)
    serr_mask = Register(0xC28, 32)
    acknowledge1 = Register(0xC30, 32, writable=0)
    acknowledge0 = Register(0xC34, 32, writable=0)
    bar_enable = Register(0xC3C, 32, reset=0x0F)
    prefetch = Register(0xC40, 32, reset=0x40)
    pci_bars = Registers(0xC48, 8, bits=32)
    interrupt_select = Registers(0xC70, 2, bits=32)
    config1_address = Register(0xCF0, 32)
    config_address = Register(0xCF8, 32)

    region: Mmio
    pci: PciBus
    acknowledge: Callable[[], int] = staticmethod(lambda: 0)
    route: Callable[[int, int], int] = staticmethod(lambda slot, pin: (slot + pin) % 4)

    def realize(self) -> None:
        machine = self.machine
        self.pci_memory = Region("pci0-mem", 1 << 32)
        self.pci = PciBus(
            machine,
            "pci",
            self,
            self.pci_memory,
            machine.io.root,
            self.pirqs,
            route=lambda slot, pin: self.route(slot, pin),  # boards set it later
        )
        self.region = _Isd(self)
        self.own(self.region)
        self._windows = [
            Window(Alias("pci0-io", machine.io.root), "io_low", "io_high", ""),
            Window(
                Alias("pci0-mem0", self.pci_memory), "memory0_low", "memory0_high", "memory0_remap"
            ),
            Window(
                Alias("pci0-mem1", self.pci_memory), "memory1_low", "memory1_high", "memory1_remap"
            ),
        ]
        nothing = Mmio("io", machine.io.root.size, _ones, lambda offset, value, size: None)
        machine.io.root.add(nothing, 0, -1)
        root = machine.memory.root
        for window in self._windows:
            root.add(window.alias, 0)
        root.add(self.region, 0, 1)
        self._place()
        machine.create(Gt64120Pci, self.pci, addr=0)

    def reset(self) -> None:
        little = self.machine.order == "little"
        self.cpu = CPU_LITTLE if little else 0
        self.pci_command = MASTER_KEEPS_BYTES | SLAVE_KEEPS_BYTES if little else 0
        for offset, value in SDRAM_RESET.items():
            self.sdram[(offset - 0x400) // 4] = value
        self.pci_sizes[2] = 0x01FFF000
        self.pci_bars[:] = [0, 0x01000000, 0x1C000000, 0x1F000000, 0, 0x01000000, 0, 0x1F000000]
        self._place()

    def loaded(self) -> None:
        self._place()

    # Windows

    def _place(self) -> None:
        """Put the registers and the windows where their decoders say."""
        with transaction():
            self.region.move(self.isd << UNIT)
            for window in self._windows:
                low, high = getattr(self, window.low), getattr(self, window.high)
                first, last = low, low & ~HIGH | high
                alias = window.alias
                alias.enabled = first <= last
                if not alias.enabled:
                    continue
                alias.move(first << UNIT)
                if window.remap:
                    offset = getattr(self, window.remap) << UNIT
                    alias.aim(alias.target, offset)
                    alias.resize(min((last - first + 1) << UNIT, (1 << 32) - offset))

    @io_high.on_write
    @memory0_high.on_write
    @memory1_high.on_write
    @memory0_remap.on_write
    @memory1_remap.on_write
    @isd.on_write
    def _decoder_written(self, written: int, old: int) -> None:
        self._place()

    # A write of where a window begins also makes it lead to the same addresses of PCI.

    @io_low.on_write
    def _io_low_written(self, written: int, old: int) -> None:
        self.io_remap = self.io_low & REMAP
        self._place()

    @memory0_low.on_write
    def _memory0_low_written(self, written: int, old: int) -> None:
        self.memory0_remap = self.memory0_low & REMAP
        self._place()

    @memory1_low.on_write
    def _memory1_low_written(self, written: int, old: int) -> None:
        self.memory1_remap = self.memory1_low & REMAP
        self._place()

    # Interrupts

    @cause.on_read
    def _read_cause(self) -> int:
        return self.cause | (CAUSE_SUMMARY if self.cause & self.cause_mask else 0)

    @cause.on_write
    def _cause_written(self, written: int, old: int) -> None:
        self.cause &= written
        self._update_irq()

    @cause_mask.on_write
    def _mask_written(self, written: int, old: int) -> None:
        self._update_irq()

    def _update_irq(self) -> None:
        self.irq.set(self.cause & self.cause_mask)

    @acknowledge0.on_read
    @native
    def _read_acknowledge(self) -> int:
        return self.acknowledge()

    # Configuration space

    def configure(self, offset: int, value: int | None, size: int) -> int:
        """A configuration cycle on PCI: a write of `value`, a read if it is None."""
        address = self.config_address
        if not address & CONFIG_ENABLE:
            return 0
        number, devfn, register = address >> 16 & 0xFF, address >> 8 & 0xFF, address & 0xFC
        swapped = (number or devfn) and not self.pci_command & MASTER_KEEPS_BYTES
        if swapped:
            offset = 4 - size - offset
        if not number and devfn not in self.pci.functions and devfn != SPECIAL_CYCLE:
            self.cause |= CAUSE_MASTER_ABORT
            self._update_irq()
        if value is None:
            got = self.pci.config_read(number, devfn, register + offset, size)
            return _turned(got, size) if swapped else got
        self.pci.config_write(
            number, devfn, register + offset, _turned(value, size) if swapped else value, size
        )
        return 0


class _Isd(RegisterBank):
    """The registers, among them the window to configuration space, which takes any size."""

    def __init__(self, controller: Gt64120) -> None:
        super().__init__(controller, "gt64120-isd", 0x1000)
        self.controller = controller

    def _bank_read(self, offset: int, size: int) -> int:
        if offset & ~3 == CONFIG_DATA:
            return self.controller.configure(offset & 3, None, size)
        return super()._bank_read(offset, size)

    def _bank_write(self, offset: int, value: int, size: int) -> None:
        if offset & ~3 == CONFIG_DATA:
            self.controller.configure(offset & 3, value, size)
        else:
            super()._bank_write(offset, value, size)


def _ones(offset: int, size: int) -> int:
    """What is read at I/O ports where nothing is."""
    return (1 << 8 * size) - 1


def _turned(value: int, size: int) -> int:
    """`value` with the opposite order of bytes."""
    return int.from_bytes(value.to_bytes(size, "little"), "big")


class Gt64120Pci(PciDevice):
    """The controller as a function of the bus. Its base addresses are fixed."""

    driver = "gt64120_pci"
    description = "GT-64120 as a PCI device"
    category = "bridge"
    user_creatable = False

    vendor = 0x11AB
    product = 0x4620
    revision = 0x10
    class_code = 0x0600
    pin = 1

    status = Register(0x06, 16, reset=0x0280, writable=0, clears=0xF900, bank="config")

    def reset_fields(self) -> None:
        super().reset_fields()
        self.bars[:] = BARS

    @status.on_read
    def _read_status(self) -> int:
        return super()._read_status()

    def _bar_written(self, number: int, written: int, old: int) -> None:
        self.bars[number] = BARS[number]
