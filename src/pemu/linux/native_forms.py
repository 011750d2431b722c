"""How native code makes a call whose declared arguments do not say it: forms, and their types.

A function of the ABI that a declaration names (`syscall.py`) returns one.
"""

from __future__ import annotations

import struct

from pemu.engine.layout import call_table as k
from pemu.linux.native_argument import Native, moves_of, numbers_table
from pemu.linux.types.base import ArgType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeAlias

    from pemu.linux.abi import Abi
    from pemu.linux.flags import Flags
    from pemu.linux.structs.layout import Struct
    from pemu.linux.types.base import Argument

    Forms: TypeAlias = "Form | Choice"


class Given(ArgType):
    """An argument of a form that no declaration has: what native code does with it, for any ABI."""

    __slots__ = ("_native",)

    def __init__(self, kind: int, size: int = 0, number: int = 0) -> None:
        super().__init__("")
        self._native = Native(kind, size, number=number)

    def native(self, argument: Argument) -> Native | None:
        return self._native


class Moved(ArgType):
    """Structures that only a form describes; `program` makes their moves for an ABI.

    `other`: index of the argument that says how many.
    """

    __slots__ = ("_kind", "_other", "_program", "_size")

    def __init__(
        self, kind: int, program: Callable[[Abi], bytes], size: int = 1, other: int | None = None
    ) -> None:
        super().__init__("")
        self._kind = kind
        self._program = program
        self._size = size
        self._other = other

    def native(self, argument: Argument) -> Native | None:
        return Native(self._kind, self._size, self._other, self._program(argument.abi))


def Exactly(size: int, host: int) -> Given:
    """The size of a structure, which the host has in another size."""
    return Given(k.EXACTLY, size, host)


def Waiting(size: int, limit: int, pointer: bool = True) -> Given:
    """The address of `size` bytes that matter only if the call waits, or NULL.

    `limit`: index of the argument, a pointer or a number, that says how long it waits.
    """
    return Given(k.WAITING, size, limit | (k.TIME_POINTER if pointer else 0))


def Constant(number: int) -> Given:
    """A number that the guest does not give."""
    return Given(k.CONSTANT, number=number)


def Units(size: int) -> Given:
    """An unsigned number that counts `size` bytes each."""
    return Given(k.UNITS, size)


def Sized(size: int) -> Given:
    """A pointer to the size of a value, which must be `size`, and which the call leaves so."""
    return Given(k.SIZED, size)


NullOnly = Given(k.NULL)
Milliseconds = Given(k.MILLISECONDS)


class PagesType(ArgType):
    """The start of a range of memory about which a call is; argument `size` says how long."""

    __slots__ = ("_size",)

    def __init__(self, size: int) -> None:
        super().__init__("")
        self._size = size

    def native(self, argument: Argument) -> Native | None:
        return Native(k.PAGES, 0, self._size)


class Program(ArgType):
    """An argument whose kind wants a table."""

    __slots__ = ("_native",)

    def __init__(self, kind: int, program: bytes, size: int = 0) -> None:
        super().__init__("")
        self._native = Native(kind, size, program=program)

    def native(self, argument: Argument) -> Native | None:
        return self._native


def OneOf(rows: Sequence[tuple[int, int]]) -> Program:
    """One of a few numbers; `rows`: the guest's and the host's."""
    return Program(k.ONE_OF, numbers_table(rows))


def Patched(size: int, at: int, data: bytes) -> Program:
    """Memory of `size` bytes that the call fills; after that `data` replaces those from `at` on."""
    return Program(k.PATCHED, struct.pack("<II", at, len(data)) + data, size)


class Halves(ArgType):
    """64 bits in two words whatever the byte order: the low half here, the high one in `high`."""

    __slots__ = ("_high",)

    def __init__(self, high: int) -> None:
        super().__init__("")
        self._high = high

    def native(self, argument: Argument) -> Native | None:
        return Native(k.WIDE, number=self._high + 1)


def Interval(limit: Struct, units: int) -> Moved:
    """A time limit; `units` of its second number make a second."""

    def program(abi: Abi) -> bytes:
        layout = limit.layout(abi.word, abi.order)
        rows = [
            (at, 8 * i, width, 8, k.FIELD_ENTERS | k.FIELD_SIGNED)
            for i, (_, at, width, _, _) in enumerate(layout.leaves())
        ]
        return moves_of(layout.size, 16, rows)

    return Moved(k.INTERVAL, program, units)


class Form:
    """A call as native code makes it: the host's name for it and types of its arguments.

    `slots`: where the arguments are, if not one after the other. `flags`: the result is to be
    translated as flags. `stored`: the slot with the address where the result goes as 64 bits.
    `failures`: native code only finds out that the call fails; else Python makes it again.
    `successes`: Python makes a call again that fails.
    """

    __slots__ = ("failures", "flags", "host", "slots", "stored", "successes", "types")

    def __init__(
        self,
        host: str,
        *types: ArgType,
        slots: Sequence[int] | None = None,
        flags: Flags | None = None,
        stored: int | None = None,
        failures: bool = False,
        successes: bool = False,
    ) -> None:
        self.failures = failures
        self.successes = successes
        self.host = host
        self.types = types
        self.slots = slots
        self.flags = flags
        self.stored = stored


class Choice:
    """Several forms of one call; the word in `slot` decides which; `other`: for all others."""

    __slots__ = ("forms", "other", "slot")

    def __init__(self, slot: int, forms: Mapping[int, Forms], other: Forms | None = None) -> None:
        self.slot = slot
        self.forms = forms
        self.other = other
