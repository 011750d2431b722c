"""The IDE bus: two drives on a cable, their task file, and the transfers between them and the host.

AT Attachment with Packet Interface - 7 (ATA/ATAPI-7, T13 1532D), volumes 1 and 2. Here is what
disks and packet devices have in common; `ide_hd` and `ide_cd` have the commands.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Protocol

from pemu.block.backend import Request
from pemu.block.image import SECTOR
from pemu.devices.storage.block_device import BlockDevice
from pemu.devices.storage.dma import GuestBuffers
from pemu.machine import prop, state
from pemu.machine.device import Bus, Device
from pemu.machine.irq import Irq
from pemu.options.error import OptionError
from pemu.options.types import Int

if TYPE_CHECKING:
    from pemu.machine.device import Surroundings

# Status
BUSY, READY, FAULT, SEEK, DRQ, ERROR = 0x80, 0x40, 0x20, 0x10, 0x08, 0x01
IDLE = READY | SEEK

# Error
ABORTED, NOT_FOUND, UNCORRECTABLE, DIAGNOSTIC_PASSED = 0x04, 0x10, 0x40, 0x01

# Device control
NO_INTERRUPT, SOFT_RESET, HIGH_ORDER = 0x02, 0x04, 0x80

# Registers of the command block
DATA, FEATURES, COUNT, LBA_LOW, LBA_MID, LBA_HIGH, SELECT, COMMAND = range(8)
SELECT_LBA, SELECT_DEVICE = 0x40, 0x10
_FIXED_SELECT = 0xA0

DEVICE_RESET, _DIAGNOSTIC = 0x08, 0x90

LARGEST_BLOCK = 0x10000
"""Bytes between two interrupts of a programmed transfer: what a byte count of 16 bits allows."""


class BusMaster(Protocol):
    """What a controller does for the DMA of its drives."""

    def dma_wanted(self, drive: IdeDevice) -> None:
        """`drive` is ready to transfer: call `drive.transfer` when the host is, too."""

    def dma_ended(self, drive: IdeDevice) -> None:
        """The transfer of `drive` has ended, before it raises its interrupt."""

    def dma_cancelled(self, drive: IdeDevice) -> None:
        """`drive` has been reset in the middle of a transfer."""


class IdeBus(Bus):
    """A channel of an IDE controller, which calls `read`, `write` and so on for the host.

    line: the interrupt. number: of the channel, for the drives' serial numbers.
    """

    kind: ClassVar[str] = "IDE"
    most: ClassVar[int] = 2

    def __init__(
        self,
        machine: Surroundings,
        name: str,
        owner: Device,
        line: Irq,
        master: BusMaster,
        number: int,
    ) -> None:
        super().__init__(machine, name, owner)
        self.line = line
        self.master = master
        self.number = number
        self.units: dict[int, IdeDevice] = {}

    def attach(self, device: Device) -> None:
        assert isinstance(device, IdeDevice)
        free = [unit for unit in range(self.most) if unit not in self.units]
        unit = device.unit if device.unit is not None else min(free, default=self.most)
        if unit >= self.most:
            raise OptionError(
                f"{device.driver}: Can't create IDE unit {unit}, bus supports only 2 units"
            )
        if unit in self.units:
            raise OptionError(f"{device.driver}: IDE unit {unit} is in use")
        super().attach(device)
        device.unit = unit
        self.units[unit] = device

    def detach(self, device: Device) -> None:
        super().detach(device)
        self.units = {unit: one for unit, one in self.units.items() if one is not device}

    @property
    def selected(self) -> IdeDevice | None:
        """The drive that the host talks to."""
        for unit, drive in self.units.items():
            if bool(drive.select & SELECT_DEVICE) == bool(unit):
                return drive
        return None

    # The host's accesses

    def read(self, register: int) -> int:
        """Read a register of the command block, but for the data."""
        drive = self.selected
        if drive is None:
            return 0
        value = drive.read_register(register)
        if register == COMMAND:
            drive.pending = False
            self.update()
        return value

    def write(self, register: int, value: int) -> None:
        """Write a register of the command block, but for the data."""
        drive = self.selected
        if register == COMMAND:
            if drive is not None and not drive.control & SOFT_RESET:
                drive.command_written(value)
        elif drive is None or register == SELECT or not drive.status & (BUSY | DRQ):
            for one in self.units.values():
                one.write_register(register, value)
            self.update()

    def read_alternate(self) -> int:
        """Read the alternate status, which leaves the interrupt as it is."""
        return self.selected.status if self.selected else 0

    def write_control(self, value: int) -> None:
        """Write device control."""
        for drive in self.units.values():
            was, drive.control = drive.control, value
            if value & ~was & SOFT_RESET:
                drive.cancel()
                drive.status = BUSY
            elif was & ~value & SOFT_RESET:
                drive.reset_task_file()
        self.update()

    def read_data(self, size: int) -> int:
        """Read `size` bytes, 2 or 4, of the data register."""
        return self.selected.read_data(size) if self.selected else 0

    def write_data(self, value: int, size: int) -> None:
        """Write `size` bytes, 2 or 4, to the data register."""
        if self.selected:
            self.selected.write_data(value, size)

    def update(self) -> None:
        """Drive the interrupt line."""
        drive = self.selected
        self.line.set(drive is not None and drive.pending and not drive.control & NO_INTERRUPT)

    def diagnose(self) -> None:
        """EXECUTE DEVICE DIAGNOSTIC, which all drives carry out and the first tells of."""
        for drive in self.units.values():
            drive.cancel()
            drive.reset_task_file()
        first = self.units.get(0)
        if first is not None:
            first.interrupt()


class IdeDevice(BlockDevice, ABC):
    """Base of drives on an IDE bus. packets: whether it takes packet commands."""

    packets: ClassVar[bool] = False
    plugs_into: ClassVar[type[Bus]] = IdeBus
    bus: IdeBus

    unit: prop.Property[int | None] = prop.Property(
        Int(maximum=255), None, "0 for the master, 1 for the slave"
    )
    serial = prop.text("", "serial number")
    model = prop.text("", "model name")
    ver = prop.text("2.5+", "firmware version")
    wwn = prop.uint(64, 0, "world wide name")
    bootindex = prop.sint(32, -1, "place in the boot order, for firmware that asks for it")

    features = state.array(8, 2, help="what was written last, and before")
    count = state.array(8, 2)
    lba_low = state.array(8, 2)
    lba_mid = state.array(8, 2)
    lba_high = state.array(8, 2)
    select = state.uint(8, reset=_FIXED_SELECT)
    status = state.uint(8, reset=IDLE)
    error = state.uint(8)
    control = state.uint(8)
    command = state.uint(8, help="what is carried out")
    pending = state.flag(help="interrupts")
    transfer_mode = state.uint(8, help="of SET FEATURES")
    sleeping = state.flag()

    buffer = state.buffer(LARGEST_BLOCK, help="the block that the host transfers")
    position = state.uint(17, help="how much of it has been transferred")
    to_host = state.flag()
    then = state.text(help="what follows when the block has been transferred")

    dma_direction = state.text(help="'in' or 'out' of the host's memory, empty without a transfer")
    dma_length = state.uint(33, help="bytes")

    _request: Request | None = None

    def realize(self) -> None:
        for name, value in (
            ("logical_block_size", self.logical_block_size),
            ("discard_granularity", self.discard_granularity),
        ):
            if value not in (None, SECTOR):
                raise OptionError(f"{name}={value}: an IDE drive has sectors of {SECTOR}")
        self.take_drive()
        assert self.drive is not None
        given = self.drive.options.get("serial") or ""
        assert self.unit is not None
        number = self.bus.number * 2 + self.unit + 1
        self.serial = (self.serial or given or f"QM{number:05d}")[:20]

    def reset(self) -> None:
        self.cancel()
        self.reset_task_file()

    def unplugged(self) -> None:
        self.cancel()

    # What kinds of drives define

    @abstractmethod
    def signature(self) -> tuple[int, int]:
        """What the two middle registers hold after a reset."""

    @abstractmethod
    def execute(self, command: int) -> bool:
        """Carry out a command; False where there is no such one."""

    @abstractmethod
    def transfer(self, memory: GuestBuffers) -> None:
        """Carry out the DMA that `dma` has announced, to or from `memory`.

        `memory` has at most as many bytes as announced; the controller may have fewer.
        """

    # The task file

    def read_register(self, register: int) -> int:
        """Read a register of the command block."""
        older = 1 if self.control & HIGH_ORDER else 0
        if register == FEATURES:
            return self.error
        if register == SELECT:
            return self.select
        if register == COMMAND:
            return self.status
        return self._file(register)[older] if register else 0xFF

    def write_register(self, register: int, value: int) -> None:
        """Write a register of the command block."""
        self.control &= ~HIGH_ORDER
        if register == SELECT:
            self.select = value | _FIXED_SELECT
        elif register:
            pair = self._file(register)
            pair[1], pair[0] = pair[0], value

    def _file(self, register: int) -> list[int]:
        return (self.features, self.count, self.lba_low, self.lba_mid, self.lba_high)[register - 1]

    def reset_task_file(self) -> None:
        """Be as after a reset or the diagnostic command: the registers tell what the drive is."""
        for pair in (self.features, self.count, self.lba_low, self.lba_mid, self.lba_high):
            pair[:] = [0, 0]
        self.count[0] = self.lba_low[0] = 1
        self.lba_mid[0], self.lba_high[0] = self.signature()
        self.select = _FIXED_SELECT
        self.status = self.idle_status()
        self.error = DIAGNOSTIC_PASSED
        self.pending = self.sleeping = False

    def idle_status(self) -> int:
        """The status after a reset."""
        return IDLE

    def command_written(self, command: int) -> None:
        """The host has written a command."""
        if self.status & (BUSY | DRQ) and not (self.packets and command == DEVICE_RESET):
            return
        self.pending = False
        self.bus.update()
        self.command = command
        self.error = 0
        if command == _DIAGNOSTIC:
            self.bus.diagnose()
        elif not self.execute(command):
            self.abort()

    # Ends of commands

    def interrupt(self) -> None:
        """Interrupt the host."""
        self.pending = True
        self.bus.update()

    def succeed(self) -> None:
        """End the command without an error."""
        self.status = IDLE
        self.interrupt()

    def abort(self, error: int = ABORTED) -> None:
        """End the command with an error."""
        self.stop_transfer()
        self.status = READY | ERROR
        self.error = error
        self.interrupt()

    def cancel(self) -> None:
        """Forget what is under way."""
        self.forget_request()
        self.stop_transfer()

    def stop_transfer(self) -> None:
        """Expect no data any more."""
        self.buffer = bytearray()
        self.position = 0
        self.then = ""
        if self.dma_direction:
            self.dma_direction = ""
            self.bus.master.dma_cancelled(self)

    def forget_request(self) -> None:
        """Wait for the host's part of what is under way, and forget it."""
        request, self._request = self._request, None
        if request is not None:
            request.cancel()

    def start(
        self, begin: Callable[[Callable[[int], None]], Request | None], done: Callable[[int], None]
    ) -> None:
        """Begin a request of the backend; `done(error)` is called at the end."""

        def finished(error: int) -> None:
            self._request = None
            done(error)

        self.status = self.status & ~DRQ | BUSY
        request = begin(finished)
        if request is None:
            done(0)
        else:
            self._request = request

    # Programmed transfers

    def send(self, data: bytes | bytearray, then: str, *, interrupt: bool = True) -> None:
        """Let the host read `data`, not empty, and then call the method called `then`."""
        self.buffer = bytearray(data)
        self._offer(True, then, interrupt)

    def expect(self, length: int, then: str, *, interrupt: bool) -> None:
        """Let the host write `length` bytes, and then call the method called `then`."""
        self.buffer = bytearray(length)
        self._offer(False, then, interrupt)

    def _offer(self, to_host: bool, then: str, interrupt: bool) -> None:
        self.position = 0
        self.to_host = to_host
        self.then = then
        self.status = IDLE | DRQ
        if interrupt:
            self.interrupt()

    def read_data(self, size: int) -> int:
        """The host reads the data register."""
        if not (self.status & DRQ and self.to_host):
            return 0
        at = self.position
        value = int.from_bytes(self.buffer[at : at + size], "little")
        self._moved(size)
        return value

    def write_data(self, value: int, size: int) -> None:
        """The host writes the data register."""
        if not self.status & DRQ or self.to_host:
            return
        at = self.position
        size = min(size, len(self.buffer) - at)
        self.buffer[at : at + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
        self._moved(size)

    def _moved(self, size: int) -> None:
        self.position += size
        if self.position >= len(self.buffer):
            self.status &= ~DRQ
            then, self.then = self.then, ""
            method = getattr(self, then, None)
            if method is not None:
                method()

    # DMA

    def dma(self, direction: str, length: int) -> None:
        """Announce a DMA of `length` bytes, 'in' or 'out' of the host's memory."""
        self.dma_direction = direction
        self.dma_length = length
        self.status = IDLE | DRQ
        self.bus.master.dma_wanted(self)

    def end_dma(self) -> None:
        """The transfer has been carried out."""
        self.dma_direction = ""
        self.bus.master.dma_ended(self)
