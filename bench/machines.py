"""Whole machines beside qemu-system: time to the installer's dialogue, programs in the guest."""

from __future__ import annotations

import argparse
import gzip
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.measure import ROOT, Failed, environment, pemu_command, qemu_command
from scripts.debian_installer import default_directory

DEMO = ROOT / "demo"
DIALOGUE = "Select a language"
IDLE_SECONDS = 20
SETTLE_SECONDS = 30
"""After which what was hot while it booted has been compiled."""

DISK_MIB = 64

_TICKS = os.sysconf("SC_CLK_TCK")

HEADER = (
    "| what | QEMU | cold | ratio | goal | warm | ratio | goal |",
    "|---|--:|--:|--:|--:|--:|--:|--:|",
)


@dataclass(frozen=True)
class Row:
    """A figure: its name, how it is taken from a command's words, and what it should be.

    measure: from the words that start an emulator and its environment to figures; less is better.
    goals: greatest ratio to QEMU's with an empty and with a filled code cache.
    """

    name: str
    target: str
    measure: Callable[[Sequence[str], dict[str, str]], float]
    unit: str = "s"
    goals: tuple[float | None, float | None] = (None, None)


def emulator(target: str) -> tuple[list[str], list[str]]:
    """The words that start QEMU and Pemu for `target`. Raises Failed where QEMU is missing."""
    theirs = qemu_command(f"system-{target}", "qemu-system-mips")
    # Its display and network cards need firmware of other packages, and Pemu has none of these.
    return [*theirs, "-vga", "none", "-net", "none"], pemu_command(
        f"system-{target}", "system", repr(target)
    )


class Console:
    """A machine with its console on pipes; ends with the `with` statement."""

    def __init__(self, words: Sequence[str], variables: dict[str, str]) -> None:
        self.started = time.monotonic()
        self.text = ""
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=variables,
        )
        assert self._process.stdout is not None
        self._output = self._process.stdout.fileno()

    def __enter__(self) -> Console:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._process.communicate()

    def seconds_to(self, wanted: str, limit: float = 600) -> float:
        """Seconds from the start until `wanted` has been shown. Raises Failed if it is not."""
        end = self.started + limit
        while wanted not in self.text:
            data = os.read(self._output, 65536)
            if not data or time.monotonic() > end:
                raise Failed(f"'{wanted}' is not shown: {self.text[-200:]!r}")
            self.text += data.decode("latin-1")
        return time.monotonic() - self.started

    def processor_seconds(self) -> float:
        """Processor time that the machine has taken."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS


def demo_kernel() -> Path:
    """The demo's kernel, unpacked: QEMU takes no packed one here."""
    packed, unpacked = DEMO / "vmlinux-mips.gz", ROOT / "build" / "bench" / "vmlinux-mips"
    if not unpacked.exists() or unpacked.stat().st_mtime < packed.stat().st_mtime:
        unpacked.parent.mkdir(parents=True, exist_ok=True)
        unpacked.write_bytes(gzip.decompress(packed.read_bytes()))
    return unpacked


def demo_words(words: str, *more: str) -> list[str]:
    """Options that start the machine of the demo; `words` go onto the kernel's command line."""
    return [
        *("-M", "malta", "-m", "128", "-nographic", "-no-reboot"),
        *("-kernel", str(demo_kernel())),
        *("-initrd", str(DEMO / "initramfs-mips.cpio.gz")),
        *("-append", f"console=ttyS0 quiet guest.nodhcp {words}".strip()),
        *more,
    ]


def in_guest(command: str, pattern: str) -> Callable[[Sequence[str], dict[str, str]], float]:
    """Runs a command in the demo's machine and reads a figure from what it shows."""

    def measure(emulator: Sequence[str], variables: dict[str, str]) -> float:
        words = demo_words(f"guest.cmd={command.replace(' ', '%20')}")
        with Console([*emulator, *words], variables) as console:
            console.seconds_to("guest: cmd end 0")
            found = re.search(pattern, console.text)
        if not found:
            raise Failed(f"{command} shows no {pattern!r}: {console.text[-200:]!r}")
        return float(found[1])

    return measure


def on_disk(pattern: str) -> Callable[[Sequence[str], dict[str, str]], float]:
    """Runs iobench on an IDE disk; seconds for a gigabyte."""

    def measure(emulator: Sequence[str], variables: dict[str, str]) -> float:
        with tempfile.NamedTemporaryFile(prefix="pemu-bench-disk-") as image:
            image.truncate(DISK_MIB << 20)
            disk = ("-drive", f"file={image.name},format=raw")
            words = demo_words("guest.cmd=iobench%20/dev/sda%2024", *disk)
            with Console([*emulator, *words], variables) as console:
                console.seconds_to("guest: cmd end 0")
                found = re.search(pattern, console.text)
        if not found:
            raise Failed(f"iobench shows no {pattern!r}: {console.text[-200:]!r}")
        return 1000 / float(found[1])

    return measure


def ready(emulator: Sequence[str], variables: dict[str, str]) -> float:
    """Seconds until the demo's machine is at its shell."""
    with Console([*emulator, *demo_words("")], variables) as console:
        return console.seconds_to("guest: ready")


