"""Interrupts, the timer, WAIT, and register sets of interrupts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from pemu.isa.mips.cp0.exits import EXIT_COMPARE, NEVER
from tests.isa.mips.system import words as w
from tests.isa.mips.system.barecpu import ROM, BareMachine

MachineOf = Callable[[str], BareMachine]

IE, EXL, IM7, IM2, IM0 = 1, 2, 1 << 15, 1 << 10, 1 << 8
IV, DC, TI = 1 << 23, 1 << 27, 1 << 30
INTCTL = (12, 1)
VECTORED = ("24Kf", "34Kf", "74Kf")
RAM_PROGRAM = 0x80010000


def prepare(machine: BareMachine, program: Sequence[int]) -> None:
    """Put `program` into memory, and handlers that leave their vector in t0."""
    for offset in range(0, 0x800, 0x20):
        machine.write(offset, [w.addiu(w.T0, 0, offset), w.mfc0(w.T1, w.CAUSE), *w.stop()])
    machine.write(RAM_PROGRAM & 0xFFFFFF, [*program, w.NOP, *w.stop()])
    machine.write(ROM, [*w.li(w.T4, RAM_PROGRAM), w.jr(w.T4), w.NOP])


def taken(machine: BareMachine, program: Sequence[int]) -> int:
    """The vector that the program was interrupted to; 0xFFFF if it came to its end."""
    prepare(machine, [w.addiu(w.T0, 0, -1), *program])
    machine.run()
    return int(machine.cpu.gpr[w.T0]) & 0xFFFF


def test_software_interrupt_is_taken_when_it_is_unmasked(machine_of: MachineOf) -> None:
    program = [
        *w.set_cp0(w.CAUSE, 0x100),
        *w.set_cp0(w.STATUS, IE),
        *w.set_cp0(w.STATUS, IE | IM0),
    ]
    machine = machine_of("24Kf")
    assert taken(machine, program) == 0x180
    assert machine.cpu.epc == RAM_PROGRAM + 4 + 4 * len(program)


@pytest.mark.parametrize("status", [IE | EXL | IM2, IM2, IE])
def test_masked_line_does_not_interrupt(machine_of: MachineOf, status: int) -> None:
    machine = machine_of("24Kf")
    machine.cpu.irq_lines = 1
    assert taken(machine, w.set_cp0(w.STATUS, status)) == 0xFFFF


def test_line_that_rises_while_the_program_runs_interrupts_it(machine_of: MachineOf) -> None:
    import threading

    machine = machine_of("24Kf")

    def rise() -> None:
        machine.cpu.irq_lines = 1
        machine.cpu.look_for_interrupts()

    timer = threading.Timer(0.1, rise)
    timer.start()
    assert taken(machine, [*w.set_cp0(w.STATUS, IE | IM2), w.beq(0, 0, -1), w.NOP]) == 0x180
    assert machine.cpu.gpr[w.T1] >> 8 & 0xFF == 1 << 2


def test_ei_lets_a_pending_interrupt_in(machine_of: MachineOf) -> None:
    machine = machine_of("24Kf")
    machine.cpu.irq_lines = 1
    assert taken(machine, [*w.set_cp0(w.STATUS, IM2), 0x41606020]) == 0x180


@pytest.mark.parametrize("model", ["24Kf", "R4000", "MIPS64R2-generic"])
def test_timer_interrupts_when_count_reaches_compare(machine_of: MachineOf, model: str) -> None:
    machine = machine_of(model)
    program = [
        *w.set_cp0(w.STATUS, IE | IM7),
        w.lui(w.T3, 0x80),  # where Count is past it already, it takes most of a minute
        w.mfc0(w.T1, w.COUNT),
        0x00000021 | w.T1 << 21 | w.T3 << 16 | w.T1 << 11,  # addu t1, t1, t3
        w.mtc0(w.T1, w.COMPARE),
        w.addiu(w.T2, w.T2, 1),
        *w.set_cp0(w.STATUS, IE | IM7),  # where it looks
        w.beq(0, 0, -4),
        w.NOP,
    ]
    assert taken(machine, program) == 0x180
    assert machine.cpu.gpr[w.T1] >> 8 & 0x80
    assert [number for number, _ in machine.exits] == [EXIT_COMPARE]


def test_write_of_compare_takes_the_timer_interrupt_back(machine_of: MachineOf) -> None:
    machine = machine_of("24Kf")
    machine.cpu.timer_deadline = 1
    program = [w.mfc0(w.T2, w.CAUSE), *w.set_cp0(w.COMPARE, 0), w.mfc0(w.T3, w.CAUSE)]
    taken(machine, program)
    assert machine.cpu.gpr[w.T2] & (TI | 1 << 15) == TI | 1 << 15
    assert machine.cpu.gpr[w.T3] & (TI | 1 << 15) == 0


def test_stopped_count_stands_still_and_goes_on_from_there(machine_of: MachineOf) -> None:
    machine = machine_of("24Kf")
    program = [
        *w.set_cp0(w.CAUSE, DC),
        *w.set_cp0(w.COUNT, 0x12345678),
        w.mfc0(w.T2, w.COUNT),
        *w.set_cp0(w.CAUSE, 0),
        w.mfc0(w.T3, w.COUNT),
    ]
    taken(machine, program)
    assert machine.cpu.gpr[w.T2] == 0x12345678
    assert 0 <= machine.cpu.gpr[w.T3] - 0x12345678 < 1 << 31  # some seconds
    assert [number for number, _ in machine.exits] == 3 * [EXIT_COMPARE]
    assert [argument == NEVER for _, argument in machine.exits] == [True, True, False]


def test_iv_gives_interrupts_their_own_vector(machine_of: MachineOf) -> None:
    machine = machine_of("24Kf")
    machine.cpu.irq_lines = 1
    program = [*w.set_cp0(w.CAUSE, IV), *w.set_cp0(w.STATUS, IE | IM2)]
    assert taken(machine, program) == 0x200


@pytest.mark.parametrize("model", VECTORED)
def test_vectored_interrupt_has_the_vector_of_the_highest_line(
    machine_of: MachineOf, model: str
) -> None:
    machine = machine_of(model)
    machine.cpu.irq_lines = 0b0101
    program = [
        *w.set_cp0(*INTCTL[:1], 1 << 5, INTCTL[1]),
        *w.set_cp0(w.CAUSE, IV),
        *w.set_cp0(w.STATUS, IE | 0xFF00),
    ]
    assert taken(machine, program) == 0x200 + 4 * 0x20


def test_interrupt_of_a_shadow_set_leaves_the_registers_alone(machine_of: MachineOf) -> None:
    """Line 2's handler runs in set 1, reads a register of set 0 by rdpgpr, and returns."""
    machine = machine_of("34Kf")
    machine.cpu.irq_lines = 1
    handler = [
        w.addiu(w.T2, 0, 77),
        w.mfc0(w.T1, 12, 2),
        0x41400000 | w.T3 << 16 | w.T0 << 11,  # rdpgpr t0, t3
        0x41C00000 | w.T0 << 16 | w.A0 << 11,  # wrpgpr a0, t0
        *w.set_cp0(w.STATUS, EXL),
        w.ERET,
    ]
    program = [
        w.addiu(w.T2, 0, 5),
        w.addiu(w.T3, 0, 123),
        *w.set_cp0(12, 1 << 5, 1),
        *w.set_cp0(12, 1 << 8, 3),  # SRSMap: line 2 has set 1
        *w.set_cp0(w.CAUSE, IV),
        *w.set_cp0(w.STATUS, IE | IM2),
        w.NOP,
    ]
    prepare(machine, program)
    machine.write(0x200 + 2 * 0x20, handler[:8])
    machine.write(0x200 + 2 * 0x20 + 0x20, handler[8:])
    machine.run()
    gpr = machine.cpu.gpr
    assert (gpr[w.T2], gpr[w.T3], gpr[w.A0]) == (5, 123, 123)
    assert machine.cpu.shadow[32 + w.T2] == 77
    assert machine.cpu.shadow[32 + w.T1] & 0x3FF == 1
