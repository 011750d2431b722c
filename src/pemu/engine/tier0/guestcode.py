"""The guest code that is translated: where it lies, in programs and in machines."""

from __future__ import annotations

from pemu.engine.layout import context as c
from pemu.engine.layout import state as s
from pemu.engine.layout.exits import EXIT_FAULT, EXIT_TRACK, FAULT_FETCH, FAULT_MISALIGNED
from pemu.engine.layout.pages import CODE, READ, TRACK, VOLATILE, WRITE
from pemu.engine.layout.tlb_table import MAP_RAM
from pemu.engine.staging.architecture import PAGE_FAULT, PAGE_FAULT_SHIFT
from pemu.engine.system.privileged import FAULTED
from pemu.engine.system.softtlb import watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.staging.architecture import Architecture
    from pemu.engine.staging.function import Function
    from pemu.engine.staging.values import Value


def give_up(f: Function, reason: int) -> None:
    """Emit: translate nothing, leave native code; ends the basic block."""
    f.put(s.EXIT_REASON, reason)
    f.do("ret i64 0")
    f.place(f.label("dead"))


class ProgramCode:
    """Guest code in a program's memory, where a guest-virtual address is all there is to know."""

    def __init__(self, f: Function, arch: Architecture, start: Value) -> None:
        self._f = f
        self._arch = arch
        self._start = start
        self._flags = f.pointer(f.at(f.context(), c.PAGE_FLAGS))

    def begin(self) -> None:
        """Emit the checks of where the block begins."""
        f, arch, start = self._f, self._arch, self._start

        def bad_fetch(code: int) -> None:
            f.put(s.EXIT_ADDRESS, start)
            f.put(s.EXIT_CODE, code)
            give_up(f, EXIT_FAULT)

        with f.if_((start & (arch.insn_bytes - 1)).ne(0), unlikely=True):
            bad_fetch(FAULT_FETCH | FAULT_MISALIGNED)
        reachable = 32 if arch.address_bits == 32 else arch.address_bits
        with f.if_(start.lshr(reachable).ne(0), unlikely=True):
            bad_fetch(FAULT_FETCH)
        self._mark(start)

    def _mark(self, address: Value) -> None:
        """Note that the page at an address holds translated code; it must not be written unseen."""
        f = self._f
        at = f.offset(self._flags, address.lshr(12))
        page = f.raw_load(at, 8, volatile=True)
        deciding = page & (WRITE | TRACK | VOLATILE)
        with f.if_(deciding.eq(WRITE), unlikely=True):
            f.put(s.EXIT_ADDRESS, address & ~4095)
            give_up(f, EXIT_TRACK)
        f.do(f"%unused{f.label('x')} = atomicrmw or ptr {at}, i8 {CODE} monotonic")

    def pointer(self, address: Value) -> str:
        """Host pointer operand of guest code."""
        return self._f.offset("%mem", address)

    def open_next_page(self, address: Value, count: Value) -> Value:
        """Get at a delay slot on the page after; one bit: 0 if that has to wait.

        `count`: instructions of the block. It must not fault half-way: a branch is left to a block
        of its own.
        """
        f = self._f
        fine = f.var(1, 1)
        page = f.raw_load(f.offset(self._flags, address.lshr(12)), 8, volatile=True)
        with f.if_((page & READ).eq(0) & count.ugt(1)) as bad:
            fine.value = 0
        with bad.otherwise():
            self._mark(address)
        return fine.value

    def near(self, target: Value) -> Value | None:
        """One bit: a chain to an address needs no check; None where none does."""
        return None

    def counted(self, address: Value, absolute: Value | None = None) -> Value:
        """What stands for a guest address in the block. `absolute`: it is at no fixed distance."""
        return address

    def hooked(self, pc: Value, hook: Value) -> Value:
        """One bit: there may be a hook at `pc` because there is one at `hook`."""
        return hook.eq(pc)

    def fields(self, mode_tag: Value) -> list[tuple[int, Value]]:
        """What the block's header says of where it is."""
        start = self._start
        return [
            (c.TAG, start ^ mode_tag),
            (c.BLOCK_PC, start),
            (c.CODE_AT, start),
            (c.SECOND_AT, self._f.const(0, 64)),
        ]

    def status(self) -> Value:
        """Bits for the block's STATUS."""
        return self._f.const(0, 32)


class MachineCode(ProgramCode):
    """Guest code in a machine's memory: found by `pemu_lookup`, which knows where it lies."""

    def __init__(self, f: Function, arch: Architecture, start: Value) -> None:
        super().__init__(f, arch, start)
        self._place = f.name("%place", 64)
        self._base = f.at(f.context(), c.RAM_BASE)
        self._second = f.var(64, 0)
        fixed = f.name(f.op(f"call i1 @pemu_fixed(ptr %state, i64 {start.ir})"), 1)
        self.floating = ~fixed
        self._origin = fixed.select(f.const(0, 64), start & ~4095)

    def begin(self) -> None:
        watch(self._f, self._place)

    def pointer(self, address: Value) -> str:
        f = self._f
        here = self._place + (address - self._start)
        crosses = self._second.value.ne(0) & ((address ^ self._start) & ~4095).ne(0)
        return f.pointer(self._base + crosses.select(self._second.value, here))

    def open_next_page(self, address: Value, count: Value) -> Value:
        f = self._f
        found = f.name(f.op(f"call i64 @pemu_probe_fetch(ptr %state, i64 {address.ir})"), 64)
        memory = (found & (PAGE_FAULT | MAP_RAM)).eq(MAP_RAM)
        with f.if_(memory) as arm:
            self._second.value = (found & ~4095) - self._base
            watch(f, self._second.value)
        with arm.otherwise(), f.if_(count.eq(1)):
            system = self._arch.system
            assert system is not None
            faults = (found & PAGE_FAULT).ne(0)
            code = faults.select(found.lshr(PAGE_FAULT_SHIFT).trunc(32), system.bus_error[1])
            f.put(s.IN_SLOT, 1)
            arguments = f"ptr %state, i32 {code.ir}, i64 {address.ir}"
            f.do(f"call void @pemu_enter_exception({arguments})")
            f.do(f"ret i64 {FAULTED}")
            f.place(f.label("dead"))
        return memory

    def near(self, target: Value) -> Value | None:
        return ((target ^ self._start) & ~4095).eq(0)

    def counted(self, address: Value, absolute: Value | None = None) -> Value:
        distance = address - self._origin
        return distance if absolute is None else absolute.select(address, distance)

    def hooked(self, pc: Value, hook: Value) -> Value:
        return hook.eq(pc) | self.floating & ((hook ^ pc) & 4095).eq(0)

    def fields(self, mode_tag: Value) -> list[tuple[int, Value]]:
        key = self.floating.select(self._place | c.PLACE_TAG, self._start)
        return [
            (c.TAG, key ^ mode_tag),
            (c.BLOCK_PC, self._start - self._origin),
            (c.BASE, self._origin),
            (c.CODE_AT, self._place),
            (c.SECOND_AT, self._second.value),
        ]

    def status(self) -> Value:
        return self.floating.select(self._f.const(c.FLOATING, 32), 0)
