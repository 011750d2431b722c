"""The generic loader: what each reset puts into memory, and where a processor begins.

No chip, but what `-device loader,...` asks for, as in QEMU's "Generic Loader" document.
"""

from __future__ import annotations

from typing import ClassVar, Protocol, cast

from pemu.machine import elf, intelhex, prop, uimage
from pemu.machine.device import Device
from pemu.machine.files import load_file
from pemu.machine.memory import Rom
from pemu.machine.region import Ram
from pemu.options.error import OptionError, quoted

NO_CPU = 0xFFFF_FFFF
WIDEST = 8
"""Bytes of a value."""


class _Startable(Protocol):
    def start_at(self, address: int) -> None: ...


class GenericLoader(Device):
    """One thing that is loaded."""

    driver = "loader"
    description = "Generic Loader"
    category: ClassVar[str] = "misc"

    addr = prop.uint(
        64, 0, "guest-physical address; without a file and a value, where a cpu begins"
    )
    cpu_num = prop.uint(32, NO_CPU, "number of the cpu that begins there, or at the file's entry")
    data = prop.uint(64, 0, "value to write")
    data_len = prop.uint(8, 0, "its size in bytes, 1 to 8")
    data_be = prop.flag(False, "write it with its most significant byte first")
    file = prop.text("", "ELF file, uImage, Intel hex file, or anything else as it is")
    force_raw = prop.flag(False, "load any file as it is")

    def realize(self) -> None:
        start = self.addr
        if self.data or self.data_len or self.data_be:
            self._load_value()
        elif self.file:
            start = self._load_file()
        elif self.force_raw:
            raise OptionError("force-raw is for files; give one with file=<name>")
        elif not self.addr:
            raise OptionError("nothing is to be loaded; give file=<name>, or data and data-len")
        elif self.cpu_num == NO_CPU:
            raise OptionError("cpu-num is missing; addr alone says where that processor begins")
        if self.cpu_num != NO_CPU and not self.data_len:
            self._begin(start)

    def _load_value(self) -> None:
        if self.file or self.force_raw:
            raise OptionError("data cannot be given with file or force-raw; use a loader for each")
        if not 1 <= self.data_len <= WIDEST:
            raise OptionError(f"data-len is {self.data_len}; a value has 1 to {WIDEST} bytes")
        if self.data >> 8 * self.data_len:
            raise OptionError(f"data {self.data:#x} does not fit into {self.data_len} bytes")
        data = self.data.to_bytes(self.data_len, "big" if self.data_be else "little")
        self._put(self.path, self.addr, data)

    def _load_file(self) -> int:
        """Have the file loaded; where its program begins, its address if it is none."""
        said = f"file {quoted(self.file)}"
        data = elf.contents(self.file, "file")
        if self.force_raw or data[:4] != elf.MAGIC:
            raw = load_file(self.file, "file", elf.LARGEST)
            if raw[:4] == uimage.MAGIC and not self.force_raw:
                image = uimage.parse(raw, said)
                self._put(self.file, image.address, image.data)
                return image.entry
            if intelhex.is_hex(raw) and not self.force_raw:
                pieces, entry = intelhex.parse(raw, said)
                for address, piece in pieces.items():
                    self._put(self.file, address, piece)
                return self.addr if entry is None else entry
            self._put(self.file, self.addr, raw)
            return self.addr
        program = elf.parse(data, self.machine.order, said)
        for segment in program.segments:
            # Kernels of 32 bits have addresses that are sign-extended in files of 64.
            upper = segment.address >> 32
            address = segment.address & 0xFFFF_FFFF if upper == 0xFFFF_FFFF else segment.address
            self._put(
                f"{self.file} {segment.name}", address, segment.data.ljust(segment.size, b"\0")
            )
        return program.entry

    def _put(self, name: str, address: int, data: bytes) -> None:
        at, end = address, address + len(data)
        while at < end:
            seen = self.machine.memory.find(at)
            if seen is None or not isinstance(seen.region, Ram):
                raise OptionError(f"{quoted(name)} needs memory at {at:#x}, and there is none")
            at = seen.end
        self.machine.roms.append(Rom(name, address, data))

    def _begin(self, address: int) -> None:
        cpus = self.machine.cpus
        if self.cpu_num >= len(cpus):
            raise OptionError(f"cpu-num: there is no processor {self.cpu_num}")
        cpu = cast(_Startable, cpus[self.cpu_num])
        self.machine.at_reset.append(lambda: cpu.start_at(address))
