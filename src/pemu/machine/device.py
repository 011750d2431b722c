"""The bases of all devices and buses; docs/adding-a-device.md walks through a device.

A device class declares its properties (`prop`), registers (`registers`), further state (`state`),
lines (`Output`, `@inputs`) and timers (`@timer`) as class attributes. Argument checking, help,
reset, snapshots and traces derive from these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from pemu.machine.declare import Declaring, Output, Outputs, Property
from pemu.machine.irq import Irq
from pemu.machine.native import Cells
from pemu.machine.region import Order, Terminal
from pemu.machine.state import Derived
from pemu.options.error import OptionError

if TYPE_CHECKING:
    import threading

    from pemu.log import Log
    from pemu.machine.clock import Clocks
    from pemu.machine.control import Control, Vcpu
    from pemu.machine.input import Input
    from pemu.machine.memory import AddressSpace, Rom
    from pemu.machine.wallclock import WallClock

D = TypeVar("D", bound="Device")


class Surroundings(Protocol):
    """A machine as its devices and buses know it; `machine.Machine` tells what each part is."""

    order: Order
    log: Log
    lock: threading.RLock
    clocks: Clocks
    rtc: WallClock
    input: Input
    control: Control
    cpus: list[Vcpu]
    memory: AddressSpace
    io: AddressSpace
    buses: list[Bus]
    roms: list[Rom]
    at_reset: list[Callable[[], object]]

    def create(
        self, driver: type[D], bus: Bus | None = None, *, id: str = "", **values: Any
    ) -> D: ...

    def number(self, device: Device) -> int: ...


class Bus:
    """A bus of a machine, and the devices on it. `owner` is the device that provides it.

    Kinds of buses are subclasses: `kind` is the word that help texts show, `most` how many devices
    there may be, 0 for any number.
    """

    kind: ClassVar[str] = "System"
    most: ClassVar[int] = 0

    def __init__(self, machine: Surroundings, name: str, owner: Device | None = None) -> None:
        self.machine = machine
        self.name = name
        self.owner = owner
        self.devices: list[Device] = []
        machine.buses.append(self)

    def attach(self, device: Device) -> None:
        """Take `device`, whose properties are set, in; raises OptionError where it cannot be."""
        if self.full:
            raise OptionError(
                f"bus {self.name} has no room for {device.driver}; it holds {self.most} devices"
            )
        self.devices.append(device)

    def detach(self, device: Device) -> None:
        """Let go of `device`."""
        self.devices.remove(device)

    @property
    def full(self) -> bool:
        """Whether no further device fits."""
        return bool(self.most) and len(self.devices) >= self.most

    def describe(self, device: Device) -> list[str]:
        """Lines that `info qtree` shows of `device`'s place on the bus."""
        return []


class SystemBus(Bus):
    """What boards are wired by: no addresses of its own; boards map regions and connect lines."""


