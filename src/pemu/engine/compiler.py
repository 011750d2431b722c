"""The tier 1 compiler: takes hot blocks, forms regions, compiles them in batches, installs them.

Runs on a background thread while the guest goes on in tier 0; LLVM works without the GIL.
"""

from __future__ import annotations

import ctypes
import struct
import threading
from time import monotonic
from typing import cast

from pemu.engine import context as c
from pemu.engine import explore
from pemu.engine.builder import with_registers
from pemu.engine.decoder import ModeDecoders
from pemu.engine.engine import PATIENCE
from pemu.engine.explore import PAGE
from pemu.engine.faults import GuestFault
from pemu.engine.lines import LineTable
from pemu.engine.llvm import LOCK, compile_ir
from pemu.engine.masking import with_own_descriptors, with_signals_blocked
from pemu.engine.memory import WRITE
from pemu.engine.region import GuestBlock, RegionBuilder, order
from pemu.engine.regionstore import Module, guest_pc
from pemu.engine.tier0 import MODE_SHIFT, helper_definitions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.builder import Helper
    from pemu.engine.engine import Engine
    from pemu.engine.insn import Insn
    from pemu.engine.link import Blob
    from pemu.engine.regioncache import RegionCache
    from pemu.engine.regionstore import Ranges

MAX_BLOCKS = 64
"""Blocks in a region: compile time grows faster than linearly with a function's size."""

MAX_WORDS = 700

MODULE_WORDS = 400
"""Guest instructions in a module, about: 0.1 s of compiling, for which a fork has to wait."""

MAX_BATCH = 24
"""Regions in a module: a module costs 1.5-2 ms before its first instruction, but none of its
regions can run before the last one is compiled."""


MAX_RETURNS = 4
"""Return addresses that a region compares with before it looks one up."""

UNSTEADY = 8
"""A register that leads elsewhere than the last time more often than once in so many is not
guessed."""

SAVE_INTERVAL = 5.0
"""Seconds between the times that what has been compiled is stored, while the program runs."""

SELDOM = 16
"""Blocks that ran this many times less often than a region's head are left out of it."""


class Region:
    """A compiled region: its entries' host addresses, and the guest code that it stands for."""

    __slots__ = ("code", "entries", "name", "ranges")

    def __init__(self, name: str, entries: list[int], code: Ranges) -> None:
        self.name = name
        self.entries = entries
        self.code = code
        self.ranges = [(pc, pc + len(content)) for pc, content in code]

    def overlaps(self, start: int, end: int) -> bool:
        """True if the region holds code from a guest range."""
        return any(first < end and last > start for first, last in self.ranges)


class _Placed:
    """A batch of regions in the code area, with what is needed to locate faults."""

    __slots__ = ("bases", "end", "lines", "start", "table")

    def __init__(
        self, start: int, end: int, lines: dict[str, bytes], bases: list[tuple[int, int]]
    ) -> None:
        self.bases = bases
        self.start = start
        self.end = end
        self.lines = lines
        self.table: LineTable | None = None


def _join(blocks: dict[int, GuestBlock]) -> None:
    """Set the successors inside a region.

    A call of a function that begins in the region, as recursive ones do, stays inside; and so do
    returns from there, which are told by comparing the address.
    """
    returns = []
    for block in blocks.values():
        if block.is_call:
            if block.taken in blocks:
                block.successors = [block.taken]
                if block.after in blocks:
                    returns.append(block.after)
        else:
            targets = (block.after, block.taken)
            block.successors = [t for t in targets if t is not None and t in blocks]
    for block in blocks.values():
        if block.is_indirect:
            block.successors = returns[:MAX_RETURNS]


