"""What a debuggee offers to the gdb server, whatever runs it: a Linux process or a machine."""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal

    from pemu.engine.variable import Variable

EPERM, ESRCH, EFAULT, EINVAL = 1, 3, 14, 22
"""Error numbers of replies, as gdb's own server uses them."""


class TargetError(Exception):
    """A request that the debuggee cannot fulfil; `number` is one of the error numbers."""

    def __init__(self, number: int, why: str = "") -> None:
        super().__init__(why or f"error {number}")
        self.number = number


class Stop:
    """Why the debuggee has stopped, or that it has ended.

    `kind`: "signal", "breakpoint" (software or hardware), "watch", "rwatch", "awatch" (an access is
    about to happen at `address`), "exec" (`path` runs now), "exited" (with `status`), "killed" (by
    `signal`), "idle" (the threads that were to run have ended), "syscall_entry", "syscall_return"
    (of call `number`). `signal`: gdb's number.
    """

    __slots__ = ("address", "kind", "number", "path", "signal", "status", "thread")

    def __init__(
        self,
        kind: str,
        thread: int = 0,
        signal: int = 5,
        *,
        address: int = 0,
        path: bytes = b"",
        status: int = 0,
        number: int = 0,
    ) -> None:
        self.kind = kind
        self.thread = thread
        self.signal = signal
        self.address = address
        self.path = path
        self.status = status
        self.number = number


class Action:
    """How a thread goes on: continues or steps, after signal `signal` (gdb's number, 0 for none).

    `start`, `end`: a step goes on while the pc stays in this range.
    """

    __slots__ = ("end", "signal", "start", "step")

    def __init__(self, step: bool, signal: int = 0, start: int = 0, end: int = 0) -> None:
        self.step = step
        self.signal = signal
        self.start = start
        self.end = end


class Target(ABC):
    """A debuggee. Threads have numbers from 1 on; all stop together.

    What reads or changes the state works while it is stopped; TargetError where it cannot.
    """

    pid: int
    byte_order: Literal["big", "little"]
    architecture: str
    """gdb's name of the architecture."""
    osabi: str
    registers: Sequence[Variable]
    """In the order of their numbers."""
    attached: bool = False
    """It was there before gdb came, which lets it run on when the user quits."""
    reports_exec: bool = False
    """gdb understands stops of kind "exec"."""

    @abstractmethod
    def resume(self, actions: Sequence[tuple[int | None, Action]]) -> None:
        """Let threads go on: for each the first action with its number or None; else it waits."""

    @abstractmethod
    def interrupt(self) -> None:
        """Stop a running debuggee with SIGINT's number. Any thread may call this."""

    @abstractmethod
    def threads(self) -> list[int]:
        """The numbers of the threads that live."""

    @abstractmethod
    def thread_name(self, thread: int) -> str:
        """A few words about a thread."""

    @abstractmethod
    def read_register(self, thread: int, index: int) -> int:
        """The value of the register with this number."""

    @abstractmethod
    def write_register(self, thread: int, index: int, value: int) -> None:
        """Change it."""

    @abstractmethod
    def read_memory(self, address: int, size: int) -> bytes:
        """Up to `size` bytes of memory: as many as can be read, but one at least."""

    @abstractmethod
    def write_memory(self, address: int, data: bytes) -> None:
        """Write all of `data`, also where the program may only read."""

    @abstractmethod
    def set_breakpoint(self, address: int, on: bool) -> None:
        """Stop before the instruction at `address`, or no longer."""

    @abstractmethod
    def set_watchpoint(self, kind: str, address: int, size: int, on: bool) -> None:
        """Stop before accesses of `kind` ("watch", "rwatch", "awatch") to a range, or no longer."""

    @abstractmethod
    def pass_signals(self, signals: frozenset[int]) -> None:
        """Deliver these signals (gdb's numbers) without a stop."""

    @abstractmethod
    def detach(self) -> None:
        """Let the debuggee run on its own for good."""

    @abstractmethod
    def kill(self) -> None:
        """End the debuggee. May not return."""

    def catch_calls(self, numbers: frozenset[int] | None) -> None:
        """Stop before and after these system calls, all of them if empty; None: at none."""
        raise TargetError(EINVAL, "no system calls")

    def monitor_command(self, line: str) -> str | None:
        """What the command of `monitor line` answers; None where there are no such commands."""
        return None

    def extension(self, query: bytes) -> bytes:
        """The reply to a packet that QEMU has added to the protocol; empty where there is none."""
        return b""

    def auxv(self) -> bytes | None:
        """The auxiliary vector of a program, as the program sees it."""
        return None

    def exec_file(self) -> bytes | None:
        """The path of the program."""
        return None

    def signal_info(self, thread: int) -> bytes | None:
        """The siginfo of the signal a thread has stopped for, as the program sees it."""
        return None

    def open_file(self, path: bytes) -> int:
        """A descriptor to read the file that the debuggee sees at `path`. Raises OSError."""
        raise FileNotFoundError(errno.ENOENT, "no files")

    def close_file(self, descriptor: int) -> None:
        """Close what `open_file` has given."""
        os.close(descriptor)

    def read_link(self, path: bytes) -> bytes:
        """Where a symbolic link leads. Raises OSError."""
        raise FileNotFoundError(errno.ENOENT, "no files")


class PolledTarget(Target):
    """A debuggee whose stops are waited for at a descriptor."""

    @abstractmethod
    def fileno(self) -> int:
        """A descriptor that becomes readable when `take_stop` has something."""

    @abstractmethod
    def take_stop(self) -> Stop | None:
        """The stop that has come since the debuggee was resumed, once; all threads are at rest."""


def describe(target: Target) -> bytes:
    """The target description in XML: architecture and registers."""
    lines = [
        '<?xml version="1.0"?>',
        '<!DOCTYPE target SYSTEM "gdb-target.dtd">',
        '<target version="1.0">',
        f"<architecture>{target.architecture}</architecture>",
    ]
    if target.osabi:
        lines.append(f"<osabi>{target.osabi}</osabi>")
    features: dict[str, list[str]] = {}
    for number, register in enumerate(target.registers):
        kind = f' type="{register.type}"' if register.type else ""
        group = f' group="{register.group}"' if register.group else ""
        what = f'name="{register.name}" bitsize="{register.bits}" regnum="{number}"'
        features.setdefault(register.feature, []).append(f"<reg {what}{kind}{group}/>")
    for name, registers in features.items():
        lines += [f'<feature name="{name}">', *registers, "</feature>"]
    lines += ["</target>", ""]
    return "\n".join(lines).encode()
