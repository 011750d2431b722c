"""Memory calls and the caches."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import pytest

from tests.linux.fakeguest import STACK, Guest, fails

PAGE = 4096
RW, RX, NONE = 3, 5, 0
SHARED, PRIVATE, FIXED, ANONYMOUS, FIXED_NOREPLACE = 1, 2, 0x10, 0x800, 0x100000


def mmap(
    guest: Guest,
    start: int,
    length: int,
    protection: int,
    flags: int,
    fd: int = -1,
    page: int = 0,
) -> int:
    if guest.target.abi == "o32":
        return guest.call("mmap2", start, length, protection, flags, fd, page)
    return guest.call("mmap", start, length, protection, flags, fd, page * PAGE)


def test_anonymous_mapping_is_zero_and_goes_away(guest: Guest) -> None:
    start = mmap(guest, 0, 2 * PAGE, RW, PRIVATE | ANONYMOUS)
    assert guest.mem.read(start, 8) == bytes(8)
    guest.call("munmap", start, 2 * PAGE)
    assert not guest.mem.readable(start, 1)


def test_file_mapping_at_an_offset(guest: Guest, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"a" * PAGE + b"b" * PAGE)
    with open(path, "r+b") as file:
        start = mmap(guest, 0, PAGE, RW, SHARED, file.fileno(), 1)
        assert guest.mem.read(start, 2) == b"bb"
        guest.mem.write(start, b"written")
        guest.call("msync", start, PAGE, 4)
    assert path.read_bytes()[PAGE:].startswith(b"written")


def test_mmap_of_o32_takes_bytes_and_wants_a_whole_page(o32: Guest, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"a" * PAGE + b"b" * PAGE)
    with open(path, "rb") as file:
        start = o32.call("mmap", 0, PAGE, 1, PRIVATE, file.fileno(), PAGE)
        assert o32.mem.read(start, 1) == b"b"
        with fails(errno.EINVAL):
            o32.call("mmap", 0, PAGE, 1, PRIVATE, file.fileno(), 100)


def test_fixed_mappings(guest: Guest) -> None:
    start = mmap(guest, 0x3000000, PAGE, RW, PRIVATE | ANONYMOUS | FIXED)
    assert start == 0x3000000
    with fails(errno.EEXIST):
        mmap(guest, start, PAGE, RW, PRIVATE | ANONYMOUS | FIXED_NOREPLACE)
    with fails(errno.EINVAL):
        mmap(guest, start + 1, PAGE, RW, PRIVATE | ANONYMOUS | FIXED)
    with fails(errno.EINVAL):
        mmap(guest, 0, 0, RW, PRIVATE | ANONYMOUS)
    with fails(errno.EBADF):
        mmap(guest, 0, PAGE, RW, PRIVATE, 999)


def test_protection(guest: Guest) -> None:
    start = mmap(guest, 0, 2 * PAGE, RW, PRIVATE | ANONYMOUS)
    guest.call("mprotect", start, PAGE, 1)
    assert not guest.mem.writable(start, 1)
    assert guest.mem.writable(start + PAGE, 1)
    read, write = os.pipe()
    os.write(write, b"x")
    with fails(errno.EFAULT):
        guest.call("read", read, start, 1)
    with fails(errno.ENOMEM):
        guest.call("mprotect", 0x5000000, PAGE, RW)
    guest.call("pkey_mprotect", start, PAGE, RW, -1)
    with fails(errno.EINVAL):
        guest.call("pkey_mprotect", start, PAGE, RW, 1)
    os.close(read)
    os.close(write)


def test_growsdown_reaches_to_the_start_of_the_stack(guest: Guest) -> None:
    guest.call("mprotect", STACK, PAGE, RW | 4 | 0x01000000)
    assert guest.mem.flags[(STACK - 0x10000) >> 12] & 4
    assert not guest.mem.flags[(STACK + PAGE) >> 12] & 4


def test_mremap_keeps_content(guest: Guest) -> None:
    start = mmap(guest, 0, PAGE, RW, PRIVATE | ANONYMOUS)
    guest.mem.write(start, b"content")
    moved = guest.call("mremap", start, PAGE, 4 * PAGE, 1)
    assert guest.mem.read(moved, 7) == b"content"
    target = 0x6000000
    assert guest.call("mremap", moved, 4 * PAGE, PAGE, 3, target) == target
    assert guest.mem.read(target, 7) == b"content"


def test_brk_grows_and_shrinks(guest: Guest) -> None:
    guest.mem.set_brk(0x8000000)
    assert guest.call("brk", 0) == 0x8000000
    assert guest.call("brk", 0x8000800) == 0x8000800
    guest.mem.write(0x80007FF, b"x")
    assert guest.call("brk", 0x8000000) == 0x8000000


def test_madvise_dontneed_drops_content(guest: Guest) -> None:
    start = mmap(guest, 0, PAGE, RW, PRIVATE | ANONYMOUS)
    guest.mem.write(start, b"x")
    guest.call("madvise", start, PAGE, 4)
    assert guest.mem.read(start, 1) == b"\0"
    with fails(errno.EINVAL):
        guest.call("madvise", start, PAGE, 99)


def test_locking_and_residence(guest: Guest) -> None:
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] < 1 << 20:
        pytest.skip("not allowed to lock memory")
    start = mmap(guest, 0, 2 * PAGE, RW, PRIVATE | ANONYMOUS)
    guest.call("mlock", start, PAGE)
    vector = guest.alloc(2)
    guest.call("mincore", start, 2 * PAGE, vector)
    assert guest.mem.read(vector, 2)[0] & 1
    guest.call("munlock", start, PAGE)
    guest.call("mlock2", start, PAGE, 1)
    guest.call("munlockall")
    guest.call("mlockall", 2)
    for call, arguments in (("mlock", ()), ("msync", (4,)), ("mincore", (vector,))):
        with fails(errno.ENOMEM):
            guest.call(call, 0x7000000, PAGE, *arguments)
    with fails(errno.EINVAL):
        guest.call("mlockall", 8)


def test_cacheflush_drops_translations(guest: Guest) -> None:
    guest.call("cacheflush", 0x10000, 64, 3)
    assert guest.invalidated == [(0x10000, 0x10040)]
    guest.call("cacheflush", 0x10000, 0, 3)
    assert len(guest.invalidated) == 1


def test_sysmips_exchanges_a_word_and_returns_any_old_value(guest: Guest) -> None:
    word = guest.alloc(4)
    guest.mem.put_u32(word, 0xFFFFFFFF)
    assert guest.call("sysmips", 2001, word, 5) & 0xFFFFFFFF == 0xFFFFFFFF
    assert guest.mem.u32(word) == 5
    assert guest.call("sysmips", 2001, word, 6) == 5
    with fails(errno.EINVAL):
        guest.call("sysmips", 2001, word + 1, 6)
    guest.call("sysmips", 3, 0, 0)
    assert guest.invalidated == [(0, guest.mem.size)]
