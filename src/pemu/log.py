"""The log of `-d` and `-trace`: which items are wanted, and where their lines go."""

from __future__ import annotations

import os
from _thread import allocate_lock

from pemu.options.error import HelpRequest, OptionError, quoted, unknown
from pemu.options.types import Int, ValueType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ITEMS = {
    "out_asm": "host instructions of each compiled region",
    "in_asm": "guest instructions of each translated block",
    "op": "what the translator makes of them: ops, and LLVM IR where they are compiled",
    "op_opt": "LLVM IR after optimization",
    "op_ind": "nothing: there is no such step",
    "int": "exceptions and faults",
    "exec": "each block as it is run (very long; -d exec,nochain misses none)",
    "cpu": "registers before each block is run (very long)",
    "fpu": "with 'cpu': floating-point registers, too",
    "mmu": "system emulation: addresses that are translated",
    "pcall": "nothing for MIPS processors",
    "cpu_reset": "system emulation: registers before a processor is reset",
    "unimp": "what a guest asked for and Pemu does not have yet",
    "guest_errors": "what a guest did that the architecture leaves undefined",
    "page": "mapped pages at the start of user mode",
    "nochain": "do not chain blocks, so that 'exec' and 'cpu' show every one",
    "plugin": "nothing: there are no plugins",
    "strace": "system calls, as -strace",
}

EVENTS = {
    "guest_user_syscall": "a system call's number and arguments",
    "guest_user_syscall_ret": "a system call's number and result",
    "device_register": "system emulation: accesses to the registers of devices",
}

TRACE = "trace:"
"""What stands before a pattern of trace events among the items of -d."""

# A guest may close or replace descriptor 2, and closes low numbers in loops: the log keeps a
# descriptor of its own, above those that programs number by hand and below the usual limit of 1024.
_FD = 900


class LogItems(ValueType):
    """The value of -d: log items and `trace:PATTERN`s separated by commas, or `help`."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("item[,...]")

    def parse(self, text: str) -> tuple[str, ...]:
        names: list[str] = []
        for name in text.split(","):
            names += ITEMS if name == "all" else [name]
        if "help" in names or "?" in names:
            rows = "".join(f"{name:<15} {what}\n" for name, what in ITEMS.items())
            rows += "trace:PATTERN   trace events, as -trace\n"
            raise HelpRequest("Log items (comma separated):\n" + rows, status=1)
        for name in names:
            if name == TRACE + "help":
                raise HelpRequest(events_help())
            if name == "tid":
                raise OptionError("log item 'tid': not supported yet; -D with %d has a file each")
            if name not in ITEMS and not name.startswith(TRACE):
                raise unknown(
                    f"unknown log item {quoted(name)}", name, ITEMS, "-d help lists the items"
                )
        return tuple(dict.fromkeys(names))

    def format(self, value: Iterable[str]) -> str:
        return ",".join(value)


class LogFile(ValueType):
    """The value of -D: a path, in which one %d stands for the process's number."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("logfile")

    def parse(self, text: str) -> str:
        if not text or text.replace("%d", "", 1).count("%"):
            raise OptionError(
                f"{quoted(text)} is no log file name; give a path with no '%' but one %d for "
                "the process number"
            )
        return text


