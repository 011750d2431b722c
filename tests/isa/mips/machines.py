"""Two processors that run the same words: Pemu's engine and unicorn, for comparison."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from pemu.engine.code.cache import CodeCache
from pemu.engine.engine import Engine
from pemu.engine.layout.exits import (
    EXIT_EXCEPTION,
    EXIT_FAULT,
    EXIT_INTERRUPT,
    EXIT_SYSCALL,
    EXIT_TRACK,
)
from pemu.engine.memory.process import AddressSpace
from pemu.engine.staging.architecture import Architecture

unicorn = pytest.importorskip("unicorn")
const = pytest.importorskip("unicorn.mips_const")

CODE = 0x00400000
CODE_BYTES = 0x10000
DATA = 0x10000000
DATA_BYTES = 0x1000

SYSCALL = 0x0000000C

_PRIVATE_FIXED = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x10  # MAP_FIXED

# What unicorn's hook calls exceptions, as codes of the Cause register.
_EXCEPTION_CODES = {12: 4, 13: 5, 17: 8, 18: 9, 19: 11, 20: 10, 21: 12, 22: 13, 23: 15}


class Trap(Exception):
    """The program raised a guest exception instead of coming to its end."""

    def __init__(self, code: int, pc: int | None, argument: int = 0) -> None:
        super().__init__(f"exception {code}")
        self.code = code
        self.pc = pc
        self.argument = argument


class State:
    """The registers a program starts with or ends with, and the contents of its data page."""

    def __init__(
        self,
        gpr: Iterable[int] = (0,) * 32,
        hi: int = 0,
        lo: int = 0,
        data: bytes = bytes(DATA_BYTES),
    ) -> None:
        self.gpr = list(gpr)
        self.hi = hi
        self.lo = lo
        self.data = data

    def differences(self, other: State) -> list[str]:
        """Say where this state (Pemu's) differs from `other` (unicorn's)."""
        found = [
            f"${number}: {ours:#x}, unicorn {theirs:#x}"
            for number, (ours, theirs) in enumerate(zip(self.gpr, other.gpr, strict=True))
            if ours != theirs
        ]
        for name in ("hi", "lo"):
            ours, theirs = getattr(self, name), getattr(other, name)
            if ours != theirs:
                found.append(f"{name}: {ours:#x}, unicorn {theirs:#x}")
        if self.data != other.data:
            found += [
                f"byte {offset:#x}: {ours:#x}, unicorn {theirs:#x}"
                for offset, (ours, theirs) in enumerate(zip(self.data, other.data, strict=True))
                if ours != theirs
            ]
        return found


def encode(words: Sequence[int], big_endian: bool) -> bytes:
    """Return instruction words as bytes."""
    return b"".join(word.to_bytes(4, "big" if big_endian else "little") for word in words)


class PemuMachine:
    """Runs words on Pemu's engine in one of its modes (auto, tier0, tier1)."""

    def __init__(self, arch: Architecture, mode: str) -> None:
        self.arch = arch
        self.memory = AddressSpace(arch.address_bits, arch.big_endian)
        access = mmap.PROT_READ | mmap.PROT_WRITE
        self.memory.map(CODE, CODE_BYTES, access | mmap.PROT_EXEC, _PRIVATE_FIXED)
        self.memory.map(DATA, DATA_BYTES, access, _PRIVATE_FIXED)
        cache = CodeCache(os.environ["PEMU_TEST_CACHE"])
        self.engine = Engine(arch, self.memory, cache=cache, mode=mode)
        self.cpu: Any = self.engine.new_cpu()
        self._programs = 0

    def run(self, words: Sequence[int], state: State) -> State:
        """Run `words` to their end and return the state; raises Trap."""
        cpu = self.cpu
        code = encode([*words, SYSCALL], self.arch.big_endian)
        if code != self.memory.read(CODE, len(code)):
            self.memory.write(CODE, code)
            self._programs += 1
            if self._programs % 100:
                self.engine.invalidate(CODE, CODE + CODE_BYTES)
            else:  # all blocks since the last flush are looked at above, also dropped ones
                self.engine.flush()
        self.memory.write(DATA, state.data)
        for number in range(1, 32):
            cpu.gpr[number] = state.gpr[number]
        cpu.hi[0], cpu.lo[0] = state.hi, state.lo
        cpu.pc = CODE
        cpu.attach()
        try:
            cpu.run()
            while self._goes_on():
                cpu.run()
        finally:
            cpu.detach()
        if cpu.exit_reason == EXIT_EXCEPTION:
            raise Trap(cpu.exit_code, cpu.pc, cpu.exit_addr)
        assert cpu.exit_reason == EXIT_SYSCALL, f"exit {cpu.exit_reason} at {cpu.exit_addr:#x}"
        assert cpu.pc == CODE + 4 * len(words) + 4
        return State(cpu.gpr, cpu.hi[0], cpu.lo[0], self.memory.read(DATA, DATA_BYTES))

    def _goes_on(self) -> bool:
        """Do what native code has been left for, where that is not the program's end."""
        reason, address = self.cpu.exit_reason, self.cpu.exit_addr
        if reason == EXIT_TRACK:
            self.memory.track(address)
        elif reason == EXIT_FAULT and CODE <= address < CODE + CODE_BYTES:
            self.memory.untrack(address, by_itself=True)
        else:
            return bool(reason == EXIT_INTERRUPT)
        return True

    def state_now(self) -> State:
        """Return the present state, after a Trap."""
        cpu = self.cpu
        return State(cpu.gpr, cpu.hi[0], cpu.lo[0], self.memory.read(DATA, DATA_BYTES))


