"""The log of -strace: one line a system call or signal, as strace writes it.

    1234 openat(AT_FDCWD, "/etc/passwd", O_RDONLY) = 3
    1234 open("/none", O_RDONLY) = -1 ENOENT (No such file or directory)
    1234 --- SIGINT {si_signo=SIGINT, si_code=SI_USER, si_pid=99, si_uid=0} ---
    1234 +++ exited with 1 +++

Arguments before the first that the call fills are written before the call is made, so that a
call that waits, or never returns, can be seen. When another thread writes in between, the line is
continued as strace does it.
"""

from __future__ import annotations

import errno
import os

from pemu.engine.memory.access import GuestFault
from pemu.isa.mips.names import A0, A3, V0
from pemu.linux.mips.errno import to_guest
from pemu.linux.mips.signals import SIGBUS, SIGCHLD, SIGFPE, SIGILL, SIGSEGV, SIGTRAP
from pemu.linux.show import octal, show_pointer
from pemu.linux.syscall import (
    ERESTART_RESTARTBLOCK,
    ERESTARTNOHAND,
    ERESTARTNOINTR,
    ERESTARTSYS,
    MAX_ERRNO,
    missing,
    run,
    table_for,
)
from pemu.linux.types.base import signed
from pemu.linux.types.signals import show_set, show_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pemu.linux.mips.signals import SigInfo
    from pemu.linux.process import Thread
    from pemu.linux.syscall import Call, Entry, SyscallTable

_RESTARTS = {
    ERESTARTSYS: "ERESTARTSYS (To be restarted if SA_RESTART is set)",
    ERESTARTNOINTR: "ERESTARTNOINTR (To be restarted)",
    ERESTARTNOHAND: "ERESTARTNOHAND (To be restarted if no handler)",
    ERESTART_RESTARTBLOCK: "ERESTART_RESTARTBLOCK (Interrupted by signal)",
}

_SEVERED = frozenset(("clone", "clone3", "execve", "execveat", "fork", "vfork"))
"""Calls that two processes return from, or a new program: their lines end before the call."""
_FORKS = frozenset(("clone", "clone3", "fork", "vfork"))
_RETURNS = frozenset(("sigreturn", "rt_sigreturn"))
_WAITS = frozenset(
    """
    accept accept4 clock_nanosleep clock_nanosleep_time64 epoll_pwait epoll_pwait2 epoll_wait flock
    futex futex_time64 nanosleep _newselect pause poll ppoll ppoll_time64 pselect6 pselect6_time64
    rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 sigsuspend wait4 waitid waitpid
    """.split()
)
"""Calls whose lines are cut in two where other processes write to the same log. Others are written
when they have been made."""


