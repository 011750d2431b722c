"""What derives from a device's declarations, shown with the example of the documentation."""

from __future__ import annotations

import json

import pytest

from pemu.devices import DRIVERS as DRIVERS_OF_PEMU
from pemu.devices import catalogue
from pemu.log import Log
from pemu.machine import state
from pemu.machine.declare import Output, inputs
from pemu.machine.device import Bus, Device
from pemu.machine.irq import Irq, or_gate
from pemu.machine.machine import Machine
from pemu.machine.registers import Register, RegisterBank, Registers
from pemu.options.error import OptionError
from tests.machine.countdown import Countdown

BASE = 0x1000


def machine_with_timer() -> tuple[Machine, Countdown]:
    machine = Machine("little")
    device = machine.create(Countdown)
    machine.memory.root.add(device.registers, BASE)
    machine.reset_devices()
    return machine, device


def test_timer_interrupts_when_time_has_passed() -> None:
    machine, device = machine_with_timer()
    machine.memory.write(BASE, 100, 4)
    machine.memory.write(BASE + 4, 3, 4)
    virtual = machine.clocks.virtual
    virtual.set(99_999)
    virtual.run_timers()
    assert device.irq.level == 0
    virtual.set(100_000)
    virtual.run_timers()
    assert device.irq.level == 1
    assert machine.memory.read(BASE + 8, 4) == 1
    machine.memory.write(BASE + 8, 1, 4)
    assert device.irq.level == 0


class Faulty(Countdown):
    """A device with a part, which cannot be what its properties ask for."""

    driver = "test-faulty"

    def realize(self) -> None:
        super().realize()
        self.own(self.registers)
        self.machine.memory.root.add(self.registers, BASE)
        Bus(self.machine, "faulty", self)
        self.machine.create(Countdown)
        raise OptionError("cannot be")


def test_a_device_that_cannot_be_made_leaves_nothing_behind() -> None:
    machine = Machine("little")
    buses = list(machine.buses)
    with pytest.raises(OptionError, match="cannot be"):
        machine.create(Faulty, id="a")
    assert (machine.devices, machine.buses, machine.system_bus.devices) == ([], buses, [])
    assert machine.memory.find(BASE) is None
    machine.create(Countdown, id="a")


def test_reset_restores_registers_state_lines_and_timers() -> None:
    machine, device = machine_with_timer()
    machine.memory.write(BASE, 5, 4)
    machine.memory.write(BASE + 4, 3, 4)
    device.irq.raise_()
    machine.reset_devices()
    assert (device.load_value, device.control, device.starts, device.irq.level) == (0, 0, 0, 0)
    assert device.expired.expires is None


def test_state_is_saved_and_loaded() -> None:
    machine, device = machine_with_timer()
    machine.memory.write(BASE, 7, 4)
    machine.memory.write(BASE + 4, 3, 4)
    saved = json.loads(json.dumps(machine.save_devices()))
    other, copy = machine_with_timer()
    other.load_devices(saved)
    assert (copy.load_value, copy.control, copy.starts) == (7, 2, 1)
    assert copy.expired.expires == device.expired.expires == 7000


def test_gates_between_devices_know_their_inputs_after_loading() -> None:
    machine, device = machine_with_timer()
    device.irq.raise_()
    saved = machine.save_devices()
    other, copy = machine_with_timer()
    output = Irq()
    copy.irq.connect(or_gate(output, 2)[0])
    other.load_devices(saved)
    assert output.level == 1
    copy.irq.lower()
    assert output.level == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "state of version 2"),
        ({"extra": 1}, "unknown state 'extra'"),
        ({"control": 1 << 32}, "no number of 32 bits"),
        ({"irq": 2}, "no level"),
    ],
)
def test_damaged_state_is_refused(change: dict[str, int], message: str) -> None:
    machine, device = machine_with_timer()
    with pytest.raises(ValueError, match=message):
        device.load(device.save() | change)


class Mixed(Device):
    """A device with registers of all kinds."""

    driver = "mixed"

    low = Register(0, reset=0x12)
    wide = Register(4, 32, reset=0xAABBCCDD, writable=0x00FFFF00)
    flags = Register(8, 16, reset=0xFFFF, writable=0, clears=0x0FF0)
    data = Registers(0x10, 4, bits=16)
    other = Register(0, bank="second")
    note = state.text(kept=True)
    seen: list[object]
    out = Output()

    def realize(self) -> None:
        self.seen = []

    @data.on_write
    def _data_written(self, index: int, written: int, old: int) -> None:
        self.seen.append((index, written, old))

    @inputs(3)
    def pins(self, number: int, level: int) -> None:
        """Three pins."""
        self.seen.append(("pin", number, level))


@pytest.fixture
def mixed() -> Mixed:
    return Machine("little").create(Mixed)


def test_writable_bits_and_bits_that_ones_clear(mixed: Mixed) -> None:
    bank = RegisterBank(mixed, "mixed", 0x20)
    bank.write(4, 0x11223344, 4)
    assert mixed.wide == 0xAA2233DD
    bank.write(8, 0xFF00, 2)
    assert mixed.flags == 0xF0FF


