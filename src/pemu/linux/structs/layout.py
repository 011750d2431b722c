"""C structures in guest memory: each declared once, layouts for every ABI derived.

    timespec = Struct("timespec", "long tv_sec", "long tv_nsec")
    timespec.read(mem, address).tv_sec
    timespec.write(mem, address, tv_sec=1, tv_nsec=0)

A field is "type name", "type name[count]" or a tuple of a `Struct`, a name and optionally a
count. Types are C's (`char short int long longlong ptr size_t` and the unsigned ones with a `u` in
front) and `u8 s8 ... u64 s64`. `long`, `ulong`, `ptr`, `size_t` have the ABI's word size. Every
type is aligned to its own size, as on MIPS (also o32) and x86-64. `char name[n]` is bytes; any
other array is a tuple. Fields that a writer does not name are zero.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pemu.engine.memory.process import AddressSpace

_WIDTHS = {
    "char": 1, "uchar": 1, "short": 2, "ushort": 2, "int": 4, "uint": 4, "longlong": 8,
    "ulonglong": 8, "long": 0, "ulong": 0, "ptr": 0, "size_t": 0, "ssize_t": 0,
    "u8": 1, "s8": 1, "u16": 2, "s16": 2, "u32": 4, "s32": 4, "u64": 8, "s64": 8,
}  # fmt: skip
_SIGNED = frozenset(("short", "int", "long", "longlong", "ssize_t", "s8", "s16", "s32", "s64"))
_LETTER = {1: "b", 2: "h", 4: "i", 8: "q"}


class Record:
    """The values of a structure, one attribute a field."""

    def __init__(self, names: tuple[str, ...], values: tuple[Any, ...] | list[Any]) -> None:
        self.__dict__.update(zip(names, values, strict=True))

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{n}={v!r}" for n, v in self.__dict__.items()) + "}"

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


class _Field:
    __slots__ = ("count", "name", "nested", "type")

    def __init__(self, type: str, name: str, count: int, nested: Struct | None) -> None:
        self.type = type
        self.name = name
        self.count = count
        """Elements of an array; 0 for a single value."""
        self.nested = nested


class Layout:
    """A structure as one ABI lays it out: size, alignment and offset of each field in bytes."""

    __slots__ = (
        "_form",
        "_pack",
        "_plan",
        "_simple",
        "_unpack",
        "alignment",
        "flat",
        "names",
        "offsets",
        "size",
    )

    def __init__(self, fields: tuple[_Field, ...], word: int, order: str) -> None:
        self.offsets: dict[str, int] = {}
        self.names = tuple(field.name for field in fields)
        plan: list[tuple[_Field, int, int, Layout | None]] = []
        signed, unsigned, self._form = "", "", ""
        position = 0
        self.alignment = 1
        self.size = 0
        self._simple = True
        for field in fields:
            layout = None
            if field.nested is not None:
                layout = field.nested.layout(word, order)
                width, alignment = layout.size, layout.alignment
            else:
                width = alignment = _WIDTHS[field.type] or word
            padding = -position % alignment
            signed += f"{padding}x"
            unsigned += f"{padding}x"
            self._form += f"{padding}x"
            position += padding
            self.offsets[field.name] = position
            self.alignment = max(self.alignment, alignment)
            count = field.count or 1
            if layout is not None or field.type == "char":
                letter = f"{count * width}s"
                signed += letter
                unsigned += letter
                self._form += letter if layout is None else layout._form * count
            else:
                letter = _LETTER[width]
                declared = f"{count}{letter if field.type in _SIGNED else letter.upper()}"
                signed += declared
                unsigned += f"{count}{letter.upper()}"
                self._form += declared
            if layout is not None or (field.count and field.type != "char"):
                self._simple = False
            plan.append((field, width, count, layout))
            position += width * count
        padding = -position % self.alignment
        self.size = position + padding
        prefix = "<" if order == "little" else ">"
        self._unpack = struct.Struct(f"{prefix}{signed}{padding}x")
        self._pack = struct.Struct(f"{prefix}{unsigned}{padding}x")
        self._plan = tuple(plan)
        self._form += f"{padding}x"
        self.flat = struct.Struct(prefix + self._form)
        """All values in order, those of nested structures and arrays too."""

    def same_as(self, other: Layout) -> bool:
        """Whether both put the same bytes in the same places."""
        return self._unpack.format == other._unpack.format

    def leaves(self, prefix: str = "", start: int = 0) -> list[tuple[str, int, int, bool, bool]]:
        """Every number: name, offset, width, whether signed, whether it is bytes instead."""
        result = []
        for field, width, count, layout in self._plan:
            at = start + self.offsets[field.name]
            name = prefix + field.name
            if field.type == "char":
                result.append((name, at, width * count, False, True))
                continue
            for i in range(count):
                element = f"{name}[{i}]" if field.count else name
                if layout is not None:
                    result += layout.leaves(element + ".", at + i * width)
                else:
                    is_signed = field.type in _SIGNED
                    result.append((element, at + i * width, width, is_signed, False))
        return result

    def unpack(self, data: bytes | bytearray | memoryview, offset: int = 0) -> Record:
        """The structure at `offset` in `data`; raises `struct.error` when data are too short."""
        values = self._unpack.unpack_from(data, offset)
        if self._simple:
            return Record(self.names, values)
        result: list[Any] = []
        index = 0
        for field, width, count, layout in self._plan:
            if layout is not None:
                raw = values[index]
                index += 1
                nested = [layout.unpack(raw, i * width) for i in range(count)]
                result.append(tuple(nested) if field.count else nested[0])
            elif field.type == "char":
                result.append(values[index])
                index += 1
            elif field.count:
                result.append(values[index : index + count])
                index += count
            else:
                result.append(values[index])
                index += 1
        return Record(self.names, result)

    def pack(self, fields: dict[str, Any]) -> bytes:
        """The bytes of a structure with these values; numbers are cut to their field's width."""
        values: list[Any] = []
        known = 0
        for field, width, count, layout in self._plan:
            value = fields.get(field.name)
            known += field.name in fields
            if layout is not None:
                items = () if value is None else value if field.count else (value,)
                values.append(b"".join(_nested(layout, item) for item in items))
            elif field.type == "char":
                values.append(value or b"")
            elif field.count:
                items = tuple(value or ())
                mask = (1 << 8 * width) - 1
                values += [item & mask for item in items]
                values += [0] * (count - len(items))
            else:
                values.append((value or 0) & ((1 << 8 * width) - 1))
        if known != len(fields):
            raise KeyError(f"no such field: {', '.join(fields.keys() - set(self.names))}")
        return self._pack.pack(*values)


