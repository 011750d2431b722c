"""Name spaces, and comparing what processes share."""

from __future__ import annotations

import errno
import os
from _thread import get_native_id
from time import monotonic, sleep

from pemu.linux import fdtable
from pemu.linux.calls.dirs import keep_everything
from pemu.linux.hostcalls import NR
from pemu.linux.syscall import passthrough, syscall
from pemu.linux.translators import adopt
from pemu.linux.types.base import Fd, Hex, HexLong, Int
from pemu.linux.types.names import Bits, Named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.linux.process import Thread

CloneFlags = Bits(
    "clone flags",
    "CLONE_NEWTIME 0x80 CLONE_FS 0x200 CLONE_FILES 0x400 CLONE_NEWNS 0x20000"
    " CLONE_SYSVSEM 0x40000 CLONE_NEWCGROUP 0x2000000 CLONE_NEWUTS 0x4000000"
    " CLONE_NEWIPC 0x8000000 CLONE_NEWUSER 0x10000000 CLONE_NEWPID 0x20000000"
    " CLONE_NEWNET 0x40000000",
)
Comparison = Named(
    "comparison",
    "KCMP_FILE KCMP_VM KCMP_FILES KCMP_FS KCMP_SIGHAND KCMP_IO KCMP_SYSVSEM KCMP_EPOLL_TFD",
)


CLONE_NEWNS = 0x20000

PATIENCE = 30.0
"""Seconds to wait for the ends of threads; a debugger's may stay."""


def _alone(t: Thread, number: int, *arguments: int) -> int:
    """Make a host call that the kernel may refuse to processes with threads.

    Those of Pemu's own end first. For the kernel a thread ends a little later than for Python.
    """
    result = t.host_syscall(number, *arguments)
    if result != -errno.EINVAL or len(t.process.threads) > 1:
        return result
    t.process.engine.rest()
    end = monotonic() + PATIENCE
    while result == -errno.EINVAL:
        is_last = not _has_others() or monotonic() > end
        result = t.host_syscall(number, *arguments)
        if is_last:
            break
        sleep(0.0001)
    return result


def _has_others() -> bool:
    """Whether the kernel knows of more threads than the running one and the process's first."""
    try:
        tasks = os.listdir("/proc/self/task")
    except OSError:  # a chroot without /proc
        return False
    return bool({int(task) for task in tasks} - {os.getpid(), get_native_id()})


@syscall("unshare", CloneFlags)
def unshare(t: Thread, flags: int) -> int:
    return _alone(t, NR["unshare"], flags)


@syscall("setns", Fd, CloneFlags)
def setns(t: Thread, fd: int, flags: int) -> int:
    if not flags or flags & CLONE_NEWNS:
        keep_everything(t)
    return _alone(t, NR["setns"], fdtable.check(fd), flags)


passthrough("kcmp", Int, Int, Comparison, HexLong, HexLong)
passthrough("vhangup")


@syscall("pidfd_getfd", Fd, Fd, Hex)
def pidfd_getfd(t: Thread, pidfd: int, target: int, flags: int) -> int:
    fd = t.host_syscall(NR["pidfd_getfd"], fdtable.check(pidfd), target, flags)
    if fd >= 0:
        adopt(t, fd)
    return fd