def lines_shown(emulator: Sequence[str], variables: dict[str, str]) -> float:
    """Seconds for 20 000 lines on the console."""
    with Console([*emulator, *demo_words("guest.cmd=seq%201%2020000")], variables) as console:
        begun = console.seconds_to("guest: cmd begin")
        return console.seconds_to("guest: cmd end 0") - begun


def idle(emulator: Sequence[str], variables: dict[str, str]) -> float:
    """Percent of a processor that the demo's machine takes while its shell waits."""
    with Console([*emulator, *demo_words("")], variables) as console:
        console.seconds_to("guest# ")
        time.sleep(SETTLE_SECONDS)
        before = console.processor_seconds()
        time.sleep(IDLE_SECONDS)
        return (console.processor_seconds() - before) / IDLE_SECONDS * 100


def dialogue(directory: Path) -> Callable[[Sequence[str], dict[str, str]], float]:
    """Seconds until Debian's installer shows its first dialogue; directory: of its files."""

    def measure(emulator: Sequence[str], variables: dict[str, str]) -> float:
        if not directory.is_dir():
            raise Failed(f"no installer in {directory}; scripts/debian_installer.py fetches it")
        words = [
            *("-M", "malta", "-m", "512", "-nographic", "-append", "console=ttyS0"),
            *(("-cpu", "5KEc") if directory.name == "mips64el" else ()),
            *("-kernel", str(directory / "vmlinuz"), "-initrd", str(directory / "initrd.gz")),
        ]
        with Console([*emulator, *words], variables) as console:
            return console.seconds_to(DIALOGUE)

    return measure


def rows(installers: Path | None) -> list[Row]:
    """All figures, in their order."""
    return [
        Row("demo machine to its shell", "mips", ready),
        Row("cpubench", "mips", in_guest("cpubench", r"checksum \w+ elapsed ([\d.]+)"),
            goals=(None, 0.6)),
        Row("fpbench", "mips", in_guest("fpbench", r"steps \d+ elapsed ([\d.]+)"),
            goals=(None, 0.15)),
        Row("iobench write, a GB", "mips", on_disk(r"iobench: write .*: ([\d.]+) MB/s")),
        Row("iobench read, a GB", "mips", on_disk(r"iobench: read .*: ([\d.]+) MB/s")),
        Row("20000 lines on the console", "mips", lines_shown),
        Row("idle", "mips", idle, unit="%"),
        *(
            Row(f"installer's dialogue, {target}", target, dialogue(
                installers / target if installers else default_directory(target)),
                goals=(0.8, 0.5))
            for target in ("mipsel", "mips64el")
        ),
    ]  # fmt: skip


def compare(row: Row, repeat: int, fill: int) -> tuple[float, float, float]:
    """Medians of QEMU's figure and of Pemu's with an empty and a filled cache, in turn.

    fill: runs before the cache counts as filled; each stores what it had the time to compile.
    """
    theirs, ours = emulator(row.target)
    figures: tuple[list[float], list[float], list[float]] = ([], [], [])
    for _ in range(repeat):
        with tempfile.TemporaryDirectory(prefix="pemu-bench-cache-") as cache:
            variables = environment() | {"XDG_CACHE_HOME": cache}
            figures[0].append(row.measure(theirs, variables))
            figures[1].append(row.measure(ours, variables))
            for _ in range(fill - 1):
                row.measure(ours, variables)
            figures[2].append(row.measure(ours, variables))
    qemu, cold, warm = (median(one) for one in figures)
    return qemu, cold, warm


def line(row: Row, qemu: float, cold: float, warm: float) -> str:
    """A row of the table."""
    goals = [f"{goal}" if goal else "" for goal in row.goals]
    shown = [f"{value:.2f} {row.unit}" for value in (qemu, cold, warm)]
    ratios = [f"{value / qemu:.2f}" if qemu else "" for value in (cold, warm)]
    cells = [row.name, shown[0], shown[1], ratios[0], goals[0], shown[2], ratios[1], goals[1]]
    return f"| {' | '.join(cells)} |"


def main(words: list[str] | None = None) -> int:
    """Run what the command line asks for; returns 1 if something could not be measured."""
    parser = argparse.ArgumentParser(
        prog="python -m bench machines",
        description="Time Pemu's machines beside qemu-system, in turn, and print a Markdown table.",
    )
    parser.add_argument("rows", nargs="*", metavar="row", help="beginnings of rows' names")
    parser.add_argument("-n", "--repeat", type=int, default=1, help="runs of each kind (1)")
    parser.add_argument("-f", "--fill", type=int, default=1, help="runs that fill the cache (1)")
    parser.add_argument("--installers", type=Path, help="directory with a directory a target")
    given = parser.parse_args(words)
    failures = 0
    print("\n".join(HEADER), flush=True)
    for row in rows(given.installers):
        if given.rows and not row.name.startswith(tuple(given.rows)):
            continue
        try:
            print(line(row, *compare(row, given.repeat, given.fill)), flush=True)
        except Failed as error:
            failures += 1
            print(f"| {row.name} | {error} | | | | | | |", flush=True)
    return 1 if failures else 0
