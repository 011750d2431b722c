"""A Linux process under the control of another Python process, which runs `pemu.api`.

Messages are marshalled tuples over a socket that keeps them apart. From the controller:

    (serial, verb, *arguments)      a request, answered by (serial, "value", value) or
                                    (serial, "error", kind, text, number); kind is "fault" or
                                    "unknown"
    (0, "resume", thread, step)     let all threads go on, or one of them for an instruction
    (0, "interrupt")                stop all threads
    (0, "answer", thread, stop, verdict)

To it, with serial 0, where the registers are (pc, general registers):

    (0, "hook", kind, thread, registers, *details)   the thread waits for an "answer"
    (0, "stopped", thread, registers)
"""

from __future__ import annotations

import marshal
import os
import select
import socket
from _thread import start_new_thread
from itertools import islice

from pemu.engine.host.masking import with_signals_blocked
from pemu.engine.layout.exits import EXIT_HOOK, EXIT_SYSCALL
from pemu.engine.memory.access import GuestFault
from pemu.isa.mips.names import A0, A3, SP, V0
from pemu.linux import fdtable, signals, syscall
from pemu.linux.debugging.debugger import Debugger
from pemu.linux.mips import signals as ms
from pemu.linux.mips.errno import to_host
from pemu.linux.programs.symbols import Symbols
from pemu.linux.running import INTERNAL_ERROR
from pemu.monitor.gdb.target import Action, Stop, TargetError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pemu.linux.debugging.debugger import ThreadState
    from pemu.linux.mips.signals import SigInfo
    from pemu.linux.process import Process, Thread
    from pemu.linux.syscall import SyscallTable

LARGEST_MESSAGE = 1 << 17
"""Bytes of a message at most: the socket takes one of that size whatever its buffer is."""

_SYSCALL_WORDS = 8
_MAPPINGS = 30


class Unknown(Exception):
    """The controller has named something that does not exist."""


