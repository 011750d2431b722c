"""The mipssim board: a kernel of its own says what it finds, on Pemu as on QEMU."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pemu.machine import board
from pemu.machine.board import MIB
from pemu.machine.boards.mipssim import Mipssim
from pemu.machine.configuration import Configuration
from pemu.machine.machine import Machine
from pemu.machine.yamon import KSEG1, Code
from pemu.options.error import OptionError
from tests.conftest import need
from tests.machine import test_elf
from tests.machine.console import Console, machine, pemu_command, qemu_command
from tests.machine.idle_cpu import IdleCpu

PROGRAM = Path(__file__).resolve().parents[2] / "programs" / "mipssim"
OPTIONS = ("-march=mips32", "-mno-abicalls", "-fno-pic", "-G0", "-O1", "-ffreestanding")
LINKING = ("-nostdlib", "-static", f"-Wl,-T,{PROGRAM / 'kernel.ld'},--build-id=none")

WORDS = ("-M", "mipssim", "-display", "none", "-monitor", "none", "-net", "none")
TARGETS = ("mips", "mipsel", "mips64", "mips64el")

Build = Callable[[str], Path]


@pytest.fixture
def kernel(tmp_path: Path) -> Build:
    """The test kernel in the byte order of a target."""

    def build(target: str) -> Path:
        order = "mipsel" if target.endswith("el") else "mips"
        compiler = need(f"{order}-linux-gnu-gcc", f"gcc-{order}-linux-gnu")
        output = tmp_path / f"kernel-{order}"
        sources = (str(PROGRAM / "start.S"), str(PROGRAM / "kernel.c"))
        command = [compiler, *OPTIONS, *LINKING, "-o", str(output), *sources]
        subprocess.run(command, check=True)
        return output

    return build


def say(console: Console, line: str) -> str:
    console.type(line)
    return console.expect("> ")


def talk(command: list[str], image: Path, disk: Path) -> str:
    """What the kernel says in a conversation."""
    words = ("-m", "32", "-serial", "stdio", "-kernel", image, "-initrd", disk, "-append", "none")
    with machine(command, *WORDS, *words) as console:
        console.expect("mipssim test kernel\n")
        found = console.expect("> ")
        found += say(console, "hello") + say(console, "timer") + say(console, "interrupts")
        before, after = (int(say(console, "count").split()[1], 16) for _ in range(2))
        assert before != after
        console.type("quit")
        console.expect("done\n")
    return found


@pytest.mark.parametrize("target", TARGETS)
def test_kernel_finds_what_it_finds_on_qemu(kernel: Build, tmp_path: Path, target: str) -> None:
    image, disk = kernel(target), tmp_path / "disk"
    disk.write_bytes(b"here-is-the-disk and more")
    ours = talk(pemu_command(target), image, disk)
    assert "you say hello\ntimer: interrupted\nlines: 00000010\n" in ours
    assert ours == talk(qemu_command(target), image, disk)


def firmware(order: str) -> bytes:
    """What writes a greeting to the serial port, and stops."""
    code = Code("big" if order == "big" else "little")
    for letter in b"firmware runs\n":
        code.store_byte(KSEG1 + 0x1FD0_03F8, letter)
    code.words += [0x1000FFFF, 0]  # a branch to itself
    return code.bytes()


@pytest.mark.parametrize("command", [pemu_command, qemu_command], ids=["pemu", "qemu"])
@pytest.mark.parametrize("target", ["mips", "mips64el"])
def test_firmware_runs(tmp_path: Path, target: str, command: Callable[[str], list[str]]) -> None:
    image = tmp_path / "firmware"
    image.write_bytes(firmware("little" if target.endswith("el") else "big"))
    with machine(command(target), *WORDS, "-serial", "stdio", "-bios", image) as console:
        console.expect("firmware runs\n")


def made(**wanted: Any) -> Machine:
    machine = Machine("big")
    machine.new_cpu = IdleCpu
    board.build(Mipssim, machine, Configuration(**wanted))
    machine.reset()
    return machine


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"ram_size": 5120 * MIB}, "-m: 5120 MiB is too much memory .* at most 4096 MiB"),
        ({"firmware": "/nonexistent"}, "-bios: '/nonexistent' is not there"),
        ({"kernel": "/nonexistent"}, "-kernel: '/nonexistent' cannot be read"),
    ],
)
def test_what_it_cannot_do(wanted: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        made(**wanted)


def test_initial_disk_needs_room(tmp_path: Path) -> None:
    image, disk = tmp_path / "kernel", tmp_path / "disk"
    image.write_bytes(test_elf.kernel())
    disk.write_bytes(bytes(3 * MIB))
    with pytest.raises(OptionError, match="-initrd: .* does not fit behind the kernel into 4 MiB"):
        made(kernel=str(image), initrd=str(disk), ram_size=4 * MIB)


def test_serial_port_is_left_out_without_defaults() -> None:
    status = [made(firmware=__file__, defaults=on).memory.read(0x1FD0_03FD, 1) for on in (1, 0)]
    assert status == [0x60, 0xFF]


def test_memory_ends_where_firmware_is() -> None:
    memory = made(firmware=__file__, ram_size=1024 * MIB).memory
    with open(__file__, "rb") as file:
        assert memory.dma_read(0x1FC0_0000, 8) == file.read(8)
    memory.write(0x2000_0000, 0x12345678, 4)
    assert memory.read(0x2000_0000, 4) == 0x12345678
