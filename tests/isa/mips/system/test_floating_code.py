"""Code of a page that appears at several addresses is translated once, and knows where it is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pemu.engine.tier0.blocks import BlockReader
from tests.isa.mips.system import words as w
from tests.isa.mips.system.barecpu import ROM, BareMachine

MachineOf = Callable[[str], BareMachine]

MODELS = ("24Kf", "MIPS64R2-generic")
FRAME = 0x400000
RESULTS = 0x100000
SEEN_AT = (0x20000000, 0x20004000, 0x40000000)
"""Guest-virtual addresses of the page at FRAME: two in one segment of 256 MiB, one in another."""

RA, T8, T9, V0 = 31, 24, 25, 2
ROUNDS = 3


def move(to: int, source: int) -> int:
    return 0x00000021 | source << 21 | to << 11


def jalr(rs: int) -> int:
    return 0x0000F809 | rs << 21


def bal(words: int) -> int:
    return 0x04110000 | words & 0xFFFF


def j(address: int) -> int:
    return 0x08000000 | address >> 2 & 0x3FFFFFF


TELL_WHERE = [bal(1), w.NOP, move(V0, RA), w.jr(T8), w.NOP]
"""Yields the address of the third instruction in v0."""


def called(machine: BareMachine, code: list[int]) -> list[list[int]]:
    """Call code at all its addresses in turn, several times; what it leaves in v0."""
    program = w.set_cp0(w.STATUS, 0)
    for index, address in enumerate(SEEN_AT):
        program += [
            *w.set_cp0(w.INDEX, index),
            *w.set_cp0(w.ENTRYHI, address),
            *w.set_cp0(w.ENTRYLO0, FRAME >> 6 | 7),
            *w.set_cp0(w.ENTRYLO1, 1),
            w.TLBWI,
        ]
    for number in range(ROUNDS * len(SEEN_AT)):
        program += [
            *w.li(T9, SEEN_AT[number % len(SEEN_AT)]),
            jalr(T9),
            w.NOP,
            *w.li(w.A1, 0xA0000000 + RESULTS + 4 * number),
            w.sw(V0, w.A1),
        ]
    machine.write(FRAME, code)
    machine.write(ROM, [*program, *w.stop()])
    machine.run()
    results = [machine.word(RESULTS + 4 * n) for n in range(ROUNDS * len(SEEN_AT))]
    return [results[n : n + len(SEEN_AT)] for n in range(0, len(results), len(SEEN_AT))]


@pytest.mark.parametrize("model", MODELS)
def test_a_link_register_holds_the_address_that_code_runs_at(
    machine_of: MachineOf, model: str
) -> None:
    expected = [address + 12 for address in SEEN_AT]
    assert called(machine_of(model), [move(T8, RA), *TELL_WHERE]) == [expected] * ROUNDS


@pytest.mark.parametrize("model", MODELS)
def test_an_absolute_jump_stays_in_the_segment_that_code_runs_in(
    machine_of: MachineOf, model: str
) -> None:
    first, _, other = SEEN_AT
    code = [move(T8, RA), j(first + 16), w.NOP, w.NOP, *TELL_WHERE]
    expected = [first + 24, first + 24, other + 24]
    assert called(machine_of(model), code) == [expected] * ROUNDS


@pytest.mark.parametrize("model", MODELS)
def test_a_page_at_several_addresses_is_translated_once(machine_of: MachineOf, model: str) -> None:
    machine = machine_of(model)
    seen: list[int] = []
    machine.engine.on_new_block = lambda _cpu, block: seen.append(block)
    machine.engine.set_options(report_blocks=True)
    machine.engine.flush()
    try:
        called(machine, [move(T8, RA), *TELL_WHERE])
    finally:
        machine.engine.set_options()
        machine.engine.on_new_block = None
    reader = BlockReader(machine.engine.arch, machine.engine.symbols, machine.engine.memory)
    starts = [reader.place(block)[0] for block in seen]
    assert [start for start in starts if start < 0x80000000] == [
        SEEN_AT[0],
        SEEN_AT[0] + 12,
    ]
