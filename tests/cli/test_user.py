"""The command line of user mode, from outside: every option and variable, mistakes, statuses."""

from __future__ import annotations

import os
import re
import resource
import subprocess
from pathlib import Path

import pytest

from pemu.cli.user_options import OPTIONS
from tests.conftest import Run, need
from tests.linux.elf_files import Program

SOURCE = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/random.h>
#include <sys/utsname.h>
#include <unistd.h>
extern char **environ;
int main(int argc, char **argv) {
    struct utsname name;
    unsigned char bytes[8], *start = (void *)getauxval(AT_RANDOM);
    char line[256];
    uname(&name);
    printf("argv0 %s\nrelease %s\npagesize %ld\n", argv[0], name.release, sysconf(_SC_PAGESIZE));
    for (char **entry = environ; *entry; entry++)
        if (!strncmp(*entry, "T_", 2)) printf("%s\n", *entry);
    getrandom(bytes, 8, 0);
    printf("random");
    for (int i = 0; i < 8; i++) printf(" %02x", bytes[i]);
    for (int i = 0; i < 16; i++) printf(" %02x", start[i]);
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps)) {
        unsigned long from, to;
        if (strstr(line, "[stack]") && sscanf(line, "%lx-%lx", &from, &to) == 2)
            printf("\nstack %lu top %lx\n", to - from, to);
    }
    return argc - 1;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    (folder / "tell.c").write_text(SOURCE)
    compiler = need("mips-linux-gnu-gcc")
    source, output = str(folder / "tell.c"), str(folder / "tell")
    subprocess.run([compiler, "-O1", "-static", "-o", output, source], check=True)
    return folder / "tell"


def environment(**variables: str) -> dict[str, str]:
    return {**os.environ, **variables}


def variables(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("T_")]


MISTAKES = [
    [],
    ["-foo"],
    ["-s"],
    ["-s", "xyz", "{prog}"],
    ["-R", "xyz", "{prog}"],
    ["-B", "xyz", "{prog}"],
    ["-p", "3", "{prog}"],
    ["-p", "x", "{prog}"],
    ["-d", "foo", "{prog}"],
    ["-E", "foo", "{prog}"],
    ["-U", "A=1", "{prog}"],
    ["-seed", "foo", "{prog}"],
    ["-cpu", "nonsense", "{prog}"],
    ["-D", "/nonexistent/log", "-d", "page", "{prog}"],
    ["/nonexistent"],
    ["/"],
    ["{folder}/empty"],
    ["{folder}/text"],
    ["{folder}/foreign"],
    ["{folder}/little"],
    ["{folder}/wide"],
    ["{folder}/unlinked"],
    ["{folder}/loaderless"],
]
"""Command lines that QEMU ends with a message, too."""

ASKED = [["-h"], ["-help"], ["-version"], ["-cpu", "help"], ["-d", "help"], ["-trace", "help"]]


@pytest.fixture(scope="module")
def places(program: Path) -> dict[str, str]:
    """Names in the command lines above."""
    folder = program.parent
    foreign, unlinked = Program("mips"), Program("mips")
    foreign.header["machine"] = 62
    unlinked.header["type"] = 1
    for name, data in {
        "empty": b"",
        "text": b"hello\n",
        "foreign": foreign.data(),
        "unlinked": unlinked.data(),
        "little": Program("mipsel").data(),
        "wide": Program("mips64").data(),
        "loaderless": Program("mips", interp=b"/nonexistent/ld.so.1").data(),
    }.items():
        (folder / name).write_bytes(data)
        (folder / name).chmod(0o755)
    return {"prog": str(program), "folder": str(folder)}


def filled(words: list[str], places: dict[str, str]) -> list[str]:
    return [word.format(**places) for word in words]


