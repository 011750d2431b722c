"""Exceptions: vectors, EPC and Cause, delay slots, and the way back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import pytest

from tests.isa.mips.system import words as w
from tests.isa.mips.system.barecpu import ROM, BareMachine

MODELS = ("24Kf", "4Kc", "R4000", "MIPS64R2-generic", "20Kc", "34Kf", "4Km")
BEV, EXL, ERL, IE, USER, UX, CU0 = 1 << 22, 2, 4, 1, 0x10, 0x20, 1 << 28

PARTIAL = {0x22: "lwl", 0x26: "lwr", 0x2A: "swl", 0x2E: "swr"}
"""Mnemonics by opcode."""

PROGRAM, USER_PROGRAM = 0xBFC08000, 0x1000
"""Guest-virtual addresses."""

if TYPE_CHECKING:

    class Start(Protocol):
        """Runs a program on a model; words for user mode lie at USER_PROGRAM."""

        def __call__(
            self, model: str, program: Sequence[int], user: Sequence[int] = ...
        ) -> BareMachine: ...


@pytest.fixture
def run(machine_of: Callable[[str], BareMachine]) -> Start:
    """Runs words at the reset vector, with a handler in each vector that notes and stops.

    The handler leaves in t0 the offset of its vector, in t1 EPC, in t2 Cause, in t3 Status.
    """

    def start(model: str, program: Sequence[int], user: Sequence[int] = ()) -> BareMachine:
        machine = machine_of(model)
        for base in (0, ROM + 0x200):
            for offset in (0, 0x80, 0x100, 0x180, 0x200):
                handler = [
                    w.addiu(w.T0, 0, offset),
                    w.mfc0(w.T1, w.EPC),
                    w.mfc0(w.T2, w.CAUSE),
                    w.mfc0(w.T3, w.STATUS),
                    *w.stop(),
                ]
                machine.write(base + offset, handler)
        machine.write(ROM, [w.beq(0, 0, 0x1FFF), w.NOP])
        machine.write(ROM + 0x8000, [*program, *w.stop()])
        machine.write(USER_PROGRAM, user)
        machine.run()
        return machine

    return start


def word(machine: BareMachine, register: int) -> int:
    return int(machine.cpu.gpr[register]) & 0xFFFFFFFF


@pytest.mark.parametrize("model", MODELS)
def test_break_in_a_delay_slot_names_the_branch(run: Start, model: str) -> None:
    program = [*w.set_cp0(w.STATUS, BEV), w.beq(0, 0, 1), w.BREAK]
    machine = run(model, program)
    assert word(machine, w.T0) == 0x180
    assert word(machine, w.T1) == PROGRAM + 12
    assert word(machine, w.T2) & 0x8000007C == 0x80000000 | 9 << 2
    assert word(machine, w.T3) & EXL
    assert machine.cpu.pc & 0xFFFFFFFF >= 0xBFC00380


@pytest.mark.parametrize("model", MODELS)
def test_second_exception_keeps_the_first_epc(run: Start, model: str) -> None:
    program = [*w.set_cp0(w.STATUS, BEV | EXL), *w.set_cp0(w.EPC, 0x1234), w.SYSCALL]
    machine = run(model, program)
    assert word(machine, w.T1) == 0x1234
    assert word(machine, w.T2) >> 2 & 31 == 8


@pytest.mark.parametrize("model", MODELS)
def test_normal_vectors_lie_in_kseg0(run: Start, model: str) -> None:
    machine = run(model, [*w.set_cp0(w.STATUS, 0), w.SYSCALL])
    assert word(machine, w.T0) == 0x180
    assert machine.cpu.pc & 0xFFFFF000 == 0x80000000


@pytest.mark.parametrize("model", MODELS)
def test_store_to_a_misaligned_address_gives_it_as_badvaddr(run: Start, model: str) -> None:
    program = [*w.set_cp0(w.STATUS, 0), *w.li(w.A0, 0x80001002), w.sw(0, w.A0)]
    machine = run(model, program)
    assert word(machine, w.T2) >> 2 & 31 == 5
    assert machine.cpu.badvaddr & 0xFFFFFFFF == 0x80001002


@pytest.mark.parametrize("model", [m for m in MODELS if m != "4Km"])
def test_unmapped_address_enters_the_refill_vector(run: Start, model: str) -> None:
    program = [*w.set_cp0(w.STATUS, 0), *w.li(w.A0, 0xC0123454), w.lw(w.V0, w.A0)]
    machine = run(model, program)
    assert word(machine, w.T0) == 0
    assert word(machine, w.T2) >> 2 & 31 == 2
    assert machine.cpu.badvaddr & 0xFFFFFFFF == 0xC0123454
    assert machine.cpu.context & 0xFFFFFFFF == 0xC0123454 >> 9 & 0x7FFFF0
    assert machine.cpu.entryhi & 0xFFFFFFFF == 0xC0122000


def to_user(status: int = USER) -> list[int]:
    """Begins USER_PROGRAM, in user mode."""
    return [
        *w.set_cp0(w.EPC, USER_PROGRAM),
        *w.set_cp0(w.STATUS, status | EXL),
        *w.set_cp0(w.ENTRYHI, 0),
        *w.set_cp0(w.ENTRYLO0, 1),
        *w.set_cp0(w.ENTRYLO1, USER_PROGRAM >> 6 | 0x1F),
        *w.set_cp0(w.INDEX, 3),
        w.TLBWI,
        w.ERET,
    ]


@pytest.mark.parametrize("model", [m for m in MODELS if m != "4Km"])
def test_kernel_address_in_user_mode_is_an_address_error(run: Start, model: str) -> None:
    machine = run(model, to_user(), [*w.li(w.A0, 0x80000000), w.lw(w.V0, w.A0)])
    assert word(machine, w.T2) >> 2 & 31 == 4
    assert machine.cpu.badvaddr & 0xFFFFFFFF == 0x80000000
    assert word(machine, w.T1) == USER_PROGRAM + 8


@pytest.mark.parametrize("model", ["MIPS64R2-generic", "20Kc"])
def test_addresses_of_32_bit_programs_wrap_as_words(run: Start, model: str) -> None:
    """A sum past 2 GiB is told as the kernel's address that it would be."""
    machine = run(model, to_user(), [*w.li(w.A0, 0x7FFFFFF0), w.lw(w.V0, w.A0, 0x20)])
    assert machine.cpu.badvaddr & (1 << 64) - 1 == 0xFFFFFFFF80000010


