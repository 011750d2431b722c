"""Which hot blocks become a region together, read from what tier 0 knows of them."""

from __future__ import annotations

import ctypes
import struct
from typing import cast

from pemu.engine.code.regionstore import FLOATING_PAGE
from pemu.engine.layout import context as c
from pemu.engine.memory.access import GuestFault
from pemu.engine.memory.machine import MachineMemory
from pemu.engine.staging.builder import with_registers
from pemu.engine.tier0.decoder import ModeDecoders
from pemu.engine.tier1 import explore
from pemu.engine.tier1.explore import PAGE
from pemu.engine.tier1.guestblock import GuestBlock, Shape, join, order
from pemu.engine.tier1.region import RegionBuilder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.staging.insn import Insn
    from pemu.engine.tier1.owner import Owner

MAX_BLOCKS = 64
"""Blocks in a region: compile time grows faster than linearly with a function's size."""

MAX_WORDS = 700

UNSTEADY = 8
"""A register that leads elsewhere than the last time more often than once in so many is not
guessed."""

MOST_LEFT_OUT = 32
"""Blocks left out of a region that are followed to where they lead back into it."""

_MASK = (1 << 64) - 1

SELDOM = 16
"""Blocks that ran this many times less often than a region's head are left out of it."""


def u64(address: int) -> int:
    """The 64-bit number at a host address."""
    return ctypes.c_uint64.from_address(address).value


def u8(address: int) -> int:
    """The byte at a host address."""
    return ctypes.c_uint8.from_address(address).value


def u32(address: int) -> int:
    """The 32-bit number at a host address."""
    return ctypes.c_uint32.from_address(address).value


