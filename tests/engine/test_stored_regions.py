"""Regions of the code cache in use: programs print the same with them as without them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pemu.cli import cache as pemu_cache
from tests.conftest import ROOT, Run, need
from tests.patience import LONG

PROGRAMS = ROOT / "tests" / "programs" / "cache"
COMPILERS = {"mipsel": "mipsel-linux-gnu-gcc", "mips64": "mips64-linux-gnuabi64-gcc"}
TARGETS = tuple(COMPILERS)


class Result:
    """Output of a run, and for each process how many stored regions it put to use."""

    def __init__(self, output: str, used: list[int]) -> None:
        self.output = output
        self.used = used


class Cached:
    """Runs programs with a code cache of its own, in which there is tier 0 at first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.directory = folder / "cache"

    def files(self) -> list[str]:
        """Names of the files of regions."""
        return sorted(path.name for path in self.directory.glob("*regions-*"))

    def start(
        self, target: str, *words: str | Path, jit: str = "mode=auto", flush: str = ""
    ) -> subprocess.Popen[str]:
        (self.folder / "notes").touch()
        places = [str(ROOT / "src"), *(place for place in sys.path if "-packages" in place)]
        return subprocess.Popen(
            [
                *(sys.executable, "-I", "-S", str(ROOT / "tests" / "engine" / "warm_run.py")),
                *(":".join(places), str(self.folder / "notes"), target),
                *("-jit", f"cache-dir={self.directory},{jit}"),
                *map(str, words),
            ],
            env=os.environ | ({"PEMU_FLUSH": flush} if flush else {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(
        self, target: str, *words: str | Path, jit: str = "mode=auto", flush: str = ""
    ) -> Result:
        """Run a program, which must end with status 0 and without a message."""
        started = self.start(target, *words, jit=jit, flush=flush)
        output, error = started.communicate(timeout=LONG)
        assert (error, started.returncode) == ("", 0)
        used = [int(line) for line in (self.folder / "notes").read_text().splitlines()]
        (self.folder / "notes").write_text("")
        return Result(output, used)


@pytest.fixture
def cached(tmp_path: Path, pemu: Run) -> Cached:
    made = Cached(tmp_path)
    made.directory.mkdir(mode=0o700)
    for target in TARGETS:
        prepare(target, pemu, tmp_path)
    for entry in Path(os.environ["PEMU_TEST_CACHE"]).glob("tier0-*"):
        shutil.copy(entry, made.directory)
    return made


prepared: set[str] = set()


def prepare(target: str, pemu: Run, folder: Path) -> None:
    """Have tier 0 of a target in the cache that all tests share."""
    if target not in prepared:
        pemu(target, build(target, "work", folder), timeout=LONG)
        prepared.add(target)


def build(target: str, name: str, folder: Path, *options: str, output: str = "") -> Path:
    """Compile a program of tests/programs/cache."""
    path = folder / (output or f"{name}-{target}")
    linked = ["-static"] if name not in ("plugins", "plugin") else []
    if name == "plugin":
        linked = ["-shared", "-fPIC"]
    compiler = need(COMPILERS[target])
    source = PROGRAMS / f"{name}.c"
    command = [
        compiler,
        "-O1",
        *linked,
        *options,
        "-o",
        str(path),
        str(source),
        "-lpthread",
        "-ldl",
    ]
    subprocess.run(command, check=True, capture_output=True)
    return path


@pytest.mark.parametrize("target", TARGETS)
def test_second_run_uses_stored_regions(target: str, cached: Cached, tmp_path: Path) -> None:
    program = build(target, "work", tmp_path)
    first, second = cached.run(target, program), cached.run(target, program)
    assert first.used == [0]
    assert second.used[0] > 4
    assert first.output == second.output


@pytest.mark.parametrize("how", ["threads", "children"])
@pytest.mark.parametrize("target", TARGETS)
def test_threads_and_children_use_them(
    target: str, how: str, cached: Cached, tmp_path: Path
) -> None:
    program = build(target, "work", tmp_path)
    first, second = (cached.run(target, program, how) for _ in range(2))
    assert all(second.used)
    assert first.output == second.output


def test_processes_may_run_and_store_at_once(cached: Cached, tmp_path: Path) -> None:
    program = build("mipsel", "work", tmp_path)
    for _ in range(2):
        running = [cached.start("mipsel", program) for _ in range(4)]
        assert len({one.communicate(timeout=LONG) for one in running}) == 1
    assert len(cached.files()) == 1
    assert pemu_cache.main(["-cache-dir", str(cached.directory), "verify"]) == 0


# Code that is not what was compiled.


@pytest.mark.parametrize("target", TARGETS)
def test_program_that_replaces_another_of_same_size_and_time(
    target: str, cached: Cached, tmp_path: Path
) -> None:
    program = build(target, "work", tmp_path)
    before = program.stat()
    old = cached.run(target, program)
    build(target, "work", tmp_path, "-DSEED=3")
    assert program.stat().st_size == before.st_size
    os.utime(program, ns=(before.st_atime_ns, before.st_mtime_ns))
    new = cached.run(target, program)
    build(target, "work", tmp_path, "-DSEED=3", output="apart")
    assert new.output == cached.run(target, tmp_path / "apart").output
    assert new.output != old.output


@pytest.mark.parametrize("name", ["patch", "generated"])
@pytest.mark.parametrize("target", TARGETS)
def test_program_changes_code(target: str, name: str, cached: Cached, tmp_path: Path) -> None:
    program = build(target, name, tmp_path)
    expected = cached.run(target, program, jit="mode=tier0").output
    for _ in range(3):
        assert cached.run(target, program).output == expected


@pytest.mark.parametrize("target", TARGETS)
def test_generated_code_differs_from_run_to_run(
    target: str, cached: Cached, tmp_path: Path
) -> None:
    program = build(target, "generated", tmp_path)
    for value in ("5", "9", "5"):
        expected = cached.run(target, program, value, jit="mode=tier0").output
        assert cached.run(target, program, value).output == expected


@pytest.mark.parametrize(
    ("target", "root"),
    [("mipsel", "/usr/mipsel-linux-gnu"), ("mips64", "/usr/mips64-linux-gnuabi64")],
)
def test_libraries_take_each_other_s_place(
    target: str, root: str, cached: Cached, tmp_path: Path
) -> None:
    program = build(target, "plugins", tmp_path)
    three, five = (
        build(target, "plugin", tmp_path, f"-DFACTOR={factor}", output=f"plugin{factor}.so")
        for factor in (3, 5)
    )
    for plugins in ([three, five, three], [five, three], [five]):
        words: list[str | Path] = ["-L", root, program, *plugins]
        expected = cached.run(target, *words, jit="mode=tier0").output
        assert cached.run(target, *words).output == expected


@pytest.mark.parametrize("target", TARGETS)
def test_all_code_is_thrown_away_meanwhile(target: str, cached: Cached, tmp_path: Path) -> None:
    program = build(target, "work", tmp_path)
    expected = cached.run(target, program).output
    for how in ("", "threads"):
        assert cached.run(target, program, how, flush="0.005").output == expected


# Where they are not used.


@pytest.mark.parametrize("words", [["-singlestep"], ["-d", "nochain", "-D", "/dev/null"]])
def test_single_steps_and_logs_do_without_them(
    words: list[str], cached: Cached, tmp_path: Path
) -> None:
    program = build("mipsel", "work", tmp_path)
    expected = cached.run("mipsel", program).output
    before = [(cached.directory / name).read_bytes() for name in cached.files()]
    observed = cached.run("mipsel", *words, program)
    assert observed.used == [0]
    assert observed.output == expected
    assert [(cached.directory / name).read_bytes() for name in cached.files()] == before


def test_switched_off_cache_is_neither_read_nor_written(cached: Cached, tmp_path: Path) -> None:
    program = build("mipsel", "work", tmp_path)
    expected = cached.run("mipsel", program).output
    entries = [path.stat() for path in sorted(cached.directory.iterdir())]
    off = cached.run("mipsel", program, jit="mode=auto,cache=off")
    assert off.used == [0]
    assert off.output == expected
    assert [path.stat() for path in sorted(cached.directory.iterdir())] == entries


def test_directory_that_others_can_write_to_is_neither_read_nor_written(
    cached: Cached, tmp_path: Path
) -> None:
    program = build("mipsel", "work", tmp_path)
    expected = cached.run("mipsel", program).output
    cached.directory.chmod(0o777)
    entries = [path.stat() for path in sorted(cached.directory.iterdir())]
    untrusted = cached.run("mipsel", program)
    assert untrusted.used == [0]
    assert untrusted.output == expected
    assert [path.stat() for path in sorted(cached.directory.iterdir())] == entries


@pytest.mark.parametrize("part", ["header", "index", "code", "tail", "end", "all"])
def test_damaged_file_does_no_harm(part: str, cached: Cached, tmp_path: Path) -> None:
    program = build("mipsel", "work", tmp_path)
    expected = cached.run("mipsel", program).output
    (name,) = cached.files()
    content = bytearray((cached.directory / name).read_bytes())
    code_at = int.from_bytes(content[36:40], "little")
    tail_at = int.from_bytes(content[44:48], "little")
    if part == "end":
        del content[-1]
    elif part == "all":
        del content[:]
    else:
        at = {"header": 20, "index": 200, "code": code_at + 1, "tail": tail_at + 20}[part]
        content[at] ^= 0xFF
    (cached.directory / name).write_bytes(content)
    damaged = cached.run("mipsel", program)
    assert damaged.output == expected
    if part not in ("code", "tail"):  # which other regions do not depend on
        assert damaged.used == [0]
    assert cached.run("mipsel", program).output == expected


# What the guest must not notice, and what it must not spoil.


def test_guest_finds_its_descriptors_free(cached: Cached, tmp_path: Path) -> None:
    program = build("mipsel", "work", tmp_path)
    first, second = (cached.run("mipsel", program, "descriptors") for _ in range(2))
    assert second.used[0] > 4
    assert first.output == second.output
    assert second.output.startswith("3 4\n")


def test_umask_of_the_guest_does_not_matter(cached: Cached, tmp_path: Path) -> None:
    program = build("mipsel", "work", tmp_path)
    cached.run("mipsel", program, "umask")
    (name,) = cached.files()
    assert (cached.directory / name).stat().st_mode & 0o777 == 0o600


def test_guest_s_limit_on_files_ends_neither_guest_nor_cache(
    cached: Cached, tmp_path: Path
) -> None:
    program = build("mipsel", "work", tmp_path)
    cached.run("mipsel", program, "small-files")
    assert cached.files() == []


def test_nothing_is_written_below_another_root(cached: Cached, tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root may change the root directory")
    root = tmp_path / "root"
    there = root / str(cached.directory).lstrip("/")
    there.mkdir(parents=True, mode=0o700)
    program = build("mipsel", "work", tmp_path)
    cached.run("mipsel", program, "chroot", root)
    assert list(there.iterdir()) == []


def test_executed_program_uses_its_own_regions(cached: Cached, tmp_path: Path) -> None:
    first, second = (
        build("mipsel", "work", tmp_path, f"-DSEED={seed}", output=f"work{seed}") for seed in (1, 2)
    )
    expected = cached.run("mipsel", first, jit="mode=tier0").output
    expected += cached.run("mipsel", second).output
    both = cached.run("mipsel", first, "execute", second)
    assert both.output == expected
    assert both.used[0] > 4


def test_executed_program_with_another_home_makes_no_other_cache(
    cached: Cached, tmp_path: Path
) -> None:
    program = build("mipsel", "work", tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    both = cached.run("mipsel", program, "execute-elsewhere", program, f"HOME={home}")
    assert both.output == 2 * cached.run("mipsel", program).output
    assert list(home.iterdir()) == []


def test_name_of_a_program_may_be_any_bytes(cached: Cached, tmp_path: Path) -> None:
    program = tmp_path / os.fsdecode(b"\xff\xfe")
    shutil.copy(build("mipsel", "work", tmp_path), program)
    cached.run("mipsel", program)
    assert cached.run("mipsel", program).used[0] > 4
    assert pemu_cache.main(["-cache-dir", str(cached.directory), "list"]) == 0


def test_cache_on_a_file_system_without_execution_serves(cached: Cached, tmp_path: Path) -> None:
    program = build("mipsel", "work", tmp_path)
    expected = cached.run("mipsel", program).output
    place = tmp_path / "noexec"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "noexec,mode=700", "none", str(place)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted")
    try:
        shutil.copytree(cached.directory, place / "cache")
        cached.directory = place / "cache"
        second = cached.run("mipsel", program)
        assert second.used[0] > 4
        assert second.output == expected
    finally:
        subprocess.run(["umount", place], check=True)
