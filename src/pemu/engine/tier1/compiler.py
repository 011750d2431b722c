"""The tier 1 compiler: takes hot blocks, forms regions, compiles them in batches, installs them.

Runs on a background thread while the guest goes on in tier 0; LLVM works without the GIL.
"""

from __future__ import annotations

import ctypes
import struct
import threading
from collections import deque
from time import monotonic

from pemu.engine.code.lines import LineTable
from pemu.engine.code.llvm import LOCK, compile_ir
from pemu.engine.code.regionstore import CODE_TAG, FIRST_SHIFT, FLOATING_PAGE, Module, guest_pc
from pemu.engine.host.masking import with_own_descriptors, with_signals_blocked
from pemu.engine.layout import context as c
from pemu.engine.layout.pages import VOLATILE, WRITE
from pemu.engine.tier0.modules import helper_definitions
from pemu.engine.tier1.forming import Former, u32
from pemu.engine.tier1.guestblock import GuestBlock, Shape, find_tight_loops, order, region_base

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pemu.engine.code.link import Blob
    from pemu.engine.code.regioncache import RegionCache
    from pemu.engine.code.regionstore import Ranges
    from pemu.engine.staging.helper import Helper
    from pemu.engine.tier1.owner import Owner

MODULE_WORDS = 400
"""Guest instructions in a module, about: 0.1 s of compiling, for which a fork has to wait."""

MAX_BATCH = 24
"""Regions in a module: a module costs 1.5-2 ms before its first instruction, but none of its
regions can run before the last one is compiled."""

SORT_INTERVAL = 1e-4
"""The queue is sorted again after so many seconds for each block in it: it takes 2 us a block, for
which the guest's threads may have to wait."""

MOST_PAGES = 1024
"""Of a range whose regions are looked up page by page."""

SAVE_INTERVAL = 5.0
"""Seconds between the times that what has been compiled is stored, while the program runs."""


_WEIGHTS = (
    '!0 = !{!"branch_weights", i32 1, i32 1000}',
    '!1 = !{!"branch_weights", i32 1000, i32 1}',
)
_LINES = (
    '!2 = !{i32 2, !"Debug Info Version", i32 3}',
    '!3 = !{i32 7, !"Dwarf Version", i32 4}',
    '!4 = !DIFile(filename: "g", directory: "/")',
    "!5 = distinct !DICompileUnit(language: DW_LANG_C99, file: !4, emissionKind: LineTablesOnly)",
    "!6 = !DISubroutineType(types: !7)",
    "!7 = !{null}",
    "!llvm.dbg.cu = !{!5}",
    "!llvm.module.flags = !{!2, !3}",
)
"""What LLVM makes line tables from; each region has a node more, from `_FIRST_SCOPE` on."""

_FIRST_SCOPE = 8


class Region:
    """A compiled region: its entries' host addresses, and the guest code that it stands for.

    `code`: by guest address; `shift`: from there to the places where it lies (CODE_AT). `tags`: by
    which its entries are found when it is stored. `floats`: it serves any page with its code.
    """

    __slots__ = ("code", "entries", "floats", "name", "ranges", "tags")

    def __init__(
        self,
        name: str,
        entries: list[int],
        code: Ranges,
        shift: int,
        tags: list[int],
        floats: bool,
    ) -> None:
        self.name = name
        self.entries = entries
        self.code = code
        self.tags = tags
        self.floats = floats
        places = [((pc + shift) & 0xFFFFFFFFFFFFFFFF, content) for pc, content in code]
        self.ranges = [(place, place + len(content)) for place, content in places]

    def pages(self) -> set[int]:
        """Numbers of the pages that its code lies in."""
        return {
            page for first, end in self.ranges for page in range(first >> 12, (end - 1 >> 12) + 1)
        }

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