class Former:
    """Forms regions from the blocks of an engine. The engine's lock is held while it does."""

    def __init__(self, engine: Owner) -> None:
        self._engine = engine
        arch = engine.arch
        self._features = [arch.features | extra for extra in arch.modes]
        self.decoders = ModeDecoders(arch)
        self._builder = with_registers(RegionBuilder, arch)
        self._calls: dict[str, bool] = {}
        self._explorers: dict[int, explore.Explorer] = {}
        self._origin = 0  # what the addresses of blocks count from
        order_of_bytes = ">" if arch.big_endian else "<"
        self.word_format = order_of_bytes + {2: "H", 4: "I"}[arch.insn_bytes]
        self._ends = {
            engine.symbols["pemu_end_branch"]: "branch",
            engine.symbols["pemu_end_jump"]: "jump",
            engine.symbols["pemu_end_register"]: "register",
        }

    def builder(self, mode: int) -> RegionBuilder:
        """Return a new builder for a region of a translation mode."""
        return cast(RegionBuilder, self._builder(self._engine.arch, self._features[mode]))

    def find(self, pc: int, near: int) -> int:
        """Host address of the block that control reaches at `pc` from the block at `near`, or 0.

        From a floating one only on the same page.
        """
        engine = self._engine
        before = u64(near + c.BLOCK_PC) + self._origin
        place = (u64(near + c.CODE_AT) - before + pc) & _MASK
        if u32(near + c.STATUS) & c.FLOATING:
            if (pc ^ before) // PAGE:
                return 0
            tag = u64(near + c.TAG) ^ u64(near + c.CODE_AT) ^ place
        else:
            tag = u64(near + c.TAG) ^ before ^ pc
        folded = tag if engine.arch.system is None else tag ^ tag >> c.MACHINE_FOLD
        slot = (folded >> 2) & (c.BLOCK_TABLE_ENTRIES - 1)
        block = u64(engine.context[c.BLOCK_TABLE >> 3] + 8 * slot)
        while block:
            if u64(block + c.TAG) == tag and u64(block + c.CODE_AT) == place:
                return block
            block = u64(block + c.NEXT)
        return 0

    def executed(self, block: int) -> int:
        """How often a block has run in tier 0."""
        threshold = self._engine.context[c.HOT_THRESHOLD >> 3]
        left = ctypes.c_int32.from_address(block + c.COUNTER).value
        before = threshold if u32(block + c.STATUS) & c.HEATED else 0
        return before + threshold - left

    def _is_call(self, insn: Insn, mode: int) -> bool:
        known = self._calls.get(insn.name)
        if known is None:
            probe = self.builder(mode)
            ones = dict.fromkeys((field.name for field in insn.fields), 1)
            known = probe.is_call(insn, ones)
            self._calls[insn.name] = known
        return known

    def _read_block(self, header: int, mode: int) -> GuestBlock | None:
        """Read a tier 0 block; None if it is gone, or if a hook is in it."""
        if u32(header + c.STATUS) & c.STALE:
            return None
        engine = self._engine
        pc = u64(header + c.BLOCK_PC) + self._origin
        size = u32(header + c.GUEST_BYTES)
        place = u64(header + c.CODE_AT)
        if engine.is_hooked(pc, pc + size) or u64(header + c.SECOND_AT):
            return None
        try:
            code = engine.memory.read(place, size)
        except GuestFault:  # the page has gone since
            return None
        words = [word for (word,) in struct.iter_unpack(self.word_format, code)]
        end = header + u32(header + c.BYTES) - c.END_BYTES
        kind = self._ends.get(u64(end), "")
        taken = after = None
        if kind:
            taken = self._address(u64(end + c.PC_TAKEN)) if kind != "register" else None
            after = self._address(u64(end + c.PC_NEXT)) if kind == "branch" else None
        system = engine.arch.system
        is_absolute = False
        if system is not None and kind == "jump" and u8(end + c.ABSOLUTE):
            is_absolute = True
            slot = self._address(u64(end + c.PC_NEXT)) - engine.arch.insn_bytes
            low = (1 << system.jump_bits) - 1
            taken = slot & ~low | u64(end + c.PC_TAKEN) & low
        block = GuestBlock(pc, header, words, taken, after)
        block.place = place
        block.is_absolute = is_absolute
        branch_at = len(words) - (2 if engine.arch.delay_slots else 1)
        if kind and branch_at >= 0:
            insn = self.decoders[mode](words[branch_at])
            if insn is not None and self._is_call(insn, mode):
                block.is_call = True
                block.after = pc + size
            else:
                block.is_indirect = kind == "register"
        if kind == "register":
            block.guess = self._guess(header, end)
        return block

    def _address(self, counted: int) -> int:
        """The guest address that one in a block stands for."""
        return (
            (counted + self._origin) & (1 << self._engine.arch.xlen) - 1
            if self._origin
            else counted
        )

    def _guess(self, header: int, end: int) -> int | None:
        """Where a block's jump by a register has led to, if it was mostly one place."""
        last = u64(end + c.CHAIN_TAKEN)
        if not last or u64(end + c.MISSES) * UNSTEADY > self.executed(header):
            return None
        if (u32(last + c.STATUS) ^ u32(header + c.STATUS)) & c.FLOATING:
            return None
        is_floating = u32(header + c.STATUS) & c.FLOATING
        if is_floating and (u64(last + c.CODE_AT) ^ u64(header + c.CODE_AT)) // PAGE:
            return None
        return u64(last + c.BLOCK_PC) + self._origin

    def _explore(self, pc: int, mode: int) -> GuestBlock | None:
        """Read a block that tier 0 has not seen."""
        explorer = self._explorers.get(mode)
        memory = self._engine.memory
        if isinstance(memory, MachineMemory):  # its code is not found by guest-virtual address
            return None
        if explorer is None:
            explorer = self._explorers[mode] = explore.Explorer(
                self._engine.arch,
                self._features[mode],
                self.decoders[mode],
                self._builder,
                memory,
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

    def form(self, head: int) -> Shape | None:
        """Choose the region around a hot block."""
        if not u32(head + c.STATUS) & c.FLOATING:
            self._origin = 0
            mode = (u64(head + c.TAG) ^ u64(head + c.BLOCK_PC)) >> c.MODE_SHIFT
            blocks = self._form(head, mode)
            return None if blocks is None else Shape(mode, u64(head + c.BLOCK_PC), blocks)
        mode = u64(head + c.TAG) >> c.MODE_SHIFT
        # What is told of compiled code shows addresses that the guest knows.
        if self._engine.on_compiled is None:
            self._origin = FLOATING_PAGE
            blocks = self._form(head, mode)
            if blocks is None:
                return None
            if not any(block.is_absolute for block in blocks.values()):
                start = u64(head + c.BLOCK_PC) + self._origin
                return Shape(mode, start, blocks, floats=True)
        self._origin = u64(head + c.BASE)
        blocks = self._form(head, mode)
        if blocks is None:
            return None
        return Shape(mode, u64(head + c.BLOCK_PC) + self._origin, blocks, page=self._origin)

    def _form(self, head: int, mode: int) -> dict[int, GuestBlock] | None:
        start = u64(head + c.BLOCK_PC) + self._origin
        decoded = mode & (1 << c.MMU_SHIFT) - 1
        if decoded >= len(self._features):
            return None
        blocks = self._collect(head, decoded)
        if start not in blocks:
            return None
        callees = {block.taken for block in blocks.values() if block.is_call} - blocks.keys()
        for callee in callees:
            header = self.find(callee or 0, head)
            if header and self.executed(header) * 4 >= self.executed(head):
                # A recursive function: a region that begins with it keeps its calls inside.
                around = self._collect(header, decoded)
                if start in around:
                    around[start].is_entry = True
                    blocks = around
                    break
        join(blocks)
        for block in order(start, blocks):
            # A loop that runs already does not come by the region's head.
            block.is_entry |= block.is_loop_head and block.header != 0
        return blocks

    def _collect(self, head: int, mode: int) -> dict[int, GuestBlock]:
        """Return the blocks that are worth compiling together with a hot block."""
        start = u64(head + c.BLOCK_PC) + self._origin
        least = max(1, self.executed(head) // SELDOM)
        eager = self._engine.mode == "tier1"
        most_blocks, most_words = (
            (explore.MAX_BLOCKS, explore.MAX_WORDS) if eager else (MAX_BLOCKS, MAX_WORDS)
        )
        # A machine runs more code than can be compiled: none twice, if it can be helped. A program
        # may well have a loop again in the region of a loop around it.
        joins = self._engine.arch.system is not None or bool(u32(head + c.STATUS) & c.HEATED)
        blocks: dict[int, GuestBlock] = {}
        left_out: list[int] = []
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
                following = self.find(target, head)
                if following:
                    is_head = joins and u32(following + c.STATUS) & c.COMPILED
                    if not is_head and (eager or self.executed(following) >= least):
                        pending.append((target, following, block.is_call))
                    else:
                        left_out.append(following)
                elif eager and not block.is_call and target // PAGE == start // PAGE:
                    # Stores to the head's page are noticed.
                    pending.append((target, 0, False))
        self._mark_ways_back(blocks, left_out, mode)
        return blocks

    def _mark_ways_back(
        self, blocks: dict[int, GuestBlock], left_out: list[int], mode: int
    ) -> None:
        """Let control enter a region where it comes back from blocks that were left out."""
        seen = set(left_out)
        for header in left_out:
            block = self._read_block(header, mode)
            if block is None:
                continue
            for target in (block.after, None if block.is_call else block.taken):
                if target is None:
                    continue
                if target in blocks:
                    blocks[target].is_entry |= blocks[target].header != 0
                elif len(seen) < MOST_LEFT_OUT:
                    following = self.find(target, header)
                    if following and following not in seen:
                        seen.add(following)
                        left_out.append(following)
