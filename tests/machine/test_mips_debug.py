"""What a machine does for debuggers inside the guest: watched fetches, steps, the debug unit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest

from pemu.machine.region import Ram
from tests.isa.mips.system import words as w
from tests.machine.mips_machine import ROM, MipsMachine

MODELS = ("24Kf", "MIPS64R2-generic", "4Km")
WATCHLO, WATCHHI = 18, 19
SST, DSS, DBP, DM, BD = 1 << 8, 1 << 0, 1 << 1, 1 << 30, 1 << 31
EXL, IE, USER, IM0, GLOBAL, FETCH = 2, 1, 0x10, 1 << 8, 1 << 30, 4
PROGRAM, DEBUG_VECTOR = 0x80010000, 0x480
STEPS, PLACES = 16, 0xA0000400
"""Steps that the handler takes; where it notes DEPC."""

S0, S1, S2 = 16, 17, 18

MachineOf = Callable[[str], MipsMachine]


@pytest.fixture
def machine_of(request: pytest.FixtureRequest) -> Iterator[MachineOf]:
    made: list[MipsMachine] = []

    def make(model: str) -> MipsMachine:
        made.append(MipsMachine(model, request.config.getoption("--jit")))
        return made[-1]

    yield make
    for one in made:
        one.close()


def start(machine: MipsMachine, program: Sequence[int], handler: Sequence[int] = ()) -> None:
    """Run `program` in kernel mode; exceptions go to `handler`, which ends in WAIT."""
    note = [w.mfc0(w.T1, w.CAUSE), w.mfc0(w.T2, w.EPC)]
    machine.write(0x180, [*note, *handler, *w.stop()])
    machine.write(PROGRAM & 0xFFFFFF, [*program, *w.stop()])
    machine.write(ROM, [*w.set_cp0(w.STATUS, 0), *w.li(w.T4, PROGRAM), w.jr(w.T4), w.NOP])
    machine.run()


def watch_fetch(address: int) -> list[int]:
    return [*w.set_cp0(WATCHHI, GLOBAL), *w.set_cp0(WATCHLO, address | FETCH)]


@pytest.mark.parametrize("model", MODELS)
def test_watched_instruction_raises_before_it_is_run(machine_of: MachineOf, model: str) -> None:
    machine = machine_of(model)
    at = PROGRAM + 0x40
    program = [*watch_fetch(at), *w.li(w.T4, at - 8), w.jr(w.T4), w.NOP]
    program += [w.NOP] * (14 - len(program))
    program += [w.addiu(w.T0, 0, 1), w.addiu(w.T0, 0, 2), w.addiu(w.T0, 0, 3)]
    start(machine, program)
    code, epc, seen = machine.gprs((w.T1, w.T2, w.T0))
    assert (code >> 2 & 31, epc, seen) == (23, at, 2)


def test_watched_delay_slot_names_the_branch(machine_of: MachineOf) -> None:
    machine = machine_of("24Kf")
    at = PROGRAM + 0x40
    program = [*watch_fetch(at)]
    program += [w.NOP] * (15 - len(program))
    start(machine, [*program, w.beq(0, 0, 1), w.addiu(w.T0, 0, 2)])
    code, epc = machine.gprs((w.T1, w.T2))
    assert (code >> 31, code >> 2 & 31, epc) == (1, 23, at - 4)


def test_instruction_is_watched_only_while_the_register_says_so(machine_of: MachineOf) -> None:
    machine = machine_of("24Kf")
    at = PROGRAM + 0x60
    program = [*watch_fetch(at), *w.set_cp0(WATCHLO, 0)]
    program += [w.NOP] * (24 - len(program))
    start(machine, [*program, w.addiu(w.T0, 0, 2), w.addiu(w.T0, 0, 3)])
    assert machine.gprs((w.T0, w.T1)) == [3, 0]


def test_program_is_watched_from_the_return_to_it_on(machine_of: MachineOf) -> None:
    machine = machine_of("4Km")  # where programs' addresses need no TLB
    at = 0x8000
    machine.machine.memory.root.add(Ram("program", 0x10000), 0x40000000)
    machine.write(0x40000000 + at, [w.addiu(w.T0, 0, 1), w.addiu(w.T0, 0, 2), w.addiu(w.T0, 0, 3)])
    program = [
        *watch_fetch(at + 8),
        *w.set_cp0(w.STATUS, EXL | USER),
        *w.set_cp0(w.EPC, at),
        w.ERET,
    ]
    start(machine, program)
    code, epc, seen = machine.gprs((w.T1, w.T2, w.T0))
    assert (code >> 2 & 31, epc, seen) == (23, at + 8, 2)


def test_kernel_that_tries_the_registers_out_drops_no_translations(machine_of: MachineOf) -> None:
    machine = machine_of("24Kf")
    tried = [*w.set_cp0(WATCHLO, 7), w.mfc0(w.T0, WATCHLO), *w.set_cp0(WATCHLO, 0)]
    before = machine.processor.engine.epoch
    start(machine, [*tried, *w.set_cp0(w.EPC, PROGRAM + 4 * 16), *w.set_cp0(w.STATUS, EXL), w.ERET])
    assert machine.gprs((w.T0,)) == [7]
    assert machine.processor.engine.epoch == before


def stepper() -> list[int]:
    """A handler for debug mode: notes DEPC, steps over SDBBP, and goes on stepping."""
    return [
        w.mfc0(w.K0, w.DEBUG),
        w.mfc0(w.K1, w.DEPC),
        w.sw(w.K1, S0),
        w.addiu(S0, S0, 4),
        w.addiu(S1, S1, -1),
        0x30000000 | w.K0 << 21 | w.K0 << 16 | DBP,  # andi k0, k0, DBp
        0x10000000 | w.K0 << 21 | 3,  # beq k0, zero: a step
        w.NOP,
        w.addiu(w.K1, w.K1, 4),
        w.mtc0(w.K1, w.DEPC),
        *w.li(w.K0, SST),
        0x1C000000 | S1 << 21 | 2,  # bgtz s1: on stepping
        w.NOP,
        w.addiu(w.K0, 0, 0),
        w.mtc0(w.K0, w.DEBUG),
        w.DERET,
    ]


def stepped(machine: MipsMachine, program: Sequence[int], count: int) -> list[int]:
    """Where the processor came to, in words from the program's start, each time."""
    machine.write(ROM + DEBUG_VECTOR, stepper())
    before = [*w.li(S0, PLACES), w.addiu(S1, 0, count)]
    start(machine, [*before, *program])
    raw = machine.machine.memory.dma_read(PLACES & 0xFFFFFF, 4 * count)
    places = (int.from_bytes(raw[n : n + 4], "big") for n in range(0, len(raw), 4))
    return [(place - PROGRAM) // 4 - len(before) for place in places]


@pytest.mark.parametrize("model", MODELS)
def test_each_step_is_one_instruction_and_a_branch_with_its_slot(
    machine_of: MachineOf, model: str
) -> None:
    program = [w.SDBBP, w.NOP, w.addiu(w.T0, 0, 1), w.beq(0, 0, 2), w.addiu(w.T0, w.T0, 1), 0, 0]
    machine = machine_of(model)
    assert stepped(machine, program, 5) == [0, 2, 3, 6, 7]
    assert machine.gprs((w.T0,)) == [2]


def test_step_into_an_exception_comes_to_its_vector(machine_of: MachineOf) -> None:
    vector = (0x80000180 - PROGRAM) // 4 - 3
    assert stepped(machine_of("24Kf"), [w.SDBBP, w.NOP, w.SYSCALL], 3) == [0, 2, vector]


def test_pending_interrupt_comes_before_the_step(machine_of: MachineOf) -> None:
    program = [*w.set_cp0(w.CAUSE, IM0), *w.set_cp0(w.STATUS, EXL | IE | IM0), w.SDBBP]
    program += w.set_cp0(w.STATUS, IE | IM0)
    vector = (0x80000180 - PROGRAM) // 4 - 3
    places = stepped(machine_of("24Kf"), program, 5)
    assert places == [6, 8, 9, 10, vector + 1]


def test_debug_control_register_offers_no_breakpoints(machine_of: MachineOf) -> None:
    machine = machine_of("24Kf")
    handler = [*w.li(w.K0, 0xFF300000), w.lw(S0, w.K0), w.lw(S1, w.K0, 0x1000), *w.stop()]
    machine.write(ROM + DEBUG_VECTOR, handler)
    start(machine, [w.SDBBP])
    control, others = machine.gprs((S0, S1))
    assert control >> 16 & 3 == 0
    assert control >> 29 & 1
    assert others == 0


def test_without_a_probe_its_memory_is_a_bus_error_in_debug_mode(machine_of: MachineOf) -> None:
    machine = machine_of("24Kf")
    handler = [
        w.mfc0(S0, w.DEBUG),
        0x30000000 | S0 << 21 | S1 << 16 | DBP,  # andi s1, s0, DBp
        0x10000000 | S1 << 21 | 4,  # beq s1, zero
        w.NOP,
        *w.li(w.K0, 0xFF200200),
        w.lw(w.T0, w.K0),
        *w.stop(),
    ]
    machine.write(ROM + DEBUG_VECTOR, handler)
    start(machine, [w.SDBBP])
    (debug,) = machine.gprs((S0,))
    assert debug >> 10 & 31 == 7
    assert debug & DM


def test_debug_unit_is_hidden_from_other_modes(machine_of: MachineOf) -> None:
    machine = machine_of("24Kf")
    start(machine, [*w.li(w.K0, 0xFF300000), w.lw(w.T0, w.K0)], [w.addiu(S0, 0, 9)])
    assert machine.gprs((w.T0,)) == [0]
