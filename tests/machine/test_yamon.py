"""What a kernel finds that YAMON would have started, and the code that leaves it so."""

from __future__ import annotations

from typing import Any

import pytest

from pemu.machine.yamon import A0, KSEG0, KSEG1, T9, Code, parameters, physical


def perform(code: Code) -> tuple[dict[int, int], list[tuple[int, int, int]]]:
    """Carry out straight code: registers, and stores as (address, value, size)."""
    registers: dict[int, int] = {}
    stores: list[tuple[int, int, int]] = []
    data = code.bytes()
    words = [int.from_bytes(data[at : at + 4], code.order) for at in range(0, len(data), 4)]
    at = 0
    while at < len(words):
        word = words[at]
        source, target, low = word >> 21 & 31, word >> 16 & 31, word & 0xFFFF
        at += 1
        opcode = word >> 26
        if opcode == 4:
            at += low
        elif opcode == 0x0F:
            registers[target] = (low << 16) - (1 << 32 if low >> 15 else 0)
        elif opcode == 0x0D:
            registers[target] = registers[source] | low
        elif opcode == 0 and low & 0x3F == 0x38:
            registers[low >> 11] = registers[target] << (low >> 6 & 31)
        elif opcode in (0x2B, 0x28):
            size = 4 if opcode == 0x2B else 1
            value = registers[target] & (1 << 8 * size) - 1
            stores.append((registers[source] & (1 << 64) - 1, value, size))
        elif opcode == 0 and low & 0x3F == 8:
            registers[32] = registers[source]
    return {number: value & (1 << 64) - 1 for number, value in registers.items()}, stores


@pytest.mark.parametrize(
    "value", [0, 5, 0x7FFF_FFFF, KSEG0 + 0x12345678, 0xFFFF_FFFF, 0xA800_0000_0010_0ABC]
)
def test_constants(value: int) -> None:
    code = Code("little")
    code.load(A0, value)
    assert perform(code)[0][A0] == value


def test_stores_and_jump() -> None:
    code = Code("big")
    code.skip(8)
    code.words += [0] * 7
    code.store(KSEG1 + 0x100, 0xDEADBEEF)
    code.store_swapped(KSEG1 + 0x104, 0x11223344)
    code.store_byte(KSEG1 + 0x4D1, 0x0C)
    code.jump(KSEG0 + 0x10_0000)
    registers, stores = perform(code)
    assert stores == [
        (KSEG1 + 0x100, 0xDEADBEEF, 4),
        (KSEG1 + 0x104, 0x44332211, 4),
        (KSEG1 + 0x4D1, 0x0C, 1),
    ]
    assert registers[32] == registers[T9] == KSEG0 + 0x10_0000


@pytest.mark.parametrize("order", ["big", "little"])
def test_parameters(order: Any) -> None:
    pairs = [("memsize", "64"), ("modetty0", "38400n8r")]
    block, arguments, environment = parameters(KSEG0 + 0x2000, ("kernel", "quiet"), pairs, order)

    def strings(at: int) -> list[str]:
        found = []
        while pointer := int.from_bytes(block[at - KSEG0 - 0x2000 :][:4], order):
            start = pointer - 0x8000_2000
            found.append(block[start : block.index(0, start)].decode())
            at += 4
        return found

    assert arguments == KSEG0 + 0x2000
    assert strings(arguments) == ["kernel", "quiet"]
    assert strings(environment) == ["memsize", "64", "modetty0", "38400n8r"]


@pytest.mark.parametrize(
    ("address", "place"),
    [
        (0x8010_0000, 0x10_0000),
        (0xA010_0000, 0x10_0000),
        (KSEG0 + 0x10_0000, 0x10_0000),
        (0xA800_0000_2000_0000, 0x2000_0000),
        (0x10_0000, 0x10_0000),
    ],
)
def test_physical_addresses(address: int, place: int) -> None:
    assert physical(address) == place


@pytest.mark.parametrize("address", [0x4000_0000, 0xC000_0000, 0xFFFF_FFFF_C000_0000])
def test_mapped_addresses_are_refused(address: int) -> None:
    with pytest.raises(ValueError, match="mapped by the TLB"):
        physical(address)
