"""gdb on a machine: a program of a few instructions, without firmware or kernel."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.monitor.test_human import dialogue
from tests.patience import LONG, listens, until

PROGRAM = (
    (0x80001000, 0x3C108000),  # lui   s0, 0x8000
    (0x80001004, 0x36102000),  # ori   s0, s0, 0x2000
    (0x80001008, 0x24080000),  # li    t0, 0
    (0x8000100C, 0x25080001),  # addiu t0, t0, 1
    (0x80001010, 0xAE080000),  # sw    t0, 0(s0)
    (0x80001014, 0x1000FFFD),  # b     0x8000100c
    (0x80001018, 0x8E090004),  # lw    t1, 4(s0)
)

SETUP = (
    "set confirm off",
    "set pagination off",
    "set heuristic-fence-post 1",
    "set tcp connect-timeout 300",
    "set remotetimeout 300",
    "set architecture mips:isa32r2",
    "set endian big",
)


class Debugged:
    """A machine that waits for gdb, and for commands at its monitor."""

    def __init__(self, command: list[str], directory: Path) -> None:
        self.place = str(directory / "gdb")
        self.monitor = str(directory / "monitor")
        words = ["-M", "none", "-cpu", "24Kf", "-m", "16", "-S", "-display", "none"]
        words += ["-monitor", f"unix:{self.monitor},server=on,wait=off"]
        words += ["-gdb", f"unix:{self.place},server=on,wait=off"]
        self.process = subprocess.Popen([*command, *words], stdin=subprocess.DEVNULL)
        places = (self.monitor, self.place)
        until(lambda: self.process.poll() is not None or all(map(listens, places)), "both sockets")
        assert self.process.poll() is None

    def gdb(self, *commands: str) -> str:
        """What gdb answers."""
        words = ["gdb-multiarch", "-nx", "-batch"]
        for line in (*SETUP, f"target remote {self.place}", *commands):
            words += ["-ex", line]
        done = subprocess.run(words, capture_output=True, text=True, timeout=LONG, check=False)
        return done.stdout + done.stderr  # what the monitor says goes to the latter

    def program(self, *commands: str) -> str:
        """The same, with the program in memory and about to begin."""
        poke = [f"set *(int *){at:#x} = {word:#x}" for at, word in PROGRAM]
        return self.gdb(*poke, "set $pc = 0x80001000", *commands)

    def says(self, line: str) -> str:
        """What the monitor answers."""
        with socket.socket(socket.AF_UNIX) as connected:
            connected.settimeout(LONG)
            connected.connect(self.monitor)
            return dialogue(connected, (line,))[0]


@pytest.fixture
def debugged(pemu_system: list[str], tmp_path: Path) -> Iterator[Debugged]:
    """A machine with a processor and 16 MiB."""
    if not shutil.which("gdb-multiarch"):
        pytest.skip("gdb-multiarch is not installed (package gdb-multiarch)")
    made = Debugged(pemu_system, tmp_path)
    yield made
    made.process.kill()
    made.process.wait()


def values(answer: str) -> list[int]:
    """The numbers that `p` has shown."""
    return [int(text, 0) for text in re.findall(r"^\$\d+ = (0x[0-9a-f]+|-?\d+)", answer, re.M)]


def test_registers_of_coprocessor_0_are_seen(debugged: Debugged) -> None:
    shown = ("p/x $status", "p/x $prid", "p/x $ebase", "set $epc = 0x1234", "p/x $epc")
    assert values(debugged.gdb(*shown)) == [0x400004, 0x19300, 0x80000000, 0x1234]


def test_steps(debugged: Debugged) -> None:
    steps = ("stepi", "p/x $pc", "p/x $s0", "stepi 3", "p/x $pc", "stepi 2", "p/x $pc", "p $t0")
    expected = [0x80001004, 0x80000000, 0x80001010, 0x8000100C, 1]
    assert values(debugged.program(*steps)) == expected


@pytest.mark.parametrize("kind", ["break", "hbreak"])
def test_breakpoints(debugged: Debugged, kind: str) -> None:
    commands = (f"{kind} *0x80001014", "continue", "p $t0", "continue", "p $t0", "p/x $pc")
    assert values(debugged.program(*commands)) == [1, 2, 0x80001014]


def test_a_condition_of_a_breakpoint(debugged: Debugged) -> None:
    commands = ("break *0x80001010 if $t0 == 20", "continue", "p $t0")
    assert values(debugged.program(*commands)) == [20]


@pytest.mark.parametrize(
    ("command", "places"),
    [
        ("watch *(int *)0x80002000", [0x80001014, 0x80001014]),
        ("rwatch *(int *)0x80002004", [0x8000100C, 0x8000100C]),
        ("awatch *(int *)0x80002004", [0x8000100C, 0x8000100C]),
    ],
)
def test_watchpoints(debugged: Debugged, command: str, places: list[int]) -> None:
    commands = (command, "continue", "p/x $pc", "continue", "p/x $pc")
    assert values(debugged.program(*commands)) == places


def test_watched_bytes_that_are_far_away_cost_nothing(debugged: Debugged) -> None:
    loop = (
        "set *(int *)0x80001008 = 0x3c080200",  # lui   t0, 512
        "set *(int *)0x8000100c = 0x2508ffff",  # addiu t0, t0, -1
        "set *(int *)0x80001010 = 0x1500fffe",  # bnez  t0, 0x8000100c
        "set *(int *)0x80001014 = 0xae080ff8",  # sw    t0, 0xff8(s0)
        "set *(int *)0x80001018 = 0xae080ffc",  # sw    t0, 0xffc(s0)
    )
    answer = debugged.program(*loop, "awatch *(int *)0x80002ffc", "continue", "p $t0", "p/x $pc")
    assert values(answer) == [0, 0x8000101C]


@pytest.mark.parametrize(("byte", "stored"), [(0, False), (2, True)])
def test_only_what_is_stored_of_a_word_counts(debugged: Debugged, byte: int, stored: bool) -> None:
    swl = "set *(int *)0x80001010 = 0xaa080001"  # swl t0, 1(s0): bytes 1 to 3
    point = f"awatch *(char *){0x80002000 + byte:#x}"
    answer = debugged.program(swl, point, "break *0x80001014", "continue", "p/x $pc")
    assert values(answer) == [0x80001014]
    assert answer.count("watchpoint 1: *") == 1 + stored


def test_a_running_machine_is_interrupted(debugged: Debugged) -> None:
    script = (
        "python import threading\n"
        "def stop():\n"
        "    gdb.post_event(lambda: gdb.execute('interrupt'))\n"
        "gdb.events.cont.connect(lambda _: threading.Timer(0.5, stop).start())"
    )
    # Again where it had not come to run yet.
    go = "python while int(gdb.parse_and_eval('$t0')) == 0: gdb.execute('continue')"
    answer = debugged.program(script, go, "p $t0", "monitor info status")
    assert "SIGINT" in answer
    assert values(answer)[0] != 0
    assert "VM status: paused\n" in answer


def test_commands_of_the_monitor(debugged: Debugged) -> None:
    answer = debugged.program("monitor xp /1xw 0x1000", "monitor help", "monitor nonesuch")
    assert "0000000000001000: 0x3c108000\n" in answer
    assert "xp /fmt addr -- " in answer
    assert "unknown command: 'nonesuch'\n" in answer


def test_physical_memory(debugged: Debugged) -> None:
    commands = (
        "maintenance packet Qqemu.PhyMemMode:1",
        "p/x *(unsigned *)0x1000",
        "maintenance packet qqemu.PhyMemMode",
    )
    answer = debugged.program(*commands)
    assert 'received: "1"' in answer
    assert values(answer)[0] == 0x3C108000


def test_memory_that_is_not_there(debugged: Debugged) -> None:
    assert not values(debugged.gdb("p *(int *)0xc0000000"))
    assert values(debugged.program("p/x *(int *)0x80001000")) == [0x3C108000]


def test_after_detach_the_machine_runs(debugged: Debugged) -> None:
    debugged.program("break *0x80001014", "continue", "detach")
    assert debugged.says("info status") == "VM status: running\r\n"


def test_gdb_may_come_again(debugged: Debugged) -> None:
    debugged.program("detach")
    first = values(debugged.gdb("p $t0", "detach"))[0]
    until(lambda: values(debugged.gdb("p $t0", "detach"))[0] != first, "the machine's running")


def test_kill_ends_the_machine(debugged: Debugged) -> None:
    debugged.gdb("kill")
    assert debugged.process.wait(LONG) == 0


def test_the_monitor_moves_the_server(debugged: Debugged) -> None:
    other = f"{debugged.place}2"
    answer = debugged.says(f"gdbserver unix:{other},server=on,wait=off")
    assert answer.startswith("Waiting for gdb connection on device 'unix:")
    debugged.place = other
    assert values(debugged.program("p/x $pc")) == [0x80001000]
    assert debugged.says("gdbserver none") == "Disabled gdbserver\r\n"


def test_without_a_processor(pemu_system: list[str], tmp_path: Path) -> None:
    words = ["-M", "none", "-gdb", f"unix:{tmp_path / 'gdb'},server=on,wait=off"]
    done = subprocess.run(
        [*pemu_system, *words], capture_output=True, text=True, timeout=LONG, check=False
    )
    assert (done.returncode, "there is no processor" in done.stderr) == (1, True)
