"""Performance counters: what they count, when, and their interrupts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import pytest

from pemu.isa.mips.cp0.exits import EXIT_COUNTERS
from pemu.isa.mips.cp0.models import BY_NAME
from tests.isa.mips.system import words as w
from tests.isa.mips.system.barecpu import ROM, BareMachine

MachineOf = Callable[[str], BareMachine]

MODELS = ("MIPS64R2-generic", "5Kc", "20Kc")
PERF = 25
USER, KERNEL, IN_EXCEPTION, INTERRUPTS = 8, 2, 1, 16
CYCLES, INSTRUCTIONS, NEVER_HAPPENS = 0 << 5, 1 << 5, 9 << 5
IE, EXL, IM7, CU0 = 1, 2, 1 << 15, 1 << 28
PROGRAM = 0x80010000
S0, S1 = 16, 17
LOOPS = 1000


def loop(count: int = LOOPS) -> list[int]:
    """Runs 2 + 2 * count instructions."""
    return [*w.li(w.T0, count), 0x1C000000 | w.T0 << 21 | 0xFFFF, w.addiu(w.T0, w.T0, -1)]


IN_LOOP = 2 + 2 * (LOOPS + 1)


def run(machine: BareMachine, program: Sequence[int]) -> None:
    """Run in kernel mode; interrupts come to a handler that leaves Cause in s1."""
    machine.write(0x180, [w.mfc0(S1, w.CAUSE), *w.stop()])
    machine.write(PROGRAM & 0xFFFFFF, [*program, *w.stop()])
    machine.write(ROM, [*w.set_cp0(w.STATUS, 0), *w.li(w.T4, PROGRAM), w.jr(w.T4), w.NOP])
    machine.run()


def counting(control: int, counter: int = 0) -> list[int]:
    return [*w.set_cp0(PERF, 0, 2 * counter + 1), *w.set_cp0(PERF, control, 2 * counter)]


def read(counter: int = 0) -> int:
    return w.mfc0(S0, PERF, 2 * counter + 1)


@pytest.mark.parametrize("model", MODELS)
def test_instructions_are_counted_while_a_counter_asks_for_them(
    machine_of: MachineOf, model: str
) -> None:
    machine = machine_of(model)
    stop = w.set_cp0(PERF, 0)
    program = [*loop(), *counting(INSTRUCTIONS | KERNEL), *loop(), *stop, *loop(), read()]
    run(machine, program)
    assert machine.cpu.gpr[S0] == IN_LOOP + len(stop)


def test_counter_can_be_read_while_it_counts(machine_of: MachineOf) -> None:
    machine = machine_of("MIPS64R2-generic")
    run(machine, [*counting(INSTRUCTIONS | KERNEL), w.NOP, w.NOP, w.NOP, read(), w.NOP])
    assert machine.cpu.gpr[S0] == 4


@pytest.mark.parametrize("model", [m for m in MODELS if BY_NAME[m].counters > 1])
def test_both_counters_count_for_themselves(machine_of: MachineOf, model: str) -> None:
    machine = machine_of(model)
    program = [*counting(INSTRUCTIONS | KERNEL), *loop(), *counting(INSTRUCTIONS | KERNEL, 1)]
    run(machine, [*program, *loop(), read(1)])
    assert machine.cpu.gpr[S0] == IN_LOOP + 1
    assert machine.cpu.perf[1] == 2 * IN_LOOP + 1 + 6


@pytest.mark.parametrize("when", [USER, IN_EXCEPTION])
def test_other_modes_of_the_processor_are_not_counted(machine_of: MachineOf, when: int) -> None:
    machine = machine_of("MIPS64R2-generic")
    run(machine, [*counting(INSTRUCTIONS | when), *loop(), read()])
    assert machine.cpu.gpr[S0] == 0


def test_mode_in_exceptions_is_counted_by_itself(machine_of: MachineOf) -> None:
    machine = machine_of("MIPS64R2-generic")
    within = [*w.set_cp0(w.STATUS, EXL), *loop(), *w.set_cp0(w.STATUS, 0)]
    run(machine, [*counting(INSTRUCTIONS | IN_EXCEPTION), *loop(), *within, *loop(), read()])
    assert machine.cpu.gpr[S0] == IN_LOOP + 3


@pytest.mark.parametrize("model", MODELS)
def test_cycles_go_on_with_twice_the_speed_of_count(machine_of: MachineOf, model: str) -> None:
    machine = machine_of(model)
    began = time.monotonic_ns()
    run(machine, [*counting(CYCLES | KERNEL), *loop(200_000), read()])
    elapsed = time.monotonic_ns() - began
    assert 0 < machine.cpu.gpr[S0] & 0xFFFFFFFF <= 2 * elapsed // machine.cpu.count_ns


def test_other_events_never_happen(machine_of: MachineOf) -> None:
    machine = machine_of("MIPS64R2-generic")
    run(machine, [*counting(NEVER_HAPPENS | KERNEL), *loop(), read()])
    assert machine.cpu.gpr[S0] == 0


@pytest.mark.parametrize("model", MODELS)
def test_counter_past_half_its_range_interrupts(machine_of: MachineOf, model: str) -> None:
    machine = machine_of(model)
    program = [
        *w.set_cp0(PERF, 0x7FFFFFFF - 500, 1),
        *w.set_cp0(PERF, INSTRUCTIONS | KERNEL | INTERRUPTS),
        *loop(100),
        *w.set_cp0(w.STATUS, IE | IM7),  # where it looks
        *loop(500),
        *w.set_cp0(w.STATUS, IE | IM7),
        w.NOP,
        w.addiu(S1, 0, 7),
    ]
    run(machine, program)
    assert machine.cpu.gpr[S1] >> 15 & 1
    assert bool(machine.cpu.gpr[S1] >> 26 & 1) == ("mips32r2" in machine.arch.features)
    assert [number for number, _ in machine.exits] == [EXIT_COUNTERS]


def test_there_are_no_more_counters_than_the_registers_tell(machine_of: MachineOf) -> None:
    machine = machine_of("MIPS64R2-generic")
    run(machine, [w.mfc0(S0, PERF), w.mfc0(S1, PERF, 2), w.mfc0(w.T2, PERF, 4)])
    assert machine.cpu.gpr[S0] >> 31 & 1
    assert machine.cpu.gpr[S1] >> 31 & 1 == 0
    assert machine.cpu.gpr[w.T2] == (1 << 64) - 1
