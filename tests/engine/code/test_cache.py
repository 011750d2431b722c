"""The directory of the code cache: what is trusted, what is noticed, what is kept."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pemu.engine.code import cache as codecache
from pemu.engine.code.cache import REGIONS, CodeCache, Tier0
from tests.patience import LONG

CODE, SYMBOLS = bytes(range(256)) * 16, {"enter": 0, "leave": 4000}


@pytest.fixture
def cache(tmp_path: Path) -> CodeCache:
    return CodeCache(str(tmp_path / "cache"))


def names(cache: CodeCache) -> list[str]:
    return sorted(os.listdir(cache.directory))


def content(cache: CodeCache, kind: str, name: str) -> bytes | None:
    fd = cache.open(kind, name)
    if fd is None:
        return None
    with open(fd, "rb") as file:
        return file.read()


def written_tier0(cache: CodeCache) -> bytes:
    cache.store_tier0("some processor", CODE, SYMBOLS)
    return (Path(cache.directory) / names(cache)[0]).read_bytes()


def test_tier0_comes_back_as_it_was_stored(cache: CodeCache) -> None:
    cache.store_tier0("some processor", CODE, SYMBOLS)
    found = cache.open_tier0("some processor")
    assert found is not None
    fd, tier0 = found
    try:
        assert os.pread(fd, tier0.code_size, tier0.code_at) == CODE
    finally:
        os.close(fd)
    assert tier0.code_at % 4096 == 0
    assert (tier0.name, tier0.symbols) == ("some processor", SYMBOLS)


def test_other_processor_has_another_entry(cache: CodeCache) -> None:
    cache.store_tier0("some processor", CODE, SYMBOLS)
    assert cache.open_tier0("other processor") is None


def test_names_of_programs_may_be_any_bytes(cache: CodeCache) -> None:
    name = os.fsdecode(b"/bin/\xff\xfe")
    cache.store(REGIONS, name, [b"content"])
    assert content(cache, REGIONS, name) == b"content"


# Damage.


@given(st.data())
def test_any_changed_byte_of_tier0_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    written = written_tier0(CodeCache(str(tmp_path_factory.mktemp("cache"))))
    damaged = bytearray(written)
    at = data.draw(st.one_of(st.integers(0, 63), st.integers(0, len(written) - 1)))
    damaged[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ValueError, match="damaged|truncated"):
        Tier0(bytes(damaged))


@pytest.mark.parametrize("size", [0, 1, 11, 27, 28, 100, 4096, -1])
def test_truncated_tier0_is_noticed(cache: CodeCache, size: int) -> None:
    with pytest.raises(ValueError, match="damaged|truncated"):
        Tier0(written_tier0(cache)[:size])


def test_damaged_entry_is_as_if_there_was_none(cache: CodeCache) -> None:
    written = bytearray(written_tier0(cache))
    written[-1] ^= 1
    (Path(cache.directory) / names(cache)[0]).write_bytes(written)
    assert cache.open_tier0("some processor") is None


def test_file_too_large_to_be_true_is_not_read(cache: CodeCache) -> None:
    written_tier0(cache)
    os.truncate(Path(cache.directory) / names(cache)[0], 1 << 40)
    assert cache.open_tier0("some processor") is None


@pytest.mark.parametrize("digest", ["_sources_digest", "_host_digest"])
def test_entry_of_other_sources_or_host_is_not_found(
    cache: CodeCache, monkeypatch: pytest.MonkeyPatch, digest: str
) -> None:
    cache.store(REGIONS, "program", [b"content"])
    monkeypatch.setattr(codecache, digest, lambda: b"other")
    assert content(CodeCache(cache.directory), REGIONS, "program") is None


def test_entry_that_is_no_file_is_ignored(cache: CodeCache, tmp_path: Path) -> None:
    cache.store(REGIONS, "program", [b"content"])
    entry = Path(cache.directory) / names(cache)[0]
    entry.rename(tmp_path / "elsewhere")
    entry.symlink_to(tmp_path / "elsewhere")
    assert content(cache, REGIONS, "program") is None
    entry.unlink()
    os.mkfifo(entry)
    assert content(cache, REGIONS, "program") is None


# Trust.


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702, 0o1777])
def test_directory_that_others_can_write_to_is_not_used(cache: CodeCache, mode: int) -> None:
    cache.store(REGIONS, "program", [b"content"])
    os.chmod(cache.directory, mode)
    assert content(cache, REGIONS, "program") is None
    cache.store(REGIONS, "other", [b"content"])
    assert len(names(cache)) == 1


def test_directory_of_another_user_is_not_used(
    cache: CodeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.store(REGIONS, "program", [b"content"])
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert content(cache, REGIONS, "program") is None
    cache.store(REGIONS, "other", [b"content"])
    assert len(names(cache)) == 1


def test_directory_is_made_for_its_owner_alone(cache: CodeCache) -> None:
    cache.store(REGIONS, "program", [b"content"])
    assert os.stat(cache.directory).st_mode & 0o777 == 0o700


def test_directory_may_be_reached_by_a_symbolic_link(cache: CodeCache, tmp_path: Path) -> None:
    cache.store(REGIONS, "program", [b"content"])
    (tmp_path / "link").symlink_to(cache.directory)
    assert content(CodeCache(str(tmp_path / "link")), REGIONS, "program") == b"content"


def test_held_directory_is_used_wherever_it_has_gone(cache: CodeCache, tmp_path: Path) -> None:
    cache.store(REGIONS, "before", [b"1"])
    cache.hold(os.dup)
    directory = Path(cache.directory)
    moved = directory.rename(tmp_path / "moved")
    cache.store(REGIONS, "after", [b"2"])
    for name in ("before", "after"):
        fd = cache.open(REGIONS, name)
        assert fd is not None
        os.close(fd)
    assert len(list(moved.iterdir())) == 2
    assert not directory.exists()


def test_directory_that_does_not_exist_is_not_made_once_held(cache: CodeCache) -> None:
    cache.hold(os.dup)
    cache.store(REGIONS, "name", [b"1"])
    assert cache.open(REGIONS, "name") is None
    assert not Path(cache.directory).exists()


def test_path_that_is_no_directory_is_no_cache(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = CodeCache(str(tmp_path / "file"))
    cache.store(REGIONS, "program", [b"content"])
    assert content(cache, REGIONS, "program") is None
    assert (tmp_path / "file").read_bytes() == b""


def test_files_do_not_depend_on_the_umask(cache: CodeCache) -> None:
    os.mkdir(cache.directory, 0o700)
    before = os.umask(0o777)
    try:
        cache.store(REGIONS, "program", [b"content"])
    finally:
        os.umask(before)
    entry = Path(cache.directory) / names(cache)[0]
    assert entry.stat().st_mode & 0o777 == 0o600


def test_cache_that_cannot_be_written_to_is_used(
    cache: CodeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.store(REGIONS, "program", [b"content"])

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "utime", refuse)
    assert content(cache, REGIONS, "program") == b"content"


# Writing.


def test_failure_leaves_nothing_behind(cache: CodeCache, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.store(REGIONS, "program", [b"content"])

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", refuse)
    cache.store(REGIONS, "program", [b"new content"])
    assert len(names(cache)) == 1
    assert content(cache, REGIONS, "program") == b"content"


def test_limit_on_the_size_of_files_is_heeded(cache: CodeCache) -> None:
    program = (
        f"import sys, resource; sys.path[:0] = {sys.path!r}\n"
        "from pemu.engine.code.cache import REGIONS, CodeCache\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        f"CodeCache({cache.directory!r}).store(REGIONS, 'large', [bytes(1001)])\n"
        f"CodeCache({cache.directory!r}).store(REGIONS, 'small', [bytes(1000)])\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=LONG)
    assert content(cache, REGIONS, "large") is None
    assert content(cache, REGIONS, "small") == bytes(1000)


def test_longest_unused_entries_make_room(cache: CodeCache) -> None:
    cache.limit = 3000
    for age, name in enumerate(("c", "b", "a")):
        cache.store(REGIONS, name, [bytes(1000)])
        long_ago = time.time() - 1000 + age
        os.utime(Path(cache.directory) / cache.key(REGIONS, name), (long_ago, long_ago))
    assert content(cache, REGIONS, "c") is not None  # which is a use of it
    cache.store(REGIONS, "d", [bytes(1500)])
    kept = {name for name in "abcd" if content(cache, REGIONS, name) is not None}
    assert kept == {"c", "d"}


def test_entry_beyond_the_limit_is_not_written(cache: CodeCache) -> None:
    cache.limit = 3000
    cache.store(REGIONS, "small", [bytes(1000)])
    cache.store(REGIONS, "large", [bytes(3001)])
    assert content(cache, REGIONS, "large") is None
    assert content(cache, REGIONS, "small") is not None


def test_new_content_needs_no_room_beside_the_old(cache: CodeCache) -> None:
    cache.limit = 3000
    cache.store(REGIONS, "other", [bytes(1000)])
    cache.store(REGIONS, "program", [bytes(1900)])
    cache.store(REGIONS, "program", [bytes(2000)])
    assert content(cache, REGIONS, "other") is not None


def test_unfinished_files_go_after_a_while(cache: CodeCache) -> None:
    os.mkdir(cache.directory, 0o700)
    for name, age in ((".regions-new.1", 10), (".regions-old.2", 5000), ("notes", 5000)):
        path = Path(cache.directory) / name
        path.write_bytes(b"")
        os.utime(path, (time.time() - age, time.time() - age))
    cache.store(REGIONS, "program", [b"content"])
    assert names(cache) == [".regions-new.1", "notes", cache.key(REGIONS, "program")]


def test_readers_find_one_of_the_contents_that_writers_store(cache: CodeCache) -> None:
    contents = [bytes([number]) * 50000 for number in range(4)]
    program = (
        f"import sys; sys.path[:0] = {sys.path!r}\n"
        "from pemu.engine.code.cache import REGIONS, CodeCache\n"
        f"cache = CodeCache({cache.directory!r})\n"
        "for _ in range(50):\n"
        "    cache.store(REGIONS, 'program', [bytes([int(sys.argv[1])]) * 50000])\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", program, str(number)]) for number in range(4)
    ]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        seen.add(content(cache, REGIONS, "program"))
    assert seen <= {None, *contents}
    assert content(cache, REGIONS, "program") in contents
    assert all(writer.returncode == 0 for writer in writers)
    assert len(names(cache)) == 1


def test_threads_may_store_the_same_entry(cache: CodeCache) -> None:
    contents = [bytes([number]) * 5000 for number in range(4)]

    def store(number: int) -> None:
        for _ in range(50):
            cache.store(REGIONS, "program", [contents[number]])

    threads = [threading.Thread(target=store, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert content(cache, REGIONS, "program") in contents
    assert len(names(cache)) == 1


def test_default_directory_follows_the_environment(tmp_path: Path) -> None:
    default = codecache.default_directory
    home = str(tmp_path)
    assert default({"XDG_CACHE_HOME": "/x", "HOME": home}) == "/x/pemu"
    assert default({"XDG_CACHE_HOME": "relative", "HOME": home}) == f"{home}/.cache/pemu"
    assert default({"HOME": "relative"}) == ""
    assert default({"HOME": f"{home}/missing"}) == ""
    assert default({}) == ""
