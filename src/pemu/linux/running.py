"""How guest threads run: the loop around native code, what it is left for, and a thread's end."""

from __future__ import annotations

import ctypes
import os

from pemu.engine.layout.exits import (
    EXIT_EXCEPTION,
    EXIT_FAULT,
    EXIT_HOOK,
    EXIT_INTERRUPT,
    EXIT_SYSCALL,
    EXIT_TRACK,
    FAULT_WRITE,
)
from pemu.engine.layout.pages import TRACK
from pemu.engine.memory.access import GuestFault
from pemu.linux import signals, syscall
from pemu.linux.hostcalls import NR
from pemu.linux.process import ThreadExit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.linux.process import Thread

INTERNAL_ERROR = 70
"""Exit status after an error of Pemu's own: EX_SOFTWARE of sysexits.h."""

_libc = ctypes.PyDLL(None)
"""With Python's lock held: none of these calls waits."""

_WAKE = 1
_OWNER_DIED, _WAITERS, _TID = 0x40000000, 0x80000000, 0x3FFFFFFF
_LIST_LIMIT = 2048
"""Entries of a robust list that a thread's end looks at, as many as Linux does."""


def run_thread(t: Thread) -> None:
    """Run a thread to its end, and end the process if it was the last."""
    process = t.process
    try:
        status = run(t) if process.debugger is None else process.debugger.run(t)
    except BaseException as error:
        # No thread may go on as if nothing had happened.
        os.write(2, f"pemu-{process.target.name}: internal error: {error!r}\n".encode())
        if os.environ.get("PEMU_DEBUG") == "1":
            import traceback

            traceback.print_exc()
        os._exit(INTERNAL_ERROR)
    leave(t)
    with process.engine.lock:
        process.threads.pop(t.tid, None)
        last = not process.threads
    if last:
        process.exit(status)
    signals.leave_to_others(t)
    t.cpu.detach()
    process.engine.remove_cpu(t.cpu)


def run(t: Thread) -> int:
    """Run a thread until it ends; returns its exit status."""
    cpu = t.cpu
    try:
        while True:
            cpu.run()
            reason = cpu.exit_reason
            if reason != EXIT_SYSCALL:
                settle(t, reason)
                continue
            if cpu.interrupted:
                _call_interrupted(t)
            else:
                syscall.dispatch(t)
            if t.restart or cpu.interrupted:
                signals.deliver(t)
    except ThreadExit as end:
        return end.status


def _call_interrupted(t: Thread) -> None:
    """A signal has come with a system call: make it only where it has waited already."""
    if t.cpu.take_call_begun() and syscall.may_be_interrupted(t):
        # Native code has waited in it already: it says how that ends.
        t.waited = True
        syscall.dispatch(t)
        t.waited = False
    else:
        t.restart = syscall.ERESTARTNOINTR


def settle(t: Thread, reason: int) -> None:
    """Do what the cpu has left native code for, other than a system call; `reason`: EXIT_*."""
    if reason == EXIT_FAULT:
        _fault(t)
    elif reason == EXIT_INTERRUPT:
        signals.deliver(t)
    elif reason == EXIT_TRACK:
        t.mem.track(t.cpu.exit_addr)
    elif reason == EXIT_EXCEPTION:
        from pemu.linux.exceptions import raise_exception

        raise_exception(t)
    elif reason == EXIT_HOOK:
        for hook in t.process.hooks:
            hook(t)
        t.cpu.skip_hook()


def _fault(t: Thread) -> None:
    """Handle a refused access: a store to a page with translated code, or the guest's mistake."""
    cpu = t.cpu
    address = cpu.exit_addr
    if 0 <= address < t.mem.size and cpu.exit_code & FAULT_WRITE:
        if t.mem.flags[address >> 12] & TRACK:
            t.mem.untrack(address, by_itself=not (cpu.pc ^ address) & -4096)
            return
    from pemu.linux.exceptions import raise_fault

    raise_fault(t)


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
    _wake(t, address)  # in any case: somebody may have begun to wait since the word was read
