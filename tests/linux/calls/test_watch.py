"""inotify and fanotify."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from pemu.linux import fdtable
from pemu.linux.calls.watch import FanotifyEvents
from tests.linux.fakeguest import Guest, GuestError

IN_CREATE, IN_MOVED_FROM = 0x100, 0x40
O_NONBLOCK, O_CLOEXEC = 0x80, 0x80000


def test_events_are_in_the_guests_byte_order(guest: Guest, tmp_path: Path) -> None:
    fd = guest.call("inotify_init1", O_NONBLOCK | O_CLOEXEC)
    assert not os.get_blocking(fd)
    watch = guest.call("inotify_add_watch", fd, bytes(tmp_path), IN_CREATE)
    (tmp_path / "one").write_bytes(b"")
    (tmp_path / "two").write_bytes(b"")
    start = guest.alloc(1024)
    size = guest.call("read", fd, start, 1024)
    data = guest.mem.read(start, size)
    order = ">" if guest.target.big_endian else "<"
    names = []
    while data:
        found, mask, _, length = struct.unpack_from(order + "iIII", data)
        assert (found, mask) == (watch, IN_CREATE)
        names.append(data[16 : 16 + length].rstrip(b"\0"))
        data = data[16 + length :]
    assert names == [b"one", b"two"]
    guest.call("inotify_rm_watch", fd, watch)
    guest.call("close", fd)
    assert not fdtable.special(fd)


def test_fanotify_events_turn_with_their_records() -> None:
    name = struct.pack("<BBHii", 2, 0, 12 + 8 + 4, 11, 12) + struct.pack("<Ii", 4, 13) + b"hand"
    pidfd = struct.pack("<BBHi", 4, 0, 8, 14)
    size = 24 + len(name) + len(pidfd)
    event = struct.pack("<IBBHQii", size, 3, 0, 24, 1 << 33, 5, 6) + name + pidfd
    turned = FanotifyEvents().from_host(None, event * 2)  # type: ignore[arg-type]
    assert len(turned) == 2 * size
    assert struct.unpack_from(">IBBHQii", turned) == (size, 3, 0, 24, 1 << 33, 5, 6)
    assert struct.unpack_from(">BBHii", turned, 24) == (2, 0, 24, 11, 12)
    assert struct.unpack_from(">Ii4s", turned, 36) == (4, 13, b"hand")
    assert struct.unpack_from(">BBHi", turned, 24 + len(name)) == (4, 0, 8, 14)


def test_fanotify_reports_an_open_file(guest: Guest, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    mask = 0x20
    try:
        fd = guest.call("fanotify_init", 2, 0)
        guest.call("fanotify_mark", fd, 1, *guest.pair(mask), -100, bytes(path))
    except GuestError as error:
        pytest.skip(f"fanotify is not allowed here ({error})")
    os.close(os.open(path, os.O_RDONLY))
    start = guest.alloc(256)
    assert guest.call("read", fd, start, 256) == 24
    order = ">" if guest.target.big_endian else "<"
    size, _, _, head, found, event_fd, pid = struct.unpack(
        order + "IBBHQii", guest.mem.read(start, 24)
    )
    assert (size, head, found, pid) == (24, 24, mask, os.getpid())
    os.close(event_fd)
    guest.call("close", fd)
