"""Watch registers: which accesses raise the exception, and when it waits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from tests.isa.mips.system import words as w
from tests.isa.mips.system.barecpu import ROM, BareMachine

MachineOf = Callable[[str], BareMachine]

MODELS = ("24Kf", "4Kc", "MIPS64R2-generic", "4Km")
WATCHLO, WATCHHI = 18, 19
EXL, ERL, BEV, WP, DM = 2, 4, 1 << 22, 1 << 22, 1 << 30
FETCH, LOAD, STORE, GLOBAL = 4, 2, 1, 1 << 30
DATA = 0x80020000
PROGRAM = 0x80010000
WATCH = 23


def run(
    machine: BareMachine, program: Sequence[int], handler: Sequence[int] = ()
) -> tuple[int, int, int]:
    """Run in kernel mode: (number of exceptions, ExcCode of the last one, offset of its EPC).

    An exception's instruction is skipped, after `handler`.
    """
    skip = [
        w.addiu(w.T0, w.T0, 1),
        w.mfc0(w.T1, w.CAUSE),
        w.mfc0(w.T2, w.EPC),
        *handler,
        w.addiu(w.T3, w.T2, 4),
        w.mtc0(w.T3, w.EPC),
        w.ERET,
    ]
    machine.write(0x180, skip)
    whole = [w.addiu(w.T0, 0, 0), *w.set_cp0(w.STATUS, 0), *w.li(w.A0, DATA), *program]
    machine.write(PROGRAM & 0xFFFFFF, [*whole, *w.stop()])
    machine.write(ROM, [*w.li(w.T4, PROGRAM), w.jr(w.T4), w.NOP])
    machine.run()
    gpr = machine.cpu.gpr
    where = (gpr[w.T2] & 0xFFFFFFFF) - PROGRAM - 4 * (len(whole) - len(program))
    return gpr[w.T0] & 0xFFFF, gpr[w.T1] >> 2 & 31, where


def watching(kinds: int, at: int = DATA, high: int = GLOBAL, number: int = 0) -> list[int]:
    return [*w.set_cp0(WATCHHI, high, number), *w.set_cp0(WATCHLO, at | kinds, number)]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("number", [0, 5])
def test_watched_load_raises_and_store_does_not(
    machine_of: MachineOf, model: str, number: int
) -> None:
    before = [w.lw(w.V0, w.A0), *watching(LOAD, number=number)]
    found = run(machine_of(model), [*before, w.sw(w.V0, w.A0), w.lw(w.V0, w.A0, 4), w.NOP])
    assert found == (1, WATCH, 4 * (len(before) + 1))


@pytest.mark.parametrize("model", MODELS)
def test_watched_store_raises_before_memory_changes(machine_of: MachineOf, model: str) -> None:
    machine = machine_of(model)
    machine.write(DATA & 0xFFFFFF, [17])
    before = [w.sw(0, w.A0, 8), *watching(STORE), w.addiu(w.V0, 0, 5), w.lw(w.T4, w.A0)]
    assert run(machine, [*before, w.sw(w.V0, w.A0)]) == (1, WATCH, 4 * len(before))
    assert machine.word(DATA & 0xFFFFFF) == 17


def test_neighbouring_doubleword_is_not_watched(machine_of: MachineOf) -> None:
    program = [*watching(LOAD), w.lw(w.V0, w.A0, 8), w.lw(w.V0, w.A0, -4)]
    assert run(machine_of("24Kf"), program)[0] == 0


def test_mask_widens_the_range(machine_of: MachineOf) -> None:
    program = [*watching(LOAD, high=GLOBAL | 0xF8), w.lw(w.V0, w.A0, 0xFC), w.lw(w.V0, w.A0, 256)]
    assert run(machine_of("24Kf"), program)[0] == 1


@pytest.mark.parametrize(("asid", "count"), [(3, 1), (4, 0)])
def test_without_g_only_the_address_space_is_watched(
    machine_of: MachineOf, asid: int, count: int
) -> None:
    program = [
        *w.set_cp0(w.ENTRYHI, asid),
        w.lw(w.V0, w.A0),
        *watching(LOAD, high=3 << 16),
        w.lw(w.V0, w.A0),
    ]
    assert run(machine_of("24Kf"), program)[0] == count


@pytest.mark.parametrize("model", MODELS)
def test_register_that_is_cleared_watches_no_longer(machine_of: MachineOf, model: str) -> None:
    program = [*watching(LOAD | STORE), *w.set_cp0(WATCHLO, 0), w.lw(w.V0, w.A0), w.sw(0, w.A0)]
    assert run(machine_of(model), program)[0] == 0


def test_handler_that_clears_the_register_can_make_the_access_again(machine_of: MachineOf) -> None:
    clear = [*w.set_cp0(WATCHLO, 0), w.addiu(w.T2, w.T2, -4)]
    machine = machine_of("24Kf")
    machine.write(DATA & 0xFFFFFF, [1234])
    program = [*watching(LOAD | STORE), w.lw(w.V0, w.A0)]
    assert run(machine, program, clear)[0] == 1
    assert machine.cpu.gpr[w.V0] == 1234


@pytest.mark.parametrize("model", MODELS)
def test_exception_waits_until_exl_is_clear(machine_of: MachineOf, model: str) -> None:
    machine = machine_of(model)
    machine.write(DATA & 0xFFFFFF, [1234])
    program = [
        *w.set_cp0(w.STATUS, EXL),
        *watching(LOAD),
        w.lw(w.V0, w.A0),
        w.mfc0(w.A1, w.CAUSE),
        *w.set_cp0(WATCHLO, 0),
        *w.set_cp0(w.STATUS, 0),
        w.NOP,
    ]
    clear = [*w.set_cp0(w.CAUSE, 0)]
    assert run(machine, program, clear) == (1, WATCH, 4 * (len(program) - 1))
    assert machine.cpu.gpr[w.V0] == 1234
    assert machine.cpu.gpr[w.A1] & WP


def test_what_was_met_is_noted_and_taken_back_by_ones(machine_of: MachineOf) -> None:
    machine = machine_of("24Kf")
    program = [
        *watching(LOAD | STORE),
        w.lw(w.V0, w.A0),
        w.mfc0(w.A0 + 1, WATCHHI),
        *w.set_cp0(WATCHHI, GLOBAL | 7),
        w.mfc0(w.K0, WATCHHI),
    ]
    run(machine, program)
    assert machine.cpu.gpr[w.A1] & 7 == LOAD
    assert machine.cpu.gpr[w.K0] & 7 == 0


def test_program_cannot_set_wp(machine_of: MachineOf) -> None:
    machine = machine_of("24Kf")
    assert run(machine, [*w.set_cp0(w.CAUSE, WP), w.mfc0(w.V0, w.CAUSE), w.NOP])[0] == 0
    assert machine.cpu.gpr[w.V0] & WP == 0


def test_debug_mode_watches_nothing(machine_of: MachineOf) -> None:
    machine = machine_of("24Kf")
    machine.cpu.debug |= DM
    assert run(machine, [*watching(LOAD), w.lw(w.V0, w.A0)])[0] == 0


def test_debugger_looks_without_raising_anything(machine_of: MachineOf) -> None:
    machine = machine_of("24Kf")
    assert run(machine, watching(LOAD | STORE))[0] == 0
    assert machine.cpu.translate(DATA) == DATA & 0xFFFFFF
    assert machine.cpu.cause & WP == 0
