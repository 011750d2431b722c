"""Where programs are put, and what they find there: compared with qemu-user and Linux's rules."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from pemu.linux.programs import loader
from pemu.linux.programs.elf import (
    FP_64,
    FP_64A,
    FP_ANY,
    FP_DOUBLE,
    FP_OLD_64,
    FP_SOFT,
    FP_XX,
    ElfError,
)
from pemu.linux.programs.initial_stack import Start
from pemu.linux.programs.loader import LoadedImage, wants_fr1
from pemu.linux.target import TARGETS
from tests.conftest import Run, need
from tests.linux.cross import COMPILERS
from tests.linux.elf_files import PHDR, Program
from tests.linux.fakeguest import _spaces, empty_space


def load(program: Program, folder: Path, **how: int) -> LoadedImage:
    path = folder / "program"
    path.write_bytes(program.data())
    target = program.target
    memory = empty_space(target.name, target.word, target.big_endian)
    memory.clear()
    settings = {"stack_size": 1 << 20, "page_size": 4096, "hwcap": 0x80, **how}
    start = Start(b"name", [b"a"], [b"V=1"], platform="mips32r2", random=b"r" * 16, **settings)
    return loader.load(memory, target, str(path), start)


def vector(image: LoadedImage, program: Program) -> dict[int, int]:
    """The auxiliary vector's entries by type."""
    word, order = program.target.word, "big" if program.target.big_endian else "little"
    values = [
        int.from_bytes(image.stack.auxv[at : at + word], order)  # type: ignore[arg-type]
        for at in range(0, len(image.stack.auxv), word)
    ]
    return dict(zip(values[::2], values[1::2], strict=True))


@pytest.mark.parametrize("name", TARGETS)
def test_movable_program_and_its_loader_stand_where_they_stood(name: str, tmp_path: Path) -> None:
    interp = tmp_path / "ld.so"
    interp.write_bytes(Program(name, kind=3).data())
    program = Program(name, kind=3, interp=str(interp).encode())
    places = set()
    for _ in range(3):
        image = load(program, tmp_path)
        places.add((image.bias, image.interp_base, image.stack.sp, image.brk, image.sigreturn))
    assert len(places) == 1


def test_program_without_loader_leaves_room_for_the_heap(tmp_path: Path) -> None:
    image = load(Program("mips", kind=3), tmp_path)
    assert image.bias > 0x70000000
    assert image.brk == 0x55550000


@pytest.mark.parametrize("name", ["mips", "mips64el"])
def test_program_headers_are_found_without_an_entry_of_their_own(name: str, tmp_path: Path) -> None:
    program = Program(name)
    program.segments = [part for part in program.segments if part["type"] != PHDR]
    program.header["phnum"] = len(program.segments)
    assert vector(load(program, tmp_path), program)[3] == 0x400000 + 64


def test_stack_has_the_wanted_size_and_protection(tmp_path: Path) -> None:
    program = Program("mips")
    image = load(program, tmp_path, stack_size=1 << 21)
    assert image.stack.end - image.stack.start == 1 << 21
    assert protection(program, image.stack.sp) == 3
    program.segments.pop()
    program.header["phnum"] -= 1
    assert protection(program, load(program, tmp_path).stack.sp) == 7


def protection(program: Program, address: int) -> int:
    """The protection of the mapping at an address of the loaded program."""
    target = program.target
    for start, end, prot, *_ in _spaces[target.name].regions():
        if start <= address < end:
            return prot
    return -1


def test_arguments_larger_than_the_stack_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_bytes(Program("mips").data())
    memory = empty_space("mips", 4, True)
    memory.clear()
    start = Start(
        b"p", [b"x" * 70000], [], stack_size=1 << 16, page_size=4096, hwcap=0, platform="",
        random=bytes(16),
    )  # fmt: skip
    with pytest.raises(ElfError, match="do not fit a stack of 65536 bytes"):
        loader.load(memory, TARGETS["mips"], str(path), start)


@pytest.mark.parametrize(
    ("abis", "able", "wanted"),
    [
        ([FP_XX], True, True),
        ([FP_XX], False, False),
        ([FP_ANY, FP_XX], True, True),
        ([FP_DOUBLE, FP_XX], True, False),
        ([FP_64, FP_XX], True, True),
        ([FP_64A], True, True),
        ([FP_OLD_64], True, True),
        ([FP_SOFT], True, False),
    ],
)
def test_fpu_mode_is_the_one_that_all_parts_can_do_with(
    abis: list[int], able: bool, wanted: bool
) -> None:
    assert wants_fr1(abis, able) is wanted


@pytest.mark.parametrize(("abis", "able"), [([FP_64, FP_DOUBLE], True), ([FP_64], False), ([9], 1)])
def test_fpu_modes_that_cannot_be_are_refused(abis: list[int], able: bool) -> None:
    with pytest.raises(ElfError):
        wants_fr1(abis, able)


DYNAMIC = """
#include <stdio.h>
int main(void) {
    char line[256];
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps)) fputs(line, stdout);
    return 0;
}
"""


@pytest.fixture(params=["mips", "mipsel", "mips64", "mips64el"])
def dynamic(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path, Path]:
    """A target, the directory of its libraries, and a program that needs them."""
    compiler = need(COMPILERS[request.param][0])
    root = Path("/usr") / Path(compiler).name.removesuffix("-gcc")
    source = tmp_path / "maps.c"
    source.write_text(DYNAMIC)
    output = tmp_path / "maps"
    subprocess.run([compiler, "-O1", "-fpie", "-pie", "-o", output, source], check=True)
    return request.param, root, output


def test_auxiliary_vector_is_that_of_qemu(
    dynamic: tuple[str, Path, Path], pemu: Run, qemu: Run
) -> None:
    target, root, program = dynamic
    words = (target, "-E", "LD_SHOW_AUXV=1", "-L", root, program)

    def entries(run: Run) -> dict[str, str]:
        return dict(re.findall(r"^(AT_\S+): +(\S.*)$", run(*words).stdout, re.M))

    ours, theirs = entries(pemu), entries(qemu)
    assert ours.keys() == theirs.keys()
    # Addresses differ, and QEMU names no extension that the model has.
    for name in ("AT_PHDR", "AT_BASE", "AT_ENTRY", "AT_RANDOM", "AT_HWCAP"):
        del ours[name], theirs[name]
    assert ours == theirs


def test_addresses_are_the_same_in_each_run(dynamic: tuple[str, Path, Path], pemu: Run) -> None:
    target, root, program = dynamic
    first, second = (pemu(target, "-L", root, program).stdout for _ in range(2))
    assert first == second
    assert "[heap]" in first
    assert "[stack]" in first


def test_large_pages_are_told_and_kept(dynamic: tuple[str, Path, Path], pemu: Run) -> None:
    target, root, program = dynamic
    done = pemu(target, "-p", "65536", "-E", "LD_SHOW_AUXV=1", "-L", root, program)
    assert re.search(r"AT_PAGESZ: +65536$", done.stdout, re.M)
    assert done.returncode == 0