class Device(Declaring):
    """A device. Made by `Machine.create`, never by calling the class.

    driver: its name on command lines; empty for classes that only others are derived from.
    description: one line for help texts. category: a key of `pemu.devices.catalogue.CATEGORIES`.
    plugs_into: the kind of bus that it is plugged into.
    user_creatable: whether -device can make it; not so for what boards must wire.
    version: of the saved state; to be raised when saved states of before cannot be loaded.
    """

    driver: ClassVar[str] = ""
    description: ClassVar[str] = ""
    category: ClassVar[str] = "misc"
    plugs_into: ClassVar[type[Bus]] = SystemBus
    user_creatable: ClassVar[bool] = True
    version: ClassVar[int] = 1

    def __init__(self, machine: Surroundings, id: str = "") -> None:
        self.machine = machine
        self.clocks = machine.clocks
        self.id = id
        self.bus: Bus
        self.dma_space: AddressSpace = machine.memory
        self.regions: list[Terminal] = []
        """What `info qtree` shows; `Device.own` adds to it."""
        self.cells = Cells(sum(place.size for place in self.native_layout.values()))
        for name, declared in self.declarations.items():
            setattr(self, name, declared.create(self))

    def __repr__(self) -> str:
        return f"<{self.path}>"

    # What devices define

    def realize(self) -> None:
        """Make regions, buses and what else needs the properties; the device is on its bus.

        Raises OptionError for properties that do not go together.
        """

    def realized(self) -> None:
        """For kinds of devices: do what the properties of all of them ask for, after `realize`."""

    def reset(self) -> None:
        """Do what reset does beyond registers, state, timers and output lines, which are reset."""

    def loaded(self) -> None:
        """Do what is to be done after state was loaded: recompute what derives from it."""

    def unplugged(self) -> None:
        """Let go of host resources: called when the machine ends."""

    def give_back_drives(self) -> None:
        """Let others have the drives that this device has taken."""
        for declared in self.properties().values():
            drive = self.__dict__[declared.name]
            if declared.backend == "drive" and drive is not None and drive.owner is self:
                drive.owner = None

    # What devices use

    def own(self, region: Terminal) -> Terminal:
        """Note that `region` is one of the device's, for `info qtree`; returns it."""
        region.owner = self
        self.regions.append(region)
        return region

    def dma_read(self, address: int, length: int) -> bytes:
        """Read `length` bytes at a guest-physical address, as the device's bus sees it."""
        return self.dma_space.dma_read(address, length, self)

    def dma_write(self, address: int, data: bytes) -> None:
        """Write `data` to a guest-physical address."""
        self.dma_space.dma_write(address, data, self)

    def guest_error(self, text: str) -> None:
        """Log (-d guest_errors) that the guest did what the chip leaves undefined."""
        if self.machine.log.enabled("guest_errors"):
            self.machine.log.write(f"{self.path}: {text}")

    def unimplemented(self, text: str) -> None:
        """Log (-d unimp) that the guest uses what this device does not have yet."""
        if self.machine.log.enabled("unimp"):
            self.machine.log.write(f"{self.path}: {text}")

    # What derives from the declarations

    @property
    def path(self) -> str:
        """How messages and snapshots call it: its id, or the driver and a number."""
        return self.id or f"{self.driver}.{self.machine.number(self)}"

    def outputs(self) -> list[Irq]:
        """All lines that the device drives."""
        return [
            line
            for declared in self.declarations.values()
            if isinstance(declared, Output | Outputs)
            for line in declared.lines(self)
        ]

    def lower_outputs(self) -> None:
        """Lower all lines that the device drives: the first step of a reset."""
        for line in self.outputs():
            line.lower()

    def reset_fields(self) -> None:
        """Give registers and state their reset values and cancel timers: the second step."""
        for declared in self.declarations.values():
            declared.reset(self)

    def save(self) -> dict[str, Any]:
        """The state, as JSON can hold it."""
        state = {"version": self.version}
        for name, declared in self.declarations.items():
            saved = declared.save(self)
            if not isinstance(declared, Property | Derived):
                state[name] = saved
        return state

    def load(self, state: dict[str, Any]) -> None:
        """Undo `save`. Raises ValueError where `state` is not one of this device.

        The machine is stopped. `loaded` is to be called after all devices have been loaded.
        """
        if state.get("version") != self.version:
            raise ValueError(f"{self.path}: state of version {state.get('version')!r}")
        unsaved = (Property, Derived)
        wanted = {n: d for n, d in self.declarations.items() if not isinstance(d, unsaved)}
        for name in state.keys() - wanted.keys() - {"version"}:
            raise ValueError(f"{self.path}: unknown state {name!r}")
        for name, declared in wanted.items():
            if name not in state:
                raise ValueError(f"{self.path}: state {name!r} is missing")
            try:
                declared.load(self, state[name])
            except ValueError as error:
                raise ValueError(f"{self.path}: {error}") from None
