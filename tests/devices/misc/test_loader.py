"""The generic loader: files, values, where processors begin, and what it refuses."""

from __future__ import annotations

import gzip
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
    data = gzip.compress(b"anything")
    (tmp_path / "file").write_bytes(data)
    assert load(machine, f"file={tmp_path}/file,addr={RAM:#x}") is None
    assert machine.memory.dma_read(RAM, len(data)) == data


@pytest.mark.parametrize("packed", [False, True])
def test_elf_file_is_loaded_where_it_says(machine: Machine, tmp_path: Path, packed: bool) -> None:
    data = kernel()
    (tmp_path / "file").write_bytes(gzip.compress(data) if packed else data)
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


def test_uimage_is_refused(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\x27\x05\x19\x56" + bytes(60))
    with pytest.raises(OptionError, match="is a uImage: not supported yet"):
        load(machine, f"file={tmp_path}/file")
