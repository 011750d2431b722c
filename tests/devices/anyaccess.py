"""Random accesses to a device: no exception comes out of it, and its state can be saved."""

from __future__ import annotations

import json

from hypothesis import strategies as st

from pemu.machine.machine import Machine
from pemu.machine.memory import AddressSpace

Access = tuple[int, int, int | None]
"""Offset, size in bytes, and the value to write or None to read."""


def accesses(length: int, most: int = 60) -> st.SearchStrategy[list[Access]]:
    """Lists of accesses of all sizes to `length` bytes."""
    values = st.one_of(st.none(), st.integers(0, 255), st.integers(0, (1 << 64) - 1))
    one = st.tuples(st.integers(0, length - 1), st.sampled_from((1, 2, 4, 8)), values)
    return st.lists(one, max_size=most)


def perform(space: AddressSpace, start: int, made: list[Access]) -> None:
    """Make the accesses at `start`."""
    for offset, size, value in made:
        if value is None:
            assert 0 <= space.read(start + offset, size) < 1 << 8 * size
        else:
            space.write(start + offset, value, size)


def advance(machine: Machine, nanoseconds: int) -> None:
    """Let virtual time go on, and run all timers that are due meanwhile."""
    clock = machine.clocks.virtual
    end = clock.now() + nanoseconds
    while (when := clock.deadline()) is not None and when <= end:
        clock.set(max(when, clock.now()))
        clock.run_timers()
    clock.set(end)


def check_state(machine: Machine) -> None:
    """Saving the state, resetting and loading it makes the same state again."""
    saved = machine.save_devices()
    machine.reset_devices()
    machine.load_devices(json.loads(json.dumps(saved)))
    assert machine.save_devices() == saved
