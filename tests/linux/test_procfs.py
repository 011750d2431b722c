"""/proc shows a guest what it would see on a MIPS machine, and others what it was started as."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pemu.linux.mips.signals import host_to_guest_signal
from tests.conftest import Run, command, need
from tests.linux.cross import COMPILERS

SOURCE = Path(__file__).resolve().parent.parent / "programs" / "mips" / "proc.c"

Ask = Callable[..., str]


@pytest.fixture(scope="module", params=["mips", "mips64el"])
def program(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    output = tmp_path_factory.mktemp("proc") / "a program with a name"
    compiler = need(COMPILERS[request.param][0])
    options = ["-O1", "-static", "-Wl,-z,noexecstack"]
    subprocess.run([compiler, *options, "-o", str(output), str(SOURCE)], check=True)
    return request.param, output


@pytest.fixture
def ask(program: tuple[str, Path], pemu: Run) -> Ask:
    """Run the program with these arguments, and options before it; returns what it prints."""

    def run(*arguments: str, options: tuple[str, ...] = ()) -> str:
        target, path = program
        return pemu(target, *options, path, *arguments).stdout

    return run


@pytest.mark.parametrize("directory", ["self", "thread-self", "%d", "self/task/%d", "%d/task/%d"])
def test_mappings_are_the_guests(directory: str, ask: Ask, program: tuple[str, Path]) -> None:
    target, path = program
    text = ask(f"/proc/{directory}/maps")
    top = "7fff8000" if target == "mips" else "10000000000"
    assert re.search(rf"-{top} rw-p 00000000 00:00 0 +\[stack\]$", text, re.M)
    assert re.search(rf"^\w+-\w+ r-xp 00000000 \S+ \d+ +{re.escape(str(path))}$", text, re.M)
    assert len(re.findall(r"\[heap\]$", text, re.M)) == 1


@pytest.mark.parametrize(
    "way",
    [
        ("=/proc/self", "%s"),
        ("=/", "proc/self/%s"),
        ("=/usr", "=../proc/self/task", "=..", "%s"),
        ("=/proc/self/fd", "=/usr", "@/proc/self", "%s"),
        ("=/usr", "@/proc", "@self", "%s"),
        ("=/", "@proc/self", "./%s"),
    ],
)
def test_relative_paths_show_the_guest_too(way: tuple[str, ...], ask: Ask) -> None:
    mappings = ask(*(step.replace("%s", "maps") for step in way))
    assert mappings.count("[stack]") == 1
    assert "python" not in mappings
    signals = ask(*(step.replace("%s", "status") for step in way))
    assert re.search(r"^SigBlk:\t[0-9a-f]{32}$", signals, re.M)


def test_figures_of_mappings_are_of_the_guests_alone(ask: Ask, program: tuple[str, Path]) -> None:
    text = ask("/proc/self/smaps")
    starts = re.findall(r"^([0-9a-f]+)-\S+ ....", text, re.M)
    assert starts
    assert all(int(start, 16) < 1 << 40 for start in starts)
    assert text.count("\nRss:") == len(starts)
    assert "python" not in text


def test_arguments_are_the_guests_for_others_too(ask: Ask, program: tuple[str, Path]) -> None:
    words = ["/proc/self/cmdline"]
    expected = "".join(f"{word}\0" for word in (program[1], *words))
    assert ask(*words) == expected
    words = ["child", "/proc/%d/cmdline"]
    assert ask(*words) == "".join(f"{word}\0" for word in (program[1], *words))


def test_name_is_the_programs(ask: Ask) -> None:
    assert ask("/proc/self/comm") == "a program with \n"
    assert re.match(r"\d+ \(a program with \) R ", ask("/proc/self/stat"))


@pytest.mark.parametrize("path", ["/proc/self/exe", "/proc/%d/exe", "/proc/self/task/%d/exe"])
def test_program_is_found_by_the_link_to_it(path: str, ask: Ask, program: tuple[str, Path]) -> None:
    target, file = program
    # The link can be opened as well: the program prints the file's beginning, as text.
    assert "ELF" in ask(path)[:8]


def inherited() -> int:
    """The signals that are ignored already when a guest starts, by the guest's numbers."""
    with open("/proc/self/status") as file:
        ignored = int(re.findall(r"^SigIgn:\t(\w+)$", file.read(), re.M)[0], 16)
    numbers = (number for number in range(1, 65) if ignored >> (number - 1) & 1)
    # Python ignores SIGPIPE and SIGXFSZ, but not in the programs that it starts.
    started = (n for n in numbers if n not in (signal.SIGPIPE, signal.SIGXFSZ))
    return sum(1 << (host_to_guest_signal(number) - 1) for number in started)


def test_signals_have_the_guests_numbers(ask: Ask) -> None:
    status = ask("/proc/self/status")
    sets = {name: int(bits, 16) for name, bits in re.findall(r"^(S\w+):\t(\w{32})$", status, re.M)}
    assert sets == {
        "SigPnd": 1 << 0,
        "ShdPnd": 0,
        "SigBlk": 1 << 0 | 1 << 99,
        "SigIgn": 1 << 16 | inherited(),
        "SigCgt": 1 << 15,
    }


def test_stat_has_the_guests_addresses(ask: Ask, program: tuple[str, Path]) -> None:
    fields = ask("/proc/self/stat").rpartition(") ")[2].split()
    size, start_code, end_code, start_stack = (int(fields[index]) for index in (20, 23, 24, 25))
    top = 0x7FFF8000 if program[0] == "mips" else 1 << 40
    assert 8 << 20 < size < 100 << 20
    assert start_code < end_code < start_code + (1 << 20)
    assert top - (1 << 20) < start_stack < top


def test_auxiliary_vector_names_the_page_size(ask: Ask, program: tuple[str, Path]) -> None:
    target, path = program
    word, order = (4, "big") if target == "mips" else (8, "little")
    done = subprocess.run(
        [*command(target), str(path), "/proc/self/auxv"], capture_output=True, check=True
    )
    data = done.stdout
    values = [int.from_bytes(data[at : at + word], order) for at in range(0, len(data), word)]  # type: ignore[arg-type]
    assert dict(zip(values[::2], values[1::2], strict=True))[6] == 4096


def test_processor_is_the_chosen_model(pemu: Run, ask: Ask, program: tuple[str, Path]) -> None:
    model = "74Kf" if program[0] == "mips" else "5KEf"
    text = ask("/proc/cpuinfo", options=("-cpu", model))
    count = len(os.sched_getaffinity(0))
    assert len(re.findall(r"^processor\t\t: \d+$", text, re.M)) == count
    name = "MIPS 74Kc" if program[0] == "mips" else "MIPS 5KE"
    assert re.search(rf"^cpu model\t\t: {name} V\d+\.\d+  FPU V\d+\.\d+$", text, re.M)
    assert re.search(r"^isa\t\t\t: mips1 mips2 .*mips32r2", text, re.M)
    assert ("dsp2" in text) is (model == "74Kf")


def test_release_is_the_one_given(ask: Ask) -> None:
    assert ask("/proc/sys/kernel/osrelease", options=("-r", "9.8.7")) == "9.8.7\n"
