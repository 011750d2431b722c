"""What debuggers and the monitor are shown of coprocessor 0."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pemu.isa.mips.cp0.display import status_lines, tlb_lines
from pemu.isa.mips.debug import variables
from tests.isa.mips.system import words as w
from tests.isa.mips.system.barecpu import ROM, BareMachine

MachineOf = Callable[[str], BareMachine]


@pytest.mark.parametrize("model", ["24Kf", "R4000", "34Kf", "MIPS64R2-generic", "4Km"])
def test_debugger_reads_the_registers_of_the_model(machine_of: MachineOf, model: str) -> None:
    machine = machine_of(model)
    values = {v.name: v.read(machine.cpu) for v in variables(machine.arch)}
    assert values["status"] == 0x400004
    assert values["prid"] == machine.arch.system.control.model.prid  # type: ignore[union-attr]
    assert ("ebase" in values) == ("mips32r2" in machine.arch.features)


def test_debugger_changes_status_and_the_mode_follows(machine_of: MachineOf) -> None:
    machine = machine_of("24Kf")
    status = next(v for v in variables(machine.arch) if v.name == "status")
    status.write(machine.cpu, 0x10)
    assert machine.cpu.mode >> 4 == 2


def test_status_lines_have_the_form_of_the_reference(machine_of: MachineOf) -> None:
    assert status_lines(machine_of("24Kf").cpu) == (
        "CP0 Status  0x00400004 Cause   0x00000000 EPC    0x00000000\n"
        "    Config0 0x80008482 Config1 0x9e190c8f LLAddr 0x0000000000000000\n"
        "    Config2 0x80000000 Config3 0x00000000\n"
        "    Config4 0x00000000 Config5 0x00000000\n"
    )


def test_tlb_is_listed_with_size_owner_and_pages(machine_of: MachineOf) -> None:
    machine = machine_of("24Kf")
    program = [
        *w.set_cp0(w.PAGEMASK, 0x6000),
        *w.set_cp0(w.ENTRYHI, 0x20000042),
        *w.set_cp0(w.ENTRYLO0, 0x400000 >> 6 | 0x1E),
        *w.set_cp0(w.ENTRYLO1, 0),
        *w.set_cp0(w.INDEX, 3),
        w.TLBWI,
        *w.stop(),
    ]
    machine.write(ROM, program)
    assert tlb_lines(machine.cpu) == "No TLB entry has been written.\n"
    machine.run()
    assert tlb_lines(machine.cpu) == (
        " 3 20000000     16K asid 42  0x000400000 c3 DV  0x000000000 c0 --\n"
    )
