"""The area for generated code is bounded: when it is full it starts anew."""

from __future__ import annotations

import pytest

from pemu.isa.mips.cpu import architecture
from tests.isa.mips.machines import PemuMachine, State

ROOM = 1 << 17


def addition(value: int) -> list[int]:
    """A program of its own for each value: v0 = v0 + value, sixty times."""
    return [0x24420000 | value] * 60  # addiu v0, v0, value


@pytest.fixture
def machine() -> PemuMachine:
    machine = PemuMachine(architecture("24Kf", True, "o32"), "tier1")
    machine.engine.code.end = machine.engine.tier0.end + ROOM
    return machine


def test_code_is_right_and_compiled_after_the_area_was_full(machine: PemuMachine) -> None:
    compiled = [0]
    for value in range(1, 60):
        assert machine.run(addition(value), State()).gpr[2] == 60 * value
        compiler = machine.engine._compiler
        assert compiler is not None
        compiled.append(compiler.compiled_blocks)
    assert machine.engine.epoch > 0
    assert compiled[-1] > compiled[-10]
