"""The generic loader: files, values, where processors begin, and what it refuses."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from pemu.devices import catalogue
from pemu.machine.machine import Machine
from pemu.machine.region import Ram
from pemu.options.error import OptionError
from tests.machine.idle_cpu import IdleCpu
from tests.machine.test_elf import kernel

RAM, ROM = 0x8000_0000, 0x1FC0_0000


class Cpu(IdleCpu):
    """A processor that notes where it begins."""

    begins: int | None = None

    def start_at(self, address: int) -> None:
        self.begins = address


@pytest.fixture
def machine() -> Iterator[Machine]:
    made = Machine("big")
    made.cpus.append(Cpu())
    made.memory.root.add(Ram("ram", 1 << 21), RAM)
    made.memory.root.add(Ram("rom", 1 << 16, readonly=True), ROM)
    yield made
    made.close()


def load(machine: Machine, *texts: str) -> int | None:
    """Reset a machine with these loaders; where its processor begins."""
    for text in texts:
        catalogue.add_device(machine, f"loader,{text}")
    machine.reset()
    cpu = machine.cpus[0]
    assert isinstance(cpu, Cpu)
    return cpu.begins


@pytest.mark.parametrize(
    ("options", "stored"),
    [
        ("data=0x12345678,data-len=4", b"\x78\x56\x34\x12"),
        ("data=0x12345678,data-len=4,data-be=on", b"\x12\x34\x56\x78"),
        ("data=0,data-len=2", bytes(2)),
    ],
)
@pytest.mark.parametrize("address", [RAM + 0xFFE, ROM])
def test_value_is_there_after_each_reset(
    machine: Machine, options: str, stored: bytes, address: int
) -> None:
    load(machine, f"addr={address:#x},{options}")
    machine.memory.fill(address, b"\xff" * len(stored))
    machine.reset()
    assert machine.memory.dma_read(address, len(stored)) == stored


def test_file_is_loaded_as_it_is(machine: Machine, tmp_path: Path) -> None:
    data = gzip.compress(b"anything", mtime=0)
    (tmp_path / "file").write_bytes(data)
    assert load(machine, f"file={tmp_path}/file,addr={RAM:#x}") is None
    assert machine.memory.dma_read(RAM, len(data)) == data


@pytest.mark.parametrize("packed", [False, True])
def test_elf_file_is_loaded_where_it_says(machine: Machine, tmp_path: Path, packed: bool) -> None:
    data = kernel()
    (tmp_path / "file").write_bytes(gzip.compress(data, mtime=0) if packed else data)
    assert load(machine, f"file={tmp_path}/file,cpu-num=0") == 0x8010_0004
    assert machine.memory.dma_read(0x8010_0000, 16) == b"code" + bytes(12)


def test_elf_file_of_64_bits_has_kernel_addresses(machine: Machine, tmp_path: Path) -> None:
    data = kernel(bits=64, address=0xFFFF_FFFF_8010_0000, entry=0xFFFF_FFFF_8010_0004)
    (tmp_path / "file").write_bytes(data)
    assert load(machine, f"file={tmp_path}/file,cpu-num=0") == 0xFFFF_FFFF_8010_0004
    assert machine.memory.dma_read(0x8010_0000, 4) == b"code"


def test_raw_elf_file(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(kernel())
    text = f"file={tmp_path}/file,addr={RAM:#x},force-raw=on,cpu-num=0"
    assert load(machine, text) == RAM
    assert machine.memory.dma_read(RAM, 4) == b"\x7fELF"


def test_address_alone_says_where_to_begin(machine: Machine) -> None:
    assert load(machine, "addr=0x80001000,cpu-num=0") == 0x8000_1000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "nothing is to be loaded"),
        ("addr=0x100", "cpu-num is missing"),
        ("addr=0x100,cpu-num=3", "there is no processor 3"),
        ("data=3", "data-len is 0; a value has 1 to 8 bytes"),
        ("data=3,data-len=9", "data-len is 9"),
        ("data=256,data-len=1", "data 0x100 does not fit into 1 bytes"),
        ("data=3,data-len=4,file=x", "data cannot be given with file"),
        ("force-raw=on", "force-raw is for files"),
        ("file=/nonexistent", "file: '/nonexistent' cannot be read"),
        ("addr=0x100,data=3,data-len=4", "'loader.0' needs memory at 0x100, and there is none"),
        ("addr=0x801fffff,data=3,data-len=4", "needs memory at 0x80200000"),
    ],
)
def test_refused(machine: Machine, text: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        load(machine, text)


def uimage(data: bytes, *, kind: int = 2, packing: int = 0, size: int | None = None) -> bytes:
    size = len(data) if size is None else size
    fields = (0x27051956, 0, 0, size, RAM + 0x1000, RAM + 0x1004, 0, 5, 5, kind, packing, b"name")
    return struct.pack(">7I4B32s", *fields) + data


@pytest.mark.parametrize("packing", [0, 1])
def test_uimage_is_loaded_where_it_says(machine: Machine, tmp_path: Path, packing: int) -> None:
    data = gzip.compress(b"code", mtime=0) if packing else b"code"
    (tmp_path / "file").write_bytes(uimage(data, packing=packing))
    assert load(machine, f"file={tmp_path}/file,cpu-num=0") == RAM + 0x1004
    assert machine.memory.dma_read(RAM + 0x1000, 5) == b"code\0"


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (uimage(b"", kind=4), "is a uImage of type 4, not of a kernel"),
        (uimage(b"", kind=14), "is a uImage that names no address"),
        (uimage(b"", packing=3), "is a uImage with compression lzma; make one with mkimage"),
        (uimage(b"no gzip", packing=1), "is a uImage that cannot be decompressed"),
        (uimage(gzip.compress(b"x", mtime=0)[:-9], packing=1), "is a uImage that is cut short"),
        (uimage(b"half", size=8), "is a uImage of 8 bytes, of which 4 are there"),
        (uimage(b"")[:63], "is cut short"),
    ],
)
def test_refused_uimages(machine: Machine, tmp_path: Path, image: bytes, message: str) -> None:
    (tmp_path / "file").write_bytes(image)
    with pytest.raises(OptionError, match=message):
        load(machine, f"file={tmp_path}/file")


def record(kind: int, address: int, data: bytes) -> str:
    body = struct.pack(">BHB", len(data), address, kind) + data
    return ":" + (body + bytes([-sum(body) & 0xFF])).hex().upper() + "\r\n"


LINEAR = record(4, 0, b"\x80\x00")
END = record(1, 0, b"")


def test_intel_hex_file(machine: Machine, tmp_path: Path) -> None:
    text = LINEAR + record(0, 0x1000, b"co") + record(0, 0x1002, b"de") + record(0, 0x2000, b"more")
    text += record(5, 0, b"\x80\x00\x10\x04") + END
    (tmp_path / "file").write_text(text)
    assert load(machine, f"file={tmp_path}/file,cpu-num=0") == RAM + 0x1004
    assert machine.memory.dma_read(RAM + 0x1000, 4) == b"code"
    assert machine.memory.dma_read(RAM + 0x2000, 4) == b"more"
    assert len(machine.roms) == 2


def test_intel_hex_file_of_segments(machine: Machine, tmp_path: Path) -> None:
    machine.memory.root.add(Ram("low", 1 << 20), 0)
    text = record(2, 0, b"\x12\x34") + record(0, 0x10, b"code")
    text += record(3, 0, b"\x12\x34\x00\x14") + END
    (tmp_path / "file").write_text(text)
    assert load(machine, f"file={tmp_path}/file,cpu-num=0") == 0x12354
    assert machine.memory.dma_read(0x12350, 4) == b"code"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LINEAR, "has no record that ends it: it is cut short"),
        (LINEAR + "x\n", "line 2: a record begins with ':'"),
        (LINEAR + ":0z\n", "line 2: a record is of hexadecimal digits"),
        (LINEAR + ":00000001fe\n", "line 2: the record's checksum is wrong"),
        (LINEAR + ":02000001ff\n", "line 2: a record is of another length than it says"),
        (LINEAR + record(1, 0, b"x"), "line 2: a record of type 1 with 1 bytes"),
        (LINEAR + record(9, 0, b""), "line 2: a record of type 9 with 0 bytes"),
    ],
)
def test_damaged_hex_files(machine: Machine, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "file").write_text(text)
    with pytest.raises(OptionError, match=message):
        load(machine, f"file={tmp_path}/file")


@pytest.mark.parametrize("data", [b":no record", uimage(b"")[:3], (LINEAR + END).encode()])
def test_files_as_they_are(machine: Machine, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    load(
        machine,
        f"file={tmp_path}/file,addr={RAM:#x},force-raw={'on' if data[1:2] == b'0' else 'off'}",
    )
    assert machine.memory.dma_read(RAM, len(data)) == data
