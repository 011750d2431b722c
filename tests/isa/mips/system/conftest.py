"""Machines are made once a model: the tests reset them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.isa.mips.system.barecpu import BareMachine


@pytest.fixture(scope="session")
def machine_of(request: pytest.FixtureRequest) -> Callable[[str], BareMachine]:
    """A function that returns the machine of a model, reset."""
    made: dict[str, BareMachine] = {}

    def machine(model: str) -> BareMachine:
        if model not in made:
            made[model] = BareMachine(model, mode=request.config.getoption("--jit"))
        made[model].reset()
        return made[model]

    return machine
