"""Name spaces, and comparing what processes share."""

from __future__ import annotations

import errno
import os
import threading

import pytest

from pemu.linux.calls import namespaces
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


def test_descriptor_of_a_process(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespaces, "PATIENCE", 0.0)  # the tests' own threads stay
    pidfd = os.pidfd_open(os.getpid())
    fd = guest.call("pidfd_getfd", pidfd, 0, 0)
    assert os.fstat(fd).st_rdev == os.fstat(0).st_rdev
    os.close(fd)
    with pytest.raises(GuestError) as caught:
        guest.call("setns", 0, 0x40000000)
    assert caught.value.errno in (errno.EINVAL, errno.EPERM)
    os.close(pidfd)


def test_call_waits_for_the_ends_of_threads(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    # A thread has ended for Python, but not for the kernel, in which it does not come to run.
    ends = threading.Event()
    seen: list[int] = []

    def host_syscall(number: int, *arguments: int) -> int:
        if len(seen) == 1:
            threading.Timer(0.5, ends.set).start()
        seen.append(number)
        return 0 if ends.is_set() else -errno.EINVAL

    monkeypatch.setattr(guest, "host_syscall", host_syscall)
    monkeypatch.setattr(namespaces, "_has_others", lambda: not ends.is_set())
    assert guest.call("unshare", 0x10000000) == 0
    assert len(seen) > 2
