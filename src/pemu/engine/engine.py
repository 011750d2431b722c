"""One translation engine a process: generated code, its memory, and what all its cpus share."""

from __future__ import annotations

import ctypes
import mmap
from _thread import allocate_lock, start_new_thread
from time import sleep

from pemu.engine.code.cache import CodeCache
from pemu.engine.host.masking import with_own_descriptors, with_signals_blocked
from pemu.engine.host.memory import MAP_FIXED, MAP_NORESERVE, host_map, host_unmap, reserve
from pemu.engine.layout import context as c
from pemu.engine.layout.pages import PAGE
from pemu.engine.native import NativeContext
from pemu.engine.vcpu import Cpu, cpu_class

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pemu.engine.code.regioncache import RegionCache
    from pemu.engine.memory.machine import MachineMemory
    from pemu.engine.memory.process import AddressSpace
    from pemu.engine.staging.architecture import Architecture
    from pemu.engine.tier1.compiler import Compiler
    from pemu.engine.tier1.guestblock import GuestBlock

ARENA_BYTES = 48 << 20
"""Room for tier 0 blocks (about 40 bytes a guest instruction); when full, all is thrown away."""

NEVER_HOT = 0x7FFFFFFF

PATIENCE = 0.04
"""Seconds until the compiler begins its work: most programs have ended by then."""

WARM_PATIENCE = 0.2
"""The same where the code cache has regions of the program, and little is left to be compiled."""