class Compiler:
    """Compiles hot blocks for an engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        arch = engine.arch
        self._features = [arch.features | extra for extra in arch.modes]
        self._decoders = ModeDecoders(arch)
        self._builder = with_registers(RegionBuilder, arch)
        self._calls: dict[str, bool] = {}
        self._explorers: dict[int, explore.Explorer] = {}
        self._modules: list[_Placed] = []
        self._regions: dict[str, Region] = {}
        self._fresh: list[Module] = []  # to be stored
        self._saved = monotonic()
        self._serial = 0
        self._queue: list[int] = []
        self._generation = 0  # grows when all blocks are thrown away
        self._wake = threading.Condition()
        self._busy = False
        self._begin = 0.0  # time before which short programs are left in tier 0
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._changed: list[tuple[int, int]] = []
        self._compiling = threading.Lock()
        order_of_bytes = ">" if arch.big_endian else "<"
        self._word_format = order_of_bytes + {2: "H", 4: "I"}[arch.insn_bytes]
        self._ends = {
            engine.symbols["pemu_end_branch"]: "branch",
            engine.symbols["pemu_end_jump"]: "jump",
            engine.symbols["pemu_end_register"]: "register",
        }
        self.compiled_blocks = 0

    # Requests.

    def request(self, block: int, *, wait: bool) -> None:
        """Have the block at host address `block` compiled; now, or by the background thread."""
        if wait:
            with self._compiling:
                self._compile([block], self._generation, wait=True)
            return
        with self._wake:
            self._queue.append(block)
            if self._thread is None:
                self._start()
            self._wake.notify()

    def _start(self) -> None:
        # The thread must not receive the guest's signals.
        self._thread = threading.Thread(target=self._work, name="pemu-compiler", daemon=True)
        try:
            with_signals_blocked(self._thread.start)
        except RuntimeError:  # none to be had; one of the next requests may find it otherwise
            self._thread = None

    def _work(self) -> None:
        while True:
            with self._wake:
                self._busy = False
                while not self._stopping and ((pause := self._pause()) is None or pause > 0):
                    self._wake.wait(pause)
                if self._stopping:
                    return
                # Blocks go on counting while they wait: the hottest first.
                self._queue.sort(key=self._executed, reverse=True)
                batch, self._queue = self._queue[:MAX_BATCH], self._queue[MAX_BATCH:]
                self._busy = True
                generation = self._generation
            left = self._compile(batch, generation)
            if left:
                with self._wake:
                    if generation == self._generation:
                        self._queue[:0] = left
            if not self._queue and self._fresh and monotonic() > self._saved + SAVE_INTERVAL:
                self._saved = monotonic()
                with_own_descriptors(self._engine.save_regions)

    def _pause(self) -> float | None:
        """Seconds to wait before there is something to do; None: until a block is requested."""
        if self._queue:
            return self._begin - monotonic()
        return self._saved + SAVE_INTERVAL - monotonic() if self._fresh else None

    def rest(self) -> None:
        """End the background thread; the next request starts it again."""
        with self._wake:
            thread, self._thread = self._thread, None
            self._stopping = True
            self._wake.notify()
        if thread is not None:
            thread.join()
        self._stopping = False

    def close(self) -> None:
        """Stop the background thread before the process ends."""
        with self._wake:
            self._queue.clear()
        # What it is compiling is worth keeping, and LLVM must not be torn down under it.
        self.rest()

    # Storing.

    def _keep(self, blob: Blob, words: int, regions: list[Region]) -> None:
        """Remember compiled regions that are to be stored: those of code that does not change."""
        flags = self._engine.memory.flags
        kept = [
            (blob.symbols[region.name], [self._u64(e + c.TAG) for e in region.entries], region.code)
            for region in regions
            if not any(
                flags[page] & WRITE
                for first, end in region.ranges
                for page in range(first >> 12, (end + 4095) >> 12)
            )
        ]
        if kept:
            bases = self._modules[-1].bases
            self._fresh.append(Module(blob.code, blob.data, words, kept, blob.lines, bases))

    def save(self, stored: RegionCache) -> None:
        """Have what was compiled since the last time stored, if it is worth it."""
        self._saved = monotonic()
        if stored.worth_saving(sum(module.words for module in self._fresh)):
            fresh, self._fresh = self._fresh, []
            stored.save(fresh)

    # Guest blocks.

    def _u64(self, address: int) -> int:
        return ctypes.c_uint64.from_address(address).value

    def _u32(self, address: int) -> int:
        return ctypes.c_uint32.from_address(address).value

    def _find(self, tag: int) -> int:
        engine = self._engine
        slot = (tag >> 2) & (c.BLOCK_TABLE_ENTRIES - 1)
        block = self._u64(engine.context[c.BLOCK_TABLE >> 3] + 8 * slot)
        while block:
            if self._u64(block + c.TAG) == tag:
                return block
            block = self._u64(block + c.NEXT)
        return 0

    def _executed(self, block: int) -> int:
        threshold = self._engine.context[c.HOT_THRESHOLD >> 3]
        left = ctypes.c_int32.from_address(block + c.COUNTER).value
        before = threshold if self._u32(block + c.STATUS) & c.HEATED else 0
        return before + threshold - left

    def _region_base(self, blocks: list[GuestBlock]) -> int:
        return min(block.pc for block in blocks)

    def _is_call(self, insn: Insn, mode: int) -> bool:
        known = self._calls.get(insn.name)
        if known is None:
            probe = cast(RegionBuilder, self._builder(self._engine.arch, self._features[mode]))
            ones = dict.fromkeys((field.name for field in insn.fields), 1)
            known = probe.is_call(insn, ones)
            self._calls[insn.name] = known
        return known

    def _read_block(self, header: int, mode: int) -> GuestBlock | None:
        """Read a tier 0 block; None if it is gone, or if a hook is in it."""
        if self._u32(header + c.STATUS) & c.STALE:
            return None
        engine = self._engine
        pc = self._u64(header + c.BLOCK_PC)
        size = self._u32(header + c.GUEST_BYTES)
        if engine.is_hooked(pc, pc + size):
            return None
        try:
            code = engine.memory.read(pc, size)
        except GuestFault:  # the page has gone since
            return None
        words = [word for (word,) in struct.iter_unpack(self._word_format, code)]
        end = header + self._u32(header + c.BYTES) - c.END_BYTES
        kind = self._ends.get(self._u64(end), "")
        taken = after = None
        if kind:
            taken = self._u64(end + c.PC_TAKEN) if kind != "register" else None
            after = self._u64(end + c.PC_NEXT) if kind == "branch" else None
        block = GuestBlock(pc, header, words, taken, after)
        branch_at = len(words) - (2 if engine.arch.delay_slots else 1)
        if kind and branch_at >= 0:
            insn = self._decoders[mode](words[branch_at])
            if insn is not None and self._is_call(insn, mode):
                block.is_call = True
                block.after = pc + size
            else:
                block.is_indirect = kind == "register"
        if kind == "register":
            block.guess = self._guess(header, end)
        return block

    def _guess(self, header: int, end: int) -> int | None:
        """Where a block's jump by a register has led to, if it was mostly one place."""
        last = self._u64(end + c.CHAIN_TAKEN)
        if not last or self._u64(end + c.MISSES) * UNSTEADY > self._executed(header):
            return None
        return self._u64(last + c.BLOCK_PC)

    def _explore(self, pc: int, mode: int) -> GuestBlock | None:
        """Read a block that tier 0 has not seen."""
        explorer = self._explorers.get(mode)
        if explorer is None:
            explorer = self._explorers[mode] = explore.Explorer(
                self._engine.arch,
                self._features[mode],
                self._decoders[mode],
                self._builder,
                self._engine.memory,
            )
        try:
            block = explorer.block(pc)
        except GuestFault:  # the page has gone since
            return None
        if block and self._engine.is_hooked(
            pc, pc + len(block.words) * self._engine.arch.insn_bytes
        ):
            return None
        return block

    def _form(self, head: int) -> tuple[int, dict[int, GuestBlock]] | None:
        """Choose the region around a hot block: (mode, blocks by guest address)."""
        start = self._u64(head + c.BLOCK_PC)
        mode = (self._u64(head + c.TAG) ^ start) >> MODE_SHIFT
        if mode >= len(self._features):
            return None
        blocks = self._collect(head, mode)
        if start not in blocks:
            return None
        callees = {block.taken for block in blocks.values() if block.is_call} - blocks.keys()
        for callee in callees:
            header = self._find((callee or 0) ^ (mode << MODE_SHIFT))
            if header and self._executed(header) * 4 >= self._executed(head):
                # A recursive function: a region that begins with it keeps its calls inside.
                around = self._collect(header, mode)
                if start in around:
                    around[start].is_entry = True
                    blocks = around
                    break
        _join(blocks)
        return mode, blocks

    def _collect(self, head: int, mode: int) -> dict[int, GuestBlock]:
        """Return the blocks that are worth compiling together with a hot block."""
        start = self._u64(head + c.BLOCK_PC)
        least = max(1, self._executed(head) // SELDOM)
        eager = self._engine.mode == "tier1"
        most_blocks, most_words = (
            (explore.MAX_BLOCKS, explore.MAX_WORDS) if eager else (MAX_BLOCKS, MAX_WORDS)
        )
        blocks: dict[int, GuestBlock] = {}
        pending = [(start, head, True)]
        words = 0
        while pending and len(blocks) < most_blocks and words < most_words:
            pc, header, is_entry = pending.pop(0)
            if pc in blocks:
                blocks[pc].is_entry |= is_entry
                continue
            block = self._read_block(header, mode) if header else self._explore(pc, mode)
            if block is None:
                continue
            block.is_entry = is_entry
            blocks[pc] = block
            words += len(block.words)
            for target in (block.after, None if block.is_call else block.taken):
                if target is None:
                    continue
                following = self._find(target ^ (mode << MODE_SHIFT))
                if following:
                    if eager or self._executed(following) >= least:
                        pending.append((target, following, block.is_call))
                elif eager and not block.is_call and target // PAGE == start // PAGE:
                    # Stores to the head's page are noticed.
                    pending.append((target, 0, False))
        return blocks

    # Compiling.

    def _inside_region(self, block: int) -> bool:
        """Give a hot block that another's region contains another round before it is a head.

        The blocks of a loop become hot together; the first one's region serves them all, as
        soon as control comes by its entry.
        """
        status = ctypes.c_uint32.from_address(block + c.STATUS)
        if not status.value & c.INNER:
            return False
        status.value = status.value & ~c.INNER | c.HEATED
        self._count_again(block)
        return True

    def _count_again(self, block: int) -> None:
        threshold = self._engine.context[c.HOT_THRESHOLD >> 3]
        ctypes.c_uint32.from_address(block + c.COUNTER).value = threshold

    def _compile(self, batch: list[int], generation: int, *, wait: bool = False) -> list[int]:
        """Compile the regions of hot blocks; returns those left for another module.

        `generation`: that of the blocks. `wait`: the guest waits for just these.
        """
        engine = self._engine
        with engine.lock:
            if generation != self._generation:
                return []
            epoch = engine.epoch
            self._changed.clear()
            formed = []
            covered: set[int] = set()
            left: list[int] = []
            words = 0
            for number, head in enumerate(batch):
                if words > MODULE_WORDS:
                    left = batch[number:]
                    break
                if head in covered or self._u32(head + c.STATUS) & (c.STALE | c.COMPILED):
                    continue
                if self._inside_region(head) and not wait:
                    continue
                shape = self._form(head)
                if shape is None:
                    continue
                formed.append((head, *shape))
                words += sum(len(b.words) for b in shape[1].values())
                for block in shape[1].values():
                    if block.is_entry:
                        covered.add(block.header)
                    elif block.header:
                        ctypes.c_uint32.from_address(block.header + c.STATUS).value |= c.INNER
        if not formed:
            return left
        text, regions = self._text(formed)
        blob = compile_ir(text)
        with engine.lock:
            if engine.epoch != epoch:
                return []
            try:
                base = engine.place_code(blob.code, blob.data)
            except MemoryError:
                for head, _, _ in formed:
                    self._count_again(head)
                return []
            bases = sorted(
                (blob.symbols[region.name], self._region_base(blocks)) for region, blocks in regions
            )
            self._modules.append(_Placed(base, base + len(blob.code), blob.lines, bases))
            good = [
                region
                for region, _ in regions
                if not any(region.overlaps(*change) for change in self._changed)
            ]
            if engine.stores_regions:
                self._keep(blob, words, good)
            for region in good:
                self._install(region, base + blob.symbols[region.name])
        if engine.on_compiled is not None:
            places = {base + blob.symbols[region.name]: blocks for region, blocks in regions}
            engine.on_compiled(text, places, base + len(blob.code))
        return left

    def _text(
        self, formed: list[tuple[int, int, dict[int, GuestBlock]]]
    ) -> tuple[str, list[tuple[Region, list[GuestBlock]]]]:
        arch = self._engine.arch
        functions: list[str] = []
        declarations: set[str] = set()
        helpers: dict[str, Helper] = {}
        metadata = [
            '!0 = !{!"branch_weights", i32 1, i32 1000}',
            '!1 = !{!"branch_weights", i32 1000, i32 1}',
            '!2 = !{i32 2, !"Debug Info Version", i32 3}',
            '!3 = !{i32 7, !"Dwarf Version", i32 4}',
            '!4 = !DIFile(filename: "g", directory: "/")',
            "!5 = distinct !DICompileUnit(language: DW_LANG_C99, file: !4, "
            "emissionKind: LineTablesOnly)",
            "!6 = !DISubroutineType(types: !7)",
            "!7 = !{null}",
            "!llvm.dbg.cu = !{!5}",
            "!llvm.module.flags = !{!2, !3}",
        ]
        regions: list[tuple[Region, list[GuestBlock]]] = []
        for head, mode, blocks in formed:
            self._serial += 1
            name = f"r{self._serial}"
            scope = 8 + len(regions)
            head_pc = self._u64(head + c.BLOCK_PC)
            ordered = order(head_pc, blocks)
            base = self._region_base(ordered)
            metadata.append(
                f'!{scope} = distinct !DISubprogram(name: "{base:x}", scope: !4, file: !4, '
                "line: 0, type: !6, unit: !5, spFlags: DISPFlagDefinition)"
            )
            builder = cast(RegionBuilder, self._builder(arch, self._features[mode]))
            functions.append(builder.build(name, scope, mode, ordered, self._decoders[mode]))
            declarations |= builder.declarations
            helpers.update(builder.helpers)
            entries = [block.header for block in ordered if block.is_entry]
            regions.append((Region(name, entries, self._code(ordered)), ordered))
        for definition, needed in helper_definitions(helpers):
            functions.append(definition)
            declarations |= needed
        return "\n".join([*sorted(declarations), *functions, *metadata, ""]), regions

    def _code(self, blocks: list[GuestBlock]) -> Ranges:
        """Return the guest code of blocks, adjoining ones together."""
        code: Ranges = []
        for block in sorted(blocks, key=lambda block: block.pc):
            content = b"".join(struct.pack(self._word_format, word) for word in block.words)
            if code:
                pc, before = code[-1]
                inside = block.pc - pc
                if inside <= len(before):
                    code[-1] = (pc, before[:inside] + content + before[inside + len(content) :])
                    continue
            code.append((block.pc, content))
        return code

    def _install(self, region: Region, address: int) -> None:
        enter = self._engine.symbols["pemu_enter_region"]
        for number, header in enumerate(region.entries):
            status = ctypes.c_uint32.from_address(header + c.STATUS)
            if status.value & (c.STALE | c.COMPILED):
                continue
            status.value |= c.COMPILED
            ctypes.c_uint64.from_address(header + c.ENTRY).value = number
            ctypes.c_uint64.from_address(header + c.FAST_ENTRY).value = address
            ctypes.c_uint64.from_address(header + c.HEADER).value = enter
            self.compiled_blocks += 1
        self._regions[region.name] = region

    # Changes of guest code.

    def forget(self, start: int, end: int) -> None:
        """Take regions with code from a guest range out of use. The engine's lock is held."""
        self._changed.append((start, end))
        gone = [name for name, region in self._regions.items() if region.overlaps(start, end)]
        symbols = self._engine.symbols
        for name in gone:
            region = self._regions.pop(name)
            for header in region.entries:
                status = ctypes.c_uint32.from_address(header + c.STATUS)
                if status.value & c.STALE:
                    continue
                status.value &= ~c.COMPILED
                ctypes.c_uint64.from_address(header + c.FAST_ENTRY).value = symbols["pemu_tier0"]
                self._count_again(header)
                ctypes.c_uint64.from_address(header + c.HEADER).value = symbols["pemu_enter_block"]
        if gone:
            self._engine.kick_all()

    def forget_all(self) -> None:
        """All blocks are gone. The engine's lock is held."""
        self._regions.clear()
        with self._wake:
            self._queue.clear()
            self._generation += 1

    def renew(self) -> None:
        """Another program begins; the code area is empty, too."""
        self.forget_all()
        self.forget_code()
        self._fresh.clear()

    def forget_code(self) -> None:
        """The code area is empty. The engine's lock is held."""
        self._modules.clear()
        self._begin = monotonic() + PATIENCE

    # Faults.

    def guest_pc(self, host_pc: int) -> int | None:
        """Guest address of the instruction whose access is at a host address, or None."""
        for module in reversed(self._modules):
            if module.start <= host_pc < module.end:
                if module.table is None:
                    module.table = LineTable(module.lines)
                offset = host_pc - module.start
                return guest_pc(module.table, module.bases, offset, self._engine.arch.insn_bytes)
        return None

    # Fork.

    def before_fork(self) -> None:
        """Wait until LLVM is idle."""
        self._compiling.acquire()
        LOCK.acquire()
        self._wake.acquire()

    def after_fork_parent(self) -> None:
        """Let the background thread go on."""
        self._wake.release()
        LOCK.release()
        self._compiling.release()

    def after_fork_child(self) -> None:
        """The background thread does not exist here; the next request starts one."""
        self._wake = threading.Condition()
        self._thread = None
        self._queue = []
        self._fresh = []
        self._begin = monotonic() + PATIENCE
        LOCK.release()
        self._compiling.release()