class Ranges(ValueType):
    """The value of -dfilter: ranges of addresses, first and last, separated by commas."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("range[,...]")

    def parse(self, text: str) -> list[tuple[int, int]]:
        return [self._range(part) for part in text.split(",")] if text else []

    def _range(self, text: str) -> tuple[int, int]:
        number = Int(name="address")
        for mark in ("..", "+", "-"):
            first, found, second = text.partition(mark)
            if found:
                start, other = number.parse(first), number.parse(second)
                if mark == "..":
                    ends = start, other
                elif mark == "+":
                    ends = start, start + other - 1
                else:
                    ends = start - other + 1, start
                if 0 <= ends[0] <= ends[1]:
                    return ends
        raise OptionError(f"{quoted(text)} is no range; write start..end, start+size or start-size")

    def format(self, value: Iterable[tuple[int, int]]) -> str:
        return ",".join(f"{first:#x}..{last:#x}" for first, last in value)


class Log:
    """Where log lines go, and which are wanted. Safe with threads and across fork.

    `items` are names of `ITEMS`, `events` of `EVENTS`; of code only what lies in one of `ranges` is
    shown, if there are any. `path` is a file, in which %d stands for the process number; empty for
    standard error. `append` keeps what the file holds, for a program that goes on in another's.
    Raises `OptionError` where the file cannot be opened.
    """

    __slots__ = ("_lock", "events", "fd", "items", "ranges")

    def __init__(
        self,
        items: Iterable[str] = (),
        path: str = "",
        *,
        append: bool = False,
        events: Iterable[str] = (),
        ranges: Sequence[tuple[int, int]] = (),
    ) -> None:
        self.items = frozenset(items)
        self.events = frozenset(events)
        self.ranges = ranges
        self.fd = 2
        self._lock = allocate_lock()
        if self.items or self.events or path:
            self.fd = _open(path, append)
            os.register_at_fork(after_in_child=self.after_fork)

    def choose(self, items: Iterable[str], events: Iterable[str]) -> None:
        """Want other items and events from now on."""
        self.items = frozenset(items)
        self.events = frozenset(events)

    def redirect(self, path: str) -> None:
        """Write to another file from now on. Raises OSError."""
        name = path.replace("%d", str(os.getpid()))
        from pemu.fdsets import open_path

        fd = open_path(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        with self._lock:
            before, self.fd = self.fd, fd
        if before != 2:
            os.close(before)

    def enabled(self, item: str) -> bool:
        """Whether lines of `item` are wanted; ask before making them."""
        return item in self.items

    def traced(self, event: str) -> bool:
        """Whether the trace event `event` is wanted; ask before making its line."""
        return event in self.events

    def write(self, text: str) -> None:
        """Write whole lines, without another thread's in between; adds a missing newline."""
        if not text.endswith("\n"):
            text += "\n"
        data = text.encode("utf-8", "backslashreplace")
        with self._lock:
            try:
                while data:
                    data = data[os.write(self.fd, data) :]
            except OSError:
                pass  # a full disk or a closed descriptor must not change what the guest does

    def after_fork(self) -> None:
        """In a forked child: another thread, which is not there any more, may have held it."""
        self._lock = allocate_lock()


def events_help() -> str:
    """The answer to `-trace help`."""
    return "".join(f"{name:<23} {what}\n" for name, what in EVENTS.items())


def trace_events(patterns: Iterable[str]) -> tuple[list[str], list[str]]:
    """The events that `-trace` patterns name, and the patterns that name none.

    `*` and `?` in a pattern stand for anything; a leading '-' takes events away again.
    """
    from fnmatch import fnmatchcase

    wanted: dict[str, None] = {}
    unmatched = []
    for pattern in patterns:
        name = pattern.removeprefix("-")
        found = [event for event in EVENTS if fnmatchcase(event, name)]
        if not found:
            unmatched.append(name)
        for event in found:
            if name == pattern:
                wanted[event] = None
            else:
                wanted.pop(event, None)
    return list(wanted), unmatched


def _open(path: str, append: bool) -> int:
    """A descriptor for the log, out of the way of the guest's."""
    import fcntl

    if path:
        from pemu.fdsets import open_path

        name = path.replace("%d", str(os.getpid()))
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | (0 if append else os.O_TRUNC)
        try:
            fd = open_path(name, flags)
        except OSError as error:
            raise OptionError(
                f"-D: log file {quoted(name)} cannot be opened ({error.strerror}); give a path "
                "that can be written"
            ) from None
    else:
        fd = 2
    try:
        moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FD)
    except OSError:
        return fd  # a low limit of descriptors, or no standard error
    if fd != 2:
        os.close(fd)
    return moved
