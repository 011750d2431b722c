"""The log of -strace: one line a system call, in strace's notation and QEMU's form.

    1234 openat(AT_FDCWD,"/etc/passwd",O_RDONLY) = 3
    1234 open("/none",O_RDONLY) = -1 errno=2 (No such file or directory)

Arguments before the first that the call fills are written before the call is made, so that a
call that waits, or never returns, can be seen.  When another thread writes in between, the line is
continued as strace does it.
"""

from __future__ import annotations

import os

from pemu.engine.faults import GuestFault
from pemu.linux.argtypes import octal
from pemu.linux.mips.errno import to_guest
from pemu.linux.syscall import (
    ERESTART_RESTARTBLOCK,
    ERESTARTNOHAND,
    ERESTARTNOINTR,
    ERESTARTSYS,
    MAX_ERRNO,
    missing,
    run,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pemu.linux.process import Thread
    from pemu.linux.syscall import Call, SyscallTable

_RESTARTS = {
    ERESTARTSYS: "ERESTARTSYS (To be restarted if SA_RESTART is set)",
    ERESTARTNOINTR: "ERESTARTNOINTR (To be restarted)",
    ERESTARTNOHAND: "ERESTARTNOHAND (To be restarted if no handler)",
    ERESTART_RESTARTBLOCK: "ERESTART_RESTARTBLOCK (Interrupted by signal)",
}

_unfinished = 0
"""The thread whose line the log ends in; 0 when the log is at a line's start."""


_SEVERED = frozenset(("clone", "clone3", "execve", "execveat", "fork", "vfork"))
"""Calls that two processes return from, or a new program: their lines end before the call."""


def observed(t: Thread, table: SyscallTable, number: int) -> int | None:
    """Make system call `number` as `dispatch` would, and log it as the log's owner wants."""
    log = t.process.log
    if log.traced("guest_user_syscall"):
        shown = "".join(f" arg{i}=0x{value:016x}" for i, value in enumerate(_words(t, table), 1))
        log.write(f"guest_user_syscall cpu={t.tid} num=0x{number:016x}{shown}")
    if log.enabled("strace"):
        result = traced(t, table, number)
    else:
        entry = table.entry(number) or missing(t, table, number)
        result = run(t, entry, t.cpu.gpr)
    if log.traced("guest_user_syscall_ret") and result is not None:
        value = -to_guest(-result) if -MAX_ERRNO <= result < 0 else result
        ret = value & 0xFFFFFFFFFFFFFFFF
        log.write(f"guest_user_syscall_ret cpu={t.tid} num=0x{number:016x} ret=0x{ret:016x}")
    return result


def _words(t: Thread, table: SyscallTable) -> list[int]:
    """The eight words that may be arguments."""
    try:
        return [table.abi.word_getter(slot)(t, t.cpu.gpr) for slot in range(8)]
    except GuestFault:
        return list(t.cpu.gpr[4:8])


def traced(t: Thread, table: SyscallTable, number: int) -> int | None:
    """Make a system call and log it as -strace does."""
    regs = t.cpu.gpr
    shift = 0
    if table.names.get(number) == "syscall":
        number, shift = regs[4], 1
    name = table.names.get(number, f"syscall_{number}")
    call = table.call(number)
    entry = table.entry(number, shift)
    if call is None or entry is None:
        _begin(t, f"{name}(")
        result = run(t, missing(t, table, number), regs)
        _end(t, name, ")" + _outcome(t, result, "d"))
        return result
    try:
        raw = [argument.get(t, regs) for argument in table.arguments(call.types, shift)]
    except GuestFault:
        raw = []
    types = call.types[: len(raw)]
    first = next((i for i, type in enumerate(types) if type.leaves), len(types))
    shown = [part for i in range(first) if (part := types[i].show(t, raw, i, None))]
    if not call.returns:
        _begin(t, f"{name}({','.join(shown)})\n")
        return run(t, entry, regs)
    _begin(t, f"{name}({','.join(shown)}")
    if name in _SEVERED:
        _sever(t)
    result = run(t, entry, regs)
    rest = "".join(f",{argument}" for argument in _rest(t, call, raw, first, result) if argument)
    _end(t, name, (rest if shown else rest[1:]) + ")" + _outcome(t, result, call.returns))
    return result


def _rest(t: Thread, call: Call, raw: Sequence[int], first: int, result: int | None) -> list[str]:
    """The arguments from `first` on, after the call."""
    outcome = -1 if result is None else result
    return [call.types[i].show(t, raw, i, outcome) for i in range(first, len(raw))]


def _outcome(t: Thread, result: int | None, form: str) -> str:
    if result is None:
        return f" = ? {_RESTARTS[t.restart]}" if t.restart else " = ?"
    if -MAX_ERRNO <= result < 0:
        return f" = -1 errno={to_guest(-result)} ({os.strerror(-result)})"
    if form == "x":
        return f" = 0x{result:08x}"
    return f" = {octal(result)}" if form == "o" else f" = {result}"


def _begin(t: Thread, text: str) -> None:
    """Write the start of a line, or a whole one."""
    global _unfinished
    start = " <unfinished ...>\n" if _unfinished else ""
    _unfinished = 0 if text.endswith("\n") else t.tid
    _write(t, f"{start}{t.tid} {text}")


def _sever(t: Thread) -> None:
    """End the line that the thread has begun; the rest of it goes into another."""
    global _unfinished
    _unfinished = 0
    _write(t, " <unfinished ...>\n")


def _end(t: Thread, name: str, text: str) -> None:
    """Write the rest of the thread's line."""
    global _unfinished
    start = ""
    if _unfinished != t.tid:
        start = " <unfinished ...>\n" if _unfinished else ""
        start += f"{t.tid} <... {name} resumed> "
    _unfinished = 0
    _write(t, f"{start}{text}\n")


def _write(t: Thread, text: str) -> None:
    try:
        os.write(t.process.log.fd, text.encode("utf-8", "backslashreplace"))
    except OSError:
        pass  # a full disk must not change what the guest does
