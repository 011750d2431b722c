"""A performance counter interrupts a program that does not look at it."""

from __future__ import annotations

import pytest

from pemu.machine.clock import InstructionCount
from tests.isa.mips.system import words as w
from tests.machine.mips_machine import ROM, MipsMachine

PERF = 25
KERNEL, INTERRUPTS, CYCLES, INSTRUCTIONS = 2, 16, 0 << 5, 1 << 5
IE, IM7 = 1, 1 << 15
AHEAD = 3_000_000
S0, S1 = 16, 17


@pytest.mark.parametrize("event", [CYCLES, INSTRUCTIONS])
def test_counter_interrupts_soon_after_it_overflows(
    event: int, request: pytest.FixtureRequest
) -> None:
    machine = MipsMachine(
        "MIPS64R2-generic",
        request.config.getoption("--jit"),
        InstructionCount(0, False, False),
    )
    machine.write(0x180, [w.mfc0(S0, w.CAUSE), w.mfc0(S1, PERF, 1), *w.stop()])
    program = [
        *w.set_cp0(w.STATUS, 0),
        *w.set_cp0(PERF, 0x80000000 - AHEAD, 1),
        *w.set_cp0(PERF, event | KERNEL | INTERRUPTS),
        *w.set_cp0(w.STATUS, IE | IM7),
        w.beq(0, 0, -1),
        w.NOP,
    ]
    machine.write(ROM, program)
    machine.run()
    cause, count = machine.gprs((S0, S1))
    assert cause >> 15 & 1
    assert 0 <= count - (1 << 31) < 500_000
    machine.close()