class Tracer:
    """Makes the system calls of a process whose calls are logged, and logs them and its signals."""

    __slots__ = ("_has_forked", "_unfinished")

    def __init__(self, child: bool) -> None:
        """`child`: other processes write to the log."""
        self._has_forked = child
        self._unfinished = 0
        """The thread whose line the log ends in; 0 when the log is at a line's start."""

    def call(self, t: Thread, number: int) -> int | None:
        """Make system call `number` as `dispatch` would, and log it as the log's owner wants."""
        log = t.process.log
        table = table_for(t.target)
        if log.traced("guest_user_syscall"):
            shown = "".join(
                f" arg{i}=0x{value:016x}" for i, value in enumerate(_words(t, table), 1)
            )
            log.write(f"guest_user_syscall cpu={t.tid} num=0x{number:016x}{shown}")
        if log.enabled("strace"):
            result = self._log_call(t, table, number)
        else:
            entry = table.entry(number) or missing(t, table, number)
            result = run(t, entry, t.cpu.gpr)
        if log.traced("guest_user_syscall_ret") and result is not None:
            value = -to_guest(-result) if -MAX_ERRNO <= result < 0 else result
            ret = value & 0xFFFFFFFFFFFFFFFF
            log.write(f"guest_user_syscall_ret cpu={t.tid} num=0x{number:016x} ret=0x{ret:016x}")
        return result

    def _log_call(self, t: Thread, table: SyscallTable, number: int) -> int | None:
        """Make a system call and log it as -strace does."""
        regs = t.cpu.gpr
        shift = 0
        if table.names.get(number) == "syscall":
            number, shift = regs[A0], 1
        name = table.names.get(number, f"syscall_{number}")
        call = table.call(number)
        entry = table.entry(number, shift)
        if call is None or entry is None:
            self._begin(t, f"{name}(")
            result = run(t, missing(t, table, number), regs)
            self._end(t, name, ")" + _outcome(t, result, "d"))
            return result
        try:
            raw = [argument.get(t, regs) for argument in table.arguments(call.types, shift)]
        except GuestFault:
            raw = []
        if not call.returns:
            self._log_end(t, name, call, raw)
            return run(t, entry, regs)
        return self._log_declared(t, name, call, raw, entry)

    def _log_end(self, t: Thread, name: str, call: Call, raw: list[int]) -> None:
        """Log a call that ends the thread."""
        whole = name == "exit_group" or len(t.process.threads) == 1
        end = f"{t.tid} +++ exited with {raw[0] & 0xFF} +++\n" if whole and raw else ""
        arguments = ", ".join(_before(t, call, raw, len(raw)))
        self._begin(t, f"{name}({arguments}) = ?\n{end}")

    def _log_declared(
        self, t: Thread, name: str, call: Call, raw: list[int], entry: Entry
    ) -> int | None:
        """Make a call whose arguments are the words `raw`: those that it fills in come after it."""
        first = next((i for i, type in enumerate(call.types[: len(raw)]) if type.leaves), len(raw))
        shown = _before(t, call, raw, first)
        start = f"{name}({', '.join(shown)}"
        separator = ", " if shown and first < len(raw) else ""
        begun = True
        if name in _SEVERED or (self._has_forked and name in _WAITS):
            self._begin(t, f"{start}{separator} <unfinished ...>\n")
            separator = ""
        elif self._has_forked:
            begun = False
        else:
            self._begin(t, start)
        regs = t.cpu.gpr
        result = run(t, entry, regs)
        if name in _FORKS:
            self._has_forked = True
        if name in _RETURNS:
            value = signed(regs[V0], 8 * regs.itemsize)
            end = f"{{mask={show_set(t.sigmask)}}}) = {value}"
        else:
            rest = ", ".join(filter(None, _rest(t, call, raw, first, result)))
            returns = "x" if _gets_flags(name, raw) else call.returns
            end = f"{separator if rest else ''}{rest}){_outcome(t, result, returns)}"
            end += _comment(t, name, raw, result)
        if begun:
            self._end(t, name, end)
        else:
            self._begin(t, f"{start}{end}\n")
        return result

    def signal(self, t: Thread, info: SigInfo) -> None:
        """Log that a signal takes effect."""
        if t.process.log.enabled("strace"):
            self._begin(t, f"--- {show_signal(info.signo)} {_show_info(info)} ---\n")

    def killed(self, t: Thread, info: SigInfo, core: bool) -> None:
        """Log that a signal ends the process."""
        dumped = " (core dumped)" if core else ""
        if t.process.log.enabled("strace"):
            self._begin(t, f"+++ killed by {show_signal(info.signo)}{dumped} +++\n")

    def _begin(self, t: Thread, text: str) -> None:
        """Write the start of a line, or a whole one."""
        start = " <unfinished ...>\n" if self._unfinished else ""
        self._unfinished = 0 if text.endswith("\n") else t.tid
        _write(t, f"{start}{t.tid} {text}")

    def _end(self, t: Thread, name: str, text: str) -> None:
        """Write the rest of the thread's line."""
        start = ""
        if self._unfinished != t.tid:
            start = " <unfinished ...>\n" if self._unfinished else ""
            start += f"{t.tid} <... {name} resumed>"
        self._unfinished = 0
        _write(t, f"{start}{text}\n")


def _words(t: Thread, table: SyscallTable) -> list[int]:
    """The eight words that may be arguments."""
    try:
        return [table.abi.word_getter(slot)(t, t.cpu.gpr) for slot in range(8)]
    except GuestFault:
        return list(t.cpu.gpr[A0 : A3 + 1])


