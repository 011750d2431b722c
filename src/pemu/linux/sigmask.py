"""System calls that wait under another signal mask: ppoll, pselect6, epoll_pwait."""

from __future__ import annotations

import errno

from pemu.linux.hostcalls import address_of
from pemu.linux.mips.signals import (
    SIGBUS,
    SIGKILL,
    SIGSEGV,
    SIGSET_BYTES,
    SIGSTOP,
    guest_sigset,
    host_bits,
)
from pemu.linux.native_forms import Exactly
from pemu.linux.syscall import ERESTARTNOHAND, ERESTARTSYS, Restart

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pemu.linux.process import Thread
    from pemu.linux.structs.time import TimeLimit

HOST_SIGSET_BYTES = 8

MaskSize = Exactly(SIGSET_BYTES, HOST_SIGSET_BYTES)
"""The size of a signal mask to wait under: native code only tells what has happened already."""

INTERRUPTED = (-errno.EINTR, -ERESTARTSYS)
"""Results of a wait that a signal has ended."""


def _bits(*signals: int) -> int:
    return sum(1 << (signal - 1) for signal in signals)


_UNMASKABLE = _bits(SIGKILL, SIGSTOP)
_ENGINE = host_bits(_bits(SIGBUS, SIGSEGV))
"""Signals by which the host tells the engine of faults; the host's mask never has them."""


def wait_with_mask(
    t: Thread,
    limit: TimeLimit,
    mask: int,
    size: int,
    call: Callable[[int, int], int],
    finish: Callable[[Thread], object],
) -> int:
    """Make a call that waits for descriptors, under a signal set as of `call_with_mask`.

    `call` gets the host addresses of the time limit and of the set; `finish` is called when it has
    succeeded.
    """

    def wait(host_mask: int) -> int:
        result = call(limit.host, host_mask)
        limit.write_left()
        if result in INTERRUPTED:
            raise Restart(ERESTARTNOHAND)
        if result >= 0:
            finish(t)
        return result

    return call_with_mask(t, mask, size, wait)


def call_with_mask(t: Thread, mask: int, size: int, call: Callable[[int], int]) -> int:
    """Make `call` under the guest's signal set at `mask`, of `size` bytes; 0 for no other set.

    `call` gets the host address of the host's set (8 bytes), or 0, and raises Restart when it was
    interrupted: then the set stays for the delivery of the signal, and the handler's return or
    the lack of a handler brings the old one back.
    """
    if not mask:
        return call(0)
    if size != SIGSET_BYTES:
        raise OSError(errno.EINVAL, "Invalid argument")
    wanted = guest_sigset(t.mem.read(mask, size), t.target) & ~_UNMASKABLE
    host = (host_bits(wanted) & ~_ENGINE).to_bytes(HOST_SIGSET_BYTES, "little")
    before = t.sigmask
    t.saved_mask, t.sigmask = before, wanted
    try:
        result = call(address_of(host))
    except Restart:
        raise
    except BaseException:
        t.saved_mask, t.sigmask = None, before
        raise
    t.saved_mask, t.sigmask = None, before
    return result
