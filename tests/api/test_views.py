"""Registers, memory and symbols."""

from __future__ import annotations

from pathlib import Path

import pytest

import pemu


def test_registers_have_names_and_numbers(guest: Path) -> None:
    with pemu.Program(guest) as program:
        registers = program.registers
        registers["r4"] = 123
        assert registers.a0 == registers["a0"] == 123
        registers.s8 = 7
        assert registers["fp"] == registers["r30"] == 7


def test_register_takes_the_low_bits(guest: Path) -> None:
    with pemu.Program(guest) as program:
        program.registers.a0 = -1
        assert program.registers.a0 == 0xFFFFFFFF


def test_zero_stays_zero(guest: Path) -> None:
    with pemu.Program(guest) as program:
        program.registers["zero"] = 5
        assert program.registers.zero == 0


def test_floating_point_and_control_registers(guest: Path) -> None:
    with pemu.Program(guest) as program:
        program.registers.f4 = 0x3F800000
        program.registers.hi = 0x12345678
        program.registers.fcsr = 1
        assert program.registers.f4 == 0x3F800000
        assert program.registers.hi == 0x12345678
        assert program.registers.fcsr & 3 == 1


def test_memory_holds_what_the_program_has_and_gets(guest: Path) -> None:
    with pemu.Program(guest) as program:
        memory, symbols = program.memory, program.symbols
        assert memory.string(symbols["text"]) == b"some text"
        assert memory.read(symbols["text"], 4) == b"some"
        assert memory.u64[symbols["wide"]] == 0x1122334455667788
        assert memory.u32[symbols["wide"]] == 0x11223344
        assert memory.u16[symbols["wide"] + 6] == 0x7788
        assert memory.u8[symbols["wide"] + 7] == 0x88
        memory.i32[symbols["counter"]] = -2
        assert memory.word[symbols["counter"]] == 0xFFFFFFFE
        assert program.run() == (-2 + 1) % 256


def test_large_memory_is_read_in_one_go(guest: Path) -> None:
    with pemu.Program(guest) as program:
        (stack,) = [m for m in program.memory.mappings if m.start <= program.registers.sp < m.end]
        size = stack.end - stack.start
        assert len(program.memory.read(stack.start, size)) == size
        program.memory.write(stack.start, bytes(range(256)) * 1024)
        assert program.memory.read(stack.start + 0x30000, 256) == bytes(range(256))


def test_changed_code_is_executed(guest: Path) -> None:
    with pemu.Program([guest, "sum"], stdout=pemu.CAPTURE) as program:
        program.run(until="add")
        program.memory.u32[program.symbols["add"]] = 0x03E00008  # jr ra
        program.memory.u32[program.symbols["add"] + 4] = 0x2402002A  # li v0, 42
        assert program.run() == 42


def test_memory_that_is_not_mapped_faults(guest: Path) -> None:
    with pemu.Program(guest) as program:
        with pytest.raises(pemu.MemoryFault, match="guest address 0x10 ") as caught:
            program.memory.read(0x10, 4)
        assert caught.value.address == 0x10
        with pytest.raises(pemu.MemoryFault):
            program.memory.u8[0] = 1
        last = program.memory.mappings[-1].end
        with pytest.raises(pemu.MemoryFault):
            program.memory.read(last - 2, 4)


def test_mappings_tell_of_the_program(guest: Path) -> None:
    with pemu.Program(guest) as program:
        (code,) = [m for m in program.memory.mappings if m.path and m.access == "r-x"]
        assert code.path == str(guest)
        assert code.start <= program.symbols["main"] < code.end


def test_symbols_by_address(guest: Path) -> None:
    with pemu.Program(guest) as program:
        assert program.symbols.at(program.symbols["add"] + 4) == ("add", 4)
        assert program.symbols.at(0x10) is None
        assert "main" in program.symbols
        assert program.symbols.get("nothing") is None
