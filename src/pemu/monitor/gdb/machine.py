"""A machine as a debuggee: one processor, which is thread 1.

Breakpoints are the engine's hooks, by guest-virtual address, and watchpoints its watched ranges;
they are put in place when the machine goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pemu.engine.staging.architecture import ACCESS_LOAD, ACCESS_STORE
from pemu.machine.processor import Processor
from pemu.monitor.commands import COMMANDS
from pemu.monitor.commands.memory import physical
from pemu.monitor.gdb.target import EFAULT, EINVAL, Action, Stop, Target, TargetError
from pemu.monitor.monitor import Monitor
from pemu.options.error import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pemu.machine.control import State
    from pemu.monitor.instance import Instance

THREAD = 1

_SIGINT, _SIGQUIT, _SIGTRAP, _SIGABRT, _SIGSTOP = 2, 3, 5, 6, 17
_SIGNALS = {
    "shutdown": _SIGQUIT,
    "internal-error": _SIGABRT,
    "io-error": _SIGSTOP,
    "debug": _SIGTRAP,
}
"""gdb's numbers of signals, by why the machine stands; SIGINT otherwise."""

_ENABLE, _NO_INTERRUPTS, _NO_TIMERS = 1, 2, 4
"""Bits of QEMU's `sstep`: what a single step is like."""

MOST_STEPPED = 64
"""Places single-stepped over whose blocks are dropped one by one."""

_KINDS = {"watch": 1 << ACCESS_STORE, "rwatch": 1 << ACCESS_LOAD}
_KINDS["awatch"] = _KINDS["watch"] | _KINDS["rwatch"]


