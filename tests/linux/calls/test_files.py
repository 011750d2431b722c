"""Opening, closing, duplicating, fcntl, pipes."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from pemu.linux import fdtable
from pemu.linux.structs.files import F_OWNER_EX, FLOCK_32, FLOCK_64, OPEN_HOW
from tests.linux.fakeguest import Guest, fails

O_RDONLY, O_WRONLY, O_RDWR, O_CREAT, O_EXCL, O_APPEND = 0, 1, 2, 0x100, 0x400, 8
O_NONBLOCK, O_CLOEXEC, O_DIRECTORY, O_TMPFILE = 0x80, 0x80000, 0x10000, 0x410000
AT_FDCWD = -100
F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_GETLK, F_SETLK = 1, 2, 3, 4, 14, 6
F_GETLK64, F_SETLK64 = 33, 34
F_SETOWN, F_GETOWN, F_SETOWN_EX, F_GETOWN_EX = 24, 23, 15, 16
F_DUPFD_CLOEXEC, F_SETPIPE_SZ, F_GETPIPE_SZ, F_ADD_SEALS, F_GET_SEALS = 1030, 1031, 1032, 1033, 1034
WRITE_LOCK = 1


def test_open_translates_flags_and_creates(guest: Guest, tmp_path: Path) -> None:
    path = bytes(tmp_path / "new")
    fd = guest.call("open", path, O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0o640)
    assert os.stat(path).st_mode & 0o777 == 0o640 & ~os_umask()
    assert fcntl.fcntl(fd, fcntl.F_GETFL) & (os.O_APPEND | os.O_ACCMODE) == os.O_APPEND | os.O_RDWR
    assert fcntl.fcntl(fd, fcntl.F_GETFD) == 1
    with fails(errno.EEXIST):
        guest.call("openat", AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL, 0o600)
    with fails(errno.ENOTDIR):
        guest.call("openat", AT_FDCWD, path, O_RDONLY | O_DIRECTORY)
    guest.call("close", fd)


def os_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_open_without_a_path_or_with_too_long_a_one_fails(guest: Guest) -> None:
    with fails(errno.EFAULT):
        guest.call("open", 0, 0)
    with fails(errno.ENAMETOOLONG):
        guest.call("open", b"a" * 5000, 0)
    with fails(errno.ENOENT):
        guest.call("open", b"", 0)


def test_unnamed_temporary_file(guest: Guest, tmp_path: Path) -> None:
    fd = guest.call("open", bytes(tmp_path), O_TMPFILE | O_RDWR, 0o600)
    assert os.fstat(fd).st_nlink == 0
    os.close(fd)


def test_paths_are_looked_up_under_the_prefix_first(guest: Guest, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_bytes(b"guest's")
    guest.process.prefix = str(tmp_path)
    fd = guest.call("open", b"/etc/passwd", O_RDONLY)
    assert os.read(fd, 100) == b"guest's"
    os.close(fd)
    fd = guest.call("open", b"/etc/group", O_RDONLY)
    assert os.fstat(fd).st_ino == os.stat("/etc/group").st_ino
    os.close(fd)


def test_openat2_checks_size_and_unknown_flags(guest: Guest, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    path = bytes(tmp_path / "file")
    how = guest.alloc(40)
    OPEN_HOW.write(guest.mem, how, flags=O_RDONLY | O_CLOEXEC)
    os.close(guest.call("openat2", AT_FDCWD, path, how, 24))
    with fails(errno.EINVAL):
        guest.call("openat2", AT_FDCWD, path, how, 16)
    guest.mem.put_u64(how + 24, 1)
    with fails(errno.E2BIG):
        guest.call("openat2", AT_FDCWD, path, how, 32)
    OPEN_HOW.write(guest.mem, how, flags=1 << 40)
    with fails(errno.EINVAL):
        guest.call("openat2", AT_FDCWD, path, how, 24)


def test_pipe_returns_both_descriptors_in_registers(guest: Guest) -> None:
    read = guest.call("pipe")
    write = guest.cpu.gpr[3]
    os.write(write, b"1")
    assert os.read(read, 2) == b"1"
    os.close(read)
    os.close(write)


def test_pipe2_stores_descriptors_and_takes_flags(guest: Guest) -> None:
    start = guest.alloc(8)
    guest.call("pipe2", start, O_NONBLOCK | O_CLOEXEC)
    read, write = guest.mem.u32(start), guest.mem.u32(start + 4)
    assert fcntl.fcntl(read, fcntl.F_GETFL) & os.O_NONBLOCK
    assert fcntl.fcntl(write, fcntl.F_GETFD) == 1
    os.close(read)
    os.close(write)


def test_pipe2_to_a_bad_address_leaves_no_descriptors(guest: Guest) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with fails(errno.EFAULT):
        guest.call("pipe2", 0x10, 0)
    assert len(os.listdir("/proc/self/fd")) == before


def test_status_flags_come_back_in_the_guests_numbers(guest: Guest) -> None:
    read, write = os.pipe()
    guest.call("fcntl", read, F_SETFL, O_NONBLOCK)
    assert os.get_blocking(read) is False
    assert guest.call("fcntl64" if guest.target.word == 4 else "fcntl", read, F_GETFL) == O_NONBLOCK
    guest.call("fcntl", write, F_SETFL, O_APPEND)
    assert guest.call("fcntl", write, F_GETFL) == O_WRONLY | O_APPEND
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("wide", [False, True])
def test_record_lock_of_another_process_is_reported(
    guest: Guest, tmp_path: Path, wide: bool
) -> None:
    path = tmp_path / "locked"
    path.write_bytes(b"." * 100)
    ready, told = os.pipe()
    release, released = os.pipe()
    child = os.fork()
    if child == 0:
        fd = os.open(path, os.O_RDWR)
        fcntl.lockf(fd, fcntl.LOCK_EX, 10, 20)
        os.write(told, b"x")
        os.read(release, 1)
        os._exit(0)
    os.read(ready, 1)
    layout = FLOCK_64 if wide or guest.target.word == 8 else FLOCK_32
    call = "fcntl64" if wide and guest.target.word == 4 else "fcntl"
    get, set_ = (F_GETLK64, F_SETLK64) if call == "fcntl64" else (F_GETLK, F_SETLK)
    fd = os.open(path, os.O_RDWR)
    try:
        lock = guest.put_struct(layout, l_type=WRITE_LOCK, l_start=0, l_len=0)
        with fails(errno.EAGAIN):
            guest.call(call, fd, set_, lock)
        guest.call(call, fd, get, lock)
        found = guest.get(layout, lock)
        assert (found.l_type, found.l_start, found.l_len, found.l_pid) == (1, 20, 10, child)
    finally:
        os.write(released, b"x")
        os.waitpid(child, 0)
        for number in (fd, ready, told, release, released):
            os.close(number)


def test_wide_lock_commands_belong_to_fcntl64(o32: Guest) -> None:
    with fails(errno.EINVAL):
        o32.call("fcntl", 0, F_GETLK64, o32.alloc(64))


def test_unknown_fcntl_command_is_einval(guest: Guest) -> None:
    with fails(errno.EINVAL):
        guest.call("fcntl", 0, 5, 0)  # F_GETLK of x86-64


def test_owner_of_signals(guest: Guest) -> None:
    read, write = os.pipe()
    group = os.getpgrp()
    owner = guest.put_struct(F_OWNER_EX, type=2, pid=group)
    guest.call("fcntl", read, F_SETOWN_EX, owner)
    guest.call("fcntl", read, F_GETOWN_EX, owner)
    found = guest.get(F_OWNER_EX, owner)
    assert (found.type, found.pid) == (2, group)
    guest.call("fcntl", read, F_SETOWN, os.getpid())
    assert guest.call("fcntl", read, F_GETOWN) == os.getpid()
    os.close(read)
    os.close(write)


def test_pipe_size_and_seals(guest: Guest) -> None:
    read, write = os.pipe()
    assert guest.call("fcntl", read, F_SETPIPE_SZ, 8192) == 8192
    assert guest.call("fcntl", read, F_GETPIPE_SZ) == 8192
    os.close(read)
    os.close(write)
    fd = guest.call("memfd_create", b"name", 2)
    guest.call("fcntl", fd, F_ADD_SEALS, 8)
    assert guest.call("fcntl", fd, F_GET_SEALS) == 8
    with fails(errno.EPERM):
        guest.call("write", fd, b"x", 1)
    os.close(fd)


def test_flags_that_a_call_does_not_know_are_refused(guest: Guest) -> None:
    for call, arguments in (
        ("pipe2", (guest.alloc(8),)),
        ("dup3", (0, 100)),
        ("inotify_init1", ()),
    ):
        with fails(errno.EINVAL):
            guest.call(call, *arguments, 0x800)


def test_duplicates(guest: Guest) -> None:
    read, write = os.pipe()
    assert guest.call("dup2", read, 500) == 500
    assert guest.call("dup2", read, read) == read
    assert guest.call("dup3", write, 501, O_CLOEXEC) == 501
    assert fcntl.fcntl(501, fcntl.F_GETFD) == 1
    with fails(errno.EINVAL):
        guest.call("dup3", read, read, 0)
    copy = guest.call("fcntl", read, F_DUPFD_CLOEXEC, 600)
    assert copy >= 600
    for fd in (read, write, 500, 501, copy):
        os.close(fd)


def test_close_range_spares_descriptors_of_pemus_own(guest: Guest) -> None:
    own = fdtable.claim(fcntl.fcntl(0, fcntl.F_DUPFD, 702))
    for number in (700, 701, 703, 704):
        os.dup2(own, number)
    guest.call("close_range", 700, 703, 0)
    alive = [number for number in range(700, 705) if is_open(number)]
    fdtable.release(own)
    os.close(own)
    os.close(704)
    assert alive == [702, 704]


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_close_range_forgets_translators(guest: Guest) -> None:
    fd = os.dup2(0, 710)
    fdtable.set_translator(fd, fdtable.Translator())
    guest.call("close_range", 709, (1 << 32) - 1, 0)
    assert not fdtable.special(fd)
    with fails(errno.EINVAL):
        guest.call("close_range", 5, 4, 0)


def test_sizes_beyond_4_gib(guest: Guest, tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    path.write_bytes(b"")
    size = 0x1_2345_6789
    name = "truncate64" if guest.target.abi == "o32" else "truncate"
    guest.call(name, bytes(path), *guest.aligned(*guest.pair(size)))
    assert path.stat().st_size == size
    fd = os.open(path, os.O_RDWR)
    name = "ftruncate64" if guest.target.abi == "o32" else "ftruncate"
    guest.call(name, fd, *guest.aligned(*guest.pair(size + 1)))
    assert path.stat().st_size == size + 1
    guest.call("fallocate", fd, 1, *guest.pair(1 << 33), *guest.pair(4096))
    assert path.stat().st_blocks > 0
    guest.call("fadvise64", fd, *guest.aligned(*guest.pair(0)), *guest.pair(4096), 4)
    guest.call("sync_file_range", fd, *guest.aligned(*guest.pair(0)), *guest.pair(4096), 2)
    guest.call("readahead", fd, *guest.aligned(*guest.pair(0)), 4096)
    os.close(fd)


def test_interrupted_open_is_restarted(guest: Guest, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    guest.load("open", bytes(tmp_path / "fifo"), O_RDONLY)
    guest.interrupt_next = True
    guest.trap()
    assert guest.restart == 512


def test_flock(guest: Guest, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"")
    first, second = os.open(path, os.O_RDWR), os.open(path, os.O_RDWR)
    guest.call("flock", first, fcntl.LOCK_EX)
    with fails(errno.EAGAIN):
        guest.call("flock", second, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(first)
    os.close(second)


def test_strace_names_flags_and_commands(o32: Guest, tmp_path: Path) -> None:
    path = bytes(tmp_path / "x")
    o32.trace()
    fd = o32.call("openat", AT_FDCWD, path, O_RDWR | O_CREAT | O_CLOEXEC | 0x40000000, 0o644)
    o32.call("fcntl64", fd, F_GETFL)
    other = o32.call("open", path, O_RDONLY)
    os.close(other)
    o32.call("mmap2", 0, 4096, 5, 2, fd, 0)
    o32.log.items.clear()
    os.close(fd)
    lines = [line.split(" ", 1)[1] for line in o32.log.take().splitlines()]
    shown = path.decode()
    assert lines[0] == (
        f'openat(AT_FDCWD, "{shown}", O_RDWR|O_CREAT|O_CLOEXEC|0x40000000, 0644) = {fd}'
    )
    assert lines[1].startswith(f"fcntl64({fd}, F_GETFL) = ")
    assert lines[2] == f'open("{shown}", O_RDONLY) = {other}'
    assert lines[3].startswith(f"mmap2(NULL, 4096, PROT_READ|PROT_EXEC, MAP_PRIVATE, {fd}, 0) = 0x")


def test_strace_shows_locks_and_pipes(guest: Guest, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"")
    with open(path, "r+b") as file:
        layout = FLOCK_64 if guest.target.word == 8 else FLOCK_32
        lock = guest.put_struct(layout, l_type=1, l_start=5, l_len=6)
        guest.trace()
        guest.call("fcntl", file.fileno(), F_SETLK, lock)
    ends = guest.alloc(8)
    guest.call("pipe2", ends, O_CLOEXEC)
    read, write = guest.mem.u32(ends), guest.mem.u32(ends + 4)
    lines = guest.log.take().splitlines()
    assert "{l_type=F_WRLCK, l_whence=SEEK_SET, l_start=5, l_len=6}) = 0" in lines[0]
    assert lines[1].endswith(f"pipe2([{read}, {write}], O_CLOEXEC) = 0")
    os.close(read)
    os.close(write)
