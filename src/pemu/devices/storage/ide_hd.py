"""An IDE hard disk.

ATA/ATAPI-7 (T13 1532D) volume 1, chapter 6. Left out: queued and streaming commands, the host
protected area, passwords, microcode.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from pemu.block.image import SECTOR
from pemu.devices.storage import ide_smart
from pemu.devices.storage.dma import GuestBuffers
from pemu.devices.storage.ide import (
    ABORTED,
    IDLE,
    NOT_FOUND,
    SELECT_LBA,
    UNCORRECTABLE,
    IdeDevice,
)
from pemu.devices.storage.ide_identify import (
    MULTI_WORD_DMA,
    SINGLE_WORD_DMA,
    ULTRA_DMA,
    Geometry,
    guess_geometry,
    identify_disk,
)
from pemu.machine import prop, state
from pemu.options.error import OptionError, quoted

MOST_MULTIPLE = 16
"""Sectors to an interrupt that READ MULTIPLE can have."""

MOST_TRIMMED = 64
"""Sectors of ranges that one DATA SET MANAGEMENT may bring."""


class IdeDisk(IdeDevice):
    """The disk."""

    driver = "ide-hd"
    description = "virtual IDE disk"

    cyls = prop.uint(32, 0, "cylinders (default: by the size)")
    heads = prop.uint(32, 0, "heads")
    secs = prop.uint(32, 0, "sectors of a track")
    model = prop.text("QEMU HARDDISK", "model name")
    rotation_rate = prop.uint(
        16, 0, "turns a minute, 1 without any; 0 tells nothing", key="rotation_rate"
    )
    lcyls = prop.uint(32, 0, "cylinders for a PC's firmware")
    lheads = prop.uint(32, 0, "heads for it")
    lsecs = prop.uint(32, 0, "sectors of a track for it")
    bios_chs_trans = prop.choice(
        ("auto", "none", "lba", "large", "rechs"), "auto", "how it translates them"
    )

    multiple = state.uint(8, reset=MOST_MULTIPLE, help="sectors of READ MULTIPLE")
    current_heads = state.uint(8, help="by INITIALIZE DEVICE PARAMETERS, 0 for the native ones")
    current_sectors = state.uint(8)
    write_cache = state.flag()
    smart_enabled = state.flag(reset=True)

    lba = state.uint(48, help="of the sector that comes next")
    remaining = state.uint(17, help="sectors to be transferred")
    block = state.uint(9, help="sectors to an interrupt")
    extended = state.flag(help="the command has addresses of 48 bits")

    native: Geometry

    def realize(self) -> None:
        super().realize()
        assert self.drive is not None
        if self.backend.image is None:
            raise OptionError(f"{self.driver}: Device needs media, but drive is empty")
        if self.backend.readonly:
            raise OptionError(
                f"{self.driver}: Block node is read-only: drive {quoted(self.drive.id)}; a hard "
                "disk must be writable, with snapshot=on the image is left alone"
            )
        self.native = guess_geometry(self.sectors)
        given = (self.cyls, self.heads, self.secs)
        if any(given):
            limits = (("cyls", 65535), ("heads", 16), ("secs", 255))
            for value, (name, most) in zip(given, limits, strict=True):
                if not 1 <= value <= most:
                    raise OptionError(f"{self.driver}: {name}={value} must be between 1 and {most}")
            self.native = Geometry(*given)

    def reset(self) -> None:
        super().reset()
        self.write_cache = not self.backend.writethrough

    @property
    def sectors(self) -> int:
        """The size of the disk."""
        return self.backend.size // SECTOR

    @property
    def _current(self) -> Geometry:
        heads = self.current_heads or self.native.heads
        sectors = self.current_sectors or self.native.sectors
        if (heads, sectors) == self.native[1:]:
            return self.native
        return Geometry(min(self.native.total // (heads * sectors), 0xFFFF), heads, sectors)

    def signature(self) -> tuple[int, int]:
        return 0, 0

    def execute(self, command: int) -> bool:
        action = _COMMANDS.get(command)
        if action is None:
            return False
        action(self)
        return True

    # Addresses

    def _take_address(self, extended: bool) -> bool:
        """Note which sectors the command is about; ends it where the disk has not so many."""
        self.extended = extended
        if extended:
            self.remaining = self.count[1] << 8 | self.count[0] or 0x10000
            pairs = (self.lba_low, self.lba_mid, self.lba_high)
            low, high = (
                sum(pair[older] << 8 * place for place, pair in enumerate(pairs))
                for older in (0, 1)
            )
            self.lba = high << 24 | low
        else:
            self.remaining = self.count[0] or 256
            self.lba = self._short_address()
        if self.lba + self.remaining > self.sectors:
            self.abort(NOT_FOUND)
            return False
        return True

    def _short_address(self) -> int:
        cylinder = self.lba_high[0] << 8 | self.lba_mid[0]
        if self.select & SELECT_LBA:
            return (self.select & 15) << 24 | cylinder << 8 | self.lba_low[0]
        if not self.lba_low[0]:
            return self.sectors  # sectors count from 1: no such one
        geometry = self._current
        track = cylinder * geometry.heads + (self.select & 15)
        return track * geometry.sectors + self.lba_low[0] - 1

    def _show_address(self, lba: int) -> None:
        """Put an address into the task file."""
        if self.extended or self.select & SELECT_LBA:
            pairs = (self.lba_low, self.lba_mid, self.lba_high)
            for place, pair in enumerate(pairs):
                pair[0] = lba >> 8 * place & 0xFF
                if self.extended:
                    pair[1] = lba >> 24 + 8 * place & 0xFF
            if not self.extended:
                self.select = self.select & 0xF0 | lba >> 24 & 15
            return
        geometry = self._current
        track, sector = divmod(lba, geometry.sectors)
        cylinder, head = divmod(track, geometry.heads)
        self.lba_low[0] = sector + 1 & 0xFF
        self.lba_mid[0], self.lba_high[0] = cylinder & 0xFF, cylinder >> 8 & 0xFF
        self.select = self.select & 0xF0 | head & 15

    def _advance(self, sectors: int) -> None:
        self.lba += sectors
        self.remaining -= sectors
        self.count[0] = self.remaining & 0xFF
        self._show_address(min(self.lba, (1 << 48) - 1))

    def _failed(self, error: int) -> None:
        """The host's image has failed."""
        self._show_address(self.lba)
        self.abort(ABORTED if error in (errno.EPERM, errno.EINVAL) else UNCORRECTABLE)

    # Programmed transfers

    def _begin_pio(self, *, writes: bool, extended: bool, multiple: bool) -> None:
        if multiple and not self.multiple:
            self.abort()
        elif self._take_address(extended):
            self.block = self.multiple if multiple else 1
            if writes:
                self.expect(self._piece() * SECTOR, "block_written", interrupt=False)
            else:
                self._read_block()

    def _piece(self) -> int:
        """Sectors of the next block."""
        return min(self.remaining, self.block)

    def _read_block(self) -> None:
        data = bytearray(self._piece() * SECTOR)

        def done(error: int) -> None:
            if error:
                self._failed(error)
            else:
                self.send(data, "block_read")

        self.start(lambda end: self.backend.read(self.lba * SECTOR, [memoryview(data)], end), done)

    def block_read(self) -> None:
        """The host has taken a block."""
        self._advance(self._piece())
        if self.remaining:
            self._read_block()

    def block_written(self) -> None:
        """The host has brought a block."""
        data = bytes(self.buffer)

        def done(error: int) -> None:
            if error:
                self._failed(error)
                return
            self._advance(len(data) // SECTOR)
            if self.remaining:
                self.expect(self._piece() * SECTOR, "block_written", interrupt=True)
            else:
                self.flush_if(not self.write_cache)

        self.start(lambda end: self.backend.write(self.lba * SECTOR, [data], end), done)

    def answered(self) -> None:
        """The host has taken the answer to a command."""

    # DMA

    def _begin_dma(self, *, writes: bool, extended: bool) -> None:
        if self._take_address(extended):
            self.dma("out" if writes else "in", self.remaining * SECTOR)

    def transfer(self, memory: GuestBuffers) -> None:
        if self.command == _TRIM:
            self._trim(memory)
            return
        sectors = memory.length // SECTOR
        writes = self.dma_direction == "out"
        enough = sectors == self.remaining
        buffers = _first(memory.buffers, sectors * SECTOR)

        def done(error: int) -> None:
            if error:
                self.dma_direction = ""
                self.bus.master.dma_ended(self)
                self._failed(error)
                return
            if not writes:
                memory.finish()
            self._advance(sectors)
            self.end_dma()
            if enough:
                self.flush_if(writes and not self.write_cache)
            else:
                self.status = IDLE  # the host's table was too short; no interrupt tells of that

        if writes:
            self.start(lambda end: self.backend.write(self.lba * SECTOR, buffers, end), done)
        else:
            self.start(lambda end: self.backend.read(self.lba * SECTOR, buffers, end), done)

    # Commands without data

    def flush_if(self, needed: bool = True) -> None:
        """End the command, where `needed` when all is on stable storage."""

        def done(error: int) -> None:
            if error:
                self._failed(error)
            else:
                self.succeed()

        if needed:
            self.start(self.backend.flush, done)
        else:
            self.succeed()

    def verify(self, extended: bool) -> None:
        """READ VERIFY SECTORS."""
        if self._take_address(extended):
            self._advance(self.remaining)
            self.succeed()

    def seek(self) -> None:
        """SEEK."""
        self.extended = False
        if self._short_address() < self.sectors:
            self.succeed()
        else:
            self.abort(NOT_FOUND)

    def native_max(self, extended: bool) -> None:
        """READ NATIVE MAX ADDRESS."""
        self.extended = extended
        self.select |= SELECT_LBA
        self._show_address(self.sectors - 1 if extended else min(self.sectors, 1 << 28) - 1)
        self.succeed()

    def set_multiple(self) -> None:
        """SET MULTIPLE MODE."""
        sectors = self.count[0]
        if sectors > MOST_MULTIPLE or sectors & (sectors - 1):
            self.abort()
        else:
            self.multiple = sectors
            self.succeed()

    def set_geometry(self) -> None:
        """INITIALIZE DEVICE PARAMETERS."""
        if not self.count[0]:
            self.abort()
            return
        self.current_sectors = self.count[0]
        self.current_heads = (self.select & 15) + 1
        self.succeed()

    def power_mode(self) -> None:
        """CHECK POWER MODE: it is always active."""
        self.count[0] = 0xFF
        self.succeed()

    def identify(self) -> None:
        """IDENTIFY DEVICE."""
        data = identify_disk(
            self.sectors,
            self.native,
            self._current,
            names=(self.serial, self.ver, self.model),
            multiple=self.multiple,
            most_multiple=MOST_MULTIPLE,
            mode=self.transfer_mode,
            write_cache=self.write_cache,
            smart=self.smart_enabled,
            wwn=self.wwn,
            physical_shift=(self.physical_block_size // SECTOR).bit_length() - 1,
            rotation_rate=self.rotation_rate,
        )
        self.send(data, "answered")

    def set_features(self) -> None:
        """SET FEATURES."""
        feature, value = self.features[0], self.count[0]
        if feature in (_WRITE_CACHE_ON, _WRITE_CACHE_OFF):
            self.write_cache = feature == _WRITE_CACHE_ON
            self.flush_if(not self.write_cache)
        elif feature == _TRANSFER_MODE:
            kind, number = value & 0xF8, value & 7
            modes = {0: 2, 8: 5, SINGLE_WORD_DMA: 3, MULTI_WORD_DMA: 3, ULTRA_DMA: 6}
            if number >= modes.get(kind, 0):
                self.abort()
                return
            self.transfer_mode = value
            self.succeed()
        elif feature in _IGNORED_FEATURES:
            self.succeed()
        else:
            self.abort()

    def smart(self) -> None:
        """SMART, of which little is there."""
        action = ide_smart.ACTIONS.get(self.features[0])
        keys = (self.lba_mid[0], self.lba_high[0])
        off = not self.smart_enabled and self.features[0] != ide_smart.ENABLE
        if action is None or keys != ide_smart.KEYS or off or not action(self):
            self.abort()

    def write_buffer(self) -> None:
        """WRITE BUFFER: what the host brings is of no use."""
        self.expect(SECTOR, "succeed", interrupt=False)

    def read_buffer(self) -> None:
        """READ BUFFER."""
        self.send(bytes(SECTOR), "answered")

    def data_set(self) -> None:
        """DATA SET MANAGEMENT: the host brings ranges to trim."""
        sectors = self.count[1] << 8 | self.count[0] or 0x10000
        if self.features[0] != 1 or sectors > MOST_TRIMMED:
            self.abort()
        else:
            self.dma("out", sectors * SECTOR)

    def _trim(self, memory: GuestBuffers) -> None:
        data = b"".join(memory.buffers)
        ranges = []
        for at in range(0, len(data) & ~7, 8):
            entry = int.from_bytes(data[at : at + 8], "little")
            first, count = entry & (1 << 48) - 1, entry >> 48
            if first + count > self.sectors:
                self.end_dma()
                self.abort(NOT_FOUND)
                return
            if count:
                ranges.append((first * SECTOR, count * SECTOR))

        def done(error: int) -> None:
            self.end_dma()
            if error:
                self._failed(error)
            else:
                self.succeed()

        self.start(lambda end: self.backend.discard(ranges, end), done)


def _first(buffers: list[memoryview], length: int) -> list[memoryview]:
    """The first `length` bytes of `buffers`."""
    found = []
    for view in buffers:
        if length <= 0:
            break
        found.append(view[:length])
        length -= len(view)
    return found


_TRIM = 0x06

_WRITE_CACHE_ON, _WRITE_CACHE_OFF, _TRANSFER_MODE = 0x02, 0x82, 0x03

_IGNORED_FEATURES = (0x05, 0x85, 0x42, 0xC2, 0x55, 0xAA, 0x66, 0xCC, 0x67, 0x69, 0x96, 0x9A)
"""Power management, noise, look-ahead, what a reset keeps: nothing that would make a difference."""


def _pio(*, writes: bool, extended: bool = False, multiple: bool = False) -> _Action:
    return lambda disk: disk._begin_pio(writes=writes, extended=extended, multiple=multiple)


def _dma(*, writes: bool, extended: bool = False) -> _Action:
    return lambda disk: disk._begin_dma(writes=writes, extended=extended)


_Action = Callable[[IdeDisk], object]

_COMMANDS: dict[int, _Action] = {
    _TRIM: IdeDisk.data_set,
    **dict.fromkeys(range(0x10, 0x20), IdeDisk.succeed),  # RECALIBRATE
    0x20: _pio(writes=False),  # READ SECTORS
    0x21: _pio(writes=False),  # the same without retries
    0x24: _pio(writes=False, extended=True),  # READ SECTORS EXT
    0x25: _dma(writes=False, extended=True),  # READ DMA EXT
    0x27: lambda disk: disk.native_max(True),
    0x29: _pio(writes=False, extended=True, multiple=True),  # READ MULTIPLE EXT
    0x30: _pio(writes=True),  # WRITE SECTORS
    0x31: _pio(writes=True),  # the same without retries
    0x34: _pio(writes=True, extended=True),  # WRITE SECTORS EXT
    0x35: _dma(writes=True, extended=True),  # WRITE DMA EXT
    0x39: _pio(writes=True, extended=True, multiple=True),  # WRITE MULTIPLE EXT
    0x3C: _pio(writes=True),  # WRITE VERIFY
    0x40: lambda disk: disk.verify(False),
    0x41: lambda disk: disk.verify(False),  # without retries
    0x42: lambda disk: disk.verify(True),
    **dict.fromkeys(range(0x70, 0x80), IdeDisk.seek),
    0x91: IdeDisk.set_geometry,
    # Standby, idle and sleep, by their old numbers
    **dict.fromkeys((0x94, 0x95, 0x96, 0x97, 0x99), IdeDisk.succeed),
    0x98: IdeDisk.power_mode,
    0xB0: IdeDisk.smart,
    0xC4: _pio(writes=False, multiple=True),  # READ MULTIPLE
    0xC5: _pio(writes=True, multiple=True),  # WRITE MULTIPLE
    0xC6: IdeDisk.set_multiple,
    0xC8: _dma(writes=False),  # READ DMA
    0xC9: _dma(writes=False),  # the same without retries
    0xCA: _dma(writes=True),  # WRITE DMA
    0xCB: _dma(writes=True),  # the same without retries
    # Standby, idle and sleep
    **dict.fromkeys((0xE0, 0xE1, 0xE2, 0xE3, 0xE6), IdeDisk.succeed),
    0xE4: IdeDisk.read_buffer,
    0xE5: IdeDisk.power_mode,
    0xE7: IdeDisk.flush_if,  # FLUSH CACHE
    0xE8: IdeDisk.write_buffer,
    0xEA: IdeDisk.flush_if,  # FLUSH CACHE EXT
    0xEC: IdeDisk.identify,
    0xEF: IdeDisk.set_features,
    0xF5: IdeDisk.succeed,  # SECURITY FREEZE LOCK: there are no passwords to be frozen
    0xF8: lambda disk: disk.native_max(False),
}
"""By the command's number; the methods say which one it is."""
