"""What a device's class declares, and how that becomes attributes of each device.

A declaration is a class attribute; `create` makes its value for one device, which is stored under
the same name in the device's own dictionary, so that later uses cost what an attribute costs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar, overload

from pemu.machine.irq import Irq, Line, input_lines
from pemu.machine.native import Cell, Cells, Place, is_native, lay_out

if TYPE_CHECKING:
    from pemu.machine.clock import Clocks, Timer
    from pemu.options.types import ValueType

T = TypeVar("T")


class Declaring:
    """Base of classes with declarations; `declarations` has them by name, bases' first.

    clocks: in devices, the machine's, which their timers go by.
    cells: in devices, what native code sees of them (`pemu.machine.native`).
    bound: in devices, whether native code makes accesses to them.
    """

    clocks: Clocks
    cells: Cells
    bound = False
    declarations: ClassVar[dict[str, Declared[Any]]] = {}
    native_layout: ClassVar[dict[str, Place]] = {}
    """Where in the cells things are that native code uses (`pemu.machine.native`)."""

    def __init_subclass__(cls) -> None:
        declared: dict[str, Declared[Any]] = {}
        for base in reversed(cls.__mro__):
            for name, value in vars(base).items():
                if isinstance(value, Cell):
                    value = value.declared
                if isinstance(value, Declared):
                    declared[name] = value
                else:
                    declared.pop(name, None)
        cls.declarations = declared
        cls.native_layout = lay_out(cls, declared)
        for name, place in cls.native_layout.items():
            if place.kind == "value":
                setattr(cls, name, Cell(declared[name], place.first, declared[name].cell_type))

    @classmethod
    def properties(cls) -> dict[str, Property[Any]]:
        """The properties by the name that users know."""
        found = [one for one in cls.declarations.values() if isinstance(one, Property)]
        return {one.key: one for one in found}


class Declared(ABC, Generic[T]):
    """Base of declarations. `name` is the attribute's, `help` one sentence without a full stop."""

    name = ""
    cells = 0
    """How many cells native code needs for it; `cell_kind` as `native.Place` has it."""
    cell_kind = "value"
    cell_type: type = int

    def __init__(self, help: str = "") -> None:
        self.help = help

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, device: None, owner: type) -> Self: ...
    @overload
    def __get__(self, device: Declaring, owner: type) -> T: ...
    def __get__(self, device: Declaring | None, owner: type) -> Self | T:
        if device is None:
            return self
        raise AttributeError(f"{owner.__name__}.{self.name} has not been made yet")

    @abstractmethod
    def create(self, device: Declaring) -> T:
        """The value for `device`."""

    def reset(self, device: Declaring) -> None:
        """Put the value for `device` back to what it is after power-on."""

    def save(self, device: Declaring) -> Any:
        """What a snapshot holds of it, as JSON can; None for nothing."""
        return None

    def load(self, device: Declaring, saved: Any) -> None:
        """Undo `save`. Raises ValueError where `saved` is nothing that `save` returns."""
        raise ValueError(f"{self.name} is not saved")


class Property(Declared[T]):
    """A property: its type, its value where it is not given, and what it says.

    key: what users call it; empty for the attribute's name with '-' for '_'.
    backend: what kind of object its value names ('chardev', 'drive'); the attribute is
        that object then, or None. `text` holds the given name.
    """

    cells = 1
    cell_kind = "property"

    def __init__(
        self, type: ValueType, default: Any, help: str = "", *, key: str = "", backend: str = ""
    ) -> None:
        super().__init__(help)
        self.type = type
        self.default = default
        self.key = key
        self.backend = backend

    def __set_name__(self, owner: Any, name: str) -> None:
        super().__set_name__(owner, name)
        self.key = self.key or name.replace("_", "-")

    def create(self, device: Declaring) -> T:
        value: T = self.default
        return value


class Output(Declared[Irq]):
    """An interrupt line, or any other wire, that the device drives."""

    cells = 1
    cell_kind = "line"

    def create(self, device: Declaring) -> Irq:
        return Line() if device.native_layout else Irq()

    def lines(self, device: Declaring) -> list[Irq]:
        """The lines that this declares, of `device`."""
        return [device.__dict__[self.name]]

    def reset(self, device: Declaring) -> None:
        line: Irq = device.__dict__[self.name]
        line.lower()

    def save(self, device: Declaring) -> int:
        line: Irq = device.__dict__[self.name]
        return line.level

    def load(self, device: Declaring, saved: Any) -> None:
        line: Irq = device.__dict__[self.name]
        line.level = _level(saved)  # `Machine.load_devices` tells the sinks