@pytest.mark.parametrize("model", ["24Kf", "MIPS64R2-generic"])
@pytest.mark.parametrize("opcode", PARTIAL, ids=list(PARTIAL.values()))
@pytest.mark.parametrize("place", range(4))
def test_partial_access_tells_its_own_address(
    run: Start, model: str, opcode: int, place: int
) -> None:
    """Not that of the word which it touches."""
    access = opcode << 26 | w.A0 << 21 | w.V0 << 16
    program = [*w.set_cp0(w.STATUS, 0), *w.li(w.A0, 0xC0123454 + place), access]
    machine = run(model, program)
    assert word(machine, w.T0) == 0
    assert machine.cpu.badvaddr & 0xFFFFFFFF == 0xC0123454 + place


@pytest.mark.parametrize("move", [w.dmfc0, w.dmtc0])
@pytest.mark.parametrize(
    ("status", "code"), [(USER, 11), (USER | CU0, 10), (USER | UX, 11), (USER | UX | CU0, 8)]
)
def test_wide_moves_of_coprocessor_0_in_user_mode(
    run: Start, move: Callable[[int, int], int], status: int, code: int
) -> None:
    """Whether the coprocessor can be used counts before whether there are 64 bits."""
    machine = run("MIPS64R2-generic", to_user(status), [move(w.A0, w.CONTEXT), w.SYSCALL])
    assert word(machine, w.T2) >> 2 & 31 == code
    assert word(machine, w.T2) >> 28 & 3 == 0