class Control(Debugger):
    """A process that does what its controller says. It begins stopped."""

    def __init__(self, process: Process, thread: Thread, connection: socket.socket) -> None:
        super().__init__(process, thread)
        self._connection = connection
        self._answers: dict[int, tuple[bool, Any]] = {}
        self._symbols = Symbols(process.mem, process.target)
        self._before: frozenset[str] | None = frozenset()
        self._after: frozenset[str] | None = frozenset()
        self._begun: dict[int, tuple[int, int]] = {}
        self._hooks_blocks = False
        self._hooks_signals = False

    def _send(self, *message: Any) -> None:
        data = marshal.dumps(message)
        try:
            self._connection.send(data)
        except OSError:
            os._exit(1)  # nobody is in control any more

    # What the guest's threads tell.

    def _tell(self, state: ThreadState, kind: str, *details: object) -> Any:
        """Tell the controller of an event in the running thread; returns its verdict."""
        t = state.thread
        self._send(0, "hook", kind, t.tid, _registers(t), *details)
        with self._condition:
            state.resting = True
            self._condition.notify_all()
            while t.tid not in self._answers:
                self._condition.wait()
            stop, verdict = self._answers.pop(t.tid)
            state.resting = False
            stopping = self._stopping
        if stopping:
            self._rest(state)
        elif stop:
            self._stop(state, Stop("hook", t.tid))
        return verdict

    def _settle(self, state: ThreadState) -> None:
        t = state.thread
        reason = t.cpu.exit_reason
        if reason == EXIT_HOOK:
            self._hook(state)
        elif reason == EXIT_SYSCALL and (self._before != frozenset() or self._after != frozenset()):
            self._tell_call(state)
        else:
            super()._settle(state)

    def _hook(self, state: ThreadState) -> None:
        t = state.thread
        cpu = t.cpu
        place = cpu.pc
        for hook in t.process.hooks:
            hook(t)
        if self._hooks_blocks or place in self._breakpoints:
            self._tell(state, "place", self._hooks_blocks)
        # Whatever is hooked here now must not stop the thread once more; but a mark that no hook
        # takes back would hide a later one.
        hooked = self._hooks_blocks or t.process.hooks or place in self._breakpoints
        if cpu.pc == place and hooked:
            cpu.skip_hook()

    def _tell_call(self, state: ThreadState) -> None:
        """Make a system call, of which the controller may want to know before and after."""
        t = state.thread
        regs = t.cpu.gpr
        table = syscall.table_for(t.target)
        number, shift = regs[V0], 0
        if table.names.get(number) == "syscall":
            number, shift = regs[A0], 1
        name = table.names.get(number, f"syscall_{number}")
        place = t.cpu.pc, number
        if self._begun.get(t.tid) == place:
            del self._begun[t.tid]  # it has been told of, and begins again after a handler
        elif _wanted(self._before, name):
            words = _words(t, table, number, shift)
            changes, answer = self._tell(state, "call", name, number, words)
            for index, value in changes:
                _set_word(t, table, index + shift, value)
            if answer is not None:
                _set_result(t, answer)
                return
            if t.cpu.interrupted:
                # The signal has come while the controller was asked, not while the call waited.
                self._begun[t.tid] = place
                t.restart = syscall.ERESTARTNOINTR
                signals.deliver(t)
                return
        after = _wanted(self._after, name)
        words = _words(t, table, number, shift) if after else ()
        self._call(state)
        if after and not t.restart:
            value = regs[V0]
            result = -to_host(value) if regs[A3] else value
            answer = self._tell(state, "result", name, number, words, result)
            if answer is not None:
                _set_result(t, answer)
        if t.restart or t.cpu.interrupted:
            signals.deliver(t)

    def on_signal(self, t: Thread, info: SigInfo) -> SigInfo | None:
        if info.signo == ms.SIGINT and info.code == ms.SI_KERNEL:
            return None  # a terminal's Ctrl-C is the controller's business
        if self._hooks_signals and t.tid in self._states:
            name = ms.signal_name(info.signo)
            if self._tell(self._states[t.tid], "signal", name, info.code, info.address):
                return None
        return info

    def executed(self, t: Thread) -> None:
        self._symbols = Symbols(self.process.mem, self.process.target)
        self._breakpoints = set()
        self.process.engine.set_hooks(set())
        self._tell(self._states[t.tid], "exec", self.process.exe)

    def forked(self) -> None:
        super().forked()
        descriptor = self._connection.detach()
        os.close(descriptor)
        fdtable.release(descriptor)
        if self._hooks_blocks:
            self.process.engine.hook_blocks(False)
        self.process.engine.use_native_calls(True)

    def exited(self, status: int) -> None:
        """The closed socket and the exit status tell."""

    def killed(self, signo: int) -> None:
        """The closed socket and the exit status tell."""

    # What the controller asks for.

    def run_server(self) -> None:
        """`serve`, whose failure must not leave the program waiting."""
        try:
            self.serve()
        except BaseException as error:
            os.write(2, f"pemu-{self.process.target.name}: internal error: {error!r}\n".encode())
            os._exit(INTERNAL_ERROR)

    def serve(self) -> None:
        """Obey until the controller has gone; the process ends then."""
        poll = select.poll()
        poll.register(self._connection.fileno(), select.POLLIN)
        poll.register(self.fileno(), select.POLLIN)
        while True:
            ready = [fd for fd, _ in poll.poll()]
            if self.fileno() in ready:
                stop = self.take_stop()
                if stop is not None:
                    self._tell_stop(stop)
            if self._connection.fileno() in ready:
                try:
                    data = self._connection.recv(LARGEST_MESSAGE)
                except OSError:
                    data = b""
                if not data:
                    os._exit(1)
                self._obey(*marshal.loads(data))

    def _tell_stop(self, stop: Stop) -> None:
        threads = self.threads()
        if not threads:
            return  # the process is about to end
        number = stop.thread if stop.thread in threads else threads[0]
        self._send(0, "stopped", number, _registers(self._states[number].thread))

    def _obey(self, serial: int, verb: str, *arguments: Any) -> None:
        request = getattr(self, f"_do_{verb}")
        try:
            value = request(*arguments)
        except (TargetError, GuestFault) as error:
            self._send(serial, "error", "fault", str(error), 0)
        except Unknown as error:
            self._send(serial, "error", "unknown", str(error), 0)
        else:
            if serial:
                self._send(serial, "value", value)

    def _do_resume(self, thread: int, step: bool) -> None:
        self.resume([(thread if step else None, Action(step))])

    def _do_interrupt(self) -> None:
        self.interrupt()

    def _do_answer(self, thread: int, stop: bool, verdict: Any) -> None:
        with self._condition:
            self._answers[thread] = (stop, verdict)
            self._condition.notify_all()

    def _do_addresses(self, more: tuple[int, ...], fewer: tuple[int, ...]) -> None:
        """Tell of runs of the instructions at these addresses, and no longer of those."""
        self._breakpoints = self._breakpoints.union(more).difference(fewer)
        self.process.engine.set_hooks(self._breakpoints)

    def _do_hooks(
        self,
        blocks: bool,
        before: tuple[str, ...] | None,
        after: tuple[str, ...] | None,
        signals: bool,
    ) -> None:
        """Choose what is told of; None stands for all system calls."""
        engine = self.process.engine
        self._before = None if before is None else frozenset(before)
        self._after = None if after is None else frozenset(after)
        engine.use_native_calls(not before and not after and None not in (before, after))
        self._hooks_signals = signals
        if blocks != self._hooks_blocks:
            self._hooks_blocks = blocks
            engine.hook_blocks(blocks)

    def _do_register(self, thread: int, index: int) -> int:
        return self.read_register(thread, index)

    def _do_set_register(self, thread: int, index: int, value: int) -> None:
        self.write_register(thread, index, value)

    def _do_read(self, address: int, size: int) -> bytes:
        return self.read_memory(address, size)

    def _do_write(self, address: int, data: bytes) -> None:
        self.write_memory(address, data)

    def _do_symbol(self, name: str) -> int | None:
        return self._symbols.address(name)

    def _do_place(self, address: int) -> tuple[str, int] | None:
        return self._symbols.place(address)

    def _do_mappings(self, start: int) -> tuple[tuple[int, int, int, str], ...]:
        """What is mapped from an address on, as far as a message takes it."""
        found = ((r[0], r[1], r[2], r[7]) for r in self.process.mem.regions() if r[0] >= start)
        return tuple(islice(found, _MAPPINGS))

    def _do_threads(self) -> tuple[int, ...]:
        return tuple(self.threads())

    def _do_calls(self) -> tuple[str, ...]:
        return tuple(syscall.table_for(self.process.target).names.values())

    def hello(self) -> tuple[object, ...]:
        """What the controller learns first: thread, its registers, and how registers are named."""
        target = self.process.target
        (number,) = self.threads()
        names = {variable.name: index for index, variable in enumerate(self.registers)}
        declared = self.process.engine.arch.layout.by_name["gpr"]
        names.update({name: index for index, name in enumerate(declared.names)})
        names["fp"] = names["s8"]
        bits = tuple(variable.bits for variable in self.registers)
        thread = self._states[number].thread
        return (number, _registers(thread), names, bits, target.word, self.byte_order)