class Outputs(Declared[list[Irq]]):
    """Several lines that the device drives."""

    cell_kind = "line"

    def __init__(self, count: int, help: str = "") -> None:
        super().__init__(help)
        self.count = self.cells = count

    def create(self, device: Declaring) -> list[Irq]:
        return [Line() if device.native_layout else Irq() for _ in range(self.count)]

    def lines(self, device: Declaring) -> list[Irq]:
        """The lines that this declares, of `device`."""
        return list(device.__dict__[self.name])

    def reset(self, device: Declaring) -> None:
        for line in device.__dict__[self.name]:
            line.lower()

    def save(self, device: Declaring) -> list[int]:
        return [line.level for line in device.__dict__[self.name]]

    def load(self, device: Declaring, saved: Any) -> None:
        if not isinstance(saved, list) or len(saved) != self.count:
            raise ValueError(f"{self.name}: not {self.count} levels")
        for line, level in zip(device.__dict__[self.name], saved, strict=True):
            line.level = _level(level)


class Input:
    """What hears of an input line of a device whose method native code runs, too."""

    __slots__ = ("device", "name", "number", "_handler")

    def __init__(
        self, handler: Callable[[int, int], object], number: int, device: Declaring, name: str
    ) -> None:
        self._handler = handler
        self.number = number
        self.device = device
        self.name = name

    def __call__(self, level: int) -> None:
        self._handler(self.number, level)


class Inputs(Declared[list[Irq]]):
    """Lines whose changes call a method with (number, level); made by `inputs`."""

    def __init__(self, count: int, method: Callable[[Any, int, int], object]) -> None:
        super().__init__((method.__doc__ or "").strip())
        self.count = count
        self.method = method

    def create(self, device: Declaring) -> list[Irq]:
        handler = partial(self.method, device)
        if is_native(self.method):
            return [Line(Input(handler, number, device, self.name)) for number in range(self.count)]
        return input_lines(handler, self.count)

    def save(self, device: Declaring) -> list[int]:
        return [line.level for line in device.__dict__[self.name]]

    def load(self, device: Declaring, saved: Any) -> None:
        if not isinstance(saved, list) or len(saved) != self.count:
            raise ValueError(f"{self.name}: not {self.count} levels")
        for line, level in zip(device.__dict__[self.name], saved, strict=True):
            line.level = _level(level)


def inputs(count: int) -> Callable[[Callable[[Any, int, int], object]], Inputs]:
    """Declare `count` input lines: `@inputs(8) def pins(self, number: int, level: int) -> None`.

    The attribute is the list of lines, which are given to those that drive them.
    """
    return lambda method: Inputs(count, method)


class TimerField(Declared["Timer"]):
    """A timer on the virtual clock that calls a method; made by `timer`. It is saved."""

    def __init__(self, method: Callable[[Any], object]) -> None:
        super().__init__((method.__doc__ or "").strip())
        self.method = method

    def create(self, device: Declaring) -> Timer:
        method = self.method
        return device.clocks.virtual.timer(lambda: method(device))

    def reset(self, device: Declaring) -> None:
        timer: Timer = device.__dict__[self.name]
        timer.cancel()

    def save(self, device: Declaring) -> int | None:
        timer: Timer = device.__dict__[self.name]
        return timer.expires

    def load(self, device: Declaring, saved: Any) -> None:
        timer: Timer = device.__dict__[self.name]
        if saved is None:
            timer.cancel()
        elif isinstance(saved, int):
            timer.arm(saved)
        else:
            raise ValueError(f"{self.name}: no time")


def timer(method: Callable[[Any], object]) -> TimerField:
    """Declare a timer on virtual time: `@timer def sent(self) -> None`, `self.sent.arm_in(ns)`.

    The attribute is the `Timer`; the method runs when it expires. Reset cancels it.
    """
    return TimerField(method)


def _level(saved: Any) -> int:
    if saved not in (0, 1):
        raise ValueError(f"{saved!r} is no level of a line")
    return int(saved)