@pytest.mark.parametrize("words", MISTAKES, ids=" ".join)
def test_mistake_is_one_sentence_and_ends_as_under_qemu(
    words: list[str], places: dict[str, str], pemu: Run, qemu: Run
) -> None:
    ours, theirs = pemu("mips", *filled(words, places)), qemu("mips", *filled(words, places))
    assert ours.returncode == theirs.returncode
    assert (ours.stdout, ours.stderr.count("\n")) == ("", 1)
    assert re.match(r"pemu-mips: \S.{10}", ours.stderr)


@pytest.mark.parametrize("words", ASKED, ids=" ".join)
def test_answers_go_to_standard_output_and_end_as_under_qemu(
    words: list[str], pemu: Run, qemu: Run
) -> None:
    ours, theirs = pemu("mips", *words), qemu("mips", *words)
    assert ours.returncode == theirs.returncode
    assert ours.stdout
    assert not ours.stderr


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("foreign", "a program for x86-64, not for MIPS"),
        ("little", "a 32-bit little-endian o32 program: use pemu-mipsel"),
        ("wide", "a 64-bit big-endian program: use pemu-mips64"),
        ("unlinked", "not a program but an object file"),
        ("loaderless", "its loader '/nonexistent/ld.so.1' cannot be used: .* by -L"),
        ("text", "not an ELF program"),
        ("empty", "the file is empty"),
    ],
)
def test_unfit_program_is_told_what_it_is(
    name: str, remedy: str, places: dict[str, str], pemu: Run
) -> None:
    done = pemu("mips", f"{places['folder']}/{name}")
    assert re.search(remedy, done.stderr)


def test_n32_program_is_sent_to_its_own_command(pemu: Run, tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_bytes(Program("mipsn32el").data())
    path.chmod(0o755)
    assert "n32 program: use pemu-mipsn32el" in pemu("mipsel", path).stderr
    assert pemu("mipsn32el", path).returncode == 7


def test_help_has_a_row_for_each_option_of_qemu(pemu: Run, qemu: Run) -> None:
    def rows(text: str) -> dict[str, str]:
        return dict(re.findall(r"^-(\w+)[^\n]*?(QEMU_\w+)", text, re.M))

    ours, theirs = rows(pemu("mips", "-h").stdout), rows(qemu("mips", "-h").stdout)
    assert theirs.keys() - ours.keys() == {"plugin"}
    assert all(ours[name] == theirs[name] for name in ours)


def test_models_of_cpu_help_are_those_of_qemu(pemu: Run, qemu: Run) -> None:
    ours, theirs = pemu("mips", "-cpu", "help").stdout, qemu("mips", "-cpu", "help").stdout
    assert set(re.findall(r"MIPS '(\S+)'", theirs)) <= set(re.findall(r"[\w-]+", ours))


@pytest.mark.parametrize("form", ["-0 me", "--0 me", "--0=me", "QEMU_ARGV0=me", "PEMU_ARGV0=me"])
def test_option_may_be_given_in_each_form(form: str, program: Path, pemu: Run) -> None:
    if form.startswith("-"):
        done = pemu("mips", *form.split(), program)
    else:
        name, _, value = form.partition("=")
        done = pemu("mips", program, env=environment(**{name: value}))
    assert "argv0 me\n" in done.stdout


def test_own_variable_counts_more_than_qemus_and_an_option_more_than_both(
    program: Path, pemu: Run
) -> None:
    env = environment(QEMU_UNAME="1.1", PEMU_UNAME="2.2")
    assert "release 2.2\n" in pemu("mips", program, env=env).stdout
    assert "release 3.3\n" in pemu("mips", "-r", "3.3", program, env=env).stdout


def test_every_option_but_help_has_both_variables() -> None:
    for option in OPTIONS:
        if option.name not in ("h", "jit"):
            own, theirs = option.env
            assert own.removeprefix("PEMU_") == theirs.removeprefix("QEMU_")


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        ("-E T_A=1 -E T_B=2", ["T_A=1", "T_B=2"]),
        ("-E T_A=1,T_B=2", ["T_A=1", "T_B=2"]),
        ("-E T_A=1,,2", ["T_A=1,2"]),
        ("-E T_A=1 -E T_A=2", ["T_A=2"]),
        ("-E T_A=1 -U T_A", []),
        ("-U T_A -E T_A=1", ["T_A=1"]),
        ("-E T_A=1,T_B=2,T_C=3 -U T_A,T_C", ["T_B=2"]),
        ("-E T_A=", ["T_A="]),
        ("-E T_A=x=y", ["T_A=x=y"]),
        ("-U T_HOST", []),
    ],
)
def test_changes_of_the_environment_in_order(
    words: str, seen: list[str], program: Path, pemu: Run
) -> None:
    env = environment(T_HOST="h") if "T_HOST" in words else None
    how = {"env": env} if env else {}
    assert variables(pemu("mips", *words.split(), program, **how).stdout) == seen


