"""Integer instructions where another emulator cannot tell: Linux's view, faults, exact bytes."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import pytest

from pemu.engine.staging.insn import Insn
from pemu.isa.mips.cpu import architecture
from pemu.isa.mips.exceptions import (
    ADDRESS_LOAD,
    ADDRESS_STORE,
    BREAKPOINT,
    COPROCESSOR_UNUSABLE,
    RESERVED_INSTRUCTION,
    THREAD,
    TRAP,
)
from tests.isa.mips.machines import CODE, DATA, DATA_BYTES, PemuMachine, State, Trap
from tests.isa.mips.streams import assemble

T0, T1, T2, GP, RA = 8, 9, 10, 28, 31


class Machine(PemuMachine):
    """A machine with an assembler."""

    def __init__(self, model: str, big_endian: bool, abi: str, jit: str) -> None:
        super().__init__(architecture(model, big_endian, abi), jit)
        self.insns: dict[str, Insn] = {
            insn.name: insn for insn in self.arch.source().select(self.arch.features)
        }

    def word(self, name: str, **fields: int) -> int:
        return assemble(self.insns[name], **fields)

    def trap(self, *words: int, **registers: Any) -> Trap:
        with pytest.raises(Trap) as caught:
            self.run(words, state(b"", **registers))
        return caught.value


@lru_cache
def machine(model: str, jit: str, big_endian: bool = True, abi: str = "o32") -> Machine:
    return Machine(model, big_endian, abi, jit)


def state(data: bytes = b"", **registers: int) -> State:
    """Return a state with some registers set (r8=5); gp points to the data."""
    gpr = [0] * 32
    gpr[GP] = DATA
    for name, value in registers.items():
        gpr[int(name[1:])] = value
    return State(gpr, data=data.ljust(DATA_BYTES, b"\0"))


@pytest.fixture
def m24k(jit: str) -> Machine:
    return machine("24Kf", jit)


@pytest.fixture(params=[True, False], ids=["big", "little"])
def either(request: pytest.FixtureRequest, jit: str) -> Machine:
    return machine("MIPS64R2-generic", jit, request.param, "n64")


@pytest.mark.parametrize(("register", "value"), [(0, 0), (1, 32), (3, 2)])
def test_hardware_registers_read_as_under_linux(m24k: Machine, register: int, value: int) -> None:
    word = 0x7C00003B | T0 << 16 | register << 11
    assert m24k.run([word], state(r8=99)).gpr[T0] == value


def test_hardware_cycle_counter_grows(m24k: Machine) -> None:
    read = m24k.insns["rdhwr_cycle_counter"]
    end = m24k.run([assemble(read, rt=T0), *[0] * 50, assemble(read, rt=T1)], state())
    assert 0 < (end.gpr[T1] - end.gpr[T0]) & 0xFFFFFFFF < 1 << 30


def test_thread_pointer_is_read_on_every_model(jit: str) -> None:
    for model in ("24Kf", "4Kc"):
        m = machine(model, jit)
        m.cpu.userlocal = 0x12345678
        assert m.run([m.word("rdhwr_user_local", rt=T0)], state()).gpr[T0] == 0x12345678


def test_other_hardware_register_is_reserved(m24k: Machine) -> None:
    trap = m24k.trap(0, 0x7C00003B | T0 << 16 | 5 << 11)
    assert (trap.code, trap.pc) == (RESERVED_INSTRUCTION, CODE + 4)


@pytest.mark.parametrize(
    "word",
    [
        pytest.param(0x40086000, id="mfc0"),
        pytest.param(0x40886000, id="mtc0"),
        pytest.param(0x42000002, id="tlbwi"),
        pytest.param(0x42000018, id="eret"),
        pytest.param(0x4200001F, id="deret"),
        pytest.param(0x42000020, id="wait"),
        pytest.param(0x41686000, id="di"),
        pytest.param(0x41686020, id="ei"),
        pytest.param(0x41484800, id="rdpgpr"),
        pytest.param(0xBF900000, id="cache"),
        pytest.param(0x43FFFFFF, id="no instruction at all"),
    ],
)
def test_privileged_instruction_finds_coprocessor_0_unusable(m24k: Machine, word: int) -> None:
    trap = m24k.trap(word)
    assert (trap.code, trap.argument) == (COPROCESSOR_UNUSABLE, 0)


@pytest.mark.parametrize("word", [0x48080000, 0x4A000000, 0xCB880000, 0xFB880000])
def test_coprocessor_2_is_unusable(m24k: Machine, word: int) -> None:
    trap = m24k.trap(word)
    assert (trap.code, trap.argument) == (COPROCESSOR_UNUSABLE, 2)


def test_break_hands_over_all_twenty_bits(m24k: Machine) -> None:
    trap = m24k.trap(m24k.word("break", high=7, low=0x155))
    assert (trap.code, trap.argument, trap.pc) == (BREAKPOINT, 7 << 10 | 0x155, CODE)


def test_trap_hands_over_its_code(m24k: Machine) -> None:
    trap = m24k.trap(m24k.word("teq", rs=T0, rt=T1, code=7), r8=5, r9=5)
    assert (trap.code, trap.argument) == (TRAP, 7)


def test_trap_in_delay_slot_is_at_the_branch(m24k: Machine) -> None:
    branch = m24k.word("beq", rs=0, rt=0, offset=4)
    trap = m24k.trap(0, branch, m24k.word("teq", rs=0, rt=0, code=0))
    assert trap.pc == CODE + 4


def test_debug_break_is_skipped(m24k: Machine) -> None:
    assert m24k.run([0x7000003F, m24k.word("ori", rs=0, rt=T0, imm=3)], state()).gpr[T0] == 3


def test_jump_to_another_encoding_is_reserved(m24k: Machine) -> None:
    assert m24k.trap(0x74100000, 0).code == RESERVED_INSTRUCTION


def test_fork_finds_no_free_thread_context(jit: str) -> None:
    m = machine("34Kf", jit)
    assert m.trap(m.word("fork", rs=T0, rt=T1, rd=T2)).code == THREAD


def test_yield_of_the_only_thread_goes_on(jit: str) -> None:
    m = machine("34Kf", jit)
    word = m.word("yield", rs=T0, rd=T1)
    assert m.run([word], state(r8=0xFFFFFFFE, r9=5)).gpr[T1] == 0
    assert m.trap(word, r8=1).code == THREAD


def test_move_on_condition_code(m24k: Machine) -> None:
    words = [
        m24k.word("movf", rs=T0, rd=T1, cc=3),
        m24k.word("movt", rs=T0, rd=T2, cc=3),
    ]
    for code, expected in ((0, (7, 2)), (1, (1, 7))):
        m24k.cpu.fcc[3] = code
        end = m24k.run(words, state(r8=7, r9=1, r10=2))
        assert (end.gpr[T1], end.gpr[T2]) == expected


def test_write_to_register_zero_is_lost(m24k: Machine) -> None:
    words = [m24k.word("addiu", rs=0, rt=0, imm=5), m24k.word("addu", rs=0, rt=0, rd=T0)]
    assert m24k.run(words, state(r8=9)).gpr[T0] == 0


def test_linking_jump_through_the_register_it_writes(m24k: Machine) -> None:
    words = [m24k.word("jalr", rs=T0, rd=T0), 0, m24k.word("ori", rs=0, rt=T1, imm=1), 0]
    end = m24k.run(words, state(r8=CODE + 12))
    assert (end.gpr[T0], end.gpr[T1]) == (CODE + 8, 0)


def test_unaligned_words_are_loaded_and_stored(either: Machine) -> None:
    order: Literal["big", "little"] = "big" if either.arch.big_endian else "little"
    words = [
        either.word("lh", base=GP, rt=T0, offset=1),
        either.word("lwu", base=GP, rt=T1, offset=3),
        either.word("ld", base=GP, rt=T2, offset=5),
        either.word("sd", base=GP, rt=T2, offset=0x21),
    ]
    data = bytes(range(16))
    end = either.run(words, state(data))
    assert end.gpr[T0] == int.from_bytes(data[1:3], order)
    assert end.gpr[T1] == int.from_bytes(data[3:7], order)
    assert end.gpr[T2] == int.from_bytes(data[5:13], order)
    assert end.data[0x20:0x2A] == b"\0" + data[5:13] + b"\0"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("ll", ADDRESS_LOAD),
        ("lld", ADDRESS_LOAD),
        ("sc", ADDRESS_STORE),
        ("scd", ADDRESS_STORE),
    ],
)
def test_atomic_access_must_be_aligned(either: Machine, name: str, code: int) -> None:
    trap = either.trap(either.word(name, base=GP, rt=T0, offset=2))
    assert (trap.code, trap.argument) == (code, DATA + 2)


def test_store_conditional_fails_where_memory_has_changed(m24k: Machine) -> None:
    words = [
        m24k.word("ll", base=GP, rt=T0, offset=8),
        m24k.word("sw", base=GP, rt=T1, offset=8),
        m24k.word("sc", base=GP, rt=T2, offset=8),
    ]
    end = m24k.run(words, state(r9=5, r10=7))
    assert end.gpr[T2] == 0
    assert end.data[8:12] == bytes((0, 0, 0, 5))


def test_store_conditional_without_link_fails(m24k: Machine) -> None:
    words = [
        m24k.word("ll", base=GP, rt=T0, offset=8),
        m24k.word("sc", base=GP, rt=T1, offset=8),
        m24k.word("sc", base=GP, rt=T2, offset=8),
    ]
    end = m24k.run(words, state(r9=5, r10=7))
    assert (end.gpr[T1], end.gpr[T2]) == (1, 0)


@pytest.mark.parametrize("name", ["swl", "swr", "sdl", "sdr"])
def test_partial_store_leaves_other_bytes_alone(either: Machine, name: str) -> None:
    size = 4 if name.startswith("sw") else 8
    value = bytes(range(0xA0, 0xA0 + size))
    for place in range(size):
        end = either.run(
            [either.word(name, base=GP, rt=T0, offset=0x40 + place)],
            state(b"\x11" * DATA_BYTES, r8=int.from_bytes(value)),
        )
        upward = either.arch.big_endian == name.endswith("l")
        count = size - place if upward else place + 1
        start = place if upward else 0
        part = value[:count] if name.endswith("l") else value[size - count :]
        expected = bytearray(b"\x11" * size)
        expected[start : start + count] = part if either.arch.big_endian else part[::-1]
        assert end.data[0x40 : 0x40 + size] == expected, f"{name} at {place}"
        assert end.data[0x40 - size : 0x40] == end.data[0x40 + size : 0x40 + 2 * size]


def test_partial_accesses_stay_inside_their_page(either: Machine) -> None:
    last = DATA_BYTES - 1
    words = [
        either.word(name, base=GP, rt=T0, offset=offset)
        for name in ("lwl", "lwr", "ldl", "ldr", "swl", "swr", "sdl", "sdr")
        for offset in (0, last)
    ]
    data = bytes(index & 0xFF for index in range(DATA_BYTES))
    assert len(either.run(words, state(data)).data) == DATA_BYTES


def test_prefetch_of_nothing_does_no_harm(m24k: Machine) -> None:
    words = [
        m24k.word("pref", base=0, hint=30, offset=16),
        m24k.word("prefx", base=0, index=T0, hint=5),
    ]
    m24k.run(words, state(r8=0x7FFF0000))


def test_synchronized_store_to_code_takes_effect(m24k: Machine) -> None:
    new = m24k.word("ori", rs=0, rt=T1, imm=2)
    words = [
        m24k.word("bne", rs=T2, rt=0, offset=4),
        m24k.word("sw", base=RA, rt=T0, offset=6 * 4),
        m24k.word("synci", base=RA, offset=6 * 4),
        m24k.word("jr", rs=RA),
        m24k.word("ori", rs=0, rt=T2, imm=1),
        0,
        m24k.word("ori", rs=0, rt=T1, imm=1),
    ]
    # Once with the old instruction, so that there is a translation to drop.
    m24k.run(words, state(r8=new, r31=CODE, r10=1))
    assert m24k.run(words, state(r8=new, r31=CODE)).gpr[T1] == 2


@pytest.mark.parametrize(
    ("model", "abi", "word"),
    [
        pytest.param("4Kc", "o32", 0x7C080000, id="ext before Release 2"),
        pytest.param("24Kf", "o32", 0x0109502D, id="daddu on 32 bits"),
        pytest.param("R4000", "n64", 0x0109500A, id="movz before MIPS IV"),
        pytest.param("R4000", "n64", 0x71095002, id="mul before MIPS32"),
        pytest.param("24Kf", "o32", 0x7D09500A, id="lwx without DSP"),
        pytest.param("24Kf", "o32", 0x7D095008, id="fork without MT"),
        pytest.param("24Kf", "o32", 0xFC000000, id="no instruction"),
    ],
)
def test_instruction_that_a_model_lacks_is_reserved(
    jit: str, model: str, abi: str, word: int
) -> None:
    trap = machine(model, jit, abi=abi).trap(0, word)
    assert (trap.code, trap.pc) == (RESERVED_INSTRUCTION, CODE + 4)


def test_rotation_before_release_2_is_a_shift(jit: str) -> None:
    word = 0x00284A02 | 1 << 21  # ror t1, t0, 8
    for model, expected in (("4Kc", 0x00123456), ("24Kf", 0x78123456)):
        assert machine(model, jit).run([word], state(r8=0x12345678)).gpr[T1] == expected


def test_vr5432_multiplies_into_a_register(jit: str) -> None:
    m = machine("VR5432", jit, abi="n64")
    words = [
        m.word("mul_vr5400", rs=T0, rt=T1, rd=2),
        m.word("mulu_vr5400", rs=T0, rt=T1, rd=3),
        m.word("macc_vr5400", rs=T0, rt=T1, rd=4),
        m.word("mulhi_vr5400", rs=T0, rt=T1, rd=5),
        m.word("rotr", rt=T1, rd=6, sa=4),
    ]
    end = m.run(words, state(r8=-3 & (1 << 64) - 1, r9=5))
    assert [end.gpr[n] - (1 << 64) for n in (2, 3, 4, 5)] == [-15, -15, -30, -1]
    assert end.gpr[6] == 0x50000000
    assert (end.hi, end.lo) == ((1 << 64) - 1, (1 << 64) - 15)