def _registers(t: Thread) -> tuple[int, tuple[int, ...]]:
    return t.cpu.pc, tuple(t.cpu.gpr)


def _wanted(names: frozenset[str] | None, name: str) -> bool:
    return names is None or name in names


def _words(t: Thread, table: SyscallTable, number: int, shift: int) -> tuple[int, ...]:
    """The words that are arguments of a call, as far as they can be read."""
    call = table.call(number)
    end = _SYSCALL_WORDS
    if call is not None:
        slots = table.abi.slots(call.types, shift)
        end = slots[-1] + 1 if slots else shift
        if slots and call.types[-1].wide and table.abi.xlen == 32:
            end += 1
    words = []
    try:
        for slot in range(shift, end):
            words.append(table.abi.word_getter(slot)(t, t.cpu.gpr))
    except GuestFault:
        pass
    return tuple(words)


def _set_word(t: Thread, table: SyscallTable, slot: int, value: int) -> None:
    regs = t.cpu.gpr
    if slot < table.abi.register_count:
        regs[A0 + slot] = value & (1 << 8 * regs.itemsize) - 1
    else:
        t.mem.put_u32(regs[SP] + 4 * slot, value)


def _set_result(t: Thread, result: int) -> None:
    """Write what a call returns: a number, or minus a host error number."""
    regs = t.cpu.gpr
    if -syscall.MAX_ERRNO <= result < 0:
        syscall.set_error(t, -result)
        return
    regs[V0] = result & (1 << 8 * regs.itemsize) - 1
    regs[A3] = 0


def refuse(descriptor: int, why: str) -> None:
    """Tell the controller that the program cannot be run."""
    os.write(descriptor, marshal.dumps((0, "refused", why)))


def attach(process: Process, thread: Thread, descriptor: int) -> None:
    """Put the process at the other end of socket `descriptor` in charge."""
    connection = socket.socket(fileno=fdtable.reserve(descriptor))
    control = Control(process, thread, connection)
    process.debugger = control
    control.watch_signals()
    control._send(0, "ready", *control.hello())
    with_signals_blocked(lambda: start_new_thread(control.run_server, ()))
