"""The TLB: what is kept of what TLBWR replaces, and when it goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from tests.isa.mips.system import words as w
from tests.isa.mips.system.barecpu import ROM, BareMachine

MachineOf = Callable[[str], BareMachine]

MODELS = ("24Kf", "R4000", "MIPS64R2-generic")
FRAMES, PAGES = 0x400000, 100
START = 0x20000000
"""Virtual address of the first of PAGES pairs of pages; each has memory of its own behind it."""

RESULTS = 0x100000
PROBED, MISSED = 1, 0


def write_pair(number: int, write: int) -> list[int]:
    """Write the entry for a pair of pages."""
    frame = FRAMES + (number << 13)
    return [
        *w.set_cp0(w.ENTRYHI, START + (number << 13)),
        *w.set_cp0(w.ENTRYLO0, frame >> 6 | 6),
        *w.set_cp0(w.ENTRYLO1, frame + 0x1000 >> 6 | 6),
        write,
    ]


def load(number: int, place: int) -> list[int]:
    """Load from a pair's odd page into result `place`; 0xFFFF.... where that is an exception."""
    return [
        *w.li(w.A0, START + (number << 13) + 0x1000),
        w.addiu(w.V0, 0, -1),
        w.lw(w.V0, w.A0),
        *w.li(w.A1, 0xA0000000 + RESULTS + 4 * place),
        w.sw(w.V0, w.A1),
    ]


def run(machine: BareMachine, program: Sequence[int]) -> BareMachine:
    """Run a program; exceptions skip the instruction and count in s0."""
    skip = [
        w.mfc0(w.K0, w.EPC),
        w.addiu(w.K0, w.K0, 4),
        w.mtc0(w.K0, w.EPC),
        w.addiu(16, 16, 1),
        w.ERET,
    ]
    for vector in (0, 0x80, 0x180):
        machine.write(vector, skip)
    for number in range(PAGES):
        for page in (0, 0x1000):
            machine.write(FRAMES + (number << 13) + page, [0x1000 * number + page + 1])
    machine.write(ROM, [*w.set_cp0(w.STATUS, 0), *program, *w.stop()])
    machine.run()
    return machine


@pytest.mark.parametrize("model", MODELS)
def test_entries_that_tlbwr_replaced_still_translate(machine_of: MachineOf, model: str) -> None:
    program = [word for number in range(PAGES) for word in write_pair(number, w.TLBWR)]
    program += [word for number in range(PAGES) for word in load(number, number)]
    machine = run(machine_of(model), program)
    assert machine.cpu.gpr[16] == 0
    for number in range(PAGES):
        assert machine.word(RESULTS + 4 * number) == 0x1000 * number + 0x1001


@pytest.mark.parametrize("model", MODELS)
def test_overwriting_every_entry_leaves_nothing(machine_of: MachineOf, model: str) -> None:
    program = [word for number in range(PAGES) for word in write_pair(number, w.TLBWR)]
    program += [word for number in range(PAGES) for word in load(number, number)]
    machine = machine_of(model)
    for entry in range(machine.arch.system.control.tlb):  # type: ignore[union-attr]
        program += w.set_cp0(w.ENTRYHI, 0x80000000 + (entry << 13))
        program += [*w.set_cp0(w.ENTRYLO0, 0), *w.set_cp0(w.ENTRYLO1, 0)]
        program += [*w.set_cp0(w.INDEX, entry), w.TLBWI]
    program += [w.addiu(16, 0, 0)]
    program += [word for number in range(PAGES) for word in load(number, number)]
    run(machine, program)
    assert machine.cpu.gpr[16] == PAGES


@pytest.mark.parametrize("model", MODELS)
def test_kept_entry_is_found_by_probe_and_replaced_by_index(
    machine_of: MachineOf, model: str
) -> None:
    program = [word for number in range(PAGES) for word in write_pair(number, w.TLBWR)]
    program += load(0, 0)
    program += [*w.set_cp0(w.ENTRYHI, START), w.TLBP, w.mfc0(w.T0, w.INDEX)]
    program += [*w.set_cp0(w.ENTRYLO0, 0), *w.set_cp0(w.ENTRYLO1, FRAMES + 0x3000 >> 6 | 6)]
    program += [w.TLBWI, *load(0, 1), *load(PAGES - 1, 2), *load(20, 3)]
    machine = run(machine_of(model), program)
    assert not machine.cpu.gpr[w.T0] & 1 << 31
    assert machine.word(RESULTS) == 0x1001
    assert machine.word(RESULTS + 4) == 0x2001
    assert machine.word(RESULTS + 8) == 0x1000 * (PAGES - 1) + 0x1001
    assert machine.word(RESULTS + 12) == 0x1000 * 20 + 0x1001


@pytest.mark.parametrize("model", MODELS)
def test_newer_entry_for_the_same_address_takes_the_kept_ones_place(
    machine_of: MachineOf, model: str
) -> None:
    program = [word for number in range(PAGES) for word in write_pair(number, w.TLBWR)]
    program += load(0, 0)
    program += [*w.set_cp0(w.ENTRYHI, START), *w.set_cp0(w.ENTRYLO0, 0)]
    program += [*w.set_cp0(w.ENTRYLO1, FRAMES + 0x5000 >> 6 | 6), w.TLBWR, *load(0, 1)]
    program += [word for number in range(1, PAGES) for word in write_pair(number, w.TLBWR)]
    program += load(0, 2)
    machine = run(machine_of(model), program)
    assert [machine.word(RESULTS + 4 * n) for n in range(3)] == [0x1001, 0x3001, 0x3001]


@pytest.mark.parametrize("model", MODELS)
def test_write_of_wired_drops_what_is_kept(machine_of: MachineOf, model: str) -> None:
    machine = machine_of(model)
    entries = machine.arch.system.control.tlb  # type: ignore[union-attr]
    count = min(PAGES, entries + 20)
    program = [word for number in range(count) for word in write_pair(number, w.TLBWR)]
    program += [*w.set_cp0(w.WIRED, 1), w.addiu(16, 0, 0)]
    program += [word for number in range(count) for word in load(number, number)]
    run(machine, program)
    assert machine.cpu.gpr[16] == max(count - entries, 0)


@pytest.mark.parametrize("model", MODELS)
def test_entry_of_another_asid_does_not_translate_but_is_still_there(
    machine_of: MachineOf, model: str
) -> None:
    program = write_pair(0, w.TLBWR)
    program += [*load(0, 0), *w.set_cp0(w.ENTRYHI, 5), w.addiu(16, 0, 0), *load(0, 1)]
    program += [w.addiu(17, 16, 0), *w.set_cp0(w.ENTRYHI, 0), *load(0, 2)]
    machine = run(machine_of(model), program)
    assert machine.cpu.gpr[17] == 1
    assert machine.word(RESULTS) == machine.word(RESULTS + 8) == 0x1001
    assert machine.word(RESULTS + 4) == 0xFFFFFFFF