class Compiler:
    """Compiles hot blocks for an engine."""

    def __init__(self, engine: Owner) -> None:
        self._engine = engine
        self._former = Former(engine)
        self._modules: list[_Placed] = []
        self._regions: dict[str, Region] = {}
        self._by_page: dict[int, set[Region]] = {}
        self._fresh: list[Module] = []  # to be stored
        self._saved = monotonic()
        self._sorted = 0.0
        self._serial = 0
        # Hot blocks on their way to the queue, and the epochs of their code.
        self._reported: deque[tuple[int, int]] = deque()
        self._queue: list[int] = []
        self._generation = 0  # grows when all blocks are thrown away
        self._wake = threading.Condition()
        self._busy = False
        self._begin = 0.0  # time before which short programs are left in tier 0
        self._stopping = False
        self._ending = threading.Lock()  # one thread at a time has the background thread end
        self._thread: threading.Thread | None = None
        self._changed: list[tuple[int, int]] = []
        self._compiling = threading.Lock()
        self.compiled_blocks = 0

    # Requests.

    def request(self, block: int, epoch: int, *, wait: bool) -> None:
        """Have the block at host address `block` compiled; now, or by the background thread.

        `epoch`: that of the block's code, which may be thrown away at any time.
        """
        if wait:
            with self._compiling:
                generation = self._generation
                if epoch == self._engine.epoch:
                    self._compile([block], generation, wait=True)
            return
        # No lock while the thread is at work: it has it for as long as it sorts.
        self._reported.append((block, epoch))
        if not self._busy:
            with self._wake:
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
                self._busy = False  # before it looks at what has been reported
                while not self._stopping and ((pause := self._pause()) is None or pause > 0):
                    self._wake.wait(pause)
                if self._stopping:
                    return
                self._busy = True
                # Blocks go on counting while they wait: the hottest first.
                if monotonic() > self._sorted + SORT_INTERVAL * len(self._queue):
                    self._queue.sort(key=self._former.executed, reverse=True)
                    self._sorted = monotonic()
                batch, self._queue = self._queue[:MAX_BATCH], self._queue[MAX_BATCH:]
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
        """Seconds to wait before there is something to do; None: until a block is requested.

        What has been reported is in the queue then.
        """
        while self._reported:
            block, epoch = self._reported.popleft()
            if epoch == self._engine.epoch:
                self._queue.append(block)
        if self._queue:
            return self._begin - monotonic()
        return self._saved + SAVE_INTERVAL - monotonic() if self._fresh else None

    def rest(self) -> None:
        """End the background thread; the next request starts it again."""
        with self._ending:
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
            self._reported.clear()
            self._queue.clear()
        # What it is compiling is worth keeping, and LLVM must not be torn down under it.
        self.rest()

    # Storing.

    def _keep(self, blob: Blob, words: int, regions: list[Region]) -> None:
        """Remember compiled regions that are to be stored: those of code that does not change."""
        flags = self._engine.memory.flags
        changing = VOLATILE if self._engine.arch.system is not None else WRITE
        kept = [
            (blob.symbols[region.name], region.tags, region.code, region.floats)
            for region in regions
            if not any(
                flags[page] & changing
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
        self._engine.count_again(block)
        return True

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
                if head in covered or u32(head + c.STATUS) & (c.STALE | c.COMPILED):
                    continue
                if self._inside_region(head) and not wait:
                    continue
                shape = self._former.form(head)
                if shape is None:
                    continue
                formed.append((head, shape))
                words += sum(len(b.words) for b in shape.blocks.values())
                for block in shape.blocks.values():
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
                for head, _ in formed:
                    self._engine.count_again(head)
                return []
            bases = sorted(
                (blob.symbols[region.name], region_base(blocks)) for region, blocks in regions
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
        self, formed: list[tuple[int, Shape]]
    ) -> tuple[str, list[tuple[Region, list[GuestBlock]]]]:
        functions: list[str] = []
        declarations: set[str] = set()
        helpers: dict[str, Helper] = {}
        # The accesses of a whole processor do not fault on the host.
        has_lines = self._engine.arch.system is None
        metadata = [*_WEIGHTS, *(_LINES if has_lines else ())]
        regions: list[tuple[Region, list[GuestBlock]]] = []
        for _, shape in formed:
            self._serial += 1
            name = f"r{self._serial}"
            scope = _FIRST_SCOPE + len(regions) if has_lines else 0
            ordered = order(shape.start, shape.blocks)
            if self._engine.arch.system is not None:
                find_tight_loops(ordered)
            if has_lines:
                base = region_base(ordered)
                metadata.append(
                    f'!{scope} = distinct !DISubprogram(name: "{base:x}", scope: !4, file: !4, '
                    "line: 0, type: !6, unit: !5, spFlags: DISPFlagDefinition)"
                )
            decoded = shape.mode & (1 << c.MMU_SHIFT) - 1
            builder = self._former.builder(decoded)
            decoder = self._former.decoders[decoded]
            functions.append(builder.build(name, scope, shape, ordered, decoder))
            declarations |= builder.declarations
            helpers.update(builder.helpers)
            entries = [block.header for block in ordered if block.is_entry]
            shift = ordered[0].place - ordered[0].pc
            tags = self._tags(shape, ordered)
            code = self._code(ordered)
            regions.append((Region(name, entries, code, shift, tags, shape.floats), ordered))
        for definition, needed in helper_definitions(helpers, self._engine.arch):
            functions.append(definition)
            declarations |= needed
        return "\n".join([*sorted(declarations), *functions, *metadata, ""]), regions

    def _tags(self, shape: Shape, blocks: list[GuestBlock]) -> list[int]:
        """Return the tags by which a region's entries are found when it is stored."""
        mode = shape.mode << c.MODE_SHIFT
        tags = []
        for block in blocks:
            if block.is_entry:
                tag = block.pc
                if shape.floats:
                    first = struct.pack(self._former.word_format, block.words[0])
                    tag = int.from_bytes(first, "little") << FIRST_SHIFT
                    tag |= block.pc - FLOATING_PAGE | CODE_TAG
                tags.append(tag ^ mode)
        return tags

    def _code(self, blocks: list[GuestBlock]) -> Ranges:
        """Return the guest code of blocks, adjoining ones together."""
        code: Ranges = []
        for block in sorted(blocks, key=lambda block: block.pc):
            content = b"".join(struct.pack(self._former.word_format, word) for word in block.words)
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
        for page in region.pages():
            self._by_page.setdefault(page, set()).add(region)

    # Changes of guest code.

    def forget(self, start: int, end: int) -> None:
        """Take regions with code from a guest range out of use. The engine's lock is held."""
        self._changed.append((start, end))
        gone = [region for region in self._near(start, end) if region.overlaps(start, end)]
        symbols = self._engine.symbols
        for region in gone:
            del self._regions[region.name]
            for page in region.pages():
                self._by_page[page].discard(region)
            for header in region.entries:
                status = ctypes.c_uint32.from_address(header + c.STATUS)
                if status.value & c.STALE:
                    continue
                status.value &= ~c.COMPILED
                ctypes.c_uint64.from_address(header + c.FAST_ENTRY).value = symbols["pemu_tier0"]
                self._engine.count_again(header)
                ctypes.c_uint64.from_address(header + c.HEADER).value = symbols["pemu_enter_block"]
        if gone:
            self._engine.kick_all()

    def _near(self, start: int, end: int) -> Iterable[Region]:
        """The regions with code from the pages of a range, or all of them for a large one."""
        first, last = start >> 12, end - 1 >> 12
        if last - first > MOST_PAGES:
            return list(self._regions.values())
        return {region for page in range(first, last + 1) for region in self._by_page.get(page, ())}

    def forget_all(self) -> None:
        """All blocks are gone. The engine's lock is held."""
        self._regions.clear()
        self._by_page.clear()
        with self._wake:
            self._reported.clear()
            self._queue.clear()
            self._generation += 1

    def renew(self) -> None:
        """Another program begins; the code area is empty, too."""
        self.forget_all()
        self.forget_code()
        self._fresh.clear()
        self.be_patient()

    def be_patient(self) -> None:
        """Compile nothing yet: a program has just begun."""
        self._begin = monotonic() + self._engine.patience

    def forget_code(self) -> None:
        """The code area is empty. The engine's lock is held."""
        self._modules.clear()

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

    def after_fork_parent(self) -> None:
        """Let the background thread go on."""
        LOCK.release()
        self._compiling.release()

    def after_fork_child(self) -> None:
        """The background thread does not exist here; the next request starts one."""
        self._wake = threading.Condition()
        self._ending = threading.Lock()
        self._stopping = False
        self._thread = None
        self._busy = False
        self._reported.clear()
        self._queue = []
        self._fresh = []
        self.be_patient()
        LOCK.release()
        self._compiling.release()
