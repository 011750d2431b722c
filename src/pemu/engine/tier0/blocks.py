"""Tier 0 blocks as Python reads them, for logs and inspection."""

from __future__ import annotations

import ctypes

from pemu.engine.layout import context as c
from pemu.engine.memory.access import GuestFault
from pemu.engine.tier0.decoder import ModeDecoders
from pemu.engine.tier0.handlers import operand_places

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from pemu.engine.memory.machine import MachineMemory
    from pemu.engine.memory.process import AddressSpace
    from pemu.engine.staging.architecture import Architecture
    from pemu.engine.staging.insn import Insn

_SLOT_MARK = 0x80

_ENDS = {
    "pemu_end_branch": ("taken", "next"),
    "pemu_end_jump": ("taken",),
    "pemu_end_register": (),
    "pemu_end_next": ("taken",),
    "pemu_end_branch_next": ("taken", "next"),
    "pemu_jump_miss": (),
}
"""The addresses that a block's last op holds."""


class Op:
    """One op of a block: the instruction it belongs to, and what it does, as text."""

    __slots__ = ("in_slot", "is_instruction", "pc", "text", "word")

    def __init__(self, pc: int, word: int, in_slot: bool, text: str, is_instruction: bool) -> None:
        self.pc = pc
        self.word = word
        self.in_slot = in_slot
        self.text = text
        self.is_instruction = is_instruction


class BlockReader:
    """Reads the blocks of an engine, given their host addresses; `symbols`: its tier 0's."""

    def __init__(
        self,
        arch: Architecture,
        symbols: dict[str, int],
        memory: AddressSpace | MachineMemory,
    ) -> None:
        self._memory = memory
        self._unit = arch.insn_bytes
        self._xlen = arch.xlen
        self._order: Literal["big", "little"] = "big" if arch.big_endian else "little"
        self._decoders = ModeDecoders(arch)
        self._runtime = {address: name for name, address in symbols.items()}

    def decode(self, word: int, mode: int) -> Insn | None:
        """The instruction that a word is in a translation mode; None for a reserved one."""
        return self._decoders[mode](word)

    def place(self, block: int) -> tuple[int, int]:
        """Guest-virtual address and translation mode (an index in `modes`) of a block."""
        key = pc = _u64(block + c.BLOCK_PC)
        if _u32(block + c.STATUS) & c.FLOATING:  # where it has first been seen
            pc += _u64(block + c.BASE)
            key = _u64(block + c.CODE_AT)
        mode = (_u64(block + c.TAG) ^ key) >> c.MODE_SHIFT
        return pc, mode & (1 << c.MMU_SHIFT) - 1

    def size(self, block: int) -> int:
        """Bytes that a block takes."""
        return _u32(block + c.BYTES)

    def ops(self, block: int) -> list[Op]:
        """The ops of a block in order. Those that are no instruction's share one's address."""
        start, mode = self.place(block)
        end = block + self.size(block)
        at = block + c.HEADER
        ops = []
        while at < end:
            place = ctypes.c_uint8.from_address(at + c.PLACE).value
            in_slot = bool(place & _SLOT_MARK)
            pc = start + ((place & ~_SLOT_MARK) + in_slot) * self._unit
            runtime = self._runtime.get(_u64(at), "")
            if runtime in _ENDS:
                ops.append(Op(pc, 0, False, self._end(block, at, runtime), False))
                break
            if runtime and runtime != "pemu_reserved":
                ops.append(Op(pc, 0, False, runtime, False))
            else:
                word = self._word(block, pc)
                ops.append(Op(pc, word, in_slot, self._text(at, word, mode, runtime), True))
            at += c.OP
        return ops

    def _word(self, block: int, pc: int) -> int:
        start = _u64(block + c.BLOCK_PC)
        second = _u64(block + c.SECOND_AT)
        at = second if second and pc >> 12 != start >> 12 else _u64(block + c.CODE_AT) + pc - start
        try:
            return int.from_bytes(self._memory.read(at, self._unit), self._order)
        except GuestFault:  # the page has gone since
            return 0

    def _text(self, at: int, word: int, mode: int, runtime: str) -> str:
        insn = None if runtime else self.decode(word, mode)
        if insn is None:
            return f"pemu_reserved word={word:#x}"
        operands = [
            f" {field.name}={int.from_bytes(ctypes.string_at(at + place, size), 'little'):#x}"
            for field, place, size in operand_places(insn)
        ]
        return insn.name + "".join(operands)

    def _end(self, block: int, at: int, runtime: str) -> str:
        targets = ""
        for name in _ENDS[runtime]:
            target = _u64(at + {"taken": c.PC_TAKEN, "next": c.PC_NEXT}[name])
            is_floating = _u32(block + c.STATUS) & c.FLOATING
            if is_floating and not (
                name == "taken" and ctypes.c_uint8.from_address(at + c.ABSOLUTE).value
            ):
                target = (target + _u64(block + c.BASE)) & (1 << self._xlen) - 1
            targets += f" {name}={target:#x}"
        return runtime + targets


def _u64(address: int) -> int:
    return ctypes.c_uint64.from_address(address).value


def _u32(address: int) -> int:
    return ctypes.c_uint32.from_address(address).value