class MachineTarget(Target):
    """The machine of an instance, for one gdb. Raises OptionError without a processor.

    Methods are for the I/O thread, while the processors stand; `step`, `at_hook` and `at_watch` for
    the processor's.
    """

    pid = 1
    osabi = ""
    attached = True

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._machine = machine = instance.machine
        found = [cpu for cpu in machine.cpus if isinstance(cpu, Processor)]
        if not found:
            raise OptionError("there is no processor that gdb could look at; choose one with -cpu")
        self._processor = processor = found[0]
        self._mask = (1 << 4 * processor.address_digits) - 1
        self.byte_order = machine.order
        self.architecture = processor.debug_architecture
        self.registers = processor.variables
        self._physical = False
        self._step_mode = _ENABLE | _NO_INTERRUPTS | _NO_TIMERS
        self._action: Action | None = None
        self._breakpoints: set[int] = set()
        self._watchpoints: set[tuple[str, int, int]] = set()
        self._watched: set[tuple[str, int, int]] = set()
        self._hooks: set[int] = set()
        self._stepped: set[int] = set()
        self._told_at: int | None = None
        self._event: Stop | None = None
        processor.debugger = self
        machine.control.listeners.append(self._state_changed)

    # On the processor's thread

    @property
    def stepping(self) -> bool:
        return self._action is not None

    def step(self) -> None:
        action, cpu = self._action, self._processor.cpu
        assert action is not None
        if self._watchpoints and cpu.pc != self._told_at and self._stop_at_watched():
            return
        self._told_at = None
        self._processor.sleeps = False
        self._step(not self._step_mode & _NO_INTERRUPTS)
        self._processor.sleeps = True
        if not action.start <= cpu.pc < action.end:
            self._action = None
            self._stop(Stop("signal", THREAD, _SIGTRAP))

    def _step(self, interrupts: bool) -> None:
        self._stepped.add(self._processor.cpu.pc)
        self._processor.step(interrupts)

    def at_watch(self, address: int) -> None:
        # What loads parts of words is reported by the engine with all of the word.
        told = self._processor.cpu.pc == self._told_at
        if told or not self._stop_at_watched(address):
            self._told_at = None
            self._step(False)

    def _stop_at_watched(self, otherwise: int | None = None) -> bool:
        """Stop if the next instruction accesses what is watched; whether it does.

        `otherwise`: the address of its access, where it cannot be told from the instruction.
        """
        accesses = self._processor.accesses()
        if not accesses and otherwise is not None:
            accesses = [(otherwise, 1, stores) for stores in (False, True)]
        for address, size, stores in accesses:
            for kind, start, length in self._watchpoints:
                at = address & self._mask
                wanted = _KINDS[kind] >> (ACCESS_STORE if stores else ACCESS_LOAD) & 1
                if wanted and at < start + length and start < at + size:
                    self._stop(Stop(kind, THREAD, address=max(at, start)))
                    return True
        return False

    def at_hook(self) -> None:
        self._stop(Stop("breakpoint", THREAD))

    def _stop(self, stop: Stop) -> None:
        control = self._machine.control
        with self._machine.lock:
            if control.running:
                self._event = stop
                self._told_at = self._processor.cpu.pc
                control.pause("debug")

    # Stopping and going on

    def _state_changed(self, state: State) -> None:
        if state == "running":
            self._prepare()
            if self._told_at == self._processor.cpu.pc:
                self._processor.cpu.skip_hook()
            else:
                self._told_at = None
        else:
            self._action = None

    def _prepare(self) -> None:
        """Put breakpoints in place, and forget the short blocks that steps have left."""
        if self.stepping:
            return
        engine = self._processor.engine
        if self._hooks != self._breakpoints:
            self._hooks = set(self._breakpoints)
            self._processor.set_breakpoints(self._hooks)
        if self._watched != self._watchpoints:
            self._watched = set(self._watchpoints)
            self._processor.watches.set(
                (start, length, _KINDS[kind]) for kind, start, length in self._watched
            )
        if len(self._stepped) > MOST_STEPPED:
            engine.flush()
        else:
            for address in self._stepped:
                engine.drop_blocks_at(address)
        self._stepped.clear()

    def take_stop(self) -> Stop:
        """Why the machine stands."""
        stop, self._event = self._event, None
        signal = _SIGNALS.get(self._machine.control.state, _SIGINT)
        return stop or Stop("signal", THREAD, signal)

    def resume(self, actions: Sequence[tuple[int | None, Action]]) -> None:
        action = actions[0][1] if actions else Action(False)
        self._action = action if action.step else None
        self._machine.control.resume()

    def interrupt(self) -> None:
        self._machine.control.pause()

    def detach(self) -> None:
        """Forget gdb's breakpoints."""
        control = self._machine.control
        self._breakpoints.clear()
        self._watchpoints.clear()
        self._action = None
        with control.standing():
            self._prepare()
        control.listeners.remove(self._state_changed)
        self._processor.debugger = None

    def kill(self) -> None:
        self._machine.control.quit()

    # The processor

    def threads(self) -> list[int]:
        return [THREAD]

    def thread_name(self, thread: int) -> str:
        return "CPU#0 [running]" if self._machine.control.running else "CPU#0 [halted ]"

    def read_register(self, thread: int, index: int) -> int:
        return self._processor.variables[index].read(self._processor.cpu)

    def write_register(self, thread: int, index: int, value: int) -> None:
        self._processor.variables[index].write(self._processor.cpu, value)

    # Memory

    def _virtual(self, address: int) -> int:
        """A guest-virtual address from gdb, which may think that those of 64 bits have 32."""
        address &= self._mask
        if (
            self._mask >> 32
            and address >> 31 == 1
            and self._processor.cpu.translate(address) is None
        ):
            address |= self._mask >> 32 << 32
        return address

    def _read(self, address: int, size: int) -> bytes | None:
        if self._physical:
            return physical(self._machine.memory, address, size)
        return self._processor.read_virtual(self._virtual(address), size)

    def read_memory(self, address: int, size: int) -> bytes:
        found = b""
        while len(found) < size:
            at = address + len(found)
            piece = self._read(at, min(size - len(found), 4096 - at % 4096))
            if piece is None:
                break
            found += piece
        if size and not found:
            raise TargetError(EFAULT, "nothing is there")
        return found

    def write_memory(self, address: int, data: bytes) -> None:
        if self._physical:
            self._machine.memory.dma_write(address, data)
        elif not self._processor.write_virtual(self._virtual(address), data):
            raise TargetError(EFAULT, "nothing is there")

    # Breakpoints and watchpoints

    def set_breakpoint(self, address: int, on: bool) -> None:
        address = self._virtual(address)
        if address % self._processor.instruction_bytes:
            raise TargetError(EINVAL, "no instruction is there")
        if on:
            self._breakpoints.add(address)
        else:
            self._breakpoints.discard(address)

    def set_watchpoint(self, kind: str, address: int, size: int, on: bool) -> None:
        point = kind, self._virtual(address), size
        if on:
            self._watchpoints.add(point)
        else:
            self._watchpoints.discard(point)

    def pass_signals(self, signals: frozenset[int]) -> None:
        """Machines have none."""

    # Beyond gdb's own protocol

    def monitor_command(self, line: str) -> str:
        answer: list[str] = []
        Monitor(self._instance, COMMANDS, answer.append).run(line)
        return "".join(answer)

    def extension(self, query: bytes) -> bytes:
        name, _, value = query.replace(b"=", b":").partition(b":")
        try:
            number = int(value or b"0", 0)
        except ValueError:
            raise TargetError(EINVAL, "not a number") from None
        if name == b"Supported":
            return b"sstepbits;sstep;PhyMemMode"
        if name == b"sstepbits":
            return b"ENABLE=%x,NOIRQ=%x,NOTIMER=%x" % (_ENABLE, _NO_INTERRUPTS, _NO_TIMERS)
        if name == b"sstep":
            if not value:
                return b"0x%x" % self._step_mode
            self._step_mode = number
            return b"OK"
        if name == b"PhyMemMode":
            if not value:
                return b"%d" % self._physical
            self._physical = bool(number)
            return b"OK"
        return b""
