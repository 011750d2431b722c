"""What a device remembers: fields that are reset and saved, beside its registers.

fifo = state.buffer(16)          # a bytearray of at most 16 bytes
divisor = state.uint(16, reset=12)
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from pemu.machine.declare import Declared, Declaring, T


class Field(Declared[T]):
    """A part of the saved state, with the value that it has after reset.

    kept: reset leaves it as it is (memory with a battery, what a cable decides).
    """

    def __init__(self, help: str, *, kept: bool = False) -> None:
        super().__init__(help)
        self.kept = kept

    @abstractmethod
    def initial(self) -> T:
        """A new value as after power-on."""

    def create(self, device: Declaring) -> T:
        return self.initial()

    def reset(self, device: Declaring) -> None:
        if not self.kept:
            setattr(device, self.name, self.initial())

    def save(self, device: Declaring) -> Any:
        return getattr(device, self.name)

    def load(self, device: Declaring, saved: Any) -> None:
        setattr(device, self.name, self.check(saved))

    @abstractmethod
    def check(self, saved: Any) -> T:
        """The value that was saved as `saved`; raises ValueError."""


class UInt(Field[int]):
    """An unsigned integer of `bits` bits. The device keeps it in range."""

    cells = 1

    def __init__(self, bits: int, reset: int, help: str, kept: bool) -> None:
        super().__init__(help, kept=kept)
        self.bits = bits
        self.value = reset

    def initial(self) -> int:
        return self.value

    def check(self, saved: Any) -> int:
        if not isinstance(saved, int) or not 0 <= saved < 1 << self.bits:
            raise ValueError(f"{self.name}: {saved!r} is no number of {self.bits} bits")
        return saved


class SInt(UInt):
    """A signed integer of `bits` bits."""

    cells = 0

    def check(self, saved: Any) -> int:
        if not isinstance(saved, int) or not -1 << (self.bits - 1) <= saved < 1 << (self.bits - 1):
            raise ValueError(f"{self.name}: {saved!r} is no signed number of {self.bits} bits")
        return saved


class Flag(Field[bool]):
    """True or False."""

    cells = 1
    cell_type = bool

    def __init__(self, reset: bool, help: str, kept: bool) -> None:
        super().__init__(help, kept=kept)
        self.value = reset

    def initial(self) -> bool:
        return self.value

    def check(self, saved: Any) -> bool:
        if not isinstance(saved, bool):
            raise ValueError(f"{self.name}: {saved!r} is neither True nor False")
        return saved


class Text(Field[str]):
    """Text, such as the name of what a state machine is doing."""

    def __init__(self, reset: str, help: str, kept: bool) -> None:
        super().__init__(help, kept=kept)
        self.value = reset

    def initial(self) -> str:
        return self.value

    def check(self, saved: Any) -> str:
        if not isinstance(saved, str):
            raise ValueError(f"{self.name}: {saved!r} is no text")
        return saved


class Array(Field[list[int]]):
    """A fixed number of unsigned integers of `bits` bits."""

    def __init__(self, bits: int, count: int, reset: int, help: str, kept: bool) -> None:
        super().__init__(help, kept=kept)
        self.bits = bits
        self.count = count
        self.value = reset

    def initial(self) -> list[int]:
        return [self.value] * self.count

    def save(self, device: Declaring) -> Any:
        return list(device.__dict__[self.name])

    def check(self, saved: Any) -> list[int]:
        if not isinstance(saved, list) or len(saved) != self.count:
            raise ValueError(f"{self.name}: not {self.count} numbers")
        for value in saved:
            if not isinstance(value, int) or not 0 <= value < 1 << self.bits:
                raise ValueError(f"{self.name}: {value!r} is no number of {self.bits} bits")
        return list(saved)


class Buffer(Field[bytearray]):
    """Bytes: at most `limit`, empty at first; or exactly `limit`, all `fill` at first."""

    def __init__(self, limit: int, fill: int | None, help: str, kept: bool) -> None:
        super().__init__(help, kept=kept)
        self.limit = limit
        self.fill = fill

    def initial(self) -> bytearray:
        return bytearray() if self.fill is None else bytearray([self.fill]) * self.limit

    def save(self, device: Declaring) -> str:
        return bytes(device.__dict__[self.name]).hex()

    def check(self, saved: Any) -> bytearray:
        if not isinstance(saved, str):
            raise ValueError(f"{self.name}: {saved!r} is no hexadecimal text")
        data = bytearray.fromhex(saved)
        if len(data) > self.limit or (self.fill is not None and len(data) != self.limit):
            raise ValueError(f"{self.name}: {len(data)} bytes instead of {self.limit}")
        return data


class Derived(Declared[Any]):
    """What derives from other state, and native code uses: `count` integers, or one if that is 0.

    It is neither reset nor saved.
    """

    def __init__(self, count: int, help: str) -> None:
        super().__init__(help)
        self.count = count
        self.cells = count or 1
        self.cell_kind = "array" if count else "value"

    def create(self, device: Declaring) -> Any:
        place = device.native_layout.get(self.name)
        if not self.count:
            return 0
        if place is None:
            return [0] * self.count
        return device.cells.view[place.first : place.first + self.count]


def uint(bits: int, *, reset: int = 0, help: str = "", kept: bool = False) -> Field[int]:
    """An unsigned integer of `bits` bits."""
    return UInt(bits, reset, help, kept)


def sint(bits: int, *, reset: int = 0, help: str = "", kept: bool = False) -> Field[int]:
    """A signed integer of `bits` bits."""
    return SInt(bits, reset, help, kept)


def flag(*, reset: bool = False, help: str = "", kept: bool = False) -> Field[bool]:
    """True or False."""
    return Flag(reset, help, kept)


def derived(*, help: str = "") -> Declared[int]:
    """An unsigned integer that derives from other state."""
    return Derived(0, help)


def derived_array(count: int, *, help: str = "") -> Declared[list[int]]:
    """So many of them."""
    return Derived(count, help)


def text(*, reset: str = "", help: str = "", kept: bool = False) -> Field[str]:
    """Text."""
    return Text(reset, help, kept)


def array(
    bits: int, count: int, *, reset: int = 0, help: str = "", kept: bool = False
) -> Field[list[int]]:
    """`count` unsigned integers of `bits` bits."""
    return Array(bits, count, reset, help, kept)


def buffer(limit: int, *, help: str = "", kept: bool = False) -> Field[bytearray]:
    """Bytes, as many as there are at the moment and at most `limit`."""
    return Buffer(limit, None, help, kept)


def memory(size: int, *, fill: int = 0, help: str = "", kept: bool = False) -> Field[bytearray]:
    """Exactly `size` bytes."""
    return Buffer(size, fill, help, kept)
