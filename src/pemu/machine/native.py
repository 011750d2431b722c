"""Methods of devices that native code runs, too, without entering Python.

A processor's access to a device enters Python, which takes a microsecond or two; what a driver does
again and again (the registers of a serial port, an interrupt controller) should take less. Such
methods are marked:

    @status.on_read
    @native
    def _read_status(self) -> int:
        if self.errors:
            in_python()
        return self.status

They are plain Python, which runs where no processor does. `pemu.machine.nativecode` translates the
same text for native code. It may have integers, conditions, fields, registers, outputs and other
such methods; it says which construct it does not know. Where native code comes to `in_python()`, it
has changed nothing yet, and the whole access is made by Python.

What such methods use of a device lies in its *cells*, 8 bytes each, which both sides see.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple, Protocol, TypeVar

M = TypeVar("M", bound=Callable[..., Any])

CELL = 8
"""Bytes of a cell."""


def native(method: M) -> M:
    """Decorator: native code runs the method, too. Innermost, below `on_read` and the like."""
    method.native = True  # type: ignore[attr-defined]
    return method


def is_native(method: object) -> bool:
    """Whether a function or bound method is marked."""
    return getattr(method, "native", False) is True


def in_python() -> None:
    """Native code leaves the rest of the access to Python from here; in Python: nothing."""


class Cells:
    """Memory of so many cells, zero at first. `view` has them as integers."""

    __slots__ = ("_memory", "address", "view")

    def __init__(self, count: int) -> None:
        self._memory = (ctypes.c_uint64 * max(count, 1))()
        self.address = ctypes.addressof(self._memory)
        self.view = memoryview(self._memory).cast("B").cast("Q")


class Place(NamedTuple):
    """Where something of a device is: its first cell, how many, and what it is.

    kind: 'value', 'array', 'property' (as it is when native code first meets the device), 'line'
    (the addresses of `Line`s' cells), 'other' (another object: 0 for None, or a function's address
    and that of its device's cells).
    """

    first: int
    size: int
    kind: str


class Placed(Protocol):
    """What lies in cells: a declaration (`pemu.machine.declare.Declared`)."""

    cells: int
    cell_kind: str


class Cell:
    """The attribute of a field or register that lies in a cell."""

    __slots__ = ("_convert", "_index", "declared")

    def __init__(self, declared: Placed, index: int, convert: type) -> None:
        self.declared = declared
        self._index = index
        self._convert = convert

    def __get__(self, device: Any, owner: type) -> Any:
        return self if device is None else self._convert(device.cells.view[self._index])

    def __set__(self, device: Any, value: int) -> None:
        device.cells.view[self._index] = value


@cache
def _marked(cls: type) -> frozenset[str]:
    """The names of what a class itself defines and marks."""
    return frozenset(name for name, value in vars(cls).items() if is_native(_method_of(value)))


def _method_of(value: object) -> Any:
    """What is called: of the declaration of input lines, the method that it was made from."""
    return getattr(value, "method", value)


def methods(cls: type) -> dict[str, Callable[..., Any]]:
    """The marked methods of a class of devices by name; of input lines, what they call."""
    names = sorted({name for base in cls.__mro__ for name in _marked(base)})
    found = {name: _method_of(getattr(cls, name)) for name in names}
    return {name: method for name, method in found.items() if is_native(method)}


def lay_out(cls: type, declarations: Mapping[str, Placed]) -> dict[str, Place]:
    """Where the things are that the marked methods of a class use; none where there are none."""
    used = {name for method in methods(cls).values() for name in method.__code__.co_names}
    layout: dict[str, Place] = {}
    if not used:
        return layout
    end = 0

    def place(name: str, count: int, kind: str) -> None:
        nonlocal end
        layout[name] = Place(end, count, kind)
        end += count

    for name, declared in declarations.items():
        if name in used and declared.cells:
            place(name, declared.cells, declared.cell_kind)
    annotated = {
        name: None for base in cls.__mro__ for name in vars(base).get("__annotations__", {})
    }
    for name in sorted(annotated.keys() & used - declarations.keys()):
        place(name, 2, "other")
    return layout