def test_variables_that_change_the_environment_come_before_options(
    program: Path, pemu: Run
) -> None:
    env = environment(QEMU_SET_ENV="T_A=1,T_B=1", QEMU_UNSET_ENV="T_C", T_C="1", T_D="1")
    done = pemu("mips", "-E", "T_A=2", program, env=env)
    assert sorted(variables(done.stdout)) == ["T_A=2", "T_B=1", "T_D=1"]


def test_arguments_after_the_program_are_the_programs(program: Path, pemu: Run) -> None:
    done = pemu("mips", program, "-strace", "-h", "--")
    assert (done.returncode, done.stderr) == (3, "")


@pytest.mark.parametrize(
    ("text", "size"), [("1M", 1 << 20), ("65536", 65536), ("64k", 65536), ("1G", 1 << 30)]
)
def test_stack_size(text: str, size: int, program: Path, pemu: Run) -> None:
    assert f"stack {size} " in pemu("mips", "-s", text, program).stdout


def test_stack_without_room_is_refused(program: Path, pemu: Run) -> None:
    done = pemu("mips", "-s", "2G", program)
    assert done.returncode == 255
    assert "no room for a stack of 2147483648 bytes" in done.stderr


def test_stack_is_as_large_as_the_limit_says(program: Path, pemu: Run) -> None:
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_STACK, (16 << 20, hard))

    assert f"stack {16 << 20} " in pemu("mips", program, preexec_fn=limit).stdout


def test_reserved_addresses_bound_the_guest(program: Path, pemu: Run) -> None:
    assert "top 10000000\n" in pemu("mips", "-R", "256M", program).stdout


def test_guest_base(program: Path, pemu: Run) -> None:
    done = pemu("mips", "-B", "0x10000000000", "-d", "page", program)
    assert re.search(r"guest_base +0x10000000000$", done.stderr, re.M)


def test_page_size(program: Path, pemu: Run) -> None:
    assert "pagesize 16384\n" in pemu("mips", "-p", "16384", program).stdout


def test_seed_makes_what_is_random_the_same(program: Path, pemu: Run) -> None:
    def numbers(*words: str) -> list[str]:
        return re.findall(r"^random.*", pemu("mips", *words, program).stdout, re.M)

    assert numbers("-seed", "5") == numbers("-seed", "5")
    assert numbers("-seed", "5") != numbers("-seed", "6")
    assert numbers() != numbers()


def test_strace_and_singlestep_by_variables(program: Path, pemu: Run) -> None:
    done = pemu("mips", program, env=environment(QEMU_STRACE="", QEMU_SINGLESTEP="1"))
    assert re.search(r"^\d+ (uname|newuname)\(", done.stderr, re.M)
    assert done.returncode == 0


def test_script_runs_by_its_interpreter(program: Path, pemu: Run, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(f"#!{program}\tone argument\n")
    script.chmod(0o755)
    done = pemu("mips", script, "more")
    assert done.returncode == 3
    assert f"argv0 {program}\n" in done.stdout


def test_script_without_interpreter_names_it(pemu: Run, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/nonexistent/sh\n")
    script.chmod(0o755)
    done = pemu("mips", script)
    assert "its interpreter '/nonexistent/sh': No such file or directory; give" in done.stderr
