"""The multithreading extension of a processor with one thread context."""

from __future__ import annotations

from collections.abc import Callable

from tests.isa.mips.system import words as w
from tests.isa.mips.system.barecpu import ROM, BareMachine

MachineOf = Callable[[str], BareMachine]

DVPE, EVPE, DMT, EMT = 0x41600001, 0x41600021, 0x41600BC1, 0x41600BE1
TCSTATUS, VPECONTROL = (2, 1), (1, 1)


def into(rt: int, word: int) -> int:
    """An instruction that stops or starts threads, with its result in a register."""
    return word | rt << 16


def test_stopping_and_starting_threads_yields_what_was(machine_of: MachineOf) -> None:
    machine = machine_of("34Kf")
    program = [into(w.T0, DVPE), into(w.T1, DVPE), into(w.T2, EVPE), w.mfc0(w.T3, 0, 1)]
    machine.write(ROM, [*program, into(4, EMT), into(5, DMT), w.mfc0(6, *VPECONTROL), *w.stop()])
    machine.run()
    gpr = machine.cpu.gpr
    assert [gpr[n] & 1 for n in (w.T0, w.T1, w.T2, w.T3)] == [1, 0, 0, 1]
    assert [gpr[n] >> 15 & 1 for n in (4, 5, 6)] == [0, 1, 0]


def test_tcstatus_shows_status_and_asid(machine_of: MachineOf) -> None:
    machine = machine_of("34Kf")
    program = [
        *w.set_cp0(w.STATUS, 0x3040001C),
        *w.set_cp0(w.ENTRYHI, 0x42),
        w.mfc0(w.T0, *TCSTATUS),
        *w.set_cp0(TCSTATUS[0], 0x10002017, TCSTATUS[1]),
        w.mfc0(w.T1, w.STATUS),
        w.mfc0(w.T2, w.ENTRYHI),
    ]
    machine.write(ROM, [*program, *w.stop()])
    machine.run()
    gpr = machine.cpu.gpr
    assert gpr[w.T0] == 0x30003842
    assert gpr[w.T1] == 0x10400004
    assert gpr[w.T2] == 0x17


def test_context_that_is_not_there_reads_all_ones_and_keeps_nothing(machine_of: MachineOf) -> None:
    machine = machine_of("34Kf")
    to_epc, from_epc = 0x41800000 | w.T0 << 16 | 14 << 11, 0x41000000 | 14 << 16 | w.T1 << 11
    program = [*w.li(w.T0, 0x1234), to_epc, *w.set_cp0(*VPECONTROL[:1], 1, VPECONTROL[1])]
    program += [*w.li(w.T0, 0x5678), to_epc, from_epc, w.mfc0(w.T2, w.EPC)]
    machine.write(ROM, [*program, *w.stop()])
    machine.run()
    assert machine.cpu.gpr[w.T1] == 0xFFFFFFFF
    assert machine.cpu.gpr[w.T2] == 0x1234
