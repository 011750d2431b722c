"""The Malta board without its processor: memory, devices, what a kernel would find."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pemu.machine import board
from pemu.machine.board import MIB
from pemu.machine.boards.malta import Malta
from pemu.machine.configuration import Configuration
from pemu.machine.machine import Machine
from pemu.machine.region import BusError
from pemu.options.error import OptionError
from tests.devices.storage.host import drive_of
from tests.machine.test_elf import kernel

BOOT, RAM_END = 0x1FC0_0000, 256 * MIB


class FakeCpu:
    """A processor that only has interrupt inputs."""

    bits = 32

    def __init__(self) -> None:
        self.levels = [0] * 6

    def line(self, number: int) -> Callable[[int], object]:
        def set_level(level: int) -> None:
            self.levels[number] = level

        return set_level

    def run(self) -> None: ...
    def kick(self) -> None: ...
    def reset(self) -> None: ...
    def leave_reset(self) -> None: ...
    def close(self) -> None: ...


class Given:
    """A board with a kernel, after its reset."""

    def __init__(self, order: Any = "big", **wanted: Any) -> None:
        self.machine = Machine(order)
        self.cpu = FakeCpu()
        self.machine.new_cpu = lambda model: self.cpu
        self.board = board.build(Malta, self.machine, Configuration(**wanted))
        self.machine.reset()

    def text(self, pointer: int) -> str:
        return self.machine.memory.dma_read(pointer & 0x1FFF_FFFF, 4200).split(b"\0")[0].decode()

    def strings(self, at: int) -> list[str]:
        """The strings of an array of pointers."""
        found = []
        while pointer := self.machine.memory.read(at, 4):
            found.append(self.text(pointer))
            at += 4
        return found


@pytest.fixture
def image(tmp_path: Path) -> str:
    path = tmp_path / "vmlinux"
    path.write_bytes(kernel())
    return str(path)


def test_memory(image: str) -> None:
    memory = Given(kernel=image, ram_size=1024 * MIB).machine.memory
    memory.write(0x8000_0004, 0x11223344, 4)
    assert memory.read(4, 4) == 0x11223344
    memory.write(0x2000_0000, 0x55667788, 4)
    assert memory.read(0xA000_0000, 4) == 0x55667788
    with pytest.raises(BusError):
        memory.read(0xC000_0000, 4)
    assert memory.read(0x1FB0_0000, 4) == 0


def test_too_much_memory(image: str) -> None:
    with pytest.raises(OptionError, match="-m: 3072 MiB is too much .* at most 2048 MiB"):
        Given(kernel=image, ram_size=3072 * MIB)


@pytest.mark.parametrize("order", ["big", "little"])
def test_revision(tmp_path: Path, order: Any) -> None:
    path = tmp_path / "vmlinux"
    path.write_bytes(kernel(order=order))
    assert Given(order, kernel=str(path)).machine.memory.read(BOOT + 0x10, 4) == 0x420


def test_kernel_is_loaded_at_each_reset(image: str) -> None:
    made = Given(kernel=image)
    memory = made.machine.memory
    assert memory.dma_read(0x10_0000, 6) == b"code\0\0"
    memory.write(0x10_0000, 0, 4)
    made.machine.reset()
    assert memory.dma_read(0x10_0000, 4) == b"code"


def test_arguments_and_environment(image: str, tmp_path: Path) -> None:
    disk = tmp_path / "initrd"
    disk.write_bytes(b"disk" * 1000)
    given = Given(
        kernel=image, initrd=str(disk), append="console=ttyS0 " + "x" * 4000, ram_size=512 * MIB
    )
    words = given.strings(0x2000)
    assert words[0] == image
    start, size, *rest = words[1].split()
    assert size == "rd_size=4000"
    assert rest[0] == "console=ttyS0"
    assert len(rest[1]) == 4000
    at = int(start.removeprefix("rd_start="), 16) & 0x1FFF_FFFF
    assert given.machine.memory.dma_read(at, 4000) == b"disk" * 1000
    environment = given.strings(0x2000 + 4 * 3)
    pairs = dict(zip(environment[::2], environment[1::2], strict=True))
    assert pairs["memsize"] == str(256 * MIB)
    assert pairs["ememsize"] == str(512 * MIB)
    assert pairs["modetty0"] == "38400n8r"
    assert len(pairs["rngseed"]) == 64


def test_seed_makes_the_same_environment(image: str) -> None:
    blocks = {Given(kernel=image, seed=5).machine.memory.dma_read(0x2000, 4096) for _ in range(2)}
    assert len(blocks) == 1


def test_initrd_that_does_not_fit(image: str, tmp_path: Path) -> None:
    disk = tmp_path / "initrd"
    disk.write_bytes(bytes(7 * MIB))
    with pytest.raises(OptionError, match=r"-initrd: .* does not fit .* into 8 MiB"):
        Given(kernel=image, initrd=str(disk), ram_size=8 * MIB)


def test_kernel_that_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "vmlinux"
    path.write_bytes(kernel(size=9 * MIB))
    with pytest.raises(OptionError, match=r"-kernel: .* ends at 0xa00000, past 8 MiB"):
        Given(kernel=str(path), ram_size=8 * MIB)


def test_kernel_in_mapped_memory(tmp_path: Path) -> None:
    path = tmp_path / "vmlinux"
    path.write_bytes(kernel(address=0xC0000000))
    with pytest.raises(OptionError, match="0xc0000000 is mapped by the TLB"):
        Given(kernel=str(path))


@pytest.mark.parametrize(("order", "start"), [("big", b"\x10\0\0\1"), ("little", b"\1\0\0\x10")])
def test_firmware(tmp_path: Path, order: Any, start: bytes) -> None:
    path = tmp_path / "yamon.bin"
    path.write_bytes(b"\x10\0\0\1" + bytes(28))
    given = Given(order, firmware=str(path))
    assert given.machine.memory.dma_read(BOOT, 4) == start
    assert given.machine.memory.dma_read(0x1E00_0000, 4) == start
    assert given.machine.memory.read(BOOT + 0x10, 4) == 0x420


@pytest.mark.parametrize("order", ["big", "little"])
def test_image_of_the_flash_has_big_endian_code_and_settings_as_they_are(
    tmp_path: Path, order: Any
) -> None:
    path = tmp_path / "flash"
    path.write_bytes(b"\x10\0\0\1".ljust(0x3E_0000) + b"set".ljust(0x2_0000))
    given = Given(order, drives=[drive_of(path, ",if=pflash")])
    memory = given.machine.memory
    assert memory.read(0x1E00_0000, 4) == memory.read(BOOT, 4) == 0x1000_0001
    assert memory.dma_read(0x1E3E_0000, 3) == b"set"


def test_kernel_sees_the_image_of_the_flash_as_it_is(tmp_path: Path, image: str) -> None:
    path = tmp_path / "flash"
    path.write_bytes(bytes(0x1_0000) + b"data".ljust(0x3F_0000))
    given = Given("big", kernel=image, drives=[drive_of(path, ",if=pflash")])
    memory = given.machine.memory
    assert memory.dma_read(0x1E01_0000, 4) == memory.dma_read(BOOT + 0x1_0000, 4) == b"data"


def test_firmware_that_is_not_there() -> None:
    with pytest.raises(OptionError, match="-bios: '/no/such' is not there"):
        Given(firmware="/no/such")


def test_firmware_is_looked_for_by_the_name_that_qemu_has(tmp_path: Path) -> None:
    (tmp_path / "mips_bios.bin").write_bytes(b"\x10\0\0\1" + bytes(28))
    given = Given("big", directories=[str(tmp_path)])
    assert given.machine.memory.dma_read(BOOT, 4) == b"\x10\0\0\1"


def test_without_anything_to_start_there_are_instructions_that_do_nothing() -> None:
    given = Given("little")
    assert given.board.nothing_to_start == "give -kernel, -bios or -pflash"
    assert given.machine.memory.dma_read(BOOT, 8) == bytes(8)


def test_interrupts_reach_the_processor(image: str) -> None:
    made = Given("big", kernel=image)
    io = made.machine.io
    for port, values in ((0x20, (0x11, 0, 4, 1, 0)), (0xA0, (0x11, 8, 2, 1, 0))):
        io.write(port, values[0], 1)
        for value in values[1:]:
            io.write(port + 1, value, 1)
    io.write(0x3F9, 2, 1)
    assert made.cpu.levels[0] == 1
    vector = made.machine.memory.read(0x1400_0C34, 4)
    assert int.from_bytes(vector.to_bytes(4, "big"), "little") == 4
    assert made.cpu.levels[0] == 0


def test_third_serial_port(image: str) -> None:
    made = Given(kernel=image)
    memory = made.machine.memory
    memory.write(0x1F00_0908, 2, 1)
    assert made.cpu.levels == [0, 0, 1, 0, 0, 0]
    memory.write(0x1F00_0938, 0x5A, 1)
    assert memory.read(0x1F00_0938, 4) == 0x5A
    assert memory.read(0x1F00_0928, 1) == 0x60


def test_state_can_be_saved(image: str) -> None:
    machine = Given(kernel=image).machine
    saved = machine.save_devices()
    machine.reset()
    machine.load_devices(saved)
    assert machine.save_devices() == saved
