"""Host signals and file descriptors kept apart for threads that are not the guest's."""

from __future__ import annotations

import ctypes
import gc
from _thread import allocate_lock, start_new_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_NR_RT_SIGPROCMASK, _NR_CLOSE_RANGE = 14, 436
_CLOSE_RANGE_UNSHARE = 2
_SIG_SETMASK = 2
_SIGBUS, _SIGSEGV = 7, 11
_ALL = (1 << 64) - 1 & ~(1 << (_SIGBUS - 1) | 1 << (_SIGSEGV - 1))
"""All but those that a copy of guest memory may raise: blocked, they would end the process."""

_libc = ctypes.CDLL(None)


def with_signals_blocked(action: Callable[[], object]) -> None:
    """Run `action` with signals blocked; threads that it starts keep them blocked.

    The C library's own function leaves out the two signals that it keeps for itself, which a guest
    may use.
    """
    old = ctypes.c_uint64()
    every = ctypes.c_uint64(_ALL)
    _libc.syscall(_NR_RT_SIGPROCMASK, _SIG_SETMASK, ctypes.byref(every), ctypes.byref(old), 8)
    try:
        action()
    finally:
        _libc.syscall(_NR_RT_SIGPROCMASK, _SIG_SETMASK, ctypes.byref(old), None, 8)


def _without_collection(action: Callable[[], object]) -> None:
    """Run `action` while no garbage is collected: finalizers would close files of other tables."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        action()
    finally:
        if enabled:
            gc.enable()


def with_own_descriptors(action: Callable[[], object]) -> None:
    """Run `action` on another thread with a table of file descriptors of its own, and wait for it.

    What it opens takes no number that the guest expects to get. It does not run where the kernel
    has no such tables (before Linux 5.9), or no thread is to be had.
    """
    done = allocate_lock()
    done.acquire()

    def run() -> None:
        try:
            last = ctypes.c_uint(0xFFFFFFFF)
            if _libc.syscall(_NR_CLOSE_RANGE, 0, last, _CLOSE_RANGE_UNSHARE) == 0:
                _without_collection(action)
        finally:
            done.release()

    try:
        with_signals_blocked(lambda: start_new_thread(run, ()))
    except RuntimeError:
        return
    done.acquire()
