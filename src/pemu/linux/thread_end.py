"""What the kernel does for a thread that ends, or executes a program."""

from __future__ import annotations

import ctypes

from pemu.engine.faults import GuestFault
from pemu.linux.hostcalls import NR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.linux.process import Thread

_libc = ctypes.PyDLL(None)
"""With Python's lock held: none of these calls waits."""

_WAKE = 1
_OWNER_DIED, _WAITERS, _TID = 0x40000000, 0x80000000, 0x3FFFFFFF
_LIST_LIMIT = 2048
"""Entries of a robust list that a thread's end looks at, as many as Linux does."""


def leave(t: Thread) -> None:
    """What the kernel does for a thread that ends: robust futexes, the word that join waits on."""
    try:
        if t.robust_list:
            _walk_robust_list(t)
    except GuestFault:
        pass
    address = t.clear_child_tid
    if address and t.mem.writable(address, 4):
        t.mem.put_u32(address, 0)
        _wake(t, address)


def _wake(t: Thread, address: int) -> None:
    """Wake one waiter. Not through `host_syscall`: a pending signal must not keep it from it."""
    _libc.syscall(NR["futex"], ctypes.c_void_p(t.mem.host(address)), _WAKE, 1)


def _walk_robust_list(t: Thread) -> None:
    head, word = t.robust_list, t.target.word
    offset = t.mem.word(head + word)
    if offset >> (8 * word - 1):
        offset -= 1 << (8 * word)
    pending = t.mem.word(head + 2 * word) & ~1
    entry = t.mem.word(head) & ~1
    for _ in range(_LIST_LIMIT):
        if entry == head:
            break
        if entry != pending:
            _mark_dead(t, entry + offset)
        entry = t.mem.word(entry) & ~1
    if pending:
        _mark_dead(t, pending + offset)


def _mark_dead(t: Thread, address: int) -> None:
    value = t.mem.u32(address)
    if value & _TID != t.tid & _TID:
        return
    t.mem.put_u32(address, value & _WAITERS | _OWNER_DIED)
    if value & _WAITERS:
        _wake(t, address)
