"""The 82078 floppy controller, with up to two drives, as in the SuperIO chip of a PC.

Intel 82078 data sheet, order number 290468. Data goes through a DMA channel, or byte by byte
through the FIFO (non-DMA mode). Left out: formatting, deleted data, verifying, scan commands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from pemu.block.backend import Backend, Request
from pemu.devices.storage.floppy_drive import DRIVES, FloppyBus
from pemu.machine import prop, state
from pemu.machine.declare import Output
from pemu.machine.device import Device
from pemu.machine.drives import Drive
from pemu.machine.isa import IsaDevice
from pemu.machine.region import Mmio
from pemu.options.error import OptionError, quoted

SECTOR = 512

# Ports, from the base on
DIGITAL_OUTPUT, TAPE, MAIN_STATUS, FIFO, DIRECTION = 2, 3, 4, 5, 7

# Digital output
NOT_RESET, INTERRUPTS, MOTORS = 0x04, 0x08, 0x10

# Main status
REQUEST, TO_HOST, NO_DMA, COMMAND_BUSY = 0x80, 0x40, 0x20, 0x10

# Status register 0
ABNORMAL, INVALID, SEEK_END, EQUIPMENT_CHECK, NOT_READY = 0x40, 0x80, 0x20, 0x10, 0x08
POLLED = 0xC0

# Status register 1
NO_ADDRESS_MARK, WRITE_PROTECTED, NO_DATA = 0x01, 0x02, 0x04
OVERRUN, DATA_ERROR, END_OF_CYLINDER = 0x10, 0x20, 0x80

# Status register 3
TRACK_0, PROTECTED, ALWAYS_ONE = 0x10, 0x40, 0x28

DISK_CHANGED = 0x80
CHIP_VERSION, CHIP_PART = 0x90, 0x41


class Format(NamedTuple):
    """Sectors of a track, tracks, heads."""

    sectors: int
    tracks: int
    heads: int


FORMATS = (
    Format(36, 80, 2),
    Format(18, 80, 2),
    Format(15, 80, 2),
    Format(9, 80, 2),
    Format(9, 40, 2),
    Format(8, 40, 2),
    Format(9, 40, 1),
    Format(8, 40, 1),
)


def format_of(size: int) -> Format | None:
    """How a disk of so many bytes is laid out; None without a disk."""
    for one in FORMATS:
        if one.sectors * one.tracks * one.heads * SECTOR == size:
            return one
    return Format(18, 80, 2) if size else None


# Commands: the lower five bits; the upper ones are parameters.
READ_TRACK, SPECIFY, SENSE_DRIVE_STATUS, WRITE_DATA, READ_DATA = 0x02, 0x03, 0x04, 0x05, 0x06
RECALIBRATE, SENSE_INTERRUPT_STATUS, READ_ID, DUMPREG, SEEK = 0x07, 0x08, 0x0A, 0x0E, 0x0F
VERSION, PERPENDICULAR_MODE, CONFIGURE, LOCK, PART_ID = 0x10, 0x12, 0x13, 0x14, 0x18
COMMAND_MASK = 0x1F
MULTI_TRACK = 0x80

_LENGTHS = {
    READ_TRACK: 9,
    SPECIFY: 3,
    SENSE_DRIVE_STATUS: 2,
    WRITE_DATA: 9,
    READ_DATA: 9,
    RECALIBRATE: 2,
    SENSE_INTERRUPT_STATUS: 1,
    READ_ID: 2,
    DUMPREG: 1,
    SEEK: 3,
    VERSION: 1,
    PERPENDICULAR_MODE: 2,
    CONFIGURE: 4,
    LOCK: 1,
    PART_ID: 1,
}
"""Bytes of each command; others have one."""


class IsaFdc(IsaDevice):
    """The controller. drivea, driveb: what is in it, None for no such drive."""

    driver = "isa-fdc"
    description = "floppy controller"
    category = "storage"
    user_creatable = False

    iobase = prop.uint(32, 0x3F0, "first I/O port")
    irq = prop.uint(32, 6, "interrupt")
    dma = prop.uint(32, 2, "DMA channel")
    drivea = prop.drive("the first drive", key="driveA")
    driveb = prop.drive("the second drive", key="driveB")

    line = Output("the interrupt")

    digital_output = state.uint(8, reset=NOT_RESET | INTERRUPTS)
    configured = state.uint(8, help="of CONFIGURE")
    locked = state.uint(1)
    specified = state.array(8, 2, help="of SPECIFY")
    tracks = state.array(8, 4, help="where the heads are")
    changed = state.array(1, 4, reset=1, help="the disk has been changed and no seek been made")
    interrupt_status = state.buffer(4, help="what SENSE INTERRUPT STATUS tells, one after another")

    phase = state.text(
        reset="command", help="'command', 'input', 'output', 'busy', 'dma' or 'result'"
    )
    command = state.buffer(16, help="bytes of the command so far")
    result = state.buffer(16, help="bytes that the host has to read yet")
    data = state.buffer(SECTOR, help="the sector that is transferred")
    position = state.uint(10)
    sector = state.array(8, 3, help="cylinder, head and sector that are transferred")

    _request: Request | None = None

    def realize(self) -> None:
        self.backends: list[Backend | None] = [None] * DRIVES
        self.floppies = FloppyBus(self.machine, f"floppy-bus.{self.machine.number(self)}", self)
        for number, drive in enumerate((self.drivea, self.driveb)):
            if drive is not None:
                self.put(number, drive, self)
        # The ports leave out one that belongs to the IDE controller.
        low = Mmio("fdc", 5, self._read_low, self._write_low, self, maximum=1)
        high = Mmio("fdc", 1, self._read_high, self._write_high, self, maximum=1)
        self.ports(low, self.iobase + 1)
        self.ports(high, self.iobase + DIRECTION)
        self.bus.connect(self.line, self.irq)
        channels = self.bus.dma
        self._channel = channels[self.dma] if self.dma < len(channels) else None

    def free_unit(self, wanted: int | None) -> int:
        """The place of a further drive, `wanted` where it is free. Raises OptionError."""
        free = [number for number, backend in enumerate(self.backends) if backend is None]
        if wanted in free or wanted is None and free:
            return free[0] if wanted is None else wanted
        what = "units are" if wanted is None else f"unit {wanted} is"
        raise OptionError(f"Floppy {what} in use; -nodefaults leaves the board's drive out")

    def put(self, number: int, drive: Drive, owner: Device) -> None:
        """Have a drive, which belongs to `owner` from now on. Raises OptionError."""
        if drive.owner is not None:
            raise OptionError(
                f"{owner.driver}: Drive {quoted(drive.id)} is already in use by another device"
            )
        drive.owner = owner
        self.backends[number] = drive.backend
        drive.backend.changed.append(self._noting(number))

    def _noting(self, number: int) -> Callable[[], None]:
        def changed() -> None:
            self.changed[number] = 1

        return changed

    def reset(self) -> None:
        self._forget()

    def loaded(self) -> None:
        if self.phase == "dma":
            self._ask_for_dma()

    def unplugged(self) -> None:
        self._forget()

    def _forget(self) -> None:
        request, self._request = self._request, None
        if request is not None:
            request.cancel()

    # Ports

    def _read_low(self, offset: int, size: int) -> int:
        register = offset + 1
        if register == DIGITAL_OUTPUT:
            return self.digital_output
        if register == TAPE:
            return 0x20 if self.backends[1] is None else 0x00
        if register == MAIN_STATUS:
            return self._main_status()
        if register == FIFO:
            return self._read_fifo()
        return 0xFF

    def _write_low(self, offset: int, value: int, size: int) -> None:
        register = offset + 1
        if register == DIGITAL_OUTPUT:
            self._write_digital_output(value)
        elif register == MAIN_STATUS and value & 0x80:
            self._software_reset()
            self._announce_reset()
        elif register == FIFO:
            self._write_fifo(value)

    def _read_high(self, offset: int, size: int) -> int:
        number = self.digital_output & 3
        return DISK_CHANGED if self._backend(number) is not None and self.changed[number] else 0

    def _write_high(self, offset: int, value: int, size: int) -> None:
        """The data rate, which makes no difference."""

    def _main_status(self) -> int:
        if self.phase in ("busy", "dma"):
            return COMMAND_BUSY
        if not self.digital_output & NOT_RESET:
            return 0
        status = REQUEST
        if self.phase in ("input", "result"):
            status |= TO_HOST
        if self.phase in ("input", "output"):
            status |= NO_DMA
        if self.phase != "command" or self.command:
            status |= COMMAND_BUSY
        return status

    def _write_digital_output(self, value: int) -> None:
        old, self.digital_output = self.digital_output, value
        if not value & NOT_RESET:
            self._software_reset()
        elif not old & NOT_RESET:
            self._announce_reset()

    def _software_reset(self) -> None:
        self._forget()
        self.line.lower()
        self.phase = "command"
        self.command, self.result, self.data = bytearray(), bytearray(), bytearray()
        if not self.locked:
            self.configured = 0
        self.interrupt_status = bytearray()

    def _announce_reset(self) -> None:
        self.interrupt_status = bytearray(POLLED | number for number in range(4))
        self._interrupt()

    def _interrupt(self) -> None:
        if self.digital_output & INTERRUPTS:
            self.line.raise_()

    # The FIFO

    def _read_fifo(self) -> int:
        if self.phase == "input":
            value = self.data[self.position]
            self._next_byte()
            return value
        if self.phase != "result" or not self.result:
            return 0
        self.line.lower()
        value = self.result.pop(0)
        if not self.result:
            self.phase = "command"
        return value

    def _write_fifo(self, value: int) -> None:
        if not self.digital_output & NOT_RESET:
            return
        if self.phase == "output":
            self.data[self.position] = value
            self._next_byte()
        elif self.phase == "command":
            self.command.append(value)
            if len(self.command) >= _LENGTHS.get(self.command[0] & COMMAND_MASK, 1):
                self._execute()

    def _next_byte(self) -> None:
        self.position += 1
        self.line.lower()
        if self.position < SECTOR:
            self._interrupt()
        elif self.phase == "output":
            self._store()
        else:
            self._next_sector()

    # Commands

    def _backend(self, number: int) -> Backend | None:
        return self.backends[number] if number < DRIVES else None

    def _answer(self, *values: int, interrupt: bool = False) -> None:
        """Let the host read the result of the command."""
        self.command = bytearray()
        self.result = bytearray(values)
        self.phase = "result" if values else "command"
        if interrupt:
            self._interrupt()

    def _execute(self) -> None:
        code = self.command[0] & COMMAND_MASK
        number = self.command[1] & 3 if len(self.command) > 1 else 0
        if code in (READ_TRACK, WRITE_DATA, READ_DATA):
            self._begin_transfer()
        elif code == SPECIFY:
            self.specified = list(self.command[1:3])
            self._answer()
        elif code == SENSE_DRIVE_STATUS:
            self._answer(self._drive_status(number, self.command[1] & 4))
        elif code in (RECALIBRATE, SEEK):
            self._seek(number, 0 if code == RECALIBRATE else self.command[2])
        elif code == SENSE_INTERRUPT_STATUS and self.interrupt_status:
            self.line.lower()
            status = self.interrupt_status.pop(0)
            self._answer(status, self.tracks[status & 3])
        elif code == READ_ID:
            self._read_id(number)
        elif code == DUMPREG:
            tracks, specified = self.tracks, self.specified
            self._answer(*tracks, *specified, 0, self.locked << 7, self.configured, 0)
        elif self.command[0] == VERSION:
            self._answer(CHIP_VERSION)
        elif code == PERPENDICULAR_MODE:
            self._answer()
        elif code == CONFIGURE:
            self.configured = self.command[2]
            self._answer()
        elif code == LOCK:
            self.locked = self.command[0] >> 7
            self._answer(self.locked << 4)
        elif self.command[0] == PART_ID:
            self._answer(CHIP_PART)
        else:
            self._answer(INVALID)

    def _drive_status(self, number: int, head: int) -> int:
        backend = self._backend(number)
        status = ALWAYS_ONE | head | number
        if not self.tracks[number]:
            status |= TRACK_0
        if backend is not None and backend.readonly:
            status |= PROTECTED
        return status

    def _seek(self, number: int, track: int) -> None:
        backend = self._backend(number)
        self._answer()
        if backend is not None:
            self.tracks[number] = track
            if backend.image is not None:
                self.changed[number] = 0
            status = SEEK_END | number
        else:
            status = SEEK_END | ABNORMAL | EQUIPMENT_CHECK | number  # no track 0 was found
        self.interrupt_status = bytearray((status,))
        self._interrupt()

    def _read_id(self, number: int) -> None:
        backend = self._backend(number)
        head = self.command[1] >> 2 & 1
        if backend is None or backend.image is None:
            self._fail(ABNORMAL | number | head << 2, NO_ADDRESS_MARK)
        else:
            self._answer(number | head << 2, 0, 0, self.tracks[number], head, 1, 2, interrupt=True)

    # Sectors

    def _begin_transfer(self) -> None:
        number = self.command[1] & 3
        backend = self._backend(number)
        layout = format_of(backend.size) if backend else None
        self.sector = list(self.command[2:5])
        if self._by_dma and self._channel is None:
            self._fail(ABNORMAL | number, OVERRUN)  # nobody answers the request
        elif backend is None or layout is None:
            self._fail(ABNORMAL | NOT_READY | number, 0)
        elif self.command[5] != 2 or not self._inside(layout):
            self._fail(ABNORMAL | number, NO_DATA)
        elif self._writes:
            if backend.readonly:
                self._fail(ABNORMAL | number, WRITE_PROTECTED)
            else:
                self._fetch()
        else:
            self._load()

    def _inside(self, layout: Format) -> bool:
        track, head, sector = self.sector
        return track < layout.tracks and head < layout.heads and 1 <= sector <= layout.sectors

    def _place(self) -> tuple[Backend, int]:
        """The medium, and where on it the sector is."""
        backend = self._backend(self.command[1] & 3)
        assert backend is not None
        layout = format_of(backend.size) or FORMATS[1]
        track, head, sector = self.sector
        return backend, ((track * layout.heads + head) * layout.sectors + sector - 1) * SECTOR

    @property
    def _by_dma(self) -> bool:
        return not self.specified[1] & 1

    @property
    def _writes(self) -> bool:
        """Whether the host brings the sectors."""
        return self.command[0] & COMMAND_MASK == WRITE_DATA

    def _offer(self, phase: str, data: bytes | bytearray) -> None:
        """Begin to transfer a sector between the controller and the host."""
        self.data = bytearray(data)
        self.position = 0
        if self._by_dma:
            self.phase = "dma"
            self._ask_for_dma()
        else:
            self.phase = phase
            self._interrupt()

    def _fetch(self) -> None:
        """Have the host bring a sector."""
        self._offer("output", bytes(SECTOR))

    def _ask_for_dma(self) -> None:
        if self._channel is not None:
            self._channel.when_ready(self._transfer)

    def _transfer(self) -> None:
        """Transfer the sector, or what the DMA controller wants of it, and go on."""
        channel = self._channel
        if self.phase != "dma" or channel is None:
            return  # a reset was quicker
        if self._writes:
            brought = channel.from_memory(SECTOR)
            self.data[: len(brought)] = brought
            self._store(last=channel.ended)
        else:
            channel.to_memory(self.data)
            if channel.ended:
                self._finish()
            else:
                self._next_sector()

    def _start(self, request: Request | None, done: Callable[[int], None]) -> None:
        if request is None:
            done(0)
        else:
            self._request = request

    def _load(self) -> None:
        """Read a sector for the host."""
        backend, offset = self._place()
        data = bytearray(SECTOR)
        self.phase = "busy"

        def done(error: int) -> None:
            self._request = None
            if error:
                self._fail(ABNORMAL | self.command[1] & 3, DATA_ERROR)
            else:
                self._offer("input", data)

        self._start(backend.read(offset, [memoryview(data)], done), done)

    def _store(self, last: bool = False) -> None:
        """Write the sector that the host has brought."""
        backend, offset = self._place()
        self.phase = "busy"

        def done(error: int) -> None:
            self._request = None
            if error:
                self._fail(ABNORMAL | self.command[1] & 3, DATA_ERROR)
            elif last:
                self._finish()
            else:
                self._next_sector()

        self._start(backend.write(offset, [bytes(self.data)], done), done)

    def _following(self) -> list[int] | None:
        """The sector after this one in the same transfer, None after the last."""
        backend, _ = self._place()
        layout = format_of(backend.size) or FORMATS[1]
        track, head, sector = self.sector
        if sector < min(self.command[6], layout.sectors):
            return [track, head, sector + 1]
        if self.command[0] & MULTI_TRACK and not head and layout.heads == 2:
            return [track, 1, 1]
        return None

    def _next_sector(self) -> None:
        """Go on after a sector; without a DMA controller, nothing but the end of track ends it."""
        following = self._following()
        if following is None:
            self._fail(ABNORMAL | self.command[1] & 3, END_OF_CYLINDER)
            return
        self.sector = following
        if self._writes:
            self._fetch()
        else:
            self._load()

    def _finish(self) -> None:
        """End a transfer as the DMA controller wants it; the result names the next sector."""
        drive_and_head = self.command[1] & 3 | (self.sector[1] & 1) << 2
        track, head, _ = self.sector
        both_sides = self.command[0] & MULTI_TRACK
        following = self._following() or [track + 1 & 0xFF, 0 if both_sides else head, 1]
        self._answer(drive_and_head, 0, 0, *following, 2, interrupt=True)

    def _fail(self, status0: int, status1: int) -> None:
        """End a transfer before its end."""
        head = self.sector[1] & 1
        self._answer(status0 | head << 2, status1, 0, *self.sector, 2, interrupt=True)
