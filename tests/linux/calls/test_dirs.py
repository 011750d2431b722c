"""Directories, names, links."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import types
from pathlib import Path

import pytest

from pemu.linux import fdtable
from tests.linux.fakeguest import Guest, GuestError

AT_FDCWD = -100


def listing64(guest: Guest, start: int, size: int) -> list[tuple[bytes, int, int]]:
    """Name, type and inode of the records of getdents64."""
    data = guest.mem.read(start, size)
    order = ">" if guest.target.big_endian else "<"
    found = []
    while data:
        inode, _, length, kind = struct.unpack_from(order + "QqHB", data)
        found.append((data[19 : data.index(b"\0", 19)], kind, inode))
        data = data[length:]
    return found


def listing(guest: Guest, start: int, size: int) -> list[tuple[bytes, int, int]]:
    """The same of getdents."""
    data = guest.mem.read(start, size)
    form = (">" if guest.target.big_endian else "<") + ("QQH" if guest.target.word == 8 else "IIH")
    head = struct.calcsize(form)
    found = []
    while data:
        inode, _, length = struct.unpack_from(form, data)
        assert length % guest.target.word == 0
        found.append((data[head : data.index(b"\0", head)], data[length - 1], inode))
        data = data[length:]
    return found


@pytest.mark.parametrize("call", ["getdents64", "getdents"])
def test_listing_has_names_types_and_inodes(guest: Guest, tmp_path: Path, call: str) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "a file").write_bytes(b"")
    (tmp_path / "link").symlink_to("nowhere")
    if call not in guest.numbers:
        pytest.skip("not a call of this ABI")
    fd = os.open(tmp_path, os.O_RDONLY)
    start = guest.alloc(4096)
    size = guest.call(call, fd, start, 4096)
    found = (listing64 if call == "getdents64" else listing)(guest, start, size)
    assert {name: kind for name, kind, _ in found} == {
        b".": 4,
        b"..": 4,
        b"directory": 4,
        b"a file": 8,
        b"link": 10,
    }
    inodes = {name: inode for name, _, inode in found}
    assert inodes[b"a file"] == (tmp_path / "a file").stat().st_ino
    assert guest.call(call, fd, start, 4096) == 0
    os.close(fd)


def test_small_buffer_continues_where_it_stopped(guest: Guest, tmp_path: Path) -> None:
    names = {f"file{number:02}".encode() for number in range(20)}
    for name in names:
        (tmp_path / name.decode()).write_bytes(b"")
    fd = os.open(tmp_path, os.O_RDONLY)
    start = guest.alloc(128)
    found: set[bytes] = set()
    while size := guest.call("getdents64", fd, start, 128):
        found |= {name for name, _, _ in listing64(guest, start, size)}
    assert found == names | {b".", b".."}
    os.lseek(fd, 0, 0)
    with pytest.raises(GuestError) as caught:
        guest.call("getdents64", fd, start, 8)
    assert caught.value.errno == errno.EINVAL
    os.close(fd)


def test_readdir_gives_one_entry_at_a_time(o32: Guest, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"")
    fd = os.open(tmp_path, os.O_RDONLY)
    start = o32.alloc(300)
    found = set()
    while o32.call("readdir", fd, start, 1) == 1:
        length = o32.mem.u16(start + 8)
        found.add(o32.mem.read(start + 10, length))
    assert found == {b".", b"..", b"one"}
    os.close(fd)


def test_pemus_own_descriptors_are_not_listed(guest: Guest) -> None:
    own = fdtable.claim(fcntl.fcntl(0, fcntl.F_DUPFD, 777))
    fd = os.open("/proc/self/fd", os.O_RDONLY)
    start = guest.alloc(8192)
    size = guest.call("getdents64", fd, start, 8192)
    names = {name for name, _, _ in listing64(guest, start, size)}
    assert b"0" in names
    assert b"777" not in names
    fdtable.release(own)
    os.close(own)
    os.close(fd)


def test_names(guest: Guest, tmp_path: Path) -> None:
    base = os.open(tmp_path, os.O_RDONLY)
    path = bytes(tmp_path)
    guest.call("mkdir", path + b"/d", 0o755)
    guest.call("mkdirat", base, b"e", 0o755)
    guest.call("mknod", path + b"/fifo", 0o10644, 0)
    guest.call("mknodat", base, b"plain", 0o100644, 0)
    guest.call("link", path + b"/plain", path + b"/linked")
    guest.call("linkat", base, b"plain", base, b"linked2", 0)
    guest.call("symlink", b"plain", path + b"/soft")
    guest.call("symlinkat", b"d", base, b"soft2")
    guest.call("rename", path + b"/linked", path + b"/renamed")
    guest.call("renameat", base, b"linked2", base, b"renamed2")
    with pytest.raises(GuestError) as caught:
        guest.call("renameat2", base, b"renamed", base, b"renamed2", 1)
    assert caught.value.errno == errno.EEXIST
    guest.call("unlink", path + b"/renamed")
    guest.call("unlinkat", base, b"e", 0x200)
    guest.call("rmdir", path + b"/d")
    assert sorted(os.listdir(tmp_path)) == ["fifo", "plain", "renamed2", "soft", "soft2"]
    os.close(base)


@pytest.fixture
def procfs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A /proc of which /proc/self/exe alone is special."""
    from pemu.linux import paths

    def link(t: object, path: bytes, dirfd: int = -100) -> bytes | None:
        return b"/bin/guest" if path == b"/proc/self/exe" else None

    monkeypatch.setattr(paths, "special_link", link)
    monkeypatch.setattr("pemu.linux.calls.dirs.special_link", link)


