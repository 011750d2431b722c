"""Parallel NOR flash with the common flash interface and Intel's command set.

JEDEC JESD68 (Common Flash Memory Interface), JEP137; Intel StrataFlash Memory (J3) data sheet. The
chip is as wide as its bus. Erasing and programming take no time. Left out: suspending, one-time
programmable bits; blocks are not locked.
"""

from __future__ import annotations

from pemu.block.backend import Backend
from pemu.machine import prop, state
from pemu.machine.device import Device
from pemu.machine.region import RomDevice
from pemu.options.error import OptionError

READY, ERASE_FAILED, PROGRAM_FAILED, LOCKED = 0x80, 0x20, 0x10, 0x02
BAD_SEQUENCE = ERASE_FAILED | PROGRAM_FAILED

BUFFER_BITS = 11
BUFFER = 1 << BUFFER_BITS
"""Bytes that one write of the buffer programs at most."""

ERASED = 0xFF

READ_ARRAY, READ_STATUS, READ_ID, READ_QUERY = "array", "status", "id", "query"
_MODES = {
    0xFF: READ_ARRAY,
    0xF0: READ_ARRAY,
    0x00: READ_ARRAY,
    0x70: READ_STATUS,
    0x90: READ_ID,
    0x98: READ_QUERY,
}

EXTENDED_QUERY = 0x31


