"""Interrupts from an external controller, which gives the processor a level instead of lines.

No model has that mode: the processor here is a 34Kf with Config3.VEIC.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pemu.isa.mips.cp0.models import BY_NAME, CONFIG3_VEIC, Control
from pemu.isa.mips.models import Model
from tests.isa.mips.system import words as w
from tests.isa.mips.system.barecpu import BareMachine
from tests.isa.mips.system.test_interrupts import IE, INTCTL, IV, taken

LEVEL_SHIFT = 10
"""Where Status has IPL, and Cause RIPL."""

SPACING = 1 << 5


class _Renamed(Model):
    """A model under a name of its own, as generated code is kept by the name."""

    def __init__(self, model: Model, name: str) -> None:
        for slot in Model.__slots__:
            setattr(self, slot, getattr(model, slot))
        self.name = name


@pytest.fixture(scope="module")
def made(request: pytest.FixtureRequest) -> BareMachine:
    plain = BY_NAME["34Kf"]
    *configs, config3 = plain.configs
    control = Control(
        _Renamed(plain.model, "34Kf-veic"),
        (*configs, config3 | CONFIG3_VEIC),
        plain.status_mask,
        shadow_sets=plain.shadow_sets,
    )
    return BareMachine(control, mode=request.config.getoption("--jit"))


@pytest.fixture
def machine(made: BareMachine) -> Iterator[BareMachine]:
    made.reset()
    yield made
    made.cpu.irq_lines = 0


def program(level: int) -> list[int]:
    """Vectors 32 bytes apart; Status.IPL is `level`."""
    return [
        *w.set_cp0(INTCTL[0], SPACING, INTCTL[1]),
        *w.set_cp0(w.CAUSE, IV),
        *w.set_cp0(w.STATUS, IE | level << LEVEL_SHIFT),
        w.NOP,
    ]


def test_level_above_that_of_the_processor_interrupts_at_its_vector(machine: BareMachine) -> None:
    machine.cpu.irq_lines = 9
    assert taken(machine, program(8)) == 0x200 + 9 * 0x20
    assert machine.cpu.gpr[w.T1] >> LEVEL_SHIFT & 0x3F == 9


@pytest.mark.parametrize("level", [9, 10, 63])
def test_level_that_is_not_above_does_not_interrupt(machine: BareMachine, level: int) -> None:
    machine.cpu.irq_lines = 9
    assert taken(machine, program(level)) == 0xFFFF


def test_timer_tells_the_controller_and_does_not_interrupt_by_itself(machine: BareMachine) -> None:
    machine.cpu.timer_deadline = 1
    assert taken(machine, [*program(0), w.mfc0(w.T1, w.CAUSE)]) == 0xFFFF
    assert machine.cpu.gpr[w.T1] >> 30 & 1
    assert machine.cpu.gpr[w.T1] >> LEVEL_SHIFT & 0x3F == 0


def test_controller_names_the_shadow_set(machine: BareMachine) -> None:
    machine.cpu.irq_lines = 3
    machine.cpu.srsctl |= 2 << 18
    taken(machine, program(0))
    assert machine.cpu.srsctl & 15 == 2
