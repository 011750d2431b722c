"""What is printed when a signal ends a program."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Run, need
from tests.linux.cross import COMPILERS

SOURCE = """
#include <stdlib.h>
#include <string.h>
__attribute__((noinline)) int inner(int *p, int n) {
    volatile char room[100];
    room[0] = n;
    return n ? inner(p, n - 1) + room[0] : *p + room[0];
}
__attribute__((noinline)) int outer(int n) {
    char *room = __builtin_alloca(n);
    memset(room, 1, n);
    return inner((int *)8, 1) + room[3];
}
int main(int argc, char **argv) {
    if (argc == 1) return outer(50) + 1;
    if (argv[1][0] == 'a') abort();
    ((void (*)(void))0x1234)();
    return 0;
}
"""


@pytest.fixture(params=["mips", "mipsel", "mips64", "mips64el"])
def program(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    source = tmp_path / "crash.c"
    source.write_text(SOURCE)
    compiler = need(COMPILERS[request.param][0])
    output = tmp_path / "crash"
    subprocess.run([compiler, "-O1", "-static", "-w", "-o", output, source], check=True)
    return request.param, output


def functions(text: str) -> list[str]:
    return re.findall(r"\((\w+)(?:\+0x[0-9a-f]+)? in crash\)", text)


def test_fault_names_signal_place_address_and_callers(pemu: Run, program: tuple[str, Path]) -> None:
    done = pemu(*program)
    lines = done.stderr.splitlines()
    assert done.returncode == -signal.SIGSEGV
    assert lines[0] == "pemu: uncaught target signal 11 (Segmentation fault) - core dumped"
    assert re.search(r"access to address 0x0*8$", lines[1])
    assert functions(done.stderr)[:4] == ["inner", "inner", "outer", "main"]


def test_abort_is_reported_with_its_caller(pemu: Run, program: tuple[str, Path]) -> None:
    done = pemu(*program, "abort")
    first, *_ = done.stderr.splitlines()
    assert done.returncode == -signal.SIGABRT
    assert first == "pemu: uncaught target signal 6 (Aborted) - core dumped"
    assert "main" in functions(done.stderr)


def test_jump_to_nowhere_names_who_jumped(pemu: Run, program: tuple[str, Path]) -> None:
    done = pemu(*program, "jump")
    assert functions(done.stderr) == ["main"]
    assert re.search(r"at 0x0*1234, access to address 0x0*1234$", done.stderr.splitlines()[1])


def test_report_without_symbols_still_has_the_addresses(
    pemu: Run, program: tuple[str, Path]
) -> None:
    target, path = program
    strip = need(COMPILERS[target][0].replace("gcc", "strip"))
    subprocess.run([strip, path], check=True)
    lines = pemu(target, path).stderr.splitlines()
    assert re.fullmatch(r"pemu: at 0x[0-9a-f]+ \(in crash\), access to address 0x0*8", lines[1])


def test_signal_that_only_ends_a_program_is_not_reported(
    pemu: Run, program: tuple[str, Path], tmp_path: Path
) -> None:
    target, _ = program
    source = tmp_path / "term.c"
    source.write_text("#include <signal.h>\nint main(void) { return raise(SIGTERM); }\n")
    output = tmp_path / "term"
    compiler = need(COMPILERS[target][0])
    subprocess.run([compiler, "-O1", "-static", "-o", output, source], check=True)
    done = pemu(target, output)
    assert (done.returncode, done.stderr) == (-signal.SIGTERM, "")


CRASHES = Path(__file__).resolve().parent.parent / "programs" / "mips" / "crashes.c"
STATIC = ("-O1", "-static")
STRIPPED = ("-O2", "-rdynamic", "-s")


@pytest.fixture(
    scope="module",
    params=[("mips", STATIC), ("mipsel", STRIPPED), ("mips64", STRIPPED), ("mips64el", STATIC)],
    ids=lambda param: f"{param[0]}{param[1][-1]}",
)
def crashes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path, Path]:
    """A target, where its libraries are, and the program, whose functions are all exported."""
    target, options = request.param
    compiler = need(COMPILERS[target][0])
    output = tmp_path_factory.mktemp("crashes") / "crash"
    words = [compiler, *options, "-w", "-fno-stack-protector", "-o", str(output), str(CRASHES)]
    subprocess.run([*words, "-lpthread"], check=True)
    return target, Path("/usr") / Path(compiler).name.removesuffix("-gcc"), output


@pytest.mark.parametrize(
    ("argument", "names"),
    [
        ("leaf", ["leaf", "middle", "outer", "main"]),
        ("thread", ["leaf", "middle", "outer", "thread"]),
        ("handler", ["leaf", "middle", "outer", "handler", "main"]),
        ("qsort", ["leaf", "middle", "outer", "compare"]),
        ("deep", ["deep"] * 9),
        ("abort", ["main"]),
    ],
)
def test_calls_are_found_in_every_kind_of_code(
    argument: str, names: list[str], crashes: tuple[str, Path, Path], pemu: Run
) -> None:
    target, root, program = crashes
    found = functions(pemu(target, "-L", root, program, argument).stderr)
    ours = [name for name in found if name in ("main", "compare", *names)]
    assert ours[: len(names)] == names


def test_report_tells_what_a_signal_handler_interrupted(
    crashes: tuple[str, Path, Path], pemu: Run
) -> None:
    target, root, program = crashes
    lines = pemu(target, "-L", root, program, "handler").stderr.splitlines()
    assert re.match(r"pemu: called from \S+ \(handler", lines[4])
    assert lines[5].startswith("pemu: in a signal handler, from 0x")
    assert "raise" in lines[6]


def test_nothing_is_guessed_from_an_overwritten_stack(
    crashes: tuple[str, Path, Path], pemu: Run
) -> None:
    target, root, program = crashes
    lines = pemu(target, "-L", root, program, "smash").stderr.splitlines()
    assert len(lines) == 2
    assert re.search(r"at 0x(41414141)+, access to address 0x(41414141)+$", lines[1])
