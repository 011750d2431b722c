"""Copying between the memory of processes."""

from __future__ import annotations

import errno
import os

import pytest

from pemu.linux.types.iovec import IOVEC
from tests.linux.fakeguest import Guest, GuestError


def test_own_memory_is_read_and_written_by_process_number(guest: Guest) -> None:
    source = guest.put(b"hello, world")
    target = guest.alloc(16)
    local = guest.put_struct(IOVEC, iov_base=target, iov_len=5)
    remote = guest.put_struct(IOVEC, iov_base=source + 7, iov_len=5)
    assert guest.call("process_vm_readv", os.getpid(), local, 1, remote, 1, 0) == 5
    assert guest.mem.read(target, 6) == b"world\0"
    assert guest.call("process_vm_writev", os.getpid(), local, 1, remote, 1, 0) == 5
    assert guest.mem.read(source, 12) == b"hello, world"


def test_memory_of_another_process_is_refused(guest: Guest) -> None:
    vector = guest.put_struct(IOVEC, iov_base=guest.alloc(16), iov_len=5)
    with pytest.raises(GuestError) as caught:
        guest.call("process_vm_readv", os.getppid(), vector, 1, vector, 1, 0)
    assert caught.value.errno == errno.EPERM
    with pytest.raises(GuestError) as caught:
        guest.call("process_vm_readv", os.getpid(), vector, 1, vector, 1, 1)
    assert caught.value.errno == errno.EINVAL
