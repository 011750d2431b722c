"""Registers that are plain memory look like memory, whatever sizes and orders are declared."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pemu.machine.device import Device
from pemu.machine.machine import Machine
from pemu.machine.memory import AddressSpace
from pemu.machine.region import Mmio, Order, Ram, Region
from pemu.machine.registers import Register, RegisterBank, Registers

SIZE = 32
ORDERS = st.sampled_from(("little", "big"))
ACCESSES = st.lists(
    st.tuples(
        st.sampled_from((1, 2, 4, 8)), st.integers(0, SIZE - 1), st.integers(0, (1 << 64) - 1)
    ),
    max_size=12,
)


def check(space: AddressSpace, memory: bytearray, accesses: list[tuple[int, int, int]]) -> None:
    """Write each value and read around it; `memory` becomes what a memory would hold.

    Each value is written inverted first, and then through `store`, as processors do.
    """
    for size, offset, value in accesses:
        offset = min(offset, SIZE - size)
        mask = (1 << 8 * size) - 1
        value &= mask
        space.write(offset, value ^ mask, size)
        assert space.read(offset, size) == value ^ mask
        space.store(offset, size)(value)
        memory[offset : offset + size] = value.to_bytes(size, space.order)
        start = max(offset - 3, 0)
        for wide in (1, 2, 4, 8):
            if start + wide <= SIZE:
                expected = int.from_bytes(memory[start : start + wide], space.order)
                assert space.read(start, wide) == expected
                assert space.load(start, wide)() & (1 << 8 * wide) - 1 == expected
        assert space.dma_read(0, SIZE) == memory


@given(st.sampled_from((1, 2, 4, 8)), ORDERS, ORDERS, ACCESSES)
def test_functions_of_any_maximum_size(
    maximum: int, device: Order, cpu: Order, accesses: list[tuple[int, int, int]]
) -> None:
    held = bytearray(SIZE)

    def read(offset: int, size: int) -> int:
        assert size <= maximum
        assert offset % size == 0
        return int.from_bytes(held[offset : offset + size], device)

    def write(offset: int, value: int, size: int) -> None:
        assert size <= maximum
        assert offset % size == 0
        held[offset : offset + size] = value.to_bytes(size, device)

    space = AddressSpace("test", Region("root", 1 << 16), cpu)
    space.root.add(Mmio("m", SIZE, read, write, maximum=maximum, order=device), 0)
    check(space, bytearray(SIZE), accesses)


class Plain(Device):
    """Registers of all widths, without gaps."""

    driver = "plain"

    a = Registers(0x00, 4)
    b = Registers(0x04, 2, bits=16)
    c = Register(0x08, 32)
    d = Registers(0x0C, 4)
    e = Register(0x10, 64)
    f = Registers(0x18, 2, bits=32)


@given(ORDERS, ORDERS, st.sampled_from((0, 1, 2, 4)), ACCESSES)
def test_plain_registers_are_a_memory(
    bank: Order, cpu: Order, span: int, accesses: list[tuple[int, int, int]]
) -> None:
    machine = Machine(cpu)
    device = machine.create(Plain)
    machine.memory.root.add(RegisterBank(device, "plain", SIZE, order=bank, span=span), 0)
    check(machine.memory, bytearray(SIZE), accesses)


@given(ORDERS, ACCESSES)
def test_pieces_of_memory_side_by_side(cpu: Order, accesses: list[tuple[int, int, int]]) -> None:
    space = AddressSpace("test", Region("root", 1 << 16), cpu)
    for start in range(0, SIZE, 8):
        space.root.add(Ram("ram", 8), start)
    check(space, bytearray(SIZE), accesses)
