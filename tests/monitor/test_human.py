"""Commands of the human monitor, as text."""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from pemu.monitor.commands import COMMANDS, INFO
from pemu.monitor.monitor import complete
from tests.monitor.conftest import Typed
from tests.patience import LONG

MISTAKES = (
    "foo",
    "info foo",
    "help foo",
    "quit foo",
    "info status foo",
    "info registers -z",
    "x",
    "x foo",
    "x /s 0",
    "p (1",
    "p $nonesuch",
    "p 1/0",
    "p 1 2",
    "sum 1",
    "sum 0x100000000 1",
    "memsave 0 16",
    'memsave 0 16 "/nonexistent',
    "log",
    "singlestep foo",
)

ANSWERS = (
    "help quit",
    "help p",
    "help x",
    "help info registers",
    "help cont",
    "p 1+2*3",
    "p /x 1+2*3",
    "p ~1",
    "p /d -1",
    "p /c 65",
    "p /o 8",
    "print/u -1",
    "info status",
    "info uuid",
    "x /5xw 0x80000000",
    "x /3c 0x80000000",
    "x /9db 0x80000000",
    "x 0x80000000",
    "x /3ug 0x80000000",
    "xp /3oh 0x1000",
    "xp /2xw 0x100000000000",
    "x 0xc0000000",
    "sum 0x1000 64",
    "stop",
    "info status",
    "cont",
    "info status",
    "info history",
)

ON_A_BOARD = (
    "info irq",
    "info roms",
    "info usb",
    "info kvm",
    "info memory_size_summary",
    "sendkey ctrl-alt-f1",
    "sendkey a 10",
    "sendkey 0x1e",
    "sendkey <",
    "sendkey",
    "sendkey a-b-nokey",
    "sendkey ctrl-alt-",
    "sendkey 0x",
    "sendkey a -1",
    "sendkey a b",
    "mouse_move 1 -2",
    "mouse_move 1 2 3",
    "mouse_move a b",
    "mouse_move 1",
    "mouse_button 1",
    "mouse_button x",
    "mouse_set 2",
    "mouse_set 77",
    "mouse_set -1",
    "system_wakeup",
    "nmi",
    "boot_set c",
    "boot_set",
    "cpu 0",
    "cpu 1",
    "cpu -1",
    "cpu",
    "gva2gpa 0x80001000",
    "gva2gpa 0xc0000000",
    "gva2gpa",
    "gva2gpa 0x80000000",
    "logfile",
    "ringbuf_write r hello",
    "ringbuf_read r 3",
    "ringbuf_read r 30",
    "ringbuf_read nonesuch 3",
    "ringbuf_read m 3",
    "commit all",
    "commit ide0-hd0",
    "commit ide1-cd0",
    "commit nonesuch",
    "commit",
    "eject nonesuch",
    "eject ide0-hd0",
    "eject -x ide1-cd0",
    "eject ide1-cd0",
    "eject",
    "eject -f",
    "change nonesuch x",
    "change ide1-cd0 /nonexistent",
    "change ide1-cd0",
    "change",
    "chardev-send-break r",
    "chardev-send-break nonesuch",
    "chardev-remove nonesuch",
    "chardev-remove r",
    "info trace-events guest_user_syscall",
    "info trace-events nonesuch",
    "trace-event guest_user_syscall foo",
    "trace-event guest_user_syscall on",
    "info trace-events guest_user_syscall",
)

PROMPT = b"(qemu) "


def dialogue(connected: socket.socket, lines: tuple[str, ...]) -> list[str]:
    """What a monitor answers to each of the lines."""
    answers = []
    received = b""
    for line in (None, *lines):
        if line is not None:
            connected.sendall(line.encode() + b"\r")
        while not received.endswith(PROMPT):
            more = connected.recv(65536)
            assert more, received
            received += more
        if line is not None:
            answers.append(received.partition(b"\r\n")[2].removesuffix(PROMPT).decode())
        received = b""
    return answers


def ask(command: list[str], lines: tuple[str, ...]) -> list[str]:
    """Start a machine whose monitor is on a socket, and have the dialogue."""
    ours, theirs = socket.socketpair()
    ours.settimeout(LONG)
    with ours, theirs:
        monitor = ["-chardev", f"socket,id=m,fd={theirs.fileno()}", "-mon", "m"]
        process = subprocess.Popen(
            [*command, *monitor], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
        )
        theirs.close()
        try:
            return dialogue(ours, lines)
        finally:
            process.kill()
            process.wait()


def test_answers_are_the_reference_emulators(tmp_path: Path, pemu_system: list[str]) -> None:
    if not shutil.which("qemu-system-mips"):
        pytest.skip("qemu-system-mips is not installed (package qemu-system-mips)")
    words = ["-M", "none", "-cpu", "24Kf", "-m", "16", "-S", "-display", "none"]
    lines = MISTAKES + ANSWERS
    theirs = ask(["qemu-system-mips", *words], lines)
    ours = ask([*pemu_system, *words], lines)
    assert list(zip(lines, ours, strict=True)) == list(zip(lines, theirs, strict=True))


