"""Damaged ELF files: whatever is wrong, one sentence and QEMU's exit status, soon and cheaply.

Most cases call the loader in this process, where thousands take seconds; some run the command.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pemu.engine.memory.process import AddressSpace
from pemu.linux.programs.elf import ElfError
from pemu.linux.programs.initial_stack import Start
from pemu.linux.programs.loader import LoadedImage, load, wants_fr1
from pemu.linux.target import TARGETS
from tests.conftest import Run
from tests.linux.elf_files import HEADER_FIELDS, SEGMENT_FIELDS, Program
from tests.linux.fakeguest import empty_space
from tests.patience import LONG

SECONDS = 5.0
"""For one case: many times what the slowest needs."""

MEGABYTES = 200
"""By which all cases together may make this process grow."""

NAMES = ("mips", "mipsel", "mips64", "mips64el", "mipsn32")

_EDGES = (0, 1, 2, 3, 4, 7, 0x1F, 0x7F, 0xFFF, 0x1000, 0x1001, 0xFFFF, 0x10000, 0x12345)
_TOPS = (0x7FFF0000, 0x7FFFFFFF, 0x80000000, 0xFFFF0000, 0xFFFFF000, 0xFFFFFFFF)
_WIDE = (1 << 32, 1 << 36, (1 << 40) - 0x1000, 1 << 40, 1 << 41, 1 << 63, (1 << 64) - 0x1000, -1)
INTERESTING = (*_EDGES, *_TOPS, *_WIDE)


def space(name: str) -> AddressSpace:
    target = TARGETS[name]
    memory = empty_space(name, target.word, target.big_endian)
    memory.clear()
    return memory


def attempt(name: str, path: Path, data: bytes) -> LoadedImage | str:
    """Load a file; the image, or the sentence that says what is wrong with it."""
    path.write_bytes(data)
    start = Start(
        b"p", [b"p"], [b"A=1"], stack_size=1 << 20, page_size=4096, hwcap=0, platform="mips32r2",
        random=bytes(16),
    )  # fmt: skip
    began = time.thread_time()
    try:
        image = load(space(name), TARGETS[name], str(path), start)
        wants_fr1(image.fp_abis, True)
        return image
    except ElfError as error:
        return check_sentence(str(error), error.status)
    finally:
        assert time.thread_time() - began < SECONDS


def check_sentence(text: str, status: int) -> str:
    assert 10 < len(text) < 300
    assert text.isprintable()
    assert status in (1, 255)
    return text


def mutants(name: str, kind: int, interp: bytes) -> Iterator[tuple[str, bytes]]:
    """Programs with one field of the headers changed, and what was changed."""
    for field in HEADER_FIELDS:
        for value in INTERESTING:
            program = Program(name, kind=kind, interp=interp)
            program.header[field] = value
            yield f"{field}={value:#x}", program.data()
    for index in range(len(Program(name, kind=kind, interp=interp).segments)):
        for field in SEGMENT_FIELDS:
            for value in INTERESTING:
                program = Program(name, kind=kind, interp=interp)
                program.segments[index][field] = value
                yield f"segment {index} {field}={value:#x}", program.data()


def resident() -> int:
    """Megabytes of memory that this process holds."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) // 1024
    return 0


def try_all(name: str, path: Path, cases: Iterator[tuple[str, bytes]]) -> int:
    before = resident()
    count = 0
    for what, data in cases:
        try:
            attempt(name, path, data)
        except Exception as error:
            raise AssertionError(f"{name}: {what}: {error!r}") from error
        count += 1
    space(name)
    assert resident() - before < MEGABYTES
    return count


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", [2, 3])
def test_undamaged_program_loads(name: str, kind: int, tmp_path: Path) -> None:
    program = Program(name, kind=kind)
    image = attempt(name, tmp_path / "p", program.data())
    assert isinstance(image, LoadedImage), image
    assert image.start == program.header["entry"] + image.bias


@pytest.mark.parametrize(("name", "kind"), [("mips", 2), ("mips64el", 3)])
def test_every_field_changed(name: str, kind: int, tmp_path: Path) -> None:
    assert try_all(name, tmp_path / "p", mutants(name, kind, b"")) > 1000


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", [2, 3])
def test_every_field_changed_in_programs_with_loaders(name: str, kind: int, tmp_path: Path) -> None:
    interp = tmp_path / "ld.so"
    interp.write_bytes(Program(name, kind=3).data())
    try_all(name, tmp_path / "p", mutants(name, kind, str(interp).encode()))
    # The same faults in the loader of a good program.
    path = tmp_path / "q"
    good = Program(name, kind=kind, interp=str(interp).encode()).data()
    for _, data in mutants(name, 3, b""):
        interp.write_bytes(data)
        attempt(name, path, good)


@pytest.mark.parametrize("name", ["mips", "mips64el"])
def test_every_truncation(name: str, tmp_path: Path) -> None:
    data = Program(name).data()
    lengths = [*range(0x200), *range(0x200, len(data), 16)]
    try_all(name, tmp_path / "p", ((f"{n} bytes", data[:n]) for n in lengths))


@given(seed=st.integers(0, 1 << 64))
def test_random_bytes(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    spoil(seed, 5, tmp_path_factory.getbasetemp() / "random-elf")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_many_random_bytes(seed: int, tmp_path: Path) -> None:
    spoil(seed, 300, tmp_path / "p")


def spoil(seed: int, count: int, path: Path) -> None:
    """Load `count` programs some bytes of whose headers are others."""
    numbers = random.Random(seed)

    def cases() -> Iterator[tuple[str, bytes]]:
        for _ in range(count):
            data = bytearray(Program(name, kind=numbers.choice((2, 3))).data())
            for _ in range(numbers.choice((1, 2, 4, 16))):
                data[numbers.randrange(0x180)] = numbers.choice((0, 1, 0x7F, 0x80, 0xFF, 0x10))
            yield f"seed {seed}", bytes(data)

    name = numbers.choice(NAMES)
    try_all(name, path, cases())


def test_command_tells_in_one_line(pemu: Run, tmp_path: Path) -> None:
    """What the loader refuses, and what it does not: the guest then ends, by a signal or not."""
    path = tmp_path / "p"
    numbers = random.Random(1)
    cases = list(mutants("mips", 2, b""))
    for what, data in numbers.sample(cases, 15):
        path.write_bytes(data)
        path.chmod(0o755)
        done = pemu("mips", path, timeout=LONG)
        assert "Traceback" not in done.stderr, what
        if done.returncode in (1, 255):
            assert done.stderr.startswith(f"pemu-mips: {path}: ")
            assert done.stderr.count("\n") == 1
        else:
            assert done.returncode in (7, -4, -5, -7, -8, -11), (what, done)