class UnicornMachine:
    """Runs words on unicorn. `model`: the name of its constant, less UC_CPU_.

    `instructions`: how many were run so far; a block that an exception ends counts in full.
    """

    def __init__(self, arch: Architecture, model: str) -> None:
        self.arch = arch
        bits = unicorn.UC_MODE_MIPS32 if arch.xlen == 32 else unicorn.UC_MODE_MIPS64
        order = unicorn.UC_MODE_BIG_ENDIAN if arch.big_endian else unicorn.UC_MODE_LITTLE_ENDIAN
        self.uc = unicorn.Uc(unicorn.UC_ARCH_MIPS, bits | order)
        self.uc.ctl_set_cpu_model(getattr(const, f"UC_CPU_{model}"))
        self.uc.mem_map(CODE, CODE_BYTES)
        self.uc.mem_map(DATA, DATA_BYTES)
        self._exception: int | None = None
        self.instructions = 0
        self.uc.hook_add(unicorn.UC_HOOK_INTR, self._on_exception)
        self.uc.hook_add(unicorn.UC_HOOK_BLOCK, self._on_block)
        self._gpr = [getattr(const, f"UC_MIPS_REG_{number}") for number in range(32)]

    def _on_block(self, uc: object, address: int, size: int, _data: object) -> None:
        self.instructions += size // 4

    def _on_exception(self, uc: object, number: int, _data: object) -> None:
        self._exception = number
        self.uc.emu_stop()

    def run(self, words: Sequence[int], state: State) -> State:
        """Run `words` to their end and return the state; raises Trap (without its pc)."""
        uc = self.uc
        if self._exception is not None:
            # A trap in a delay slot left the branch pending.
            uc.mem_write(CODE, bytes(4))
            uc.ctl_remove_cache(CODE, CODE + CODE_BYTES)
            uc.emu_start(CODE, CODE + CODE_BYTES, count=1)
        code = encode([*words, SYSCALL], self.arch.big_endian)
        if code != uc.mem_read(CODE, len(code)):
            uc.mem_write(CODE, code)
            uc.ctl_remove_cache(CODE, CODE + CODE_BYTES)
        uc.mem_write(DATA, state.data)
        for number in range(1, 32):
            uc.reg_write(self._gpr[number], state.gpr[number])
        uc.reg_write(const.UC_MIPS_REG_HI, state.hi)
        uc.reg_write(const.UC_MIPS_REG_LO, state.lo)
        self._exception = None
        uc.emu_start(CODE, CODE + 4 * len(words))
        if self._exception is not None:
            raise Trap(_EXCEPTION_CODES[self._exception], None)
        return self.state_now()

    def state_now(self) -> State:
        """Return the present state, also after a Trap."""
        uc = self.uc
        mask = (1 << self.arch.xlen) - 1
        return State(
            (uc.reg_read(register) & mask for register in self._gpr),
            uc.reg_read(const.UC_MIPS_REG_HI) & mask,
            uc.reg_read(const.UC_MIPS_REG_LO) & mask,
            bytes(uc.mem_read(DATA, DATA_BYTES)),
        )
