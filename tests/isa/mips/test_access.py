"""Which bytes an instruction would access, beside what it does access when it runs in unicorn."""

from __future__ import annotations

import pytest

from pemu.isa.mips.access import accessed

unicorn = pytest.importorskip("unicorn", reason="unicorn is not installed (pip install unicorn)")

CODE, DATA = 0x10000, 0x20000
BASE_REGISTER, INDEX_REGISTER = 4, 5

# Major opcodes of loads and stores with a base register and an offset. A store-conditional is not
# among them: alone it stores nothing.
LOADS = (0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x30, 0x31, 0x34, 0x35, 0x37, 0x1A, 0x1B)
STORES = (0x28, 0x29, 0x2A, 0x2B, 0x2C, 0x2D, 0x2E, 0x39, 0x3D, 0x3F)
UNALIGNED = (0x22, 0x26, 0x2A, 0x2E, 0x1A, 0x1B, 0x2C, 0x2D)


def effect(instruction: int, base: int, big_endian: bool) -> tuple[set[int], bool]:
    """Bytes that unicorn touches, and whether it writes; partial stores count what they change."""
    from unicorn import mips_const as m

    order = unicorn.UC_MODE_BIG_ENDIAN if big_endian else unicorn.UC_MODE_LITTLE_ENDIAN
    engine = unicorn.Uc(unicorn.UC_ARCH_MIPS, unicorn.UC_MODE_MIPS64 | order)
    engine.ctl_set_cpu_model(m.UC_CPU_MIPS64_MIPS64R2_GENERIC)
    engine.mem_map(CODE, 0x1000)
    engine.mem_map(DATA, 0x1000)
    engine.mem_write(CODE, instruction.to_bytes(4, "big" if big_endian else "little"))
    engine.mem_write(DATA, b"\xee" * 64)
    status = engine.reg_read(m.UC_MIPS_REG_CP0_STATUS)
    engine.reg_write(m.UC_MIPS_REG_CP0_STATUS, status | 1 << 29)  # the FPU is usable
    engine.reg_write(m.UC_MIPS_REG_4, base)
    touched: set[int] = set()
    writes = False

    def seen(
        _: object, kind: int, address: int, size: int, value: int, data: object = None
    ) -> None:
        nonlocal writes
        if address >= DATA:
            touched.update(range(address, address + size))
            writes |= kind == unicorn.UC_MEM_WRITE

    engine.hook_add(unicorn.UC_HOOK_MEM_READ | unicorn.UC_HOOK_MEM_WRITE, seen)
    engine.emu_start(CODE, CODE + 4)
    if writes:
        changed = engine.mem_read(DATA, 64)
        return {DATA + i for i, byte in enumerate(changed) if byte != 0xEE}, True
    return touched, writes


@pytest.mark.parametrize("big_endian", [True, False], ids=["be", "le"])
@pytest.mark.parametrize("opcode", LOADS + STORES, ids=hex)
def test_access_is_what_the_instruction_touches(opcode: int, big_endian: bool) -> None:
    offset = 8 if opcode in (0x34, 0x35, 0x37, 0x3D, 0x3F) else 4
    shifts = range(8) if opcode in UNALIGNED else (0,)
    for shift in shifts:
        base = DATA + 16 + shift
        instruction = opcode << 26 | BASE_REGISTER << 21 | offset
        registers = [0] * 32
        registers[BASE_REGISTER] = base
        access = accessed(instruction, registers, big_endian)
        assert access is not None
        address, size, store = access
        assert store == (opcode in STORES)
        touched, writes = effect(instruction, base, big_endian)
        assert writes == store
        ours = set(range(address, address + size))
        if store:
            assert touched == ours
        else:
            assert ours <= touched  # a partial load reads its whole word


@pytest.mark.parametrize(
    ("instruction", "size", "store"),
    [
        (0x4C850000, 4, False),  # lwxc1
        (0x4C850001, 8, False),  # ldxc1
        (0x4C850008, 4, True),  # swxc1
        (0x4C850009, 8, True),  # sdxc1
        (0x7C85100A, 4, False),  # lwx
        (0x7C85110A, 2, False),  # lhx
        (0x7C85118A, 1, False),  # lbux
    ],
)
def test_indexed_accesses(instruction: int, size: int, store: bool) -> None:
    registers = [0] * 32
    registers[BASE_REGISTER], registers[INDEX_REGISTER] = 0x1000, 0x20
    assert accessed(instruction, registers, True) == (0x1020, size, store)


@pytest.mark.parametrize("instruction", [0, 0x0000000C, 0x10000001, 0x3C041234, 0x4C850010])
def test_other_instructions_access_nothing(instruction: int) -> None:
    assert accessed(instruction, [0] * 32, True) is None
