"""Programs without an operating system that use the host, beside QEMU."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import need
from tests.machine.boards.test_mipssim import LINKING, OPTIONS
from tests.machine.console import machine, pemu_command, qemu_command
from tests.monitor.test_human import dialogue
from tests.patience import LONG

PROGRAMS = Path(__file__).resolve().parents[1] / "programs"
WORDS = ("-M", "malta", "-m", "32", "-display", "none", "-serial", "none", "-monitor", "none")
TARGETS = ("mips", "mipsel")


def build(target: str, folder: Path) -> Path:
    compiler = need(f"{target}-linux-gnu-gcc", f"gcc-{target}-linux-gnu")
    output = folder / "program"
    source = str(PROGRAMS / "semihosting/program.c")
    subprocess.run([compiler, *OPTIONS, *LINKING, "-o", str(output), source], check=True)
    return output


def talk(command: list[str], program: Path, *words: str) -> tuple[int, str, str]:
    """Exit status, output and errors of a program that is given a line."""
    done = subprocess.run(
        [*command, *WORDS, "-kernel", str(program), *words],
        input="input\n",
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def arguments(*texts: str | Path) -> str:
    return "enable=on," + ",".join(f"arg={text}" for text in texts)


@pytest.mark.parametrize("target", TARGETS)
def test_what_a_program_is_told_is_what_qemu_tells_it(target: str, tmp_path: Path) -> None:
    program = build(target, tmp_path)
    words = ("-semihosting-config", arguments("name", tmp_path / "file", "u"))
    status, output, error = talk(pemu_command(target), program, *words)
    assert (status, error) == (7, "")
    # QEMU's console is stderr.
    assert (status, output) == talk(qemu_command(target), program, *words)[::2]


def test_arguments_are_kernel_and_command_line_by_default(tmp_path: Path) -> None:
    program = build("mips", tmp_path)
    words = ("-semihosting", "-append", f"{tmp_path}/file - three")
    status, output, _ = talk(pemu_command("mips"), program, *words)
    assert (status, output.splitlines()[0]) == (7, "arguments 4 0")
    assert (tmp_path / "file").read_bytes() == b"some data"


def test_files_are_read_and_written_at_places(tmp_path: Path) -> None:
    program = build("mips", tmp_path)
    words = ("-semihosting-config", arguments("name", tmp_path / "file", "all"))
    _, output, _ = talk(pemu_command("mips"), program, *words)
    assert output.endswith("input 6 0\ninput")
    assert "bad address -1 14\nread at 4 0\ndatawrite at 1 0\nlink -1 2\n" in output
    assert (tmp_path / "file").read_bytes() == b"Some data"


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("x", "assertion 'x == y': file \"file.c\", line 17\n"),
        ("n", "Unknown UHI operation 99\n"),
    ],
)
def test_program_that_is_aborted(tmp_path: Path, what: str, message: str) -> None:
    program = build("mips", tmp_path)
    words = ("-semihosting-config", arguments("name", tmp_path / "file", what))
    status, _, error = talk(pemu_command("mips"), program, *words)
    assert (status, error) == (134, message)


def test_machine_ends_while_a_program_waits_for_input(tmp_path: Path) -> None:
    program = build("mips", tmp_path)
    words = ("-semihosting-config", arguments("name", tmp_path / "file", "-"))
    process = subprocess.Popen(
        [*pemu_command("mips"), *WORDS, "-kernel", str(program), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        while b"value" not in process.stdout.readline():
            pass
        time.sleep(0.3)
        process.terminate()
        assert process.wait(LONG) == 0
    finally:
        process.kill()
        process.communicate()


def test_machine_may_be_stopped_and_reset_while_a_program_waits_for_input(tmp_path: Path) -> None:
    program = build("mips", tmp_path)
    words = ("-semihosting-config", arguments("name", tmp_path / "file", "-"))
    monitor = ("-monitor", f"unix:{tmp_path / 'monitor'},server=on,wait=off")
    with (
        machine(pemu_command("mips"), *WORDS, *monitor, "-kernel", program, *words) as console,
        socket.socket(socket.AF_UNIX) as connected,
    ):
        console.expect("value")
        connected.settimeout(LONG)
        connected.connect(str(tmp_path / "monitor"))
        lines = ("stop", "info status", "cont", "info status", "info registers", "system_reset")
        answers = dialogue(connected, lines)
        assert answers[1] == "VM status: paused\r\n"
        assert answers[3] == "VM status: running\r\n"
        console.expect("value")  # it runs from its beginning


def test_without_semihosting_it_is_a_debug_break_point(tmp_path: Path) -> None:
    program = build("mips", tmp_path)
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        subprocess.run(
            [*pemu_command("mips"), *WORDS, "-kernel", str(program)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=4,
        )
    assert not caught.value.stdout
