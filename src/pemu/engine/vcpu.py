"""A guest processor as Python sees it: registers by name, and `run`."""

from __future__ import annotations

import ctypes
import mmap

from pemu.engine.host.x86_64 import ALTSTACK_BYTES, DEFAULT_MXCSR
from pemu.engine.layout import context as c
from pemu.engine.layout import state as s
from pemu.engine.layout.exits import (
    EXIT_FAULT,
    EXIT_FLUSH,
    EXIT_FULL,
    EXIT_HOT,
    EXIT_INTERRUPT,
    EXIT_NEW_BLOCK,
    EXIT_PART,
    EXIT_SYSCALL,
    FAULT_FETCH,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from pemu.engine.memory.machine import MachineMemory
    from pemu.engine.memory.process import AddressSpace
    from pemu.engine.staging.architecture import Architecture
    from pemu.engine.tier0parts import Tier0Parts

    class Owner(Protocol):
        """An engine as its cpus know it. `engine.Engine` says what each of these means."""

        arch: Architecture
        memory: AddressSpace | MachineMemory
        cpus: list[Cpu]
        context: memoryview
        context_address: int
        symbols: dict[str, int]
        tier0: Tier0Parts
        on_new_block: Callable[[Cpu, int], None] | None

        @property
        def epoch(self) -> int: ...

        def enter(self, cpu: int, /) -> None: ...

        def query(self, cpu: Cpu, part: str, name: str) -> int: ...

        def load_part(self, entry: int) -> None: ...

        def load_module(
            self, name: str, make: Callable[[], tuple[bytes, dict[str, int]]]
        ) -> dict[str, int]: ...

        def hot(self, cpu: Cpu, block: int) -> None: ...

        def flush(self) -> None: ...

        def reclaim(self) -> None: ...

        def invalidate(self, start: int, end: int) -> None: ...

        def drop_blocks_at(self, pc: int) -> None: ...

        def region_pc(self, host_pc: int) -> int | None: ...


FLUSH_BYTES = 32

_libc = ctypes.PyDLL(None, use_errno=True)
"""With Python's lock held: none of these calls waits."""


def _cast(view: memoryview, size: int) -> memoryview:
    """View bytes as unsigned integers of `size` bytes."""
    if size == 8:
        return view.cast("Q")
    if size == 4:
        return view.cast("I")
    return view.cast("H") if size == 2 else view


class _Stack(ctypes.Structure):
    _fields_ = (("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


class Cpu:
    """One guest processor (a thread, in user mode).

    Registers are attributes by their declared names: files as views (`cpu.gpr[4]`), single ones as
    integers. `pc` is exact whenever `run` has returned.
    """

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """A register: an integer, or a view of a file."""

        def __setattr__(self, name: str, value: Any) -> None: ...

    def __init__(self, engine: Owner) -> None:
        layout = engine.arch.layout
        size = s.ENGINE_BYTES + layout.size
        self._bytes = mmap.mmap(-1, (size + 4095) // 4096 * 4096, mmap.MAP_PRIVATE)
        self._host = ctypes.addressof(ctypes.c_char.from_buffer(self._bytes))
        self.engine = engine
        self.address = self._host + s.ENGINE_BYTES
        whole = memoryview(self._bytes)
        self.memory = whole
        self._u32 = whole.cast("I")
        self._u64 = whole.cast("Q")
        for register in layout.registers:
            if register.count:
                start = s.ENGINE_BYTES + register.offset
                part = whole[start : start + register.count * register.stride]
                self.__dict__[register.name] = _cast(part, register.stride)
        self._set(s.CONTEXT, engine.context_address)
        self._set(s.MEMORY_BASE, engine.memory.base)
        self._set(s.BLOCK_TABLE, engine.context[c.BLOCK_TABLE >> 3])
        self._set32(s.GUEST_MXCSR, DEFAULT_MXCSR)
        self._call = (ctypes.c_int64 * 6)()
        self.syscall_arguments = self._call
        self.syscall_address = ctypes.addressof(self._call)
        self.epoch = engine.epoch
        self.exit_reason = 0
        self.exit_code = 0
        self.exit_addr = 0
        self.in_delay_slot = False
        self._altstack: object = None

    def _set(self, field: s.Field, value: int) -> None:
        self._u64[(s.ENGINE_BYTES + field.offset) >> 3] = value

    def _get(self, field: s.Field) -> int:
        return self._u64[(s.ENGINE_BYTES + field.offset) >> 3]

    def _set32(self, field: s.Field, value: int) -> None:
        self._u32[(s.ENGINE_BYTES + field.offset) >> 2] = value

    def _get32(self, field: s.Field) -> int:
        return self._u32[(s.ENGINE_BYTES + field.offset) >> 2]

    @property
    def pc(self) -> int:
        """Guest-virtual address of the next instruction."""
        return self._u64[(s.ENGINE_BYTES + s.PC.offset) >> 3]

    @pc.setter
    def pc(self, value: int) -> None:
        self._u64[(s.ENGINE_BYTES + s.PC.offset) >> 3] = value

    @property
    def mode(self) -> int:
        """Translation mode: an index into the architecture's `modes`."""
        return self._get(s.MODE_TAG) >> c.MODE_SHIFT

    @mode.setter
    def mode(self, value: int) -> None:
        self._set(s.MODE_TAG, value << c.MODE_SHIFT)

    @property
    def mxcsr(self) -> int:
        """The host's floating-point control and status as generated code left it."""
        return self._get32(s.GUEST_MXCSR)

    @mxcsr.setter
    def mxcsr(self, value: int) -> None:
        self._set32(s.GUEST_MXCSR, value)

    def attach(self) -> None:
        """Give the calling host thread the signal stack by which handlers find this cpu."""
        area = mmap.mmap(-1, 2 * ALTSTACK_BYTES, mmap.MAP_PRIVATE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(area))
        bottom = (start + ALTSTACK_BYTES - 1) // ALTSTACK_BYTES * ALTSTACK_BYTES
        ctypes.c_uint64.from_address(bottom).value = self.address
        stack = _Stack(bottom, 0, ALTSTACK_BYTES)
        if _libc.sigaltstack(ctypes.byref(stack), None):
            raise OSError(ctypes.get_errno(), "sigaltstack")
        self._altstack = area

    def copy_from(self, other: Cpu) -> None:
        """Take over another cpu's registers, pc and translation mode."""
        self.memory[s.ENGINE_BYTES :] = other.memory[s.ENGINE_BYTES :]
        self.pc = other.pc
        self._set(s.MODE_TAG, other._get(s.MODE_TAG))
        self.mxcsr = other.mxcsr

    def clear(self) -> None:
        """Set all registers to 0. What is pending stays so."""
        self.memory[s.ENGINE_BYTES :] = bytes(len(self.memory) - s.ENGINE_BYTES)
        self.pc = 0
        self._set(s.MODE_TAG, 0)
        self._set(s.SKIP_HOOK, 0)
        self.mxcsr = DEFAULT_MXCSR

    def detach(self) -> None:
        """Take the signal stack away again, before the thread ends or another cpu attaches."""
        stack = _Stack(None, 2, 0)
        _libc.sigaltstack(ctypes.byref(stack), None)
        self._altstack = None

    def kick(self) -> None:
        """Make `run` return with EXIT_INTERRUPT soon. Any thread may call this."""
        self._u32[(s.ENGINE_BYTES + s.EXIT_FLAG.offset) >> 2] = 1

    def forget_kick(self) -> bool:
        """Take a kick back; False if a signal is pending too, which stays so."""
        self._set32(s.EXIT_FLAG, 0)
        return not self._get32(s.SIGNAL_PENDING)

    def take_call_begun(self) -> bool:
        """Tell, once, whether the last host system call had begun when a signal ended it."""
        begun = self._get32(s.CALL_BEGUN) != 0
        self._set32(s.CALL_BEGUN, 0)
        return begun

    @property
    def interrupted(self) -> bool:
        """True if a signal or kick is pending."""
        return self._get32(s.EXIT_FLAG) != 0

    def take_signal(self) -> bytes | None:
        """Return the 128-byte host siginfo that the native handler recorded, once, or None.

        Nothing is pending afterwards.
        """
        self._set32(s.EXIT_FLAG, 0)
        if not self._get32(s.SIGNAL_PENDING):
            return None
        self._set32(s.SIGNAL_PENDING, 0)
        start = s.ENGINE_BYTES + s.SIGINFO.offset
        return bytes(self.memory[start : start + s.SIGINFO_BYTES])

    @property
    def exit_block(self) -> int:
        """Host address of the tier 0 block that the last exit for a hook came from."""
        return self._get(s.EXIT_BLOCK)

    @property
    def signal_mask(self) -> int:
        """What the guest has masked: bit n-1 for its signal n."""
        start = s.ENGINE_BYTES + s.SIGNAL_MASK.offset
        return int.from_bytes(self.memory[start : start + s.SIGNAL_MASK.size], "little")

    @signal_mask.setter
    def signal_mask(self, bits: int) -> None:
        start = s.ENGINE_BYTES + s.SIGNAL_MASK.offset
        size = s.SIGNAL_MASK.size
        self.memory[start : start + size] = bits.to_bytes(size, "little")

    def hold_signals(self, held: bool) -> None:
        """Say whether Python holds signals back, and has to know of changes of the mask."""
        self._set32(s.SIGNALS_HELD, held)

    def skip_hook(self) -> None:
        """Let the hook at the present pc be passed once without stopping."""
        self._set(s.SKIP_HOOK, ~self.pc & 0xFFFFFFFFFFFFFFFF)

    def run(self) -> None:
        """Run guest code until something that the engine itself cannot settle.

        Sets `exit_reason` (EXIT_SYSCALL, EXIT_EXCEPTION, EXIT_FAULT, EXIT_INTERRUPT, EXIT_HOOK or
        EXIT_TRACK), `exit_code` and `exit_addr`.
        """
        engine = self.engine
        enter = engine.enter
        address = self.address
        reason_at = (s.ENGINE_BYTES + s.EXIT_REASON.offset) >> 2
        while True:
            if self.epoch != engine.epoch:
                self.epoch = engine.epoch
                engine.reclaim()
            enter(address)
            reason = self._u32[reason_at]
            if reason == EXIT_SYSCALL:
                break
            if reason == EXIT_FAULT:
                self._locate_fault()
                break
            if reason == EXIT_INTERRUPT:
                self._set32(s.EXIT_FLAG, 0)
                break
            if reason == EXIT_HOT:
                engine.hot(self, self._get(s.EXIT_BLOCK))
            elif reason == EXIT_FLUSH:
                self._flush_line(self._get(s.EXIT_ADDRESS) & -FLUSH_BYTES)
            elif reason == EXIT_FULL:
                engine.flush()
            elif reason == EXIT_PART:
                engine.load_part(self._get(s.EXIT_CODE))
            elif reason == EXIT_NEW_BLOCK:
                if engine.on_new_block is not None:
                    engine.on_new_block(self, self._get(s.EXIT_BLOCK))
            else:
                self.exit_code = self._get(s.EXIT_CODE)
                self.exit_addr = self._get(s.EXIT_ADDRESS)
                break
        self.exit_reason = reason

    def _flush_line(self, address: int) -> None:
        """Drop the code of a cache line, as an instruction asks."""
        self.engine.invalidate(address, address + FLUSH_BYTES)

    def step(self) -> None:
        """Run one instruction, with its delay slot, as `run` does.

        EXIT_INTERRUPT says that it is done, or that something else came first; any other reason is
        what became of the instruction.
        """
        engine = self.engine
        self._set32(s.STEP, 1)
        while True:
            self.kick()
            self.run()
            if self.exit_reason != EXIT_INTERRUPT or not self._get32(s.STEP):
                break
            # What is translated here goes on to further instructions.
            engine.drop_blocks_at(self.pc)
        self._set32(s.STEP, 0)
        self._set32(s.EXIT_FLAG, 0)
        if self._get32(s.SIGNAL_PENDING):
            self.kick()

    def _locate_fault(self) -> None:
        """Turn a host fault into guest terms: address, kind and the pc of the instruction."""
        engine = self.engine
        host_pc = self._get(s.FAULT_HOST_PC)
        current = self._get(s.CURRENT_OP)
        self.exit_code = self._get(s.EXIT_CODE)
        self.exit_addr = self._get(s.EXIT_ADDRESS)
        self.in_delay_slot = False
        self._set(s.FAULT_HOST_PC, 0)
        self._set(s.CURRENT_OP, 0)
        if not host_pc:
            return
        self.exit_addr -= engine.memory.base
        if engine.tier0.contains(host_pc):
            if current == 1:
                self.exit_code |= FAULT_FETCH
                return
            slot = ctypes.c_uint8.from_address(current + c.SLOT).value
            place = ctypes.c_uint8.from_address(current + c.PLACE).value
            block = current - slot * c.OP
            start = ctypes.c_uint64.from_address(block + c.BLOCK_PC).value
            self.in_delay_slot = bool(place & 0x80)
            self.pc = start + (place & 0x7F) * engine.arch.insn_bytes
            return
        guest_pc = engine.region_pc(host_pc)
        if guest_pc is None:
            raise RuntimeError(f"fault at host address {host_pc:#x} in no known code")
        self.pc = guest_pc


def _single(offset: int, size: int) -> property:
    """A property for one register that is not part of a file."""
    start = s.ENGINE_BYTES + offset
    end = start + size

    def get(cpu: Cpu) -> int:
        return int.from_bytes(cpu.memory[start:end], "little")

    def put(cpu: Cpu, value: int) -> None:
        cpu.memory[start:end] = value.to_bytes(size, "little")

    return property(get, put)


def cpu_class(layout: s.Layout, base: type[Cpu] = Cpu) -> type[Cpu]:
    """Return a class derived from `base` with the single registers of `layout` as properties."""
    members: dict[str, Any] = {
        register.name: _single(register.offset, register.stride)
        for register in layout.registers
        if not register.count
    }
    return type(base.__name__, (base,), members)