@pytest.mark.parametrize(("order", "value"), [("little", 0xBB), ("big", 0xCC)])
def test_byte_of_a_wide_register(mixed: Mixed, order: str, value: int) -> None:
    bank = RegisterBank(mixed, "mixed", 0x20, order="big" if order == "big" else "little")
    assert bank.read(6, 1) == value
    bank.write(6, 0x55, 1)
    assert mixed.wide == 0xAA00CCDD | 0x550000 if order == "little" else 0xAABB55DD


def test_one_access_reaches_several_registers(mixed: Mixed) -> None:
    bank = RegisterBank(mixed, "mixed", 0x20)
    bank.write(0x10, 0x22221111, 4)
    assert mixed.data == [0x1111, 0x2222, 0, 0]
    assert mixed.seen == [(0, 0x1111, 0), (1, 0x2222, 0)]
    assert bank.read(0x10, 4) == 0x22221111


def test_banks_are_apart(mixed: Mixed) -> None:
    second = RegisterBank(mixed, "second", 4, "second")
    second.write(0, 9, 1)
    assert (mixed.other, mixed.low) == (9, 0x12)


def test_overlapping_registers_are_refused(mixed: Mixed) -> None:
    bank = RegisterBank(mixed, "mixed", 0x20)
    with pytest.raises(ValueError, match="NEW overlaps WIDE"):
        bank.define("NEW", 6, 4, lambda: 0, lambda value, lanes: None)


def test_input_lines_call_their_method(mixed: Mixed) -> None:
    mixed.pins[2].raise_()
    mixed.pins[2].raise_()
    mixed.pins[0].pulse()
    assert mixed.seen == [("pin", 2, 1), ("pin", 0, 1), ("pin", 0, 0)]


def test_kept_state_survives_reset(mixed: Mixed) -> None:
    mixed.note = "stays"
    mixed.reset_fields()
    assert mixed.note == "stays"


def test_register_accesses_are_traced(tmp_path: object) -> None:
    path = f"{tmp_path}/log"
    machine = Machine("little", Log((), path, events=("device_register",)))
    device = machine.create(Countdown)
    machine.memory.root.add(device.registers, 0)
    machine.memory.write(4, 2, 4)
    machine.memory.read(8, 4)
    with open(path, encoding="ascii") as log:
        assert log.read() == (
            "device_register countdown CONTROL +0x4 <- 0x00000002\n"
            "device_register countdown STATUS +0x8 -> 0x00000000\n"
        )


# -device and -global

DRIVERS = {"countdown": "timer.countdown:Countdown"}


@pytest.fixture
def drivers(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    import sys

    import tests.machine.countdown as module

    monkeypatch.setitem(sys.modules, "pemu.devices.timer.countdown", module)
    return DRIVERS


def test_device_from_the_command_line(drivers: dict[str, str]) -> None:
    device = catalogue.add_device(Machine(), "countdown,id=t0,frequency=0x64", drivers)
    assert isinstance(device, Countdown)
    assert (device.path, device.frequency) == ("t0", 100)


def test_ids_are_given_once(drivers: dict[str, str]) -> None:
    machine = Machine()
    catalogue.add_device(machine, "countdown,id=t0", drivers)
    with pytest.raises(OptionError, match="there is a device 't0' already"):
        catalogue.add_device(machine, "countdown,id=t0", drivers)


def test_global_sets_what_the_device_does_not(drivers: dict[str, str]) -> None:
    machine = Machine()
    machine.globals = [("countdown", "frequency", "5"), ("countdown", "frequency", "6")]
    assert machine.create(Countdown).frequency == 6
    device = catalogue.add_device(machine, "countdown,frequency=7", drivers)
    assert isinstance(device, Countdown)
    assert device.frequency == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cuontdown", "'cuontdown' is not a valid device model name; did you mean 'countdown'?"),
        (
            "countdown,freqency=1",
            "'countdown.freqency' is no property; did you mean 'frequency'?",
        ),
        ("countdown,frequency=x", "countdown.frequency: 'x' is not an integer"),
        ("countdown,bus=pci.0", "bus 'pci.0' not found"),
        ("id=x", "'driver' is missing"),
    ],
)
def test_mistakes_in_device(drivers: dict[str, str], text: str, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        catalogue.add_device(Machine(), text, drivers)
    assert str(caught.value).startswith(message)


def test_help_lists_devices_and_properties(drivers: dict[str, str]) -> None:
    assert catalogue.listing(drivers) == (
        'Misc devices:\nname "countdown", bus System, desc "Countdown 3000 interval timer"\n'
    )
    assert catalogue.usage(Countdown) == (
        "countdown options:\n  frequency=<uint32> - ticks a second (default: 1000000)\n"
    )


@pytest.mark.parametrize("name", sorted(DRIVERS_OF_PEMU))
def test_each_driver_is_where_the_table_says(name: str) -> None:
    assert catalogue.find(name).driver == name
