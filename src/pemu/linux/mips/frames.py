"""The frames that MIPS Linux puts on a guest's stack for signal handlers.

Source: Linux `arch/mips/include/uapi/asm/{sigcontext,ucontext}.h`, arch/mips/kernel/signal.c.
"""

from __future__ import annotations

import struct

from pemu.linux.mips.signals import SIGSET_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal

    from pemu.engine.vcpu import Cpu
    from pemu.linux.target import Target

USED_FP, USED_FR1 = 1, 2


class Frames:
    """Offsets of an ABI's frames, in bytes. Everything that a handler's context saves."""

    __slots__ = (
        "_packed",
        "_unpacked",
        "context_size",
        "info",
        "plain_context",
        "plain_mask",
        "plain_size",
        "rt_context",
        "rt_mask",
        "rt_size",
        "stack",
        "target",
        "ucontext",
    )

    def __init__(self, target: Target) -> None:
        self.target = target
        self.context_size = 592 if target.abi == "o32" else 600
        self.plain_context = 24
        self.plain_mask = 24 + self.context_size
        self.plain_size = self.plain_mask + SIGSET_BYTES
        self.info = 24
        self.ucontext = 152
        self.stack = self.ucontext + (16 if target.abi == "n64" else 8)
        self.rt_context = self.ucontext + (40 if target.abi == "n64" else 24)
        self.rt_mask = self.rt_context + self.context_size
        self.rt_size = (self.rt_mask + SIGSET_BYTES + 7) & ~7
        order = ">" if target.big_endian else "<"
        low = "4xI" if target.big_endian else "I4x"
        if target.abi == "o32":
            self._packed = struct.Struct(order + "IIQ32q32Q5I4xqq6I")
            self._unpacked = struct.Struct(order + "8x" + 33 * low + "32Q4xI8xI4x" + 2 * low + "6I")
        else:
            self._packed = struct.Struct(order + "73Q4I")
            self._unpacked = struct.Struct(order + "73QI4xI4x")

    def places(self, rt: bool) -> tuple[int, int, int]:
        """Size of a frame with a siginfo (`rt`) or without, and offsets of its context and mask."""
        if rt:
            return self.rt_size, self.rt_context, self.rt_mask
        return self.plain_size, self.plain_context, self.plain_mask

    def pack_context(self, cpu: Cpu, fcsr: int) -> bytes:
        """The sigcontext for a cpu."""
        fr1 = cpu.mode & 1
        used = USED_FP | (USED_FR1 if fr1 else 0)
        dsp: int = cpu.dspctl
        hi, lo = cpu.hi, cpu.lo
        if self.target.abi != "o32":
            return self._packed.pack(*cpu.gpr, *cpu.fpr, *hi, *lo, cpu.pc, fcsr, used, dsp, 0)
        # Registers of 32 bits stand there sign-extended.
        signed = [view.cast("B").cast("i") for view in (cpu.gpr, hi, lo)]
        floats = cpu.fpr if fr1 else _pairs(cpu.fpr)
        pc = _extend(cpu.pc)
        rest = (hi[1], lo[1], hi[2], lo[2], hi[3], lo[3])
        head = (0, fcsr, 0, used, dsp, signed[1][0], signed[2][0])
        return self._packed.pack(0, 0, pc, *signed[0], *floats, *head, *rest)

    def unpack_places(self, data: bytes) -> list[int]:
        """The pc of a sigcontext, and its 32 general registers."""
        values = self._unpacked.unpack(data[: self.context_size])
        pc = values[0] if self.target.abi == "o32" else values[72]
        first = 1 if self.target.abi == "o32" else 0
        return [pc, *values[first : first + 32]]

    def unpack_context(self, data: bytes, cpu: Cpu) -> int:
        """Put a sigcontext back into a cpu; returns the FCSR."""
        fcsr: int
        values = self._unpacked.unpack(data)
        if self.target.abi == "o32":
            pc, *rest = values
            registers, floats = rest[:32], rest[32:64]
            if not cpu.mode & 1:
                floats = _slots(floats)
            fcsr, dsp, hi0, lo0, hi1, lo1, hi2, lo2, hi3, lo3 = rest[64:]
            high, low = (hi0, hi1, hi2, hi3), (lo0, lo1, lo2, lo3)
            form: Literal["I", "Q"] = "I"
        else:
            registers, floats = list(values[:32]), list(values[32:64])
            high, low = values[64:68], values[68:72]
            pc, fcsr, dsp = values[72:]
            form = "Q"
        cpu.gpr[1:] = _view(registers[1:], form)
        cpu.fpr[:] = _view(floats, "Q")
        cpu.hi[:] = _view(high, form)
        cpu.lo[:] = _view(low, form)
        cpu.dspctl = dsp
        cpu.pc = pc
        return fcsr


def _extend(value: int) -> int:
    """Sign-extend 32 bits to 64, as the kernel stores them."""
    return value | 0xFFFFFFFF00000000 if value >> 31 else value


def _view(values: Sequence[int], form: Literal["I", "Q"]) -> memoryview:
    """Numbers as they go into a register file."""
    return memoryview(struct.pack(f"={len(values)}{form}", *values)).cast(form)


def _pairs(slots: memoryview) -> list[int]:
    """FPU registers as a context has them with FR=0: halves of doubles in 64 bits each."""
    words = slots.cast("B").cast("I")
    result = [0] * 32
    result[::2] = words[::4]
    result[1::2] = words[1::4]
    return result


def _slots(context: Sequence[int]) -> list[int]:
    """The reverse of `_pairs`."""
    result = [0] * 32
    for index in range(0, 32, 2):
        result[index] = context[index] & 0xFFFFFFFF | (context[index + 1] & 0xFFFFFFFF) << 32
    return result


_frames: dict[Target, Frames] = {}


def frames_of(target: Target) -> Frames:
    """The frames of a target."""
    frames = _frames.get(target)
    if frames is None:
        frames = _frames[target] = Frames(target)
    return frames