class Engine(NativeContext):
    """Translates and runs guest code for the cpus it makes.

    `memory`: a program's, or a machine's where `arch` is a whole processor.

    `cache`: directory-backed store of generated code, or None to keep none. `hot_threshold`:
    executions of a block before it is compiled (tier 1); `NEVER_HOT` keeps everything in tier 0.
    """

    def __init__(
        self,
        arch: Architecture,
        memory: AddressSpace | MachineMemory,
        *,
        cache: CodeCache | None = None,
        mode: str = "auto",
    ) -> None:
        super().__init__(arch, cache)
        self.memory = memory
        self.mode = mode
        self.cpus: list[Cpu] = []
        self.on_new_block: Callable[[Cpu, int], None] | None = None
        self.on_compiled: Callable[[str, dict[int, list[GuestBlock]], int], None] | None = None
        """Told of each compiled module: LLVM IR, guest blocks by their region's host address, end
        of the code."""
        self._cpu_class = cpu_class(arch.layout, self._cpu_base())
        self._compiler: Compiler | None = None
        self._stored: RegionCache | None = None
        self._forking: Compiler | None = None
        self._early: list[int] = []
        self._patient = False
        self._making = allocate_lock()
        self._waiting = allocate_lock()  # held while the thread of `_be_patient` lives
        self._hooks: set[int] = set()
        self._compiles = True
        self._hook_arrays: list[ctypes.Array[ctypes.c_uint64]] = []
        self._old_arenas: list[tuple[int, int, int]] = []
        self._full_epoch = 0  # the epoch that followed when it was full; 0: it is not
        rw = mmap.PROT_READ | mmap.PROT_WRITE
        self._table = reserve(8 * c.BLOCK_TABLE_ENTRIES, rw)
        self._set(c.BLOCK_TABLE, self._table)
        self._pages = reserve(8 * c.PAGE_TABLE_ENTRIES, rw)
        self._set(c.PAGE_TABLE, self._pages)
        self._set(c.BLOCK_MASK, c.BLOCK_TABLE_ENTRIES - 1)
        self._new_arena()
        self._set(c.RAM_BASE, memory.base)
        self._set(c.PAGE_FLAGS, memory.flags_addr)
        self._set(c.MEMORY_LIMIT, memory.size)
        self._set(c.MAX_INSNS, c.MAX_BLOCK_INSNS)
        self._set(c.HOT_THRESHOLD, {"tier0": NEVER_HOT, "tier1": 1}.get(mode, 1000))
        memory.on_code_change = self.invalidate
        if arch.system is not None:
            memory.on_growth = lambda end: self._set(c.MEMORY_LIMIT, end)  # type: ignore[union-attr]

    # Start-up.

    def load_part(self, entry: int) -> None:
        """Load the part of tier 0 that native code has missed in the table `Tier0Parts.table`."""
        with self._making:
            self.tier0.load(entry)

    def load_module(
        self, name: str, make: Callable[[], tuple[bytes, dict[str, int]]]
    ) -> dict[str, int]:
        """Load other native code, as `Tier0Parts.load_module` does."""
        with self._making:
            return self.tier0.load_module(name, make)

    def query(self, cpu: Cpu, part: str, name: str) -> int:
        """Return the host address of a query of the instruction set (`InstructionSet.queries`)."""
        with self._making:
            return self.tier0.query(part, name, cpu.mode & (1 << c.MMU_SHIFT) - 1)

    def map_code(self, fd: int, offset: int, size: int, writable: list[tuple[int, int]]) -> int:
        """Map code of a file into the code area (see `CodeArea.map`), to stay there."""
        with self.lock:
            base = self.code.map(fd, offset, size, writable)
            self.code.keep()
            return base

    def place_code(self, code: bytes, data: bytes) -> int:
        """Copy a linked blob into the code area and return its host address.

        Raises MemoryError when the area is full. It is empty again when all threads have left what
        was in it.
        """
        with self.lock:
            try:
                return self.code.place(code, data)
            except MemoryError:
                if not self._full_epoch:
                    self.flush()
                    self._full_epoch = self.epoch
                raise

    # Cpus.

    def _cpu_base(self) -> type[Cpu]:
        if self.arch.system is None:
            return Cpu
        from pemu.engine.machinecpu import MachineCpu

        return MachineCpu

    def new_cpu(self) -> Cpu:
        """Make a cpu; `attach()` it on the host thread that will run it."""
        cpu = self._cpu_class(self)
        with self.lock:
            self.cpus.append(cpu)
        return cpu

    def remove_cpu(self, cpu: Cpu) -> None:
        """Forget a cpu whose thread has ended."""
        with self.lock:
            self.cpus.remove(cpu)

    def kick_all(self) -> None:
        """Make every cpu leave native code soon."""
        for cpu in self.cpus:
            cpu.kick()

    # Blocks.

    def _new_arena(self) -> None:
        self._arena = reserve(ARENA_BYTES, mmap.PROT_READ | mmap.PROT_WRITE)
        self._set(c.ARENA_NEXT, self._arena)
        self._set(c.ARENA_END, self._arena + ARENA_BYTES)

    def flush(self) -> None:
        """Throw all translated code away. Threads in old code leave it at their next block."""
        with self.lock:
            epoch = self._get(c.EPOCH) + 1
            if self._stored is not None:
                self._stored.retire(epoch)
            self._native_lock(self.context_address)
            try:
                self._old_arenas.append((epoch, self._arena, ARENA_BYTES))
                self._new_arena()
                ctypes.memset(self._table, 0, 8 * c.BLOCK_TABLE_ENTRIES)
                ctypes.memset(self._pages, 0, 8 * c.PAGE_TABLE_ENTRIES)
                self._set(c.SCATTERED, 0)
                self._set(c.EPOCH, epoch)
            finally:
                self._native_unlock(self.context_address)
            self._early.clear()
            if self._compiler is not None:
                self._compiler.forget_all()
            self.kick_all()

    def open_regions(self, program: str, version: str) -> None:
        """Use the regions that the cache holds of a program, and store there what is compiled.

        `program` is its path; `version` tells the file from what it was before.
        """
        if self.cache is None or self.mode != "auto":
            return
        from pemu.engine.code.regioncache import RegionCache

        with self.lock:
            self._stored = RegionCache(
                self.arch, self.context, self.map_code, self.cache, program, version
            )
            self._use_stored()
            if self._compiler is not None:
                self._compiler.be_patient()

    def _is_watched(self) -> bool:
        """True while something is wanted that stored regions know nothing of."""
        return bool(
            self._hooks
            or self._get(c.MAX_INSNS) == 1
            or self._get(c.OPTIONS)
            or self.on_compiled is not None
            or not self._compiles
        )

    def _use_stored(self) -> None:
        if self._stored is not None:
            self._stored.use(not self._is_watched())

    @property
    def stores_regions(self) -> bool:
        """True if compiled regions are kept for later runs of the program."""
        return self._stored is not None and self.cache is not None and not self._is_watched()

    def save_regions(self) -> None:
        """Store what has been compiled for the program's next run."""
        if self._compiler is not None and self._stored is not None:
            self._compiler.save(self._stored)

    def renew(self) -> None:
        """Throw all generated code away, for another program. Only one thread may be left.

        It calls this from Python, so nothing of the old code is in use and its memory stays in
        place: the compiler's thread may still look at it.
        """
        with self.lock:
            self.save_regions()
            if self._stored is not None:
                self._stored.close()
                self._stored = None
            epoch = self._get(c.EPOCH) + 1
            self._set(c.EPOCH, epoch)
            rw = mmap.PROT_READ | mmap.PROT_WRITE
            fresh = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE
            host_map(self._table, 8 * c.BLOCK_TABLE_ENTRIES, rw, fresh)
            host_map(self._pages, 8 * c.PAGE_TABLE_ENTRIES, rw, fresh)
            self._set(c.SCATTERED, 0)
            host_map(self._arena, ARENA_BYTES, rw, fresh)
            self._set(c.ARENA_NEXT, self._arena)
            self.code.empty(self.tier0.end)
            self._full_epoch = 0
            self._early.clear()
            if self._compiler is not None:
                self._compiler.renew()

    def reclaim(self) -> None:
        """Free memory of old code that no thread can still be in."""
        with self.lock:
            oldest = min((cpu.epoch for cpu in self.cpus), default=self._get(c.EPOCH))
            kept = []
            for epoch, address, size in self._old_arenas:
                if epoch <= oldest:
                    host_unmap(address, size)
                else:
                    kept.append((epoch, address, size))
            self._old_arenas = kept
            if self._stored is not None and self._stored.restore(oldest):
                self._use_stored()
            if self._full_epoch and self._full_epoch <= oldest:
                self._full_epoch = 0
                self.code.empty()
                if self._compiler is not None:
                    self._compiler.forget_code()

    @property
    def epoch(self) -> int:
        """Generation of translated code; grows with each `flush`."""
        return self._get(c.EPOCH)

    def drop_blocks_at(self, pc: int) -> None:
        """Drop what holds the instruction at a guest-virtual address."""
        if self.arch.system is None:
            self.invalidate(pc, pc + 1)
        else:
            self.flush()

    def invalidate(self, start: int, end: int) -> None:
        """Drop translations of code at places `start` up to `end` (in programs: addresses)."""
        with self.lock:
            if self._native_invalidate(self.context_address, start, end):
                self.kick_all()
            if self._compiler is not None:
                self._compiler.forget(start, end)

    # Hooks and logging.

    def set_hooks(self, addresses: set[int]) -> None:
        """Leave native code (reason HOOK) before the instructions at these addresses."""
        with self.lock:
            changed = self._hooks ^ addresses
            self._hooks = set(addresses)
            array = (ctypes.c_uint64 * max(len(addresses), 1))(*sorted(addresses))
            # A thread that translates may still look at the array before.
            self._hook_arrays = [*self._hook_arrays[-1:], array]
            self._set(c.HOOK_COUNT, 0)
            self._set(c.HOOKS, ctypes.addressof(array))
            self._set(c.HOOK_COUNT, len(addresses))
            self._use_stored()
            for address in changed:
                self.drop_blocks_at(address)

    def set_single_step(self, enabled: bool) -> None:
        """Translate blocks of one instruction (plus delay slot)."""
        with self.lock:
            self._set(c.MAX_INSNS, 1 if enabled else c.MAX_BLOCK_INSNS)
            self._use_stored()
            self.flush()

    def set_compile(self, enabled: bool) -> None:
        """Choose whether hot code is compiled. Where it is not, all of it runs in tier 0."""
        with self.lock:
            if enabled != self._compiles:
                self._compiles = enabled
                self._use_stored()
                self.flush()

    def is_hooked(self, start: int, end: int) -> bool:
        """True if a hook is set in a guest range; such code is not compiled."""
        if self.arch.system is not None:  # a page may appear at several addresses
            return any((address - start) % PAGE < end - start for address in self._hooks)
        return any(start <= address < end for address in self._hooks)

    def set_options(
        self, *, chain: bool = True, report_blocks: bool = False, hook_blocks: bool = False
    ) -> None:
        """Choose how blocks are translated from now on.

        `chain`: one goes to the next without looking it up. `report_blocks`: `on_new_block` is
        called for each new one. `hook_blocks`: each run of a block begins with reason HOOK; there
        is no tier 1 then, as what is compiled does not run block by block.
        """
        options = 0 if chain else c.OPTION_NO_CHAIN
        options |= c.OPTION_REPORT_BLOCKS if report_blocks else 0
        options |= c.OPTION_HOOK_BLOCKS if hook_blocks else 0
        self._set(c.OPTIONS, options)
        self._use_stored()

    def hook_blocks(self, enabled: bool) -> None:
        """Let each run of a block begin with reason HOOK, or not any more, while guests run."""
        with self.lock:
            options = self._get(c.OPTIONS) & ~c.OPTION_HOOK_BLOCKS
            self._set(c.OPTIONS, options | (c.OPTION_HOOK_BLOCKS if enabled else 0))
            self._use_stored()
            self.flush()

    # Hot code.

    def hot(self, cpu: Cpu, block: int) -> None:
        """A block's counter has run out: have it compiled."""
        if self.mode == "tier0" or self._get(c.OPTIONS) & c.OPTION_HOOK_BLOCKS:
            return
        if not self._compiles:
            return
        if cpu.epoch != self.epoch:
            # All code has been thrown away, perhaps this too: its memory stays until `cpu` goes on.
            self.count_again(block)
            return
        wait = self.mode == "tier1"
        if self._compiler is None:
            with self.lock:
                if self._compiler is None and not wait:
                    if cpu.epoch == self.epoch:
                        self._early.append(block)
                    if not self._patient:
                        self._be_patient()
                    return
            self._make_compiler()
        if self._compiler is not None:
            self._compiler.request(block, cpu.epoch, wait=wait)

    def count_again(self, block: int) -> None:
        """Have a block reported again when it has run as often as it takes to be hot."""
        ctypes.c_uint32.from_address(block + c.COUNTER).value = self._get(c.HOT_THRESHOLD)

    @property
    def patience(self) -> float:
        """Seconds until the compiler begins its work on the present program."""
        return WARM_PATIENCE if self._stored is not None and self._stored.exists else PATIENCE

    def _be_patient(self) -> None:
        """Make the compiler after a while, on a thread of its own.

        Most programs have ended by then, and need not wait for LLVM, whose import keeps Python's
        lock.
        """
        ended = self._waiting = allocate_lock()
        ended.acquire()

        def wait() -> None:
            sleep(self.patience)
            self._make_compiler()
            ended.release()

        try:
            with_signals_blocked(lambda: start_new_thread(wait, ()))
            self._patient = True
        except RuntimeError:  # no thread to be had, as in a process that left its PID namespace
            ended.release()

    def _make_compiler(self) -> None:
        with self._making:
            # Dozens of files are read for it.
            with_own_descriptors(self._construct_compiler)
            compiler = self._construct_compiler()
            with self.lock:
                for block in self._early:
                    compiler.request(block, self.epoch, wait=False)
                self._early.clear()

    def _construct_compiler(self) -> Compiler:
        if self._compiler is None:
            from pemu.engine.tier1.compiler import Compiler

            self.arch.source()
            self._compiler = Compiler(self)
        return self._compiler

    def rest(self) -> None:
        """End the engine's own threads. They start again when there is something to do."""
        with self._waiting:
            if self._compiler is not None:
                self._compiler.rest()

    def region_pc(self, host_pc: int) -> int | None:
        """Guest pc of the access at a host address in compiled code, or None."""
        found = None
        if self._stored is not None:
            found = self._stored.guest_pc(host_pc, self.arch.insn_bytes)
        if found is None and self._compiler is not None:
            found = self._compiler.guest_pc(host_pc)
        return found

    def share_mappings(self, memory: AddressSpace) -> None:
        """Let native code change the mappings of the engine's memory."""
        self._set(c.MAPPINGS, memory.shared_address)
        memory.changing.wait = self._wait_for_changes

    def _wait_for_changes(self) -> None:
        """Wait until no other thread's native code is changing mappings."""
        if len(self.cpus) > 1:
            self._native_lock(self.context_address)
            self._native_unlock(self.context_address)

    # Fork.

    def before_fork(self) -> None:
        """Take every lock that a child must not inherit held."""
        self._making.acquire()
        compiler = self._compiler
        if compiler is not None:
            compiler.before_fork()
        self.lock.acquire()
        self._forking = compiler
        self._native_lock(self.context_address)

    def after_fork_parent(self) -> None:
        """Release them in the parent."""
        self._native_unlock(self.context_address)
        compiler = self._forking
        self.lock.release()
        if compiler is not None:
            compiler.after_fork_parent()
        self._making.release()

    def after_fork_child(self, cpu: Cpu) -> None:
        """Release them in the child, where only `cpu`'s thread lives on."""
        self._native_unlock(self.context_address)
        if self._forking is not None:
            self._forking.after_fork_child()
        if self._stored is not None:
            self._stored.after_fork()
        self.cpus[:] = [cpu]
        self.lock.release()
        self._making.release()
        self._waiting = allocate_lock()
        if self._compiler is None and self._early:
            self._be_patient()
        else:
            self._patient = False

    def close(self) -> None:
        """Finish: save what the cache should keep."""
        if self._compiler is not None:
            self._compiler.close()
        self.save_regions()
