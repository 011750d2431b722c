"""Filling the table of system calls that generated code makes itself (`engine.syscalls.call`).

A call gets its entry when Python has made it for the first time: a program that makes few calls
pays for few, and modules that it does not need are not imported.
"""

from __future__ import annotations

import ctypes
import os
import struct

from pemu.engine.layout import call_table as k
from pemu.linux.fdtable import SPECIAL_ADDRESS
from pemu.linux.hostcalls import NR
from pemu.linux.mips.errno import TO_GUEST
from pemu.linux.native_argument import bits_table
from pemu.linux.native_forms import Choice
from pemu.linux.paths import note_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.engine import Engine
    from pemu.linux.native_forms import Form, Forms
    from pemu.linux.process import Process
    from pemu.linux.syscall import Call, SyscallTable


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
