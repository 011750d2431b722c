"""One emulated machine: what its parts share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol

from pemu.log import Log
from pemu.machine.clock import Clocks, InstructionCount
from pemu.machine.control import Cause, Control, Vcpu
from pemu.machine.device import Bus, D, Device, SystemBus
from pemu.machine.input import Input
from pemu.machine.iothread import IoThread
from pemu.machine.memory import AddressSpace, Rom
from pemu.machine.region import Order, Region, transaction
from pemu.machine.wallclock import WallClock
from pemu.options.error import OptionError, quoted


class Hosting(Protocol):
    """What lets programs without an operating system use the host (-semihosting).

    features: what a processor needs for it, beside its model's.
    """

    features: frozenset[str]

    def call(self, processor: Any) -> None:
        """Do what the program on a processor asks for; on the processor's thread."""


class Machine:
    """The parts of one machine, and the devices that have been made for it.

    order: byte order of the processor. lock: held by whoever runs device code: the processor's
        thread for accesses, timers, the I/O thread's callbacks.
    control: whether it runs. cpus: the processors. rtc: the time of day that clock chips show.
    icount: what -icount says, for the processors; None without it.
    input: where displays and monitors say what the user types.
    memory: what the processor sees, `memory.root` holds all; io: I/O ports, `io.root`.
    backends: by kind ('chardev', 'drive'), a function from an id to the object;
        OptionError for an unknown id.
    semihosting: for its programs, None without; to be set before processors are made.
    new_cpu: makes a processor of a model.
    function_name: the function around a guest-virtual address of the kernel, for logs.
    roms: what each reset puts into memory, as the last thing. at_reset: functions called before
        that and after the processors' reset: what a boot loader does to memory and registers.
    """

    def __init__(self, order: Order = "little", log: Log | None = None) -> None:
        self.order: Order = order
        self.log = log or Log()
        self.lock = threading.RLock()
        self.clocks = Clocks()
        self.rtc = WallClock(self.clocks)
        self.icount: InstructionCount | None = None
        self.input = Input(self.clocks.virtual)
        self.control = Control(self)
        self.cpus: list[Vcpu] = []
        self.function_name: Callable[[int], str] = lambda address: ""
        self.roms: list[Rom] = []
        self.at_reset: list[Callable[[], object]] = []
        self.memory = AddressSpace("memory", Region("system", 1 << 64), order, self.log)
        self.io = AddressSpace("I/O", Region("io", 1 << 16), order, self.log)
        self.io.unassigned = lambda address, size, is_write: (1 << 8 * size) - 1
        self.spaces = [self.memory, self.io]
        self._iothread: IoThread | None = None
        self.devices: list[Device] = []
        self.buses: list[Bus] = []
        self.system_bus = SystemBus(self, "main-system-bus")
        self.semihosting: Hosting | None = None
        self.new_cpu: Callable[[str], Vcpu] | None = None
        self.backends: dict[str, Callable[[str], object]] = {}
        self.globals: list[tuple[str, str, str]] = []
        """-global: driver, property, value as text; the later counts."""

    @property
    def iothread(self) -> IoThread:
        """The I/O thread, made when it is first asked for."""
        if self._iothread is None:
            self._iothread = IoThread(self.lock, self.clocks)
        return self._iothread

    def unplug_devices(self) -> None:
        """Let devices let go of their back ends, after the machine has ended."""
        for cpu in self.cpus:
            cpu.close()
        with self.lock:  # workers may still have something to tell devices
            for device in reversed(self.devices):
                device.unplugged()

    def close(self) -> None:
        """End the I/O thread; the last thing to do, when back ends are closed, too."""
        if self._iothread is not None:
            self._iothread.close()
            self._iothread = None

    # Devices

    def create(self, driver: type[D], bus: Bus | None = None, *, id: str = "", **values: Any) -> D:
        """Make a device and plug it into `bus` (the system bus if None).

        values: properties by the attribute's name; of backends, the object. Those of -global come
        before. Raises OptionError; then everything is as before.
        """
        if id and any(one.id == id for one in self.devices):
            raise OptionError(f"there is a device {quoted(id)} already; give another id")
        with transaction():
            device = driver(self, id)
            known = driver.properties()
            by_attribute = {one.name: one for one in known.values()}
            for name, key, text in self.globals:
                if any(name == base.__dict__.get("driver") for base in driver.__mro__):
                    if key not in known:
                        raise OptionError(f"-global {name}.{key}: there is no such property")
                    setattr(device, known[key].name, self.parse_property(driver, key, text))
            for attribute, value in values.items():
                if attribute not in by_attribute:
                    raise TypeError(f"{driver.driver} has no property {attribute}")
                setattr(device, attribute, value)
            plug(device, bus or self.system_bus)
            self.devices.append(device)
            buses = len(self.buses)
            try:
                device.realize()
                device.realized()
            except BaseException:
                self._take_back(self.devices.index(device), buses)
                raise
        return device

    def _take_back(self, first: int, first_bus: int) -> None:
        """Forget the device number `first`, which could not be realized, and what it has made."""
        gone = self.devices[first:]
        for part in reversed(gone[1:]):
            part.unplugged()
        for space in self.spaces:
            space.root.remove_owned(gone)
        for device in gone:
            device.bus.detach(device)
            device.give_back_drives()
        del self.devices[first:]
        del self.buses[first_bus:]

    def parse_property(self, driver: type[Device], key: str, text: str) -> Any:
        """The value of a property from the text that a user gave. Raises OptionError."""
        declared = driver.properties()[key]
        try:
            value = declared.type.parse(text)
            return self.backend(declared.backend, value) if declared.backend else value
        except OptionError as error:
            raise error.within(f"{driver.driver}.{key}") from None

    def backend(self, kind: str, id: str) -> object:
        """The chardev or drive that is called `id`. Raises OptionError."""
        find = self.backends.get(kind)
        if find is None:
            raise OptionError(f"{quoted(id)}: there is no {kind} here")
        return find(id)

    def add_cpu(self, model: str) -> Vcpu:
        """Make a processor; `new_cpu` does that. Raises OptionError for an unknown model."""
        if self.new_cpu is None:
            raise OptionError(f"-cpu {model}: machines of this kind have no processors")
        cpu = self.new_cpu(model)
        self.cpus.append(cpu)
        return cpu

    def number(self, device: Device) -> int:
        """Which of the devices of its driver `device` is, from 0 on."""
        same = [one for one in self.devices if one.driver == device.driver]
        return same.index(device) if device in same else len(same)

    def find_bus(self, kind: type[Bus], name: str = "") -> Bus | None:
        """The bus called `name`, or the first of this kind that has room; None without one."""
        for bus in self.buses:
            if isinstance(bus, kind) and (bus.name == name if name else not bus.full):
                return bus
        return None

    # Reset and state

    def reset(self, cause: Cause = "guest-reset") -> None:
        """Reset everything: devices, processors, then what `at_reset` and `roms` say.

        Under the lock, while the processors do not run: `control.request_reset` is what others use.
        """
        with transaction():
            self.reset_devices()
        for cpu in self.cpus:
            cpu.reset()
        for action in self.at_reset:
            action()
        for rom in self.roms:
            self.memory.fill(rom.address, rom.data)

    def reset_devices(self) -> None:
        """Reset all devices, as power-on does."""
        for device in self.devices:
            device.lower_outputs()
        for device in self.devices:
            device.reset_fields()
        for device in self.devices:
            device.reset()

    def save_devices(self) -> dict[str, Any]:
        """The state of all devices, as JSON can hold it."""
        return {device.path: device.save() for device in self.devices}

    def load_devices(self, state: dict[str, Any]) -> None:
        """Undo `save_devices`. Raises ValueError."""
        devices = {device.path: device for device in self.devices}
        for path in devices.keys() ^ state.keys():
            raise ValueError(f"device {path} is not in both, the machine and its saved state")
        with transaction():
            for path, device in devices.items():
                device.load(state[path])
            for device in self.devices:
                for line in device.outputs():
                    line.repeat()
            for device in self.devices:
                device.loaded()


def plug(device: Device, bus: Bus) -> None:
    """Put `device` on `bus`. Raises OptionError where it does not fit."""
    if not isinstance(bus, device.plugs_into):
        raise OptionError(
            f"{device.driver} plugs into a bus of kind {device.plugs_into.kind}; bus {bus.name} is "
            f"of kind {bus.kind}"
        )
    device.bus = bus
    bus.attach(device)
