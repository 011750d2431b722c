"""A guest process and its threads: the loop that runs each, and what it leaves native code for."""

from __future__ import annotations

import os
from _thread import get_native_id

from pemu.engine import state as s
from pemu.engine.exits import (
    EXIT_EXCEPTION,
    EXIT_FAULT,
    EXIT_HOOK,
    EXIT_INTERRUPT,
    EXIT_SYSCALL,
    EXIT_TRACK,
    FAULT_WRITE,
)
from pemu.engine.pages import TRACK
from pemu.linux import syscall
from pemu.linux.sigactions import Actions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from pemu.cli.user_options import UserOptions
    from pemu.engine.engine import Engine
    from pemu.engine.memory import AddressSpace
    from pemu.engine.vcpu import Cpu
    from pemu.linux.debug import Debugger
    from pemu.linux.loader import LoadedImage
    from pemu.linux.mips.signals import SigInfo
    from pemu.linux.strace import Tracer
    from pemu.linux.target import Target


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
    program.
    """

    __slots__ = (
        "argv",
        "child_command",
        "child_environ",
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
        "signals_installed",
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
        self.signals_installed: set[int] = set()
        self.hooks: list[Callable[[Thread], None]] = []
        """Called in order where a thread has come to an address or block that is hooked."""
        self.debugger: Debugger | None = None
        self.tracer: Tracer | None = None
        """Makes system calls where they are logged."""
        # Set by whoever starts the process: how a program of the same target is executed.
        self.child_command: Callable[[], list[str]] = list
        self.child_environ: Callable[[list[bytes]], list[bytes]] = list

    def exit(self, status: int) -> NoReturn:
        """End the process, from any of its threads."""
        if self.debugger is not None:
            self.debugger.exited(status)
        self.engine.close()
        os._exit(status)

    def run_thread(self, thread: Thread) -> None:
        """Run a thread to its end, and end the process if it was the last."""
        from pemu.linux.signals import leave_to_others
        from pemu.linux.thread_end import leave

        try:
            status = thread.run() if self.debugger is None else self.debugger.run(thread)
        except BaseException:
            # An error of Pemu's own: no thread may go on as if nothing had happened.
            import sys
            import traceback

            error = sys.exc_info()[1]
            os.write(2, f"pemu-{self.target.name}: internal error: {error!r}\n".encode())
            if os.environ.get("PEMU_DEBUG") == "1":
                traceback.print_exc()
            os._exit(70)
        leave(thread)
        with self.engine.lock:
            self.threads.pop(thread.tid, None)
            last = not self.threads
        if last:
            self.exit(status)
        leave_to_others(thread)
        thread.cpu.detach()
        self.engine.remove_cpu(thread.cpu)


class Thread:
    """A guest thread, run by the host thread that made it; `tid` is the same for both."""

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

    def run(self) -> int:
        """Run until the thread ends; returns its exit status."""
        cpu = self.cpu
        dispatch = syscall.dispatch
        try:
            while True:
                cpu.run()
                reason = cpu.exit_reason
                if reason == EXIT_SYSCALL:
                    if not cpu.interrupted:
                        dispatch(self)
                    elif cpu.take_call_begun() and syscall.may_be_interrupted(self):
                        # Native code has waited in it already: it says how that ends.
                        self.waited = True
                        dispatch(self)
                        self.waited = False
                    else:
                        self.restart = syscall.ERESTARTNOINTR
                    if self.restart or cpu.interrupted:
                        self.deliver()
                else:
                    self.settle(reason)
        except ThreadExit as end:
            return end.status

    def settle(self, reason: int) -> None:
        """Do what the cpu has left native code for, other than a system call."""
        cpu = self.cpu
        if reason == EXIT_FAULT:
            self._fault()
        elif reason == EXIT_INTERRUPT:
            self.deliver()
        elif reason == EXIT_TRACK:
            self.mem.track(cpu.exit_addr)
        elif reason == EXIT_EXCEPTION:
            from pemu.linux.signals import raise_exception

            raise_exception(self)
        elif reason == EXIT_HOOK:
            for hook in self.process.hooks:
                hook(self)
            cpu.skip_hook()

    def _fault(self) -> None:
        cpu = self.cpu
        address = cpu.exit_addr
        if 0 <= address < self.mem.size and cpu.exit_code & FAULT_WRITE:
            page = self.mem.flags[address >> 12]
            if page & TRACK:
                self.mem.untrack(address, by_itself=not (cpu.pc ^ address) & -4096)
                return
        from pemu.linux.signals import raise_fault

        raise_fault(self)

    def deliver(self) -> None:
        """Handle a pending signal or kick, and what it has interrupted."""
        from pemu.linux.signals import deliver

        deliver(self)