@pytest.mark.usefixtures("procfs")
def test_readlink_of_proc_self_exe_is_the_guests_program(guest: Guest) -> None:
    start = guest.alloc(64)
    assert guest.call("readlink", b"/proc/self/exe", start, 64) == 10
    assert guest.mem.read(start, 11) == b"/bin/guest\0"
    assert guest.call("readlinkat", AT_FDCWD, b"/proc/self/exe", start, 4) == 4


def test_readlink(guest: Guest, tmp_path: Path) -> None:
    (tmp_path / "soft").symlink_to("target")
    start = guest.alloc(64)
    assert guest.call("readlink", bytes(tmp_path / "soft"), start, 64) == 6
    assert guest.mem.read(start, 7) == b"target\0"
    with pytest.raises(GuestError) as caught:
        guest.call("readlink", bytes(tmp_path / "soft"), start, 0)
    assert caught.value.errno == errno.EINVAL


def test_current_directory(guest: Guest, tmp_path: Path) -> None:
    before = os.getcwd()
    start = guest.alloc(4096)
    fd = os.open(before, os.O_RDONLY)
    try:
        guest.call("chdir", bytes(tmp_path))
        length = guest.call("getcwd", start, 4096)
        assert guest.mem.read(start, length) == bytes(tmp_path) + b"\0"
        guest.call("fchdir", fd)
        assert os.getcwd() == before
        with pytest.raises(GuestError) as caught:
            guest.call("getcwd", start, 1)
        assert caught.value.errno == errno.ERANGE
    finally:
        os.chdir(before)
        os.close(fd)


def test_everything_is_loaded_before_the_root_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    from pemu.linux.calls import dirs

    loaded: list[str] = []

    def remember(name: str) -> types.ModuleType:
        loaded.append(name)
        return types.ModuleType(name)

    monkeypatch.setattr("importlib.import_module", remember)
    dirs.load_everything()
    assert {"pemu.linux.calls.ioctl", "pemu.linux.ioctls.block", "pemu.linux.strace"} <= set(loaded)


def test_offsets_of_a_directory_fit_the_guests_long_and_lead_back(
    guest: Guest, tmp_path: Path
) -> None:
    for number in range(5):
        (tmp_path / f"file{number}").write_bytes(b"")
    fd = os.open(tmp_path, os.O_RDONLY)
    start = guest.alloc(4096)
    size = guest.call("getdents64", fd, start, 4096)
    data = guest.mem.read(start, size)
    order = ">" if guest.target.big_endian else "<"
    position, offsets, names = 0, [], []
    while position < size:
        _, offset, length = struct.unpack_from(order + "QqH", data, position)
        offsets.append(offset)
        names.append(data[position + 19 : data.index(b"\0", position + 19)])
        position += length
    assert all(0 <= offset < 1 << (8 * guest.target.word - 1) for offset in offsets)
    if guest.target.abi == "o32":
        result = guest.alloc(8)
        guest.call("_llseek", fd, 0, offsets[2], result, 0)
        assert guest.mem.u64(result) == offsets[2]
        guest.call("lseek", fd, offsets[2], 0)
    else:
        assert guest.call("lseek", fd, offsets[2], 0) == offsets[2]
    size = guest.call("getdents64", fd, start, 4096)
    assert [name for name, _, _ in listing64(guest, start, size)] == names[3:]
    guest.call("close", fd)
