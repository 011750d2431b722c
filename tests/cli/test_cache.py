"""`pemu-cache`: what it tells of a cache's directory, and what it removes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pemu.cli import cache
from pemu.engine.code.cache import REGIONS, CodeCache
from pemu.engine.code.regioncache import SEPARATOR
from pemu.engine.code.regionstore import Module, pack

DAY = 86400
IDENTITY = SEPARATOR.join(("mips-24Kf-be-o32", "/bin/some program", "100 5"))

Run = Callable[..., "Answer"]


class Answer:
    """What a command has printed, and its exit status."""

    def __init__(self, status: int, output: str, error: str) -> None:
        self.status = status
        self.output = output
        self.error = error


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with a tier 0 that was used just now and regions that were used ten days ago."""
    monkeypatch.delenv("PEMU_JIT")
    place = tmp_path / "cache"
    kept = CodeCache(str(place))
    kept.store_tier0("mips-24Kf-be-o32", bytes(4096), {"enter": 16})
    module = Module(bytes(4096), b"", 9, [(0, [0x400000], [(0x400000, b"word")], False)], {}, [])
    kept.store(REGIONS, IDENTITY, pack(IDENTITY, [module]))
    long_ago = time.time() - 10 * DAY
    os.utime(stored(place, "regions"), (long_ago, long_ago))
    return place


@pytest.fixture
def run(folder: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run `pemu-cache` on `folder`."""

    def call(*words: str) -> Answer:
        status = cache.main(["-cache-dir", str(folder), *words])
        return Answer(status, *capfd.readouterr())

    return call


def stored(folder: Path, kind: str) -> Path:
    """The file of a kind in a cache's directory."""
    (found,) = folder.glob(f"{kind}-*")
    return found


def damage(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_list_names_kind_and_program_the_last_used_first(run: Run) -> None:
    head, *rows = run("list").output.splitlines()
    assert head.split() == ["KIND", "SIZE", "LAST", "USED", "FOR"]
    assert [row.split()[0] for row in rows] == ["tier0", "regions"]
    assert rows[0].endswith("  mips-24Kf-be-o32")
    assert rows[1].endswith("  /bin/some program (mips-24Kf-be-o32)")


def test_list_says_what_is_damaged_and_what_unfinished(run: Run, folder: Path) -> None:
    damage(stored(folder, "regions"), 70)
    (folder / ".tier0-0.1").write_bytes(b"some")
    rows = run("list").output.splitlines()[1:]
    assert any(row.endswith("unfinished") for row in rows)
    assert any(row.endswith("damaged: damaged index") for row in rows)


def test_list_tells_entries_that_other_sources_have_made(run: Run, folder: Path) -> None:
    stored(folder, "regions").rename(folder / "regions-0123")
    assert "by another version of Pemu" in run("list").output.splitlines()[2]


def test_info_tells_directory_number_bytes_and_limit(run: Run, folder: Path) -> None:
    total = sum(path.stat().st_size for path in folder.iterdir())
    lines = run("info").output.splitlines()
    assert lines[0] == f"directory: {folder}"
    assert lines[1].startswith("entries: 2 entries, ")
    assert lines[1].endswith(f"{(total + 512) // 1024} KiB")
    assert lines[4] == "limit: 512 MiB"


def test_info_takes_the_limit_from_the_environment(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PEMU_JIT", "cache-size=20M")
    assert run("info").output.endswith("limit: 20 MiB\n")


def test_clear_empties_the_cache(run: Run, folder: Path) -> None:
    (folder / "notes").write_bytes(b"not the cache's")
    assert run("clear").output.startswith("removed 2 entries, ")
    assert [path.name for path in folder.iterdir()] == ["notes"]


def test_clear_can_spare_what_was_used_lately(run: Run, folder: Path) -> None:
    assert run("clear", "--older-than=9").output.startswith("removed 1 entry, ")
    assert [path.name[:5] for path in folder.iterdir()] == ["tier0"]


def test_verify_finds_a_sound_cache_sound(run: Run) -> None:
    answer = run("verify")
    assert answer.status == 0
    assert answer.output.endswith("damaged: 0\n")


@pytest.mark.parametrize(("kind", "at"), [("tier0", 5000), ("regions", 4100), ("regions", -1)])
def test_verify_names_damaged_entries(run: Run, folder: Path, kind: str, at: int) -> None:
    damage(stored(folder, kind), at)
    answer = run("verify")
    assert answer.status == 1
    assert answer.output.startswith(stored(folder, kind).name)
    assert answer.output.endswith("damaged: 1\n")


def test_verify_removes_damaged_entries_if_told_so(run: Run, folder: Path) -> None:
    damage(stored(folder, "tier0"), 5000)
    answer = run("verify", "-remove")
    assert answer.status == 0
    assert "removed 1 entry" in answer.output
    assert [path.name[:7] for path in folder.iterdir()] == ["regions"]


def test_dir_prints_the_directory_that_programs_would_use(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PEMU_JIT", "mode=tier0")
    monkeypatch.setenv("XDG_CACHE_HOME", "/some/where")
    assert cache.main(["dir"]) == 0
    monkeypatch.setenv("PEMU_JIT", "cache-dir=/else/where")
    assert cache.main(["dir"]) == 0
    assert capfd.readouterr().out == "/some/where/pemu\n/else/where\n"


def test_missing_directory_is_an_empty_cache(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cache.main(["info", "-cache-dir", str(tmp_path / "none")]) == 0
    assert "entries: 0 entries, 0 bytes" in capfd.readouterr().out


def test_directory_of_others_is_refused(run: Run, folder: Path) -> None:
    folder.chmod(0o777)
    answer = run("clear")
    assert answer.status == 1
    assert "others can write to it" in answer.error
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "no command was given; -h lists them"),
        (["lst"], "unknown command 'lst'; did you mean 'list'?"),
        (["list", "all"], "'all' is too much; write pemu-cache list"),
        (["list", "-remove"], "-remove belongs to the command verify, not to list"),
        (["clear", "-older-than", "x"], "-older-than: 'x' is not an integer"),
        (["clear", "-olderthan", "1"], "unknown option '-olderthan'; did you mean '-older-than'?"),
    ],
)
def test_mistake_is_one_sentence(run: Run, words: list[str], sentence: str) -> None:
    answer = run(*words)
    assert answer.status == 1
    assert answer.output == ""
    assert answer.error.startswith(f"pemu-cache: {sentence}")
    assert answer.error.count("\n") == 1


def test_help_lists_commands_and_options(run: Run) -> None:
    text = run("-h").output
    for name in ("list", "info", "clear", "verify", "dir", "-cache-dir path", "-older-than days"):
        assert f"\n  {name} " in text