def _nested(layout: Layout, value: Record | dict[str, Any]) -> bytes:
    return layout.pack(value if isinstance(value, dict) else value.__dict__)


class Struct:
    """A C structure; `fields` as the module's docstring says."""

    __slots__ = ("_fields", "_layouts", "name", "shown")

    def __init__(
        self,
        name: str,
        *fields: str | tuple[Struct, str] | tuple[Struct, str, int],
        shown: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.shown = shown
        """The fields that -strace shows; all when empty."""
        self._fields = tuple(_parse(field) for field in fields)
        self._layouts: dict[tuple[int, str], Layout] = {}

    def layout(self, word: int, order: str) -> Layout:
        """The layout for a word of `word` bytes and byte order "big" or "little"."""
        layout = self._layouts.get((word, order))
        if layout is None:
            layout = self._layouts[word, order] = Layout(self._fields, word, order)
        return layout

    def host(self) -> Layout:
        """The host's layout."""
        return self.layout(8, "little")

    def of(self, mem: AddressSpace) -> Layout:
        """The layout in the guest that owns `mem`."""
        return self.layout(mem.word_size, mem.order)

    def size(self, mem: AddressSpace) -> int:
        """Bytes of the structure in a guest's memory."""
        return self.of(mem).size

    def read(self, mem: AddressSpace, address: int) -> Record:
        """The structure at `address`; raises GuestFault."""
        layout = self.of(mem)
        return layout.unpack(mem.read(address, layout.size))

    def write(self, mem: AddressSpace, address: int, **fields: Any) -> None:
        """Write the structure to `address`; raises GuestFault."""
        mem.write(address, self.of(mem).pack(fields))

    def read_array(self, mem: AddressSpace, address: int, count: int) -> list[Record]:
        """The `count` structures from `address` on; raises GuestFault."""
        layout = self.of(mem)
        data = mem.read(address, layout.size * count)
        return [layout.unpack(data, layout.size * i) for i in range(count)]

    def convert(self, data: bytes, source: Layout, target: Layout) -> bytes:
        """`data` of one layout in another; numbers that do not fit are cut."""
        try:
            return target.flat.pack(*source.flat.unpack(data))
        except struct.error:
            pass  # a number does not fit the narrower word
        return target.pack(source.unpack(data).__dict__)


def _parse(field: str | tuple[Struct, str] | tuple[Struct, str, int]) -> _Field:
    if not isinstance(field, str):
        return _Field("struct", field[1], field[2] if len(field) == 3 else 0, field[0])
    type, name = field.split()
    count = 0
    if name.endswith("]"):
        name, _, number = name[:-1].partition("[")
        count = int(number)
    if type not in _WIDTHS:
        raise ValueError(f"{field!r}: no C type {type!r}")
    return _Field(type, name, count, None)