def _comment(t: Thread, name: str, raw: Sequence[int], result: int | None) -> str:
    """What stands after some results."""
    if result is None or result < 0:
        return ""
    if name in ("poll", "ppoll", "ppoll_time64", "_newselect", "pselect6", "pselect6_time64"):
        from pemu.linux.types.poll import show_happened, show_selected

        return (show_happened if "poll" in name else show_selected)(t, raw, result)
    if _gets_flags(name, raw):
        from pemu.linux.mips.fcntl import OPEN_FLAGS

        return f" (flags {OPEN_FLAGS.show(result)})"
    return ""


_F_GETFL = 3


def _gets_flags(name: str, raw: Sequence[int]) -> bool:
    return name in ("fcntl", "fcntl64") and len(raw) > 1 and raw[1] & 0xFFFFFFFF == _F_GETFL


_CODES = {0: "SI_USER", -1: "SI_QUEUE", -3: "SI_TIMER", -6: "SI_TKILL", 128: "SI_KERNEL"}
_OWN_CODES = {
    SIGCHLD: "- CLD_EXITED CLD_KILLED CLD_DUMPED CLD_TRAPPED CLD_STOPPED CLD_CONTINUED",
    SIGSEGV: "- SEGV_MAPERR SEGV_ACCERR",
    SIGBUS: "- BUS_ADRALN BUS_ADRERR BUS_OBJERR",
    SIGFPE: "- FPE_INTDIV FPE_INTOVF FPE_FLTDIV FPE_FLTOVF FPE_FLTUND FPE_FLTRES FPE_FLTINV",
    SIGTRAP: "- TRAP_BRKPT TRAP_TRACE",
    SIGILL: "- ILL_ILLOPC ILL_ILLOPN ILL_ILLADR ILL_ILLTRP ILL_PRVOPC ILL_PRVREG ILL_COPROC",
}


def _show_info(info: SigInfo) -> str:
    names = _OWN_CODES.get(info.signo, "").split()
    code = names[info.code] if 0 < info.code < len(names) else _CODES.get(info.code, str(info.code))
    parts = [f"si_signo={show_signal(info.signo)}", f"si_code={code}"]
    if info.kind == "fault":
        parts.append(f"si_addr={show_pointer(info.address)}")
    elif info.kind == "timer":
        parts += [f"si_timerid={info.pid}", f"si_overrun={info.uid}"]
    elif info.kind == "poll":
        parts += [f"si_band={info.value}", f"si_fd={info.status}"]
    elif info.code != 128:
        parts += [f"si_pid={info.pid}", f"si_uid={info.uid}"]
    if info.kind == "child":
        exited = info.code == 1
        parts.append(f"si_status={info.status if exited else show_signal(info.status)}")
        parts += [f"si_utime={info.times[0]}", f"si_stime={info.times[1]}"]
    elif info.kind in ("queue", "timer"):
        parts.append(f"si_value={info.value:#x}")
    return "{" + ", ".join(parts) + "}"


def _before(t: Thread, call: Call, raw: Sequence[int], first: int) -> list[str]:
    """The arguments up to number `first`, before the call."""
    return [part for i in range(first) if (part := call.types[i].show(t, raw, i, None))]


def _rest(t: Thread, call: Call, raw: Sequence[int], first: int, result: int | None) -> list[str]:
    """The arguments from `first` on, after the call."""
    outcome = -1 if result is None else result
    return [call.types[i].show(t, raw, i, outcome) for i in range(first, len(raw))]


def _outcome(t: Thread, result: int | None, form: str) -> str:
    if result is None:
        return f" = ? {_RESTARTS[t.restart]}" if t.restart else " = ?"
    if -MAX_ERRNO <= result < 0:
        name = errno.errorcode.get(-result, f"errno={to_guest(-result)}")
        return f" = -1 {name} ({os.strerror(-result)})"
    if form == "x":
        return f" = {result:#x}"
    return f" = {octal(result)}" if form == "o" else f" = {result}"


def _write(t: Thread, text: str) -> None:
    try:
        os.write(t.process.log.fd, text.encode("utf-8", "backslashreplace"))
    except OSError:
        pass  # a full disk must not change what the guest does
