"""PCI: the bus, configuration space, base addresses, interrupt pins, bus mastering.

PCI Local Bus Specification 3.0, chapter 6. Configuration space is declared as registers of bank
"config" (`Register(0x40, 8, bank="config")`); the header is declared here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from pemu.machine import prop
from pemu.machine.declare import Output, Property
from pemu.machine.device import Bus, Device
from pemu.machine.irq import Irq
from pemu.machine.memory import AddressSpace
from pemu.machine.pciclasses import class_name
from pemu.machine.region import Ram, Region, Terminal, transaction
from pemu.machine.registers import Register, RegisterBank, Registers
from pemu.options.error import OptionError, quoted

if TYPE_CHECKING:
    from pemu.machine.device import Surroundings

IO, MEMORY, MASTER, INTX_DISABLE = 1, 2, 4, 0x400
"""Bits of the command register."""
STATUS_INTX, STATUS_CAPABILITIES = 8, 16

CONFIG_SIZE = 256
_ROM = 6  # the expansion ROM's number among the BARs
_LEAST_ROM = 2048
_BY_FILE = 0xFFFFFFFF  # what romsize is where it is not given
MOST_ROM = 16 << 20
"""Bytes of an expansion ROM: what the base address register of one can ask for."""


class PciBus(Bus):
    """A PCI bus, made by a host bridge (or a PCI bridge).

    memory, io: the bus's address spaces as regions; the host bridge shows parts of them to the
        processor. dma_space: what bus masters see.
    lines: where interrupts go; `route(slot, pin)` says to which of them pin 0 (INTA) to 3 of a
        device in `slot` leads.
    number: of the bus, for configuration cycles.
    """

    kind: ClassVar[str] = "PCI"

    def __init__(
        self,
        machine: Surroundings,
        name: str,
        owner: Device | None,
        memory: Region,
        io: Region,
        lines: list[Irq],
        *,
        dma_space: AddressSpace | None = None,
        route: Callable[[int, int], int] = lambda slot, pin: (slot + pin) % 4,
        first_slot: int = 0,
    ) -> None:
        super().__init__(machine, name, owner)
        self.memory = memory
        self.io = io
        self.lines = lines
        self.dma_space = dma_space or machine.memory
        self.route = route
        self.first_slot = first_slot
        self.number = 0
        self.functions: dict[int, PciDevice] = {}
        self._high = [0] * len(lines)

    @property
    def full(self) -> bool:
        return self._free_slot() is None

    def attach(self, device: Device) -> None:
        """Put `device` where its property `addr` says, or into the first free slot."""
        assert isinstance(device, PciDevice)
        devfn = device.addr
        if devfn is None:
            slot = self._free_slot()
            if slot is None:
                raise OptionError(f"bus {self.name} has no free slot for {device.driver}")
            devfn = slot * 8
        place = f"{devfn >> 3:02x}.{devfn & 7}"
        if devfn in self.functions:
            raise OptionError(
                f"{device.driver}: {place} on bus {self.name} is taken by "
                f"{self.functions[devfn].driver}; give another addr"
            )
        first = self.functions.get(devfn & ~7)
        if devfn & 7 and first is not None and not first.multifunction:
            raise OptionError(
                f"{device.driver}: {place} on bus {self.name} needs multifunction=on for "
                f"{first.driver} in {devfn >> 3:02x}.0"
            )
        device.addr = devfn
        self.functions[devfn] = device
        self.devices.append(device)

    def detach(self, device: Device) -> None:
        super().detach(device)
        assert isinstance(device, PciDevice)
        assert device.addr is not None
        del self.functions[device.addr]

    def _free_slot(self) -> int | None:
        used = {devfn >> 3 for devfn in self.functions}
        free = [slot for slot in range(self.first_slot, 32) if slot not in used]
        return free[0] if free else None

    def describe(self, device: Device) -> list[str]:
        assert isinstance(device, PciDevice)
        return device.describe()

    # Configuration cycles

    def config_read(self, number: int, devfn: int, offset: int, size: int) -> int:
        """Read configuration space of function `devfn` on bus `number`; ones without a device.

        offset: 0 to 255; size: 1, 2 or 4 bytes. Values are little-endian, as the device sees them.
        """
        device = self._function(number, devfn)
        if device is None or offset + size > CONFIG_SIZE:
            return (1 << 8 * size) - 1
        return device.config.read(offset, size)

    def config_write(self, number: int, devfn: int, offset: int, value: int, size: int) -> None:
        """Write configuration space."""
        device = self._function(number, devfn)
        if device is not None and offset + size <= CONFIG_SIZE:
            device.config.write(offset, value, size)

    def _function(self, number: int, devfn: int) -> PciDevice | None:
        if number == self.number:
            return self.functions.get(devfn)
        for bus in self.machine.buses:
            if isinstance(bus, PciBus) and bus is not self and bus.number == number:
                return bus.functions.get(devfn) if number else None
        return None

    # Interrupts

    def set_pin(self, device: PciDevice, pin: int, level: int) -> None:
        """Pin 0 (INTA) to 3 of `device` has changed; lines are shared by any number of pins."""
        assert device.addr is not None
        line = self.route(device.addr >> 3, pin)
        bit = 1 << (device.addr * 4 + pin)
        self._high[line] = self._high[line] | bit if level else self._high[line] & ~bit
        self.lines[line].set(self._high[line])


class Bar:
    """A base address register: a region that the guest places on the bus."""

    __slots__ = ("flags", "high", "is_io", "mask", "region")

    def __init__(self, region: Region, flags: int, is_io: bool, high: bool = False) -> None:
        self.region = region
        self.flags = flags
        self.is_io = is_io
        self.high = high  # the upper half of a 64-bit one is the next register
        self.mask = ~(region.size - 1)


class PciDevice(Device):
    """Base of PCI functions with a header of type 0.

    vendor, product, revision, class_code (16 bits), prog_if, subsystem_vendor, subsystem: what
    identifies it. pin: 1 for INTA to 4 for INTD, 0 for none.
    bar_table: the base address registers by number, 6 for the expansion ROM.
    Its interrupt line is `self.intx`; DMA works only while the guest lets it be bus master.
    """

    plugs_into: ClassVar[type[Bus]] = PciBus
    bus: PciBus

    vendor: ClassVar[int] = 0x1234
    product: ClassVar[int] = 0
    revision: ClassVar[int] = 0
    class_code: ClassVar[int] = 0xFF00
    prog_if: ClassVar[int] = 0
    subsystem_vendor: ClassVar[int] = 0x1AF4
    subsystem: ClassVar[int] = 0x1100
    pin: ClassVar[int] = 0

    addr: Property[int | None] = Property(prop.PciAddress(), None, "slot and function")
    multifunction = prop.flag(False, "further functions may share the slot")
    rombar = prop.flag(True, "whether there is an expansion ROM, if there is one")
    romfile = prop.text("", "file with the expansion ROM")
    romsize = prop.uint(32, _BY_FILE, "bytes of the expansion ROM (default: by its file)")

    intx = Output("the interrupt pin")

    ids = Register(0x00, 32, writable=0, bank="config")
    command = Register(
        0x04, 16, writable=IO | MEMORY | MASTER | 0x140 | INTX_DISABLE, bank="config"
    )
    status = Register(0x06, 16, writable=0, clears=0xF900, bank="config")
    class_revision = Register(0x08, 32, writable=0, bank="config")
    cache_line_size = Register(0x0C, bank="config")
    latency_timer = Register(0x0D, writable=0xF8, bank="config")
    header_type = Register(0x0E, writable=0, bank="config")
    bist = Register(0x0F, writable=0, bank="config")
    bars = Registers(0x10, 6, bits=32, bank="config")
    cardbus = Register(0x28, 32, writable=0, bank="config")
    subsystem_ids = Register(0x2C, 32, writable=0, bank="config")
    rom_address = Register(0x30, 32, bank="config")
    capabilities = Register(0x34, writable=0, bank="config")
    interrupt_line = Register(0x3C, bank="config")
    interrupt_pin = Register(0x3D, writable=0, bank="config")
    minimum_grant = Register(0x3E, writable=0, bank="config")
    maximum_latency = Register(0x3F, writable=0, bank="config")

    config: RegisterBank

    def __init__(self, machine: Surroundings, id: str = "") -> None:
        super().__init__(machine, id)
        self.bar_table: dict[int, Bar] = {}
        self._capabilities: list[int] = []
        self._reserved: set[int] = set()
        self.config = RegisterBank(self, f"{self.driver}-config", CONFIG_SIZE, "config")
        self.intx.connect(lambda level: self._update_pin())

    def realized(self) -> None:
        if self.romfile and self.rombar:
            self._load_rom()

    # What devices use

    def add_bar(
        self,
        number: int,
        region: Region,
        *,
        io: bool = False,
        prefetchable: bool = False,
        wide: bool = False,
    ) -> None:
        """Make `region` what base address register `number` (0 to 5) places on the bus.

        Its size is a power of two, of at least 4 (`io`) or 16 bytes. wide: 64 bits, in registers
        `number` and `number + 1`.
        """
        size = region.size
        if size & (size - 1) or size < (4 if io else 16):
            raise ValueError(f"{self.driver}: BAR {number} of {size} bytes")
        flags = 1 if io else (8 if prefetchable else 0) | (4 if wide else 0)
        if isinstance(region, Terminal):
            self.own(region)
        self.bar_table[number] = Bar(region, flags, io, wide)
        region.enabled = False
        (self.bus.io if io else self.bus.memory).add(region, 0, 1)
        self.bars[number] = flags

    def add_rom(self, region: Region) -> None:
        """Make `region` the expansion ROM."""
        self.bar_table[_ROM] = Bar(region, 0, False)
        region.enabled = False
        self.bus.memory.add(region, 0, 1)

    def _load_rom(self) -> None:
        """Make the file of `romfile` the expansion ROM."""
        from pemu.machine.files import load_file

        data = load_file(self.romfile, f"{self.driver}: romfile", MOST_ROM)
        size = max(1 << (len(data) - 1).bit_length(), _LEAST_ROM)
        if self.romsize != _BY_FILE:
            if self.romsize & (self.romsize - 1) or self.romsize < size:
                raise OptionError(
                    f"{self.driver}: romsize={self.romsize}: give a power of two from {size} on, "
                    f"the room for {quoted(self.romfile)} ({len(data)} bytes)"
                )
            size = self.romsize
        rom = Ram(f"{self.driver}.rom", size, self, readonly=True)
        rom.write_bytes(0, data)
        self.add_rom(rom)

    def add_capability(self, identifier: int, size: int, offset: int = 0) -> int:
        """Put a capability of `size` bytes into the list, its first two bytes; returns its offset.

        offset: where it is, 0 for the next free place from 0x40 on. The bytes after the first two
        are for `self.config.define` or declared registers.
        """
        if not offset:
            offset = 0x40
            while any(
                self.config.has(at) or at in self._reserved for at in range(offset, offset + size)
            ):
                offset += 4
        self._reserved.update(range(offset, offset + size))
        following = self._capabilities[-1] if self._capabilities else 0
        self.config.define("CAP_ID", offset, 1, lambda: identifier, _unwritable)
        self.config.define("CAP_NEXT", offset + 1, 1, lambda: following, _unwritable)
        self._capabilities.append(offset)
        return offset

    @property
    def is_master(self) -> bool:
        """Whether the guest lets the device do DMA."""
        return bool(self.command & MASTER)

    def dma_read(self, address: int, length: int) -> bytes:
        """Read as bus master; zeros where the guest does not let the device be that."""
        if self.command & MASTER:
            return self.bus.dma_space.dma_read(address, length, self)
        self.guest_error(f"reads {length} bytes at {address:#x} without being bus master")
        return bytes(length)

    def dma_write(self, address: int, data: bytes) -> None:
        """Write as bus master; nowhere where the guest does not let the device be that."""
        if self.command & MASTER:
            self.bus.dma_space.dma_write(address, data, self)
        else:
            self.guest_error(f"writes {len(data)} bytes at {address:#x} without being bus master")

    def bar_address(self, number: int) -> int | None:
        """Where the region of a base address register is on the bus; None while it is nowhere."""
        bar = self.bar_table[number]
        enabled = self.command & (IO if bar.is_io else MEMORY)
        low = self.rom_address if number == _ROM else self.bars[number]
        if number == _ROM and not (low & 1 and self.rombar):
            return None
        address = low & bar.mask & (~3 if bar.is_io else ~0xF if number != _ROM else ~0x7FF)
        if bar.high:
            address |= self.bars[number + 1] << 32
        end = address + bar.region.size
        limit = self.bus.io.size if bar.is_io else 1 << 64 if bar.high else 1 << 32
        # What is at 0 has not been placed; what ends at the top is being sized.
        return address if enabled and address and end < limit else None

    def bar_ends(self, number: int) -> tuple[int, int]:
        """First and last address of a base address register's region, as QEMU shows them.

        One that is nowhere begins at the last address there is.
        """
        address = self.bar_address(number)
        start = (1 << 64) - 1 if address is None else address
        return start, (start + self.bar_table[number].region.size - 1) & (1 << 64) - 1

    # Configuration space

    @ids.on_read
    def _read_ids(self) -> int:
        return self.product << 16 | self.vendor

    @class_revision.on_read
    def _read_class_revision(self) -> int:
        return self.class_code << 16 | self.prog_if << 8 | self.revision

    @subsystem_ids.on_read
    def _read_subsystem_ids(self) -> int:
        return self.subsystem << 16 | self.subsystem_vendor

    @header_type.on_read
    def _read_header_type(self) -> int:
        return 0x80 if self.multifunction else 0

    @interrupt_pin.on_read
    def _read_interrupt_pin(self) -> int:
        return self.pin

    @capabilities.on_read
    def _read_capabilities(self) -> int:
        return self._capabilities[-1] if self._capabilities else 0

    @status.on_read
    def _read_status(self) -> int:
        listed = STATUS_CAPABILITIES if self._capabilities else 0
        return self.status | listed | (STATUS_INTX if self.intx.level else 0)

    @command.on_write
    def _command_written(self, written: int, old: int) -> None:
        self._place_bars()
        self._update_pin()

    @bars.on_write
    def _bar_written(self, number: int, written: int, old: int) -> None:
        bar = self.bar_table.get(number)
        below = self.bar_table.get(number - 1)
        if bar is not None:
            self.bars[number] = self.bars[number] & bar.mask & 0xFFFFFFFF | bar.flags
        elif below is not None and below.high:
            self.bars[number] &= below.mask >> 32 & 0xFFFFFFFF
        else:
            self.bars[number] = 0
        self._place_bars()

    @rom_address.on_write
    def _rom_address_written(self, written: int, old: int) -> None:
        bar = self.bar_table.get(_ROM)
        mask = bar.mask & 0xFFFFF800 | 1 if bar and self.rombar else 0
        self.rom_address &= mask
        self._place_bars()

    def _place_bars(self) -> None:
        with transaction():
            for number, bar in self.bar_table.items():
                address = self.bar_address(number)
                if address is None:
                    bar.region.enabled = False
                else:
                    bar.region.move(address)
                    bar.region.enabled = True

    def _update_pin(self) -> None:
        if self.pin:
            level = self.intx.level and not self.command & INTX_DISABLE
            self.bus.set_pin(self, self.pin - 1, bool(level))

    def reset_fields(self) -> None:
        super().reset_fields()
        for number, bar in self.bar_table.items():
            if number != _ROM:
                self.bars[number] = bar.flags
        self._place_bars()

    def loaded(self) -> None:
        """Place the regions as configuration space says. Devices that override it call this."""
        self._place_bars()
        self._update_pin()

    def describe(self) -> list[str]:
        """Lines for `info qtree`."""
        assert self.addr is not None
        number = self.bus.number
        place = f"{number:02x}:{self.addr >> 3:02x}.{self.addr & 7}"
        ids = f"{self.vendor:04x}:{self.product:04x}"
        sub = f"{self.subsystem_vendor:04x}:{self.subsystem:04x}"
        lines = [f"class {class_name(self.class_code)}, addr {place}, pci id {ids} (sub {sub})"]
        for index, bar in sorted(self.bar_table.items()):
            start, end = self.bar_ends(index)
            lines.append(f"bar {index}: {'i/o' if bar.is_io else 'mem'} at {start:#x} [{end:#x}]")
        return lines


def _unwritable(value: int, lanes: int) -> None:
    """Writes to a read-only register."""