class CfiFlash(Device):
    """The chip. The board maps `region`; without a drive its contents are not kept."""

    driver = "cfi.pflash01"
    description = "parallel flash with Intel's command set"
    category = "storage"
    user_creatable = False

    drive = prop.drive()
    num_blocks = prop.uint(32, 0, "number of erase blocks")
    sector_length = prop.uint(64, 0, "bytes of an erase block")
    width = prop.uint(8, 4, "bytes of the bus")
    big_endian = prop.flag(False, "byte order of the bus")
    id0 = prop.uint(16, 0, "manufacturer")
    id1 = prop.uint(16, 0, "device")
    name = prop.text("pflash", "name of the memory")

    mode = state.text(reset=READ_ARRAY, help="what reads return")
    status = state.uint(8, reset=READY)
    command = state.uint(8, help="the command whose next write comes, 0 for none")
    expected = state.uint(16, help="writes to the buffer that are to come")
    gathered = state.buffer(BUFFER, help="what is to be programmed")
    gathered_at = state.uint(64, help="where it goes")

    region: RomDevice
    backend: Backend | None

    def realize(self) -> None:
        size = self.num_blocks * self.sector_length
        if self.width not in (1, 2, 4) or not size or self.sector_length % BUFFER:
            raise OptionError(
                f"{self.driver}: width={self.width}, num-blocks={self.num_blocks}, sector-length="
                f"{self.sector_length} make no chip; the width is 1, 2 or 4 bytes, and a sector "
                f"a multiple of {BUFFER}"
            )
        self.region = RomDevice(
            self.name,
            size,
            self._read,
            self._write,
            self,
            maximum=self.width,
            order="big" if self.big_endian else "little",
        )
        self.own(self.region)
        self.backend = None
        if self.drive is None:
            self.region.write_bytes(0, bytes((ERASED,)) * size)
        else:
            self._load(size)
        self._query = self._make_query()

    def _load(self, size: int) -> None:
        assert self.drive is not None
        self.backend = self.drive.backend
        self.drive.owner = self
        image = self.backend.image
        if image is None or image.size != size:
            provided = image.size if image else 0
            raise OptionError(
                f"{self.drive.said}: device requires {size} bytes, block backend provides "
                f"{provided} bytes"
            )
        try:
            self.region.write_bytes(0, image.read(0, size))
        except OSError as error:
            raise OptionError(f"{self.drive.said}: cannot be read ({error.strerror})") from None

    def _make_query(self) -> dict[int, int]:
        """What the common flash interface tells, by number of the word."""
        blocks, length = self.num_blocks - 1, self.sector_length // 256
        size = (self.num_blocks * self.sector_length - 1).bit_length()
        head = b"QRY" + (1).to_bytes(2, "little") + EXTENDED_QUERY.to_bytes(2, "little") + bytes(4)
        volts = bytes((0x45, 0x55, 0x00, 0x00))
        times = bytes((0x07, 0x07, 0x0A, 0x00, 0x04, 0x04, 0x04, 0x00))
        shape = bytes((size, 2, 0, BUFFER_BITS, 0, 1))
        region = blocks.to_bytes(2, "little") + length.to_bytes(2, "little")
        extended = b"PRI10" + bytes(9) + b"\x01"  # one field of protection bits
        table = dict(enumerate(head + volts + times + shape + region, 0x10))
        return table | dict(enumerate(extended, EXTENDED_QUERY))

    def reset(self) -> None:
        self.region.direct = True

    def loaded(self) -> None:
        self.region.direct = self.mode == READ_ARRAY

    # Reading

    def _read(self, offset: int, size: int) -> int:
        if self.mode == READ_ARRAY:
            order = self.region.registers.order or "little"
            return int.from_bytes(self.region.read_bytes(offset, size), order)
        word = offset // self.width
        if self.mode == READ_STATUS:
            value = self.status
        elif self.mode == READ_ID:
            # The block's lock bit comes after manufacturer and device.
            value = (self.id0, self.id1, 0)[word & 3] if word & 0xFF < 3 else 0
        else:
            value = self._query.get(word & 0xFF, 0)
        if self.width == 4 and self.mode == READ_STATUS:
            value |= value << 16
        place = offset % self.width
        if self.big_endian:
            place = self.width - size - place
        return value >> 8 * place & (1 << 8 * size) - 1

    # Writing

    def _write(self, offset: int, value: int, size: int) -> None:
        command, self.command = self.command, 0
        if command:
            self._continue(command, offset, value, size)
        else:
            self._begin(offset, value & 0xFF)
        self.region.direct = self.mode == READ_ARRAY

    def _begin(self, offset: int, command: int) -> None:
        if command in _MODES:
            self.mode = _MODES[command]
        elif command == 0x50:
            self.status = READY
        elif command in (0x10, 0x40, 0x20, 0x60, 0xC0):
            self.command = command
            self.mode = READ_STATUS
        elif command == 0xE8:
            self.command = command
            self.expected = 0
            self.mode = READ_STATUS
        elif command in (0xB0, 0xD0):  # suspend, resume: all has been done already
            self.mode = READ_STATUS
        else:
            self.guest_error(f"unknown command {command:#04x} at {offset:#x}")
            self.mode = READ_ARRAY

    def _continue(self, command: int, offset: int, value: int, size: int) -> None:
        """The second and further writes of a command."""
        confirmed = value & 0xFF == 0xD0
        if command in (0x10, 0x40):
            self._program(offset, self._bytes(value, size))
        elif command == 0x20:
            if confirmed:
                self._erase(offset)
            else:
                self.status |= BAD_SEQUENCE
        elif command == 0x60:
            if value & 0xFF not in (0x01, 0xD0, 0x2F):
                self.status |= BAD_SEQUENCE
        elif command == 0xE8:
            count = (value & 0xFFFF) + 1
            if count * self.width > BUFFER:
                self.status |= BAD_SEQUENCE
                return
            self.expected = count
            self.gathered = bytearray()
            self.command = _GATHERING
        elif command == _GATHERING:
            self._gather(offset, value, size)
        elif command == _CONFIRMING:
            if confirmed:
                self._program(self.gathered_at, bytes(self.gathered))
            else:
                self.status |= BAD_SEQUENCE

    def _gather(self, offset: int, value: int, size: int) -> None:
        if not self.gathered:
            self.gathered_at = offset & -BUFFER
            self.gathered = bytearray((ERASED,)) * BUFFER
        at = offset - self.gathered_at
        if not 0 <= at <= BUFFER - size:
            self.status |= BAD_SEQUENCE
            return
        self.gathered[at : at + size] = self._bytes(value, size)
        self.expected -= 1
        self.command = _GATHERING if self.expected else _CONFIRMING

    def _bytes(self, value: int, size: int) -> bytes:
        return value.to_bytes(size, "big" if self.big_endian else "little")

    def _program(self, offset: int, data: bytes) -> None:
        """Program: bits can only be cleared."""
        old = self.region.read_bytes(offset, len(data))
        both = int.from_bytes(old, "little") & int.from_bytes(data, "little")
        self._store(offset, both.to_bytes(len(data), "little"), PROGRAM_FAILED)

    def _erase(self, offset: int) -> None:
        start = offset - offset % self.sector_length
        self._store(start, bytes((ERASED,)) * self.sector_length, ERASE_FAILED)

    def _store(self, offset: int, data: bytes, failure: int) -> None:
        """Change the contents, in the image, too."""
        if self.backend is not None and self.backend.readonly:
            self.status |= failure | LOCKED
            return
        self.region.write_bytes(offset, data)
        if self.backend is not None:
            self.backend.write(offset, [data], self._stored)

    def _stored(self, error: int) -> None:
        if error:
            self.status |= PROGRAM_FAILED


_GATHERING, _CONFIRMING = 0xE9, 0xEA
"""What `command` is while the buffer is written, and when it is to be confirmed: not commands."""
