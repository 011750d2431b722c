"""Name spaces, and comparing what processes share."""

from __future__ import annotations

import errno
import os

import pytest

from tests.linux.fakeguest import Guest, GuestError


def test_unshare_in_a_child(guest: Guest) -> None:
    child = os.fork()
    if child == 0:
        guest.call("unshare", 0x200)
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_same_open_file_is_seen(guest: Guest) -> None:
    pid = os.getpid()
    copy = os.dup(0)
    try:
        assert guest.call("kcmp", pid, pid, 0, 0, copy) == 0
    except GuestError as error:
        pytest.skip(f"the host does not compare processes ({error})")
    finally:
        os.close(copy)


def test_descriptor_of_a_process(guest: Guest) -> None:
    pidfd = os.pidfd_open(os.getpid())
    fd = guest.call("pidfd_getfd", pidfd, 0, 0)
    assert os.fstat(fd).st_rdev == os.fstat(0).st_rdev
    os.close(fd)
    with pytest.raises(GuestError) as caught:
        guest.call("setns", 0, 0x40000000)
    assert caught.value.errno in (errno.EINVAL, errno.EPERM)
    os.close(pidfd)
