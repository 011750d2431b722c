"""Filling the table of system calls that generated code makes itself (`engine.native_call`).

A call gets its entry when Python has made it for the first time: a program that makes few calls
pays for few, and modules that it does not need are not imported.
"""

from __future__ import annotations

import ctypes
import os
import struct

from pemu.engine import call_table as k
from pemu.linux.argtypes import ArgType
from pemu.linux.fdtable import SPECIAL_ADDRESS
from pemu.linux.hostcalls import NR
from pemu.linux.mips.errno import TO_GUEST
from pemu.linux.native_argument import Native, bits_table, moves_of, numbers_table
from pemu.linux.paths import note_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeAlias

    from pemu.engine.engine import Engine
    from pemu.linux.abi import Abi
    from pemu.linux.argtypes import Argument
    from pemu.linux.flags import Flags
    from pemu.linux.process import Process
    from pemu.linux.structs import Struct
    from pemu.linux.syscall import Call, SyscallTable

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


def Interval(struct: Struct, units: int) -> Moved:
    """A time limit; `units` of its second number make a second."""

    def program(abi: Abi) -> bytes:
        layout = struct.layout(abi.word, abi.order)
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


_CONVERTED = frozenset((k.LEAVING, k.BOTH, k.RESULTING, k.FILLED_MESSAGE, k.PATCHED, k.FOUND))
"""Kinds of arguments that leave something to do after the call."""


class NativeTable:
    """The table of one target, used by all its engines."""

    __slots__ = ("_abi", "_base", "_buffer", "_excluded", "_kept", "_table", "count", "errors")

    def __init__(self, table: SyscallTable) -> None:
        self._table = table
        self._abi = table.abi
        self._base = min(table.names)
        self.count = max(table.names) - self._base + 1
        self._buffer = (ctypes.c_char * (self.count * k.ENTRY))()
        self._kept: list[object] = []
        self._excluded: set[str] = set()
        self.errors = struct.pack("<4096H", *TO_GUEST, *range(len(TO_GUEST), 4096))

    def serve(self, engine: Engine, prefix: str) -> None:
        """Have an engine use the table; `prefix`: the directory under which paths are sought."""
        address = ctypes.addressof(self._buffer)
        engine.set_native_calls(self._base, self.count, address, self.errors, SPECIAL_ADDRESS)
        engine.set_path_prefix(os.fsencode(prefix))

    def add(self, number: int, call: Call) -> None:
        """Describe the call with this guest number, if native code can make it."""
        form = None if call.name in self._excluded else call.native_form(self._abi)
        entry = None if form is None else self._any(form)
        if entry is None:
            return
        at = (number - self._base) * k.ENTRY
        # The flags last: other threads may be looking.
        flags = entry[k.FLAGS]
        entry[k.FLAGS] = 0
        ctypes.memmove(ctypes.addressof(self._buffer) + at, bytes(entry), len(entry))
        ctypes.c_uint8.from_address(ctypes.addressof(self._buffer) + at + k.FLAGS).value = flags

    def exclude(self, name: str) -> None:
        """Leave the call of this name to Python from now on."""
        self._excluded.add(name)
        for number, other in self._table.names.items():
            if other == name:
                at = (number - self._base) * k.ENTRY + k.FLAGS
                self._buffer[at] = b"\0"

    def has(self, number: int) -> bool:
        """Whether native code makes the call with this guest number."""
        return self._buffer[(number - self._base) * k.ENTRY + k.FLAGS] != b"\0"

    def _keep(self, data: bytes) -> int:
        """The address of a copy of `data` that stays."""
        kept = ctypes.create_string_buffer(data, len(data))
        self._kept.append(kept)
        return ctypes.addressof(kept)

    def _any(self, form: Forms) -> bytearray | None:
        return self._choice(form) if isinstance(form, Choice) else self._entry(form)

    def _choice(self, choice: Choice) -> bytearray | None:
        rows = b""
        made: dict[Forms, int] = {}
        for word, form in choice.forms.items():
            if form not in made:
                entry = self._any(form)
                made[form] = 0 if entry is None else self._keep(bytes(entry))
            if made[form]:
                rows += struct.pack("<QQ", word & 0xFFFFFFFF, made[form])
        other = None if choice.other is None else self._any(choice.other)
        if not rows and other is None:
            return None
        result = bytearray(k.ENTRY)
        result[k.COUNT] = len(rows) // 16
        result[k.FLAGS] = k.PRESENT | k.CHOOSES
        result[k.RESULT_SLOT] = choice.slot
        struct.pack_into("<Q", result, k.ARGUMENTS, self._keep(rows))
        if other is not None:
            struct.pack_into("<Q", result, k.RESULT_PROGRAM, self._keep(bytes(other)))
        return result

    def _entry(self, form: Form) -> bytearray | None:
        types = form.types
        if len(types) > k.MOST_ARGUMENTS:
            return None
        arguments = self._table.arguments(types, 0, form.slots)
        entry = bytearray(k.ENTRY)
        struct.pack_into("<H", entry, k.HOST_NUMBER, k.INSIDE.get(form.host) or NR[form.host])
        entry[k.COUNT] = len(types)
        flags = k.PRESENT | (k.FAILURES if form.failures else 0)
        flags |= k.SUCCESSES if form.successes else 0
        last = form.stored or 0
        for index, argument in enumerate(arguments):
            native = argument.type.native(argument)
            if native is None:
                return None
            slot = argument.slots[index]
            other = k.NONE if native.other is None else argument.slots[native.other]
            if native.kind == k.WIDE and native.number:
                other = native.number - 1
            elif native.kind == k.WIDE:
                slot, other = (slot + 1, slot) if self._abi.big_endian else (slot, slot + 1)
            if native.kind == k.CONSTANT:
                slot = 0
            last = max(last, slot, 0 if other == k.NONE else other)
            value = self._keep(native.program) if native.program else native.number
            at = k.ARGUMENTS + index * k.ARGUMENT
            row = (native.kind, slot, other, native.size, value & 0xFFFFFFFFFFFFFFFF)
            struct.pack_into("<BBBxIQ", entry, at, *row)
            if native.kind in _CONVERTED:
                flags |= k.CONVERTS
        if form.flags is not None:
            table = bits_table(form.flags.rows_to_guest())
            if table is None:
                return None
            entry[k.RESULT] = k.RESULT_BITS
            struct.pack_into("<Q", entry, k.RESULT_PROGRAM, self._keep(table))
            flags |= k.CONVERTS
        if form.stored is not None:
            entry[k.RESULT] = k.RESULT_STORED
            entry[k.RESULT_SLOT] = form.stored
            flags |= k.CONVERTS
        if last >= 8:
            return None
        entry[k.STACK_WORDS] = max(0, last + 1 - self._abi.register_count)
        entry[k.FLAGS] = flags
        return entry


def install(table: SyscallTable, process: Process) -> None:
    """Give the engine of a process the target's table."""
    if table.native is None:
        table.native = NativeTable(table)
        if process.options.uname:
            table.native.exclude("uname")
        table.describe()
    table.native.serve(process.engine, process.prefix)
    note_directory()
    process.engine.share_mappings(process.mem)
