"""CACHE: code in pages that change all the time is dropped when the guest says so."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pemu.engine.layout.pages import MOST_CHANGES
from pemu.isa.mips.cp0.exits import EXIT_CACHE
from tests.isa.mips.system import words as w
from tests.isa.mips.system.barecpu import ROM, BareMachine

MachineOf = Callable[[str], BareMachine]

CODE = 0x80020000
INDEX_INVALIDATE, HIT_INVALIDATE = 0x00, 0x10


def cache(operation: int, base: int) -> int:
    return 0xBC000000 | base << 21 | operation << 16


@pytest.mark.parametrize("operation", [INDEX_INVALIDATE, HIT_INVALIDATE])
def test_code_that_changes_all_the_time_is_run_as_it_is_now(
    machine_of: MachineOf, operation: int
) -> None:
    """A loop writes `addiu v0, zero, n`, invalidates the cache, calls it and adds up."""
    machine = machine_of("24Kf")
    rounds = MOST_CHANGES + 20
    program = [
        *w.set_cp0(w.STATUS, 0),
        *w.li(w.A0, CODE),
        *w.li(w.T0, w.addiu(w.V0, 0, 0)),
        *w.li(w.T1, w.addiu(w.V0, 0, rounds)),
        *w.li(w.T2, w.jr(31)),
        w.sw(w.T2, w.A0, 4),
        w.sw(0, w.A0, 8),
        w.sw(w.T0, w.A0),  # here
        cache(operation, w.A0),
        w.A0 << 21 | 31 << 11 | 0x09,  # jalr a0
        w.NOP,
        16 << 21 | w.V0 << 16 | 16 << 11 | 0x21,  # addu s0, s0, v0
        0x14000000 | w.T0 << 21 | w.T1 << 16 | 0xFFFA,  # bne t0, t1, here
        w.addiu(w.T0, w.T0, 1),
        *w.stop(),
    ]
    machine.write(ROM, program)
    machine.run()
    assert machine.cpu.gpr[16] == rounds * (rounds + 1) // 2
    asked = [number for number, _ in machine.exits].count(EXIT_CACHE)
    assert asked == (rounds + 1 if operation == INDEX_INVALIDATE else 0)
