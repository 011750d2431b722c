"""Several buffers at once, and moving data between descriptors."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

import pytest

from pemu.linux import fdtable
from pemu.linux.structs.files import LONG_OFFSET, OFFSET
from tests.linux.fakeguest import Guest, GuestError


def iovec(guest: Guest, *buffers: tuple[int, int]) -> int:
    """An array of buffers in guest memory."""
    order = ">" if guest.target.big_endian else "<"
    letter = "Q" if guest.target.word == 8 else "I"
    return guest.put(b"".join(struct.pack(f"{order}2{letter}", *pair) for pair in buffers))


def test_readv_and_writev(guest: Guest) -> None:
    read, write = os.pipe()
    first, second = guest.put(b"abc"), guest.put(b"defgh")
    assert guest.call("writev", write, iovec(guest, (first, 3), (0, 0), (second, 5)), 3) == 8
    out = guest.alloc(16)
    assert guest.call("readv", read, iovec(guest, (out, 2), (out + 8, 8)), 2) == 8
    assert guest.mem.read(out, 16) == b"ab" + bytes(6) + b"cdefgh" + bytes(2)
    os.close(read)
    os.close(write)


def test_bad_vectors_are_refused(guest: Guest) -> None:
    with pytest.raises(GuestError) as caught:
        guest.call("writev", 1, iovec(guest), 1025)
    assert caught.value.errno == errno.EINVAL
    with pytest.raises(GuestError) as caught:
        guest.call("writev", 1, iovec(guest, (0x100, (1 << 8 * guest.target.word) - 1)), 1)
    assert caught.value.errno == errno.EINVAL
    with pytest.raises(GuestError) as caught:
        guest.call("readv", 0, 0x10, 1)
    assert caught.value.errno == errno.EFAULT


def position(guest: Guest, value: int) -> tuple[int, int]:
    """The offset of preadv: low and high word, on n64 all in the low one."""
    if guest.target.word == 8:
        return value, 0
    return value & 0xFFFFFFFF, value >> 32


def test_positioned_vectors_beyond_4_gib(guest: Guest, tmp_path: Path) -> None:
    with open(tmp_path / "f", "w+b") as file:
        fd = file.fileno()
        vector = iovec(guest, (guest.put(b"data"), 4))
        where = position(guest, 0x1_0000_0002)
        assert guest.call("pwritev", fd, vector, 1, *where) == 4
        assert os.pread(fd, 4, 0x1_0000_0002) == b"data"
        assert guest.call("pwritev2", fd, vector, 1, *position(guest, 0), 0x10) == 4
        assert os.fstat(fd).st_size == 0x1_0000_000A
        out = guest.alloc(8)
        assert guest.call("preadv", fd, iovec(guest, (out, 4)), 1, *where) == 4
        assert guest.mem.read(out, 4) == b"data"
        guest.mem.write(out, bytes(4))
        assert guest.call("preadv2", fd, iovec(guest, (out, 4)), 1, *where, 0) == 4
        assert guest.mem.read(out, 4) == b"data"


def test_llseek_stores_its_result(o32: Guest, tmp_path: Path) -> None:
    with open(tmp_path / "f", "w+b") as file:
        result = o32.alloc(8)
        assert o32.call("_llseek", file.fileno(), 2, 5, result, 0) == 0
        assert o32.mem.u64(result) == 0x2_0000_0005


def test_sendfile_advances_the_guests_offset(guest: Guest, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"0123456789")
    read, write = os.pipe()
    with open(path, "rb") as file:
        offset = guest.put_struct(LONG_OFFSET, value=3)
        assert guest.call("sendfile", write, file.fileno(), offset, 4) == 4
        assert guest.get(LONG_OFFSET, offset).value == 7
        if "sendfile64" in guest.numbers:
            wide = guest.put_struct(OFFSET, value=7)
            assert guest.call("sendfile64", write, file.fileno(), wide, 4) == 3
            assert guest.get(OFFSET, wide).value == 10
            assert os.read(read, 7) == b"3456789"
    os.close(read)
    os.close(write)


def test_splice_tee_and_copy_file_range(guest: Guest, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    first, second = os.pipe(), os.pipe()
    with open(tmp_path / "a", "rb") as source, open(tmp_path / "b", "w+b") as copy:
        offset = guest.put_struct(OFFSET, value=2)
        assert guest.call("splice", source.fileno(), offset, first[1], 0, 5, 0) == 5
        assert guest.get(OFFSET, offset).value == 7
        assert guest.call("tee", first[0], second[1], 5, 0) == 5
        assert os.read(second[0], 9) == b"23456"
        offset = guest.put_struct(OFFSET, value=1)
        assert guest.call("copy_file_range", source.fileno(), offset, copy.fileno(), 0, 3, 0) == 3
        assert os.pread(copy.fileno(), 9, 0) == b"123"
        vector = iovec(guest, (guest.put(b"spliced"), 7))
        assert guest.call("vmsplice", second[1], vector, 1, 0) == 7
        assert os.read(second[0], 9) == b"spliced"
    for fd in first + second:
        os.close(fd)


class Upper(fdtable.Translator):
    def from_host(self, t: object, data: bytes) -> bytes:
        return data.upper()

    to_host = from_host


def test_vectors_of_translated_descriptors(guest: Guest) -> None:
    read, write = os.pipe()
    fdtable.set_translator(read, Upper())
    fdtable.set_translator(write, Upper())
    vector = iovec(guest, (guest.put(b"ab"), 2), (guest.put(b"cd"), 2))
    assert guest.call("writev", write, vector, 2) == 4
    assert os.read(read, 9) == b"ABCD"
    os.write(write, b"xyz")
    out = guest.alloc(8)
    assert guest.call("readv", read, iovec(guest, (out, 1), (out + 4, 4)), 2) == 3
    assert guest.mem.read(out, 8) == b"X\0\0\0YZ\0\0"
    guest.call("close", read)
    guest.call("close", write)


def test_strace_shows_the_buffers_that_were_filled(guest: Guest) -> None:
    read, write = os.pipe()
    os.write(write, b"abc")
    out = guest.alloc(16)
    guest.trace()
    guest.call("readv", read, iovec(guest, (out, 2), (out + 8, 8)), 2)
    line = guest.log.take()
    assert '[{iov_base="ab", iov_len=2}, {iov_base="c", iov_len=8}], 2) = 3' in line
    os.close(read)
    os.close(write)
