"""A guest process and its threads: what there is of them. `running` has what they do."""

from __future__ import annotations

import os
from _thread import get_native_id

from pemu.engine.layout import state as s
from pemu.linux.sigactions import Actions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn, Protocol

    from pemu.engine.engine import Engine
    from pemu.engine.memory.process import AddressSpace
    from pemu.engine.vcpu import Cpu
    from pemu.linux.mips.signals import SigInfo
    from pemu.linux.options import UserOptions
    from pemu.linux.programs.loader import LoadedImage
    from pemu.linux.target import Target

    class Debugger(Protocol):
        """Who is in charge of a process that is debugged, and is told what happens in it."""

        def run(self, t: Thread) -> int:
            """Run a thread until it ends; returns its exit status."""

        def on_signal(self, t: Thread, info: SigInfo) -> SigInfo | None:
            """A signal is about to take effect: what takes effect instead, None for nothing."""

        def executed(self, t: Thread) -> None:
            """The process runs another program now."""

        def forked(self) -> None:
            """This process is a new child, which runs without a debugger."""

        def exited(self, status: int) -> None:
            """The process is about to end."""

        def killed(self, signo: int) -> None:
            """The process is about to be ended by a signal."""

    class Tracer(Protocol):
        """Makes the system calls of a process whose calls are logged, and is told of signals."""

        def call(self, t: Thread, number: int) -> int | None:
            """Make the system call with this guest number as `syscall.dispatch` would."""

        def signal(self, t: Thread, info: SigInfo) -> None:
            """A signal takes effect."""

        def killed(self, t: Thread, info: SigInfo, core: bool) -> None:
            """A signal ends the process."""


AT_EXECUTE: list[Callable[[], object]] = []
"""What modules forget, or undo with the kernel, when the process executes another program."""


class ThreadExit(BaseException):
    """The calling guest thread has ended; `status` counts if it was the last."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Process:
    """A guest process.

    `prefix`: directory of the guest's system files (-L), '' for none. `exe`: host path of the
    program. `threads`: by their numbers.
    """

    __slots__ = (
        "argv",
        "debugger",
        "engine",
        "environ",
        "exe",
        "exe_image",
        "hooks",
        "log",
        "mem",
        "options",
        "prefix",
        "sigactions",
        "target",
        "threads",
        "tracer",
    )

    def __init__(
        self, target: Target, mem: AddressSpace, engine: Engine, options: UserOptions
    ) -> None:
        self.target = target
        self.mem = mem
        self.engine = engine
        self.options = options
        self.prefix = options.prefix
        self.log = options.log
        self.exe = options.program
        self.argv: list[bytes] = []
        self.environ: list[bytes] = []
        self.exe_image: LoadedImage | None = None
        self.threads: dict[int, Thread] = {}
        self.sigactions = Actions()
        self.hooks: list[Callable[[Thread], None]] = []
        """Called in order where a thread has come to an address or block that is hooked."""
        self.debugger: Debugger | None = None
        self.tracer: Tracer | None = None
        """Makes system calls where they are logged."""

    def exit(self, status: int) -> NoReturn:
        """End the process, from any of its threads."""
        if self.debugger is not None:
            self.debugger.exited(status)
        self.engine.close()
        os._exit(status)


class Thread:
    """A guest thread, run by the host thread that made it; `tid` is the same for both.

    `saved_mask`: what the mask goes back to after a call that waits with another one. `held`:
    signals that the mask keeps back although the host could not. `restart`: how an interrupted
    system call goes on, one of `syscall`'s ERESTART numbers, 0 for none; `restart_block` continues
    it. `waited`: native code has begun the call already. `robust_list`, `clear_child_tid`:
    guest-virtual addresses that the kernel looks at when the thread ends, 0 for none.
    """

    __slots__ = (
        "_altstack",
        "clear_child_tid",
        "cpu",
        "held",
        "mem",
        "process",
        "restart",
        "restart_block",
        "waited",
        "robust_list",
        "saved_mask",
        "target",
        "tid",
    )

    def __init__(self, process: Process, cpu: Cpu) -> None:
        self.process = process
        self.mem = process.mem
        self.target = process.target
        self.cpu = cpu
        self.tid = get_native_id()
        self.saved_mask: int | None = None
        self.held: list[SigInfo] = []
        start = s.ENGINE_BYTES + s.ALTERNATE_STACK.offset
        self._altstack = cpu.memory[start : start + s.ALTERNATE_STACK.size].cast("Q")
        self.altstack = (0, 2, 0)
        self.robust_list = 0
        self.clear_child_tid = 0
        self.restart = 0
        self.waited = False
        self.restart_block: Callable[[Thread], int] | None = None

    @property
    def sigmask(self) -> int:
        """The guest's mask: bit n-1 for signal n."""
        return self.cpu.signal_mask

    @sigmask.setter
    def sigmask(self, bits: int) -> None:
        self.cpu.signal_mask = bits

    @property
    def altstack(self) -> tuple[int, int, int]:
        """The stack for signal handlers: address, flags, size."""
        start, size, flags = self._altstack
        return start, flags, size

    @altstack.setter
    def altstack(self, stack: tuple[int, int, int]) -> None:
        start, flags, size = stack
        self._altstack[0], self._altstack[1], self._altstack[2] = start, size, flags

    def host_syscall(self, number: int, *arguments: int) -> int:
        """Make a host system call by its x86-64 number.

        Returns the kernel's result, -errno on error; -512 if a signal for the guest came first.
        """
        return self.process.engine.syscall(self.cpu, number, *arguments)
