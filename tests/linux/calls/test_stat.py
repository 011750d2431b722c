"""Status, access, owners, modes and times of files; status of file systems; attributes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pemu.linux.calls.stat import UTIMBUF
from pemu.linux.structs.layout import Struct
from pemu.linux.structs.stat import STAT_64, STAT_O32, STATFS, STATFS64_32, STATX
from pemu.linux.structs.time import TIMESPEC, TIMESPEC64, TIMEVAL
from tests.linux.fakeguest import Guest, GuestError

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH = 0x100, 0x1000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 1234)
    os.chmod(path, 0o640)
    os.utime(path, ns=(1_000_000_001_000_000_002, 1_100_000_003_000_000_004))
    return path


def agrees(guest: Guest, layout: Struct, start: int, path: Path) -> None:
    found = guest.get(layout, start)
    real = path.stat()
    assert found.st_mode == real.st_mode
    assert found.st_size == real.st_size
    assert found.st_ino == real.st_ino
    assert found.st_nlink == real.st_nlink
    assert (found.st_uid, found.st_gid) == (real.st_uid, real.st_gid)
    assert found.st_blocks == real.st_blocks
    assert found.st_dev == real.st_dev & 0xFFFFFFFF
    assert found.st_atime * 10**9 + found.st_atime_nsec == real.st_atime_ns
    assert found.st_mtime * 10**9 + found.st_mtime_nsec == real.st_mtime_ns


def test_stat_family(guest: Guest, file: Path) -> None:
    plain = STAT_O32 if guest.target.abi == "o32" else STAT_64
    at = "fstatat64" if guest.target.abi == "o32" else "newfstatat"
    path = bytes(file)
    with open(file, "rb") as opened:
        calls: list[tuple[str, tuple[int | bytes, ...]]] = [
            ("stat", (path,)),
            ("lstat", (path,)),
            ("fstat", (opened.fileno(),)),
        ]
        for name, arguments in calls:
            start = guest.out(plain)
            guest.call(name, *arguments, start)
            agrees(guest, plain, start, file)
            if guest.target.abi == "o32":
                start = guest.out(STAT_64)
                guest.call(name + "64", *arguments, start)
                agrees(guest, STAT_64, start, file)
        start = guest.out(STAT_64)
        guest.call(at, AT_FDCWD, path, start, 0)
        agrees(guest, STAT_64, start, file)
        guest.call(at, opened.fileno(), b"", start, AT_EMPTY_PATH)
        agrees(guest, STAT_64, start, file)


def test_links_are_followed_unless_told(guest: Guest, file: Path) -> None:
    link = file.parent / "link"
    link.symlink_to("file")
    at = "fstatat64" if guest.target.abi == "o32" else "newfstatat"
    start = guest.out(STAT_64)
    guest.call(at, AT_FDCWD, bytes(link), start, AT_SYMLINK_NOFOLLOW)
    assert guest.get(STAT_64, start).st_mode & 0o170000 == 0o120000
    guest.call(at, AT_FDCWD, bytes(link), start, 0)
    assert guest.get(STAT_64, start).st_mode & 0o170000 == 0o100000


def test_old_stat_cannot_tell_of_large_files(o32: Guest, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"")
    os.truncate(path, 1 << 31)
    with pytest.raises(GuestError) as caught:
        o32.call("stat", bytes(path), o32.out(STAT_O32))
    assert caught.value.errno == errno.EOVERFLOW


def test_fstat_of_a_negative_descriptor_is_ebadf(guest: Guest) -> None:
    with pytest.raises(GuestError) as caught:
        guest.call("fstat", AT_FDCWD, guest.out(STAT_64))
    assert caught.value.errno == errno.EBADF


def test_statx(guest: Guest, file: Path) -> None:
    start = guest.out(STATX)
    guest.call("statx", AT_FDCWD, bytes(file), 0, 0xFFF, start)
    found = guest.get(STATX, start)
    real = file.stat()
    assert (found.stx_mode, found.stx_size, found.stx_ino) == (
        real.st_mode,
        real.st_size,
        real.st_ino,
    )
    assert (found.stx_mtime.tv_sec, found.stx_mtime.tv_nsec) == divmod(real.st_mtime_ns, 10**9)
    assert (found.stx_dev_major, found.stx_dev_minor) == (
        os.major(real.st_dev),
        os.minor(real.st_dev),
    )


def test_strace_shows_mode_and_size(guest: Guest, file: Path) -> None:
    guest.trace()
    guest.call("statx", AT_FDCWD, bytes(file), 0x100, 0x7FF, guest.out(STATX))
    assert (
        "AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, {stx_mode=0100640, stx_size=1234, ...}) = 0"
        in guest.log.take()
    )


def test_access(guest: Guest, file: Path) -> None:
    assert guest.call("access", bytes(file), os.R_OK) == 0
    assert guest.call("faccessat", AT_FDCWD, bytes(file), os.F_OK) == 0
    assert guest.call("faccessat2", AT_FDCWD, bytes(file), os.W_OK, 0x200) == 0
    with pytest.raises(GuestError) as caught:
        guest.call("access", bytes(file) + b"x", 0)
    assert caught.value.errno == errno.ENOENT


def test_modes_and_owners(guest: Guest, file: Path) -> None:
    path = bytes(file)
    guest.call("chmod", path, 0o600)
    assert file.stat().st_mode & 0o777 == 0o600
    guest.call("fchmodat", AT_FDCWD, path, 0o644)
    with open(file, "rb") as opened:
        guest.call("fchmod", opened.fileno(), 0o755)
        guest.call("fchown", opened.fileno(), -1, -1)
    assert file.stat().st_mode & 0o777 == 0o755
    for call in ("chown", "lchown"):
        guest.call(call, path, -1, os.getgid())
    guest.call("fchownat", AT_FDCWD, path, os.getuid(), -1, 0)


def times(file: Path) -> tuple[int, int]:
    return file.stat().st_atime_ns, file.stat().st_mtime_ns


def test_times_of_all_precisions(guest: Guest, file: Path) -> None:
    path = bytes(file)
    if "utime" in guest.numbers:
        guest.call("utime", path, guest.put_struct(UTIMBUF, actime=10, modtime=20))
        assert times(file) == (10 * 10**9, 20 * 10**9)
    size = TIMEVAL.size(guest.mem)
    pair = guest.alloc(2 * size)
    TIMEVAL.write(guest.mem, pair, tv_sec=1, tv_usec=2)
    TIMEVAL.write(guest.mem, pair + size, tv_sec=3, tv_usec=999999)
    for call, arguments in (("utimes", (path,)), ("futimesat", (AT_FDCWD, path))):
        os.utime(file, (50, 50))
        guest.call(call, *arguments, pair)
        assert times(file) == (1_000_002_000, 3_999_999_000)
    TIMEVAL.write(guest.mem, pair, tv_sec=1, tv_usec=1000000)
    with pytest.raises(GuestError) as caught:
        guest.call("utimes", path, pair)
    assert caught.value.errno == errno.EINVAL
    for call, layout in (("utimensat", TIMESPEC), ("utimensat_time64", TIMESPEC64)):
        if call not in guest.numbers:
            continue
        size = layout.size(guest.mem)
        pair = guest.alloc(2 * size)
        layout.write(guest.mem, pair, tv_sec=5, tv_nsec=6)
        layout.write(guest.mem, pair + size, tv_sec=7, tv_nsec=(1 << 30) - 2)
        os.utime(file, ns=(1, 1))
        guest.call(call, AT_FDCWD, path, pair, 0)
        assert times(file) == (5_000_000_006, 1)
        with open(file, "rb") as opened:
            guest.call(call, opened.fileno(), 0, pair, 0)
            guest.call(call, opened.fileno(), 0, 0, 0)
        assert times(file)[1] > 10**18


def test_statfs(guest: Guest, tmp_path: Path) -> None:
    real = os.statvfs(tmp_path)
    start = guest.out(STATFS)
    if real.f_blocks >> 32 and guest.target.word == 4:
        with pytest.raises(GuestError, match="EOVERFLOW"):
            guest.call("statfs", bytes(tmp_path), start)
    else:
        guest.call("statfs", bytes(tmp_path), start)
        found = guest.get(STATFS, start)
        assert (found.f_bsize, found.f_blocks, found.f_frsize) == (
            real.f_bsize,
            real.f_blocks,
            real.f_frsize,
        )
    if guest.target.word == 4:
        start = guest.out(STATFS64_32)
        with open(tmp_path / "x", "wb") as opened:
            guest.call("fstatfs64", opened.fileno(), STATFS64_32.size(guest.mem), start)
        assert guest.get(STATFS64_32, start).f_blocks == real.f_blocks
        with pytest.raises(GuestError) as caught:
            guest.call("statfs64", bytes(tmp_path), 10, start)
        assert caught.value.errno == errno.EINVAL


def test_extended_attributes(guest: Guest, file: Path) -> None:
    path, name = bytes(file), b"user.test"
    value = guest.put(b"value")
    try:
        guest.call("setxattr", path, name, value, 5, 0)
    except GuestError as error:
        if error.errno == errno.EOPNOTSUPP:
            pytest.skip("the file system has no user attributes")
        raise
    out = guest.alloc(100)
    assert guest.call("getxattr", path, name, 0, 0) == 5
    assert guest.call("lgetxattr", path, name, out, 100) == 5
    assert guest.mem.read(out, 5) == b"value"
    assert guest.call("listxattr", path, out, 100) == 10
    with open(file, "rb") as opened:
        guest.call("fsetxattr", opened.fileno(), b"user.other", value, 2, 1)
        guest.call("fremovexattr", opened.fileno(), b"user.other")
        assert guest.call("flistxattr", opened.fileno(), out, 100) == 10
        assert guest.call("fgetxattr", opened.fileno(), name, out, 100) == 5
    guest.call("removexattr", path, name)
    with pytest.raises(GuestError) as caught:
        guest.call("getxattr", path, name, out, 100)
    assert caught.value.errno == errno.ENODATA


def test_file_handles(guest: Guest, file: Path) -> None:
    handle = guest.alloc(8 + 128)
    mount = guest.alloc(4)
    guest.mem.put_u32(handle, 0)
    with pytest.raises(GuestError) as caught:
        guest.call("name_to_handle_at", AT_FDCWD, bytes(file), handle, mount, 0)
    if caught.value.errno == errno.EOPNOTSUPP:
        pytest.skip("the file system has no handles")
    assert caught.value.errno == errno.EOVERFLOW
    needed = guest.mem.u32(handle)
    assert 0 < needed <= 128
    guest.call("name_to_handle_at", AT_FDCWD, bytes(file), handle, mount, 0)
    directory = os.open(file.parent, os.O_RDONLY)
    try:
        fd = guest.call("open_by_handle_at", directory, handle, 0)
    except GuestError as error:
        pytest.skip(f"opening by handle is not allowed here ({error})")
    finally:
        os.close(directory)
    assert os.fstat(fd).st_ino == file.stat().st_ino
    os.close(fd)
