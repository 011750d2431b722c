"""A processor of a guest machine: what Python does for it, and sees of it."""

from __future__ import annotations

import ctypes
import mmap
from array import array

from pemu.engine.host.memory import reserve, use_sparsely
from pemu.engine.layout import context as c
from pemu.engine.layout import state as s
from pemu.engine.layout import tlb_table
from pemu.engine.layout.exits import EXIT_INTERRUPT, EXIT_TRACK
from pemu.engine.layout.pages import CODE, PAGE
from pemu.engine.staging.architecture import ACCESS_LOOK, PAGE_FAULT
from pemu.engine.vcpu import Cpu

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from pemu.engine.memory.machine import MachineMemory
    from pemu.engine.vcpu import Owner

PHYSICAL_BITS = 36
"""Guest-physical addresses below 2 to the power of this may be memory; all may be devices."""

_LISTENER = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64)
MOST_INSTRUCTIONS = 1 << 62
"""Are never run."""

_libc = ctypes.CDLL(None)

_LOAD = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64)
_STORE = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64)


class PhysicalMap:
    """Which guest-physical pages are memory, for all cpus of an engine."""

    def __init__(self, engine: Owner) -> None:
        self._engine = engine
        pages = 1 << PHYSICAL_BITS - 12
        self._table = reserve(8 * pages, mmap.PROT_READ | mmap.PROT_WRITE)
        self._filled: list[tuple[int, int]] = []
        self._ranges: list[tuple[int, int, int, bool]] = []
        engine.context[c.PHYSICAL_MAP >> 3] = self._table
        engine.context[c.PHYSICAL_PAGES >> 3] = pages

    def set(self, ranges: Iterable[tuple[int, int, int, bool]]) -> None:
        """Replace the map.

        `ranges`: (first guest-physical address, end, place in the machine's memory, whether the
        guest may write it). Parts of pages are left to devices. The cpus must stand still,
        or be the one that calls this.
        """
        ranges = list(ranges)
        if ranges == self._ranges:
            return  # only devices have moved
        if any(self._has_code(one) for one in set(self._ranges) - set(ranges)):
            self._engine.flush()  # of what is fixed only the address is looked at
        self._ranges = ranges
        for start, size in self._filled:
            ctypes.memset(self._table + 8 * start, 0, 8 * size)
        self._filled = []
        for first, end, place, writable in ranges:
            start, stop = (first + 4095) >> 12, min(end >> 12, 1 << PHYSICAL_BITS - 12)
            host = self._engine.memory.base + place + (start << 12) - first
            if start >= stop or host % PAGE:
                continue
            mark = tlb_table.MAP_RAM | (tlb_table.MAP_WRITABLE if writable else 0)
            pages = array("Q", range(host + mark, host + mark + (stop - start << 12), 4096))
            ctypes.memmove(self._table + 8 * start, pages.buffer_info()[0], 8 * len(pages))
            self._filled.append((start, stop - start))
        for cpu in self._engine.cpus:
            assert isinstance(cpu, MachineCpu)
            cpu.flush_tlb()

    def _has_code(self, range_: tuple[int, int, int, bool]) -> bool:
        """Whether something has been translated from a range of the map."""
        first, end, place, _ = range_
        pages = self._engine.memory.flags[place >> 12 : place + end - first + 4095 >> 12]
        return any(page & CODE for page in bytes(pages))


class Watches:
    """Guest-virtual ranges at accesses to which the cpus of an engine leave native code.

    A page with watched bytes costs the slow way of each access; all others cost nothing.
    """

    def __init__(self, engine: Owner) -> None:
        self._engine = engine
        self._array = (ctypes.c_uint64 * 1)()

    def set(self, ranges: Iterable[tuple[int, int, int]]) -> None:
        """Replace them: (first address, bytes, bits 1 << ACCESS_...). While the cpus stand."""
        fields = []
        for first, size, kinds in ranges:
            fields += [first, min(first + size, 1 << 64) - 1, kinds]
        self._array = (ctypes.c_uint64 * max(len(fields), 1))(*fields)
        context = self._engine.context
        context[c.WATCHES >> 3] = ctypes.addressof(self._array)
        context[c.WATCH_COUNT >> 3] = 8 * len(fields) // c.WATCH_BYTES
        self.enable(True)
        for cpu in self._engine.cpus:
            assert isinstance(cpu, MachineCpu)
            cpu.flush_tlb()

    def enable(self, enabled: bool) -> None:
        """Let accesses pass where not `enabled`. While the cpus stand."""
        count = self._engine.context[c.WATCH_COUNT >> 3]
        self._engine.context[c.WATCHING >> 3] = int(enabled and count > 0)


