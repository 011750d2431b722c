"""What each register of coprocessor 0 holds after reset and after writes, on every model, beside
QEMU."""

from __future__ import annotations

from pathlib import Path

import pytest

from pemu.isa.mips.cp0.models import BY_NAME
from tests.isa.mips.machines import encode
from tests.isa.mips.system import words as w
from tests.isa.mips.system.barecpu import RAM_BYTES, ROM, ROM_BYTES, BareMachine
from tests.isa.mips.system.reference import run_reference

V0, T9, K0, K1 = 2, 25, 26, 27
LOG = 0x100000
HEADER = 16
"""Bytes of the log before the first value: when the first word is 1, the log is complete."""

OFTEN = ("24Kf", "4Km", "34Kf", "MIPS64R2-generic")
MODELS = [m if m in OFTEN else pytest.param(m, marks=pytest.mark.slow) for m in BY_NAME]

CHANGING = {(1, 0), (9, 0), (12, 0)}
"""Random, Count; Status is what the program runs in."""

THREADS = {(0, 1), (1, 1), (1, 2), (2, 1), (2, 2), (2, 3), (2, 4)}
"""What decides which thread context runs."""

# Where we differ, with the bits that do; None: all, and the models (none: all).
WATCHES, WAITS, MODE_OF_EXCEPTIONS = 7, 1 << 22, 1 << 16
OLD, MICROMIPS = ("R4000", "VR5432"), ("M14K", "M14Kc")
WHOLE_LLADDR = ("34Kf", "20Kc", "MIPS64R2-generic", "mips64dspr2")
COUNTING = tuple(name for name, control in BY_NAME.items() if control.counters)
DIFFERENT: dict[tuple[int, int], tuple[int | None, tuple[str, ...]]] = {
    **{(18, sel): (WATCHES, ()) for sel in range(8)},
    (13, 0): (WAITS, ()),
    (16, 3): (MODE_OF_EXCEPTIONS, MICROMIPS),
    (17, 0): (None, (*OLD, *WHOLE_LLADDR)),  # QEMU's ERET changes it
    (12, 1): (7 << 26, COUNTING),
    **{(25, sel): (None, (*OLD, *COUNTING)) for sel in range(4)},
    **{(number, 0): (None, OLD) for number in (23, 24, 31)},
}


def _program(bits: int) -> tuple[list[int], list[tuple[int, int, str]]]:
    """Words that log each register after reset and after three writes, and what is logged."""
    size = bits // 8
    wide = bits == 64
    store = (0xFC000000 if wide else 0xAC000000) | K1 << 21 | V0 << 16
    words = w.set_cp0(w.STATUS, 0x00400000 | (0xE0 if wide else 0))
    logged: list[tuple[int, int, str]] = []
    for number in range(32):
        for sel in range(8):
            if (number, sel) in CHANGING | THREADS:
                continue
            some = 0x13300120 if number == 23 else 0x55555550  # Debug: not into debug mode
            ones = w.li(T9, 0x3FFFFFFF) if number == 23 else [w.addiu(T9, 0, -1)]
            for what, value, long in (
                ("after reset", None, False),
                ("ones", ones, wide),
                ("some", w.li(T9, some), False),
                ("zeros", [w.addiu(T9, 0, 0)], False),
            ):
                if value is not None:
                    words += [*value, (w.dmtc0 if long else w.mtc0)(T9, number, sel)]
                words.append((w.dmfc0 if wide else w.mfc0)(V0, number, sel))
                words += [*w.li(K1, 0xA0000000 | LOG + HEADER + size * len(logged)), store]
                logged.append((number, sel, what))
    words += [w.lui(T9, 0xA000 + (LOG >> 16)), w.addiu(V0, 0, 1), w.sw(V0, T9), *w.stop()]
    return words, logged


def _handler(bits: int) -> list[int]:
    """Give Cause as the value, and go on after the instruction."""
    read, write = (w.dmfc0, w.dmtc0) if bits == 64 else (w.mfc0, w.mtc0)
    return [w.mfc0(V0, w.CAUSE), read(K0, w.EPC), w.addiu(K0, K0, 4), write(K0, w.EPC), w.ERET]


@pytest.mark.parametrize("model", MODELS)
def test_registers_keep_what_those_of_qemu_keep(model: str, tmp_path: Path) -> None:
    bits = BY_NAME[model].model.bits
    words, logged = _program(bits)
    machine = BareMachine(model, mode="tier0")
    rom = bytearray(ROM_BYTES)
    for at, part in ((0, [w.beq(0, 0, 0x1FFF), w.NOP]), (0x8000, words), (0x380, _handler(bits))):
        machine.write(ROM + at, part)
        rom[at : at + 4 * len(part)] = encode(part, True)
    machine.reset()
    machine.run()
    size = bits // 8
    whole = HEADER + size * len(logged)
    ours = machine.memory.read(machine.place(LOG), whole)
    theirs = run_reference(tmp_path, model, bits, bytes(rom), bytes(RAM_BYTES), LOG, whole)
    assert ours[:4] == b"\0\0\0\1"
    found = []
    for place, (number, sel, what) in enumerate(logged):
        at = HEADER + size * place
        mine, other = (int.from_bytes(log[at : at + size], "big") for log in (ours, theirs))
        mask, models = DIFFERENT.get((number, sel), (0, ()))
        allowed = (-1 if mask is None else mask) if not models or model in models else 0
        if (mine ^ other) & ~allowed:
            found.append(f"{number},{sel} {what}: {mine:#x}, QEMU {other:#x}")
    assert found == []
