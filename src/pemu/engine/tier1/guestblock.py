"""Guest blocks as tier 1 sees them, and the graph that those of a region form."""

from __future__ import annotations

Key = tuple[str, int]
"""A register: name of the file, index."""

INHERITED: Key = ("", -1)
"""Among dirty registers: those that were when the block began."""

TIGHT_WORDS = 100
"""Guest instructions in a loop at most for its registers to be stored only where it is left."""

MAX_RETURNS = 4
"""Return addresses that a region compares with before it looks one up."""


class GuestBlock:
    """A block to be compiled: its guest code and where it may go.

    `pc`, `words`: address and instruction words, delay slot included. `place`: where the code lies
    (`context.CODE_AT`). `header`: host address of
    its tier 0 block, or 0. `taken`, `after`: guest addresses of what may follow, where known.
    After a call (`is_call`), `taken` is what is called and `after` where that returns to.
    `is_indirect`: it ends in a jump, not a call, to an address that a register holds. `guess`:
    where a register has mostly led to. `is_absolute`: it jumps to what is no fixed distance away.
    `loops`: heads of the tight loops that it is in. `edges`: blocks of the region that it leads to,
    with the registers that differ from the state on the way there. `stores_inherited`: for each
    place where registers are stored that differed when the block began, those it has written since.
    """

    __slots__ = (
        "after",
        "defs",
        "dirty_in",
        "edges",
        "guess",
        "header",
        "is_absolute",
        "is_call",
        "is_entry",
        "is_indirect",
        "is_loop_head",
        "live_in",
        "loops",
        "pc",
        "place",
        "stores_inherited",
        "successors",
        "taken",
        "uses",
        "words",
    )

    def __init__(
        self, pc: int, header: int, words: list[int], taken: int | None, after: int | None
    ) -> None:
        self.pc = pc
        self.place = pc
        self.header = header
        self.words = words
        self.taken = taken
        self.after = after
        self.successors: list[int] = []
        self.guess: int | None = None
        self.is_absolute = False
        self.is_call = False
        self.is_indirect = False
        self.is_entry = False
        self.is_loop_head = False
        self.dirty_in: set[Key] = set()
        self.uses: set[Key] = set()
        self.defs: set[Key] = set()
        self.live_in: set[Key] = set()
        self.loops: set[int] = set()
        self.edges: list[tuple[int, frozenset[Key]]] = []
        self.stores_inherited: list[frozenset[Key]] = []


class Shape:
    """A region that is to be compiled: translation mode, address of its head, blocks by address.

    `floats`: it serves all pages with its code; its addresses are as if it was in
    `regionstore.FLOATING_PAGE`. `page`: where else it serves only the guest-virtual page at this
    address; None where each address always leads to the same memory.
    """

    __slots__ = ("blocks", "floats", "mode", "page", "start")

    def __init__(
        self,
        mode: int,
        start: int,
        blocks: dict[int, GuestBlock],
        *,
        floats: bool = False,
        page: int | None = None,
    ) -> None:
        self.mode = mode
        self.start = start
        self.blocks = blocks
        self.floats = floats
        self.page = page


def join(blocks: dict[int, GuestBlock]) -> None:
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


def liveness(blocks: list[GuestBlock], by_pc: dict[int, GuestBlock]) -> None:
    """Find the registers whose values each block needs from before it."""
    for block in blocks:
        block.live_in = set(block.uses)
    changed = True
    while changed:
        changed = False
        for block in reversed(blocks):
            live = set(block.uses)
            for target, _ in block.edges:
                live |= by_pc[target].live_in - block.defs
            if live != block.live_in:
                block.live_in = live
                changed = True


def find_dirty(blocks: list[GuestBlock], by_pc: dict[int, GuestBlock]) -> None:
    """Find the registers that may differ from the state where each block begins."""
    changed = True
    while changed:
        changed = False
        for block in blocks:
            for target, dirty in block.edges:
                inherited = block.dirty_in if INHERITED in dirty else set()
                known = by_pc[target].dirty_in
                fresh = (dirty | inherited) - known - {INHERITED}
                if fresh:
                    known |= fresh
                    changed = True
    for block in blocks:
        for written in block.stores_inherited:
            block.uses |= block.dirty_in - written


def find_tight_loops(blocks: list[GuestBlock]) -> None:
    """Tell blocks that are in small loops; `blocks` in reverse post-order."""
    place = {block.pc: index for index, block in enumerate(blocks)}
    before: dict[int, list[GuestBlock]] = {}
    for block in blocks:
        for target in block.successors:
            before.setdefault(target, []).append(block)
    for head in blocks:
        if not head.is_loop_head:
            continue
        body = {head.pc: head}
        pending = [b for b in before[head.pc] if place[b.pc] >= place[head.pc]]
        while pending:
            block = pending.pop()
            if block.pc not in body:
                body[block.pc] = block
                pending += before.get(block.pc, ())
        if sum(len(block.words) for block in body.values()) <= TIGHT_WORDS:
            for block in body.values():
                block.loops.add(head.pc)


def order(head: int, blocks: dict[int, GuestBlock]) -> list[GuestBlock]:
    """Return the blocks in reverse post-order from all entries, marking loop heads."""
    roots = [head, *(pc for pc, block in blocks.items() if block.is_entry and pc != head)]
    done: list[int] = []
    seen: set[int] = set()
    for root in roots:
        if root in seen:
            continue
        seen.add(root)
        stack: list[tuple[int, int]] = [(root, 0)]
        while stack:
            pc, position = stack.pop()
            successors = blocks[pc].successors
            while position < len(successors) and successors[position] in seen:
                position += 1
            if position < len(successors):
                stack.append((pc, position + 1))
                following = successors[position]
                seen.add(following)
                stack.append((following, 0))
            else:
                done.append(pc)
    done.reverse()
    place = {pc: index for index, pc in enumerate(done)}
    for pc in done:
        for target in blocks[pc].successors:
            if place[target] <= place[pc]:
                blocks[target].is_loop_head = True
    return [blocks[pc] for pc in done]


def region_base(blocks: list[GuestBlock]) -> int:
    """Guest address that the lines of a region's code count from."""
    return min(block.pc for block in blocks)