class MachineCpu(Cpu):
    """One processor of a machine. `set_devices` must be called before it runs."""

    def __init__(self, engine: Owner) -> None:
        super().__init__(engine)
        self._tables = reserve(tlb_table.TABLES_BYTES, mmap.PROT_READ | mmap.PROT_WRITE)
        use_sparsely(self._tables, tlb_table.TABLES_BYTES)
        for table in range(tlb_table.MMU_MODES * tlb_table.CONTEXTS):
            start = self._tables + table * tlb_table.TABLE_BYTES
            ctypes.memset(start, 0xFF, tlb_table.ENTRIES_BYTES)
        self._set(s.TLB_TABLES, self._tables)
        self._set(s.MEMORY_BASE, self._tables)
        self._failure: BaseException | None = None
        self.grant(MOST_INSTRUCTIONS)
        self._listeners: list[object] = []
        self._devices: tuple[object, ...] = ()
        native = engine.symbols
        one = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)
        self._native_flush_tlb = one(native["pemu_flush_tlb"])
        self._native_update_mode = one(native["pemu_update_mode"])
        self._native_take_interrupt = ctypes.PYFUNCTYPE(ctypes.c_bool, ctypes.c_void_p)(
            native["pemu_take_interrupt"]
        )
        self._native_set_context = ctypes.PYFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64)(
            native["pemu_set_context"]
        )
        self._native_raise = ctypes.PYFUNCTYPE(
            None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64
        )(native["pemu_enter_exception"])
        self._native_translate = ctypes.PYFUNCTYPE(
            ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_uint32
        )(native["pemu_translate_address"])

    def set_devices(self, load: Callable[[int], int], store: Callable[[int, int], int]) -> None:
        """Have `load(key)` and `store(key, value)` make the accesses that are no memory's.

        `key`: guest-physical address << `tlb_table.DEVICE_SHIFT` | bytes (1, 2, 4 or 8). Of what
        `load` returns as many bytes are used; what `store` returns does not matter. They are called
        on the thread that runs the cpu, while the state is exact, and must not raise: they say
        `bus_error` or `fail`.
        """
        self._devices = (_LOAD(load), _STORE(store))
        for field, callback in zip((c.DEVICE_LOAD, c.DEVICE_STORE), self._devices, strict=True):
            address = ctypes.cast(callback, ctypes.c_void_p).value or 0
            self.engine.context[field >> 3] = address

    def set_native_devices(self, table: int, lock: int) -> None:
        """Have native code make accesses itself: those in the tables at a host address.

        `layout.native_devices` tells what is in them. `lock`: host address of the POSIX semaphore
        that is held meanwhile; where somebody else has it, the access goes the usual way. While
        the cpu stands, or on its thread.
        """
        context = self.engine.context
        functions = (c.LOCK_TRY, "sem_trywait"), (c.LOCK_POST, "sem_post")
        for field, name in functions:
            address = ctypes.cast(getattr(_libc, name), ctypes.c_void_p).value or 0
            context[field >> 3] = address
        context[c.DEVICE_LOCK >> 3] = lock
        context[c.NATIVE_DEVICES >> 3] = table

    def address_of(self, register: str) -> int:
        """The host address of a register."""
        return self.address + self.engine.arch.layout.by_name[register].offset

    @property
    def look_address(self) -> int:
        """The host address of the byte that `look_for_interrupts` sets."""
        return self.address + s.IRQ_FLAG.offset

    def bus_error(self) -> None:
        """The access that is being made is a bus error."""
        self._set32(s.BUS_ERROR, 1)

    def fail(self, error: BaseException) -> None:
        """Have `run` raise `error`, which cannot pass through native code."""
        self._failure = error
        self.kick()

    def report(
        self,
        exceptions: Callable[[int, bool], None] | None,
        fills: Callable[[int, int], None] | None,
    ) -> None:
        """Have exceptions told, with their codes, before and after each is entered, and addresses
        that are translated, with what `System.translate` says. While the cpu stands.
        """
        self._listeners = []
        for field, told in ((c.ON_EXCEPTION, exceptions), (c.ON_FILL, fills)):
            address = 0
            if told is not None:
                listener = _LISTENER(self._guarded(told))
                self._listeners.append(listener)
                address = ctypes.cast(listener, ctypes.c_void_p).value or 0
            self.engine.context[field >> 3] = address

    def _guarded(self, told: Callable[[int, Any], None]) -> Callable[[int, int], int]:
        """`told`, whose errors cannot pass through native code: `run` raises them."""

        def tell(first: int, second: int) -> int:
            try:
                told(first, second)
            except BaseException as error:
                self.fail(error)
            return 0

        return tell

    def flush_tlb(self) -> None:
        """Forget all translated addresses. Only while the cpu stands still."""
        self._native_flush_tlb(self.address)

    def set_context(self, number: int) -> None:
        """The guest's address space has been changed by hand."""
        self._native_set_context(self.address, number)

    def update_mode(self) -> None:
        """Registers that decide about mode or address translation have been changed by hand."""
        self._native_update_mode(self.address)
        self.look_for_interrupts()

    def look_for_interrupts(self) -> None:
        """Interrupt lines have changed. Any thread may call this."""
        self.memory[s.ENGINE_BYTES + s.IRQ_FLAG.offset] = 1

    def take_interrupt(self) -> bool:
        """Enter what is pending and enabled, if anything. Only while the cpu stands still."""
        return bool(self._native_take_interrupt(self.address))

    def enter_exception(self, code: int, argument: int = 0, *, in_slot: bool = False) -> None:
        """Enter a guest exception at the present pc. Only while the cpu stands still.

        `in_slot`: in the delay slot of the branch there.
        """
        self._set32(s.IN_SLOT, in_slot)
        self._native_raise(self.address, code, argument)

    def translate(self, address: int, access: int = ACCESS_LOOK) -> int | None:
        """Guest-physical address of a guest-virtual one, None where there is none.

        As the present mode has it; nothing changes by it.
        """
        mmu_mode = self.mode >> c.MMU_SHIFT
        found = self._native_translate(self.address, address, access, mmu_mode)
        return None if found & PAGE_FAULT else (found & -4096) | (address & 4095)

    def _flush_line(self, address: int) -> None:
        # With all of the page, as guests go on with the next line.
        memory: MachineMemory = self.engine.memory  # type: ignore[assignment]
        memory.drop_code(address)

    def grant(self, instructions: int) -> None:
        """Let so many instructions be run from now on, and a few more to the end of their block.

        `run` then returns with EXIT_BUDGET. Where instructions are counted; on the thread that runs
        the cpu, or while it stands still.
        """
        self._set(s.BUDGET_END, self.instructions + instructions)
        self._set(s.BUDGET, instructions)

    @property
    def instructions(self) -> int:
        """How many instructions have been run since the cpu was made."""
        budget = self._get(s.BUDGET)
        return self._get(s.BUDGET_END) - (budget - (1 << 64) if budget >> 63 else budget)

    def set_instruction_time(self, shift: int) -> None:
        """Let virtual time go on by 2**shift ns with each instruction."""
        self._set32(s.COUNT_SHIFT, shift)

    def run(self) -> None:
        """Run until something that the machine has to settle.

        Reasons are EXIT_SYSTEM, EXIT_INTERRUPT, EXIT_BUDGET, EXIT_HOOK and EXIT_WATCH (before the
        access). Raises what `fail` was told.
        """
        memory: MachineMemory = self.engine.memory  # type: ignore[assignment]
        while True:
            super().run()
            if self.exit_reason == EXIT_TRACK:
                memory.drop_code(self.exit_addr)
                continue
            if self.exit_reason == EXIT_INTERRUPT:
                self.look_for_interrupts()
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure
            return
