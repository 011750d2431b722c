"""Guest blocks found by reading code ahead of its execution.

Where everything is compiled at once (`mode=tier1`), a region is formed before tier 0 has seen more
than its head. Blocks found here have no tier 0 block; control reaches them inside a region only.
"""

from __future__ import annotations

import struct
from typing import cast

from pemu.engine.layout import context as c
from pemu.engine.tier1.guestblock import GuestBlock
from pemu.engine.tier1.region import RegionBuilder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pemu.engine.memory.process import AddressSpace
    from pemu.engine.staging.architecture import Architecture
    from pemu.engine.staging.builder import InsnBuilder
    from pemu.engine.staging.insn import Insn

PAGE = 4096

MAX_BLOCKS = 24
MAX_WORDS = 160
"""Limits of a region with blocks that nobody has run yet: many of them never will be."""


class Explorer:
    """Reads blocks of one translation mode from guest memory."""

    def __init__(
        self,
        arch: Architecture,
        features: frozenset[str],
        decode: Callable[[int], Insn | None],
        builder: type[InsnBuilder],
        memory: AddressSpace,
    ) -> None:
        self._arch = arch
        self._features = features
        self._decode = decode
        self._builder = builder
        self._memory = memory
        self._plain: dict[str, bool] = {}
        order = ">" if arch.big_endian else "<"
        self._format = order + {2: "H", 4: "I"}[arch.insn_bytes]

    def _probe(self, insn: Insn, word: int, pc: int) -> RegionBuilder:
        probe = cast(RegionBuilder, self._builder(self._arch, self._features))
        probe.probe(insn, {field.name: field.of(word) for field in insn.fields}, pc)
        return probe

    def _ends_block(self, insn: Insn, word: int, pc: int) -> bool:
        """True if an instruction is the last, or the last but its delay slot, of a block."""
        plain = self._plain.get(insn.name)
        if plain is None:
            probe = self._probe(insn, word, pc)
            plain = probe.branch_kind == "" and not probe.leaves
            self._plain[insn.name] = plain
        return not plain

    def block(self, pc: int) -> GuestBlock | None:
        """Read the block at `pc`.

        It ends at the latest with its page. None if its first instruction crosses the page.
        """
        size = self._arch.insn_bytes
        end = (pc | (PAGE - 1)) + 1
        code = self._memory.read(pc, min(end - pc, size * c.MAX_BLOCK_INSNS))
        words = [word for (word,) in struct.iter_unpack(self._format, code)]
        for index, word in enumerate(words):
            insn = self._decode(word)
            if insn is None:
                return GuestBlock(pc, 0, words[: index + 1], None, None)
            at = pc + index * size
            if self._ends_block(insn, word, at):
                return self._ending(pc, words, index, self._probe(insn, word, at))
        return GuestBlock(pc, 0, words, None, pc + size * len(words))

    def _ending(
        self, pc: int, words: list[int], index: int, last: RegionBuilder
    ) -> GuestBlock | None:
        size = self._arch.insn_bytes
        kind = last.branch_kind
        if kind in ("", "next"):
            return GuestBlock(pc, 0, words[: index + 1], None, None)
        length = index + 1 + (1 if self._arch.delay_slots else 0)
        if length > len(words):
            if not index:
                return None
            return GuestBlock(pc, 0, words[:index], None, pc + index * size)
        after = pc + length * size
        call = last.call_target
        following = after if call or kind == "branch" else None
        block = GuestBlock(pc, 0, words[:length], last.branch_target, following)
        block.is_call = call
        block.is_indirect = not call and last.branch_target is None
        return block
