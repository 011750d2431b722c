"""The board's FPGA."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from pemu.devices.misc.maltafpga import MaltaFpga
from pemu.machine.machine import Machine
from tests.devices.anyaccess import Access, accesses, check_state, perform

BASE = 0x1F00_0000


def fpga(order: Any = "big") -> MaltaFpga:
    return plug_fpga(Machine(order))


def plug_fpga(machine: Machine) -> MaltaFpga:
    made = machine.create(MaltaFpga, switches=0x81)
    machine.memory.root.add(made.registers, BASE)
    machine.reset_devices()
    return made


@pytest.mark.parametrize(("order", "status"), [("big", 0x12), ("little", 0x10)])
def test_status_tells_the_byte_order(order: Any, status: int) -> None:
    memory = fpga(order).machine.memory
    assert memory.read(BASE + 0x208, 4) == status
    assert memory.read(BASE + 0x200, 4) == 0x81


def test_display() -> None:
    made = fpga()
    memory = made.machine.memory
    for at, letter in enumerate("LINUX"):
        memory.write(BASE + 0x418 + 8 * at, ord(letter), 4)
    assert made.display == "LINUX   "
    memory.write(BASE + 0x410, 0x12AB, 4)
    assert made.display == "000012AB"


def test_reset_wants_its_value() -> None:
    made = fpga()
    requests: list[str] = []
    made.machine.control.request_reset = lambda *_: requests.append("reset")  # type: ignore[method-assign]
    made.machine.memory.write(BASE + 0x500, 1, 4)
    assert requests == []
    made.machine.memory.write(BASE + 0x500, 0x42, 4)
    assert requests == ["reset"]


def test_lights() -> None:
    memory = fpga().machine.memory
    memory.write(BASE + 0x408, 0x1AA, 4)
    assert memory.read(BASE + 0x408, 4) == 0xAA


@given(accesses(0x10_0000), accesses(0x1000))
def test_any_accesses(far: list[Access], near: list[Access]) -> None:
    machine = Machine("big")
    plug_fpga(machine)
    machine.control.request_reset = lambda *_: None  # type: ignore[method-assign]
    perform(machine.memory, BASE, [access for access in far if access[0] < 0xFFFF0])
    perform(machine.memory, BASE, near)
    check_state(machine)