def test_answers_about_a_board_are_the_reference_emulators(
    tmp_path: Path, pemu_system: list[str]
) -> None:
    if not shutil.which("qemu-system-mips"):
        pytest.skip("qemu-system-mips is not installed (package qemu-system-mips)")
    firmware = tmp_path / "firmware"
    firmware.write_bytes(bytes(4))
    words = ["-M", "malta", "-S", "-display", "none", "-serial", "null", "-m", "64"]
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1 << 20))
    words += ["-bios", str(firmware), "-chardev", "ringbuf,id=r,size=8"]
    words += ["-drive", f"file={disk},format=raw", "-vga", "none", "-net", "none"]
    theirs = ask(["qemu-system-mips", *words], ON_A_BOARD)
    ours = ask([*pemu_system, *words], ON_A_BOARD)
    # Firmware is no ROM here but the contents of the flash.
    theirs[ON_A_BOARD.index("info roms")] = ""
    assert list(zip(ON_A_BOARD, ours, strict=True)) == list(zip(ON_A_BOARD, theirs, strict=True))


def test_every_command_has_help(typed: Typed) -> None:
    for name in COMMANDS:
        assert typed.says(f"help {name}")
    for name in INFO:
        assert typed.says(f"help info {name}").startswith(f"info {name} ")


def test_help_lists_commands(typed: Typed) -> None:
    assert "quit|q  -- quit the emulator\n" in typed.says("help")


def test_info_alone_lists_what_there_is(typed: Typed) -> None:
    assert "info status  -- " in typed.says("info")


def test_what_is_not_there_yet(typed: Typed) -> None:
    assert typed.says("device_add x") == "device_add: not supported yet\n"
    assert typed.says("info migrate") == "info migrate: not supported yet\n"


def test_commands_about_a_processor_without_one(typed: Typed) -> None:
    for line in ("x 0", "info registers", "info tlb", "singlestep", "p $pc"):
        assert typed.says(line).startswith("No CPU available\n")


def test_memory_is_saved_to_a_file(typed: Typed, tmp_path: Path) -> None:
    typed.ram.write_bytes(0x1000, b"abcdefgh")
    path = tmp_path / "with space"
    assert typed.says(f'pmemsave 0x1000 8 "{path}"') == ""
    assert path.read_bytes() == b"abcdefgh"


def test_a_file_that_cannot_be_written(typed: Typed) -> None:
    answer = typed.says('pmemsave 0 16 "/nonexistent/x"')
    assert answer == "Error: Could not open '/nonexistent/x': No such file or directory\n"


def test_format_of_before_counts(typed: Typed) -> None:
    typed.says("xp /1xb 0")
    assert typed.says("xp 0") == "0000000000000000: 0x00\n"


def test_ports_are_read_and_written(typed: Typed) -> None:
    assert typed.says("i /h 0x70") == "portw[0x0070] = 0xffff\n"
    assert typed.says("o /b 0x70 1") == ""


def test_log_items_are_chosen(typed: Typed) -> None:
    assert typed.says("log guest_errors,unimp") == ""
    assert typed.machine.log.enabled("unimp")
    typed.says("log none")
    assert not typed.machine.log.enabled("unimp")


def test_log_goes_to_another_file(typed: Typed, tmp_path: Path) -> None:
    typed.says(f"logfile {tmp_path / 'log'}")
    typed.machine.log.write("a line")
    assert (tmp_path / "log").read_text() == "a line\n"


def test_trees_are_shown(typed: Typed) -> None:
    assert typed.says("info mtree").startswith("address-space: memory\n")
    assert typed.says("info mtree -f").startswith("FlatView #0\n")
    assert typed.says("info qtree").startswith("bus: main-system-bus\n")
    assert typed.says("info pci") == "PCI devices not supported\n"


def test_completion() -> None:
    assert "system_reset" in complete(COMMANDS, "sys")
    assert set(complete(COMMANDS, "info ")) == set(INFO)
    assert set(complete(COMMANDS, "help ")) == set(COMMANDS)
    assert "guest_errors" in complete(COMMANDS, "log ")
    assert not complete(COMMANDS, "nonesuch ")


def test_nonsense_is_answered(typed: Typed) -> None:
    source = random.Random(1)
    words = [
        *COMMANDS,
        *INFO,
        "/4xw",
        "/3i",
        "/9999999999x",
        "0xffffffffffffffff",
        "-1",
        "$pc",
        "(",
    ]
    words += [
        "-a",
        "-f",
        "'a'",
        '"',
        "\\",
        "1<",
        "*",
        "/",
        "\udc80",
        "\0",
        "none",
        "/c",
        "/gu",
        "~",
    ]
    for name in ("quit", "q", "memsave", "pmemsave", "logfile", "stop", "s", "cont", "c"):
        words.remove(name)
    for _ in range(5000):
        typed.says(" ".join(source.choices(words, k=source.randint(1, 5))))
