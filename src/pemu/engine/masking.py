"""Host signals kept away from threads that are not the guest's."""

from __future__ import annotations

import ctypes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_NR_RT_SIGPROCMASK = 14
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
