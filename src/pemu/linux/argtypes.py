"""Argument types of system calls.

A type knows how an argument arrives (which registers or stack words, how wide), what a Python
function gets for it, what the host gets for it when the host itself makes the call, how -strace
shows it, and what native code may do with it.

Arguments lie in "slots": on o32 a0 to a3, then words from sp+16 on, a 64-bit value in an even
pair of slots; on n32 and n64 a0 to a7 (no call has more than six arguments there).
"""

from __future__ import annotations

import errno

from pemu.engine import call_table as k
from pemu.linux.hostcalls import HostBuffer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TypeAlias

    from pemu.engine.memory import AddressSpace
    from pemu.linux.flags import Enum, Flags
    from pemu.linux.nativecalls import Native
    from pemu.linux.process import Thread
    from pemu.linux.structs import Struct

    Registers: TypeAlias = Sequence[int]
    Getter: TypeAlias = Callable[[Thread, Registers], int]
    Decoder: TypeAlias = Callable[[Thread, Registers], Any]

PATH_MAX = 4096
A0 = 4
SP = 29
GUEST_O_CREAT, GUEST_O_TMPFILE = 0x100, 0x400000


class Abi:
    """How one guest ABI passes arguments: `word` bytes a long, 32- or 64-bit registers."""

    __slots__ = ("big_endian", "name", "order", "register_count", "word", "xlen")

    def __init__(self, name: str, word: int, xlen: int, big_endian: bool) -> None:
        self.name = name
        self.word = word
        self.xlen = xlen
        self.big_endian = big_endian
        self.order = "big" if big_endian else "little"
        self.register_count = 4 if name == "o32" else 8

    def slots(self, types: Sequence[ArgType], shift: int = 0) -> list[int]:
        """The first slot of each argument; `shift` slots are taken before the first."""
        result = []
        slot = shift
        for type in types:
            if type.wide and self.xlen == 32:
                slot += (slot - shift) & 1
                result.append(slot)
                slot += 2
            else:
                result.append(slot)
                slot += 1
        return result

    def word_getter(self, slot: int) -> Getter:
        """A function that fetches the unsigned word of a slot."""
        if slot < self.register_count:
            register = A0 + slot
            return lambda t, regs: regs[register]
        offset = 4 * slot
        return lambda t, regs: t.mem.u32((regs[SP] + offset) & 0xFFFFFFFF)

    def getter(self, slot: int, wide: bool) -> Getter:
        """A function that fetches the unsigned value at a slot: a word, or 64 bits if `wide`."""
        first = self.word_getter(slot)
        if not wide or self.xlen == 64:
            return first
        second = self.word_getter(slot + 1)
        if self.big_endian:
            return lambda t, regs: first(t, regs) << 32 | second(t, regs)
        return lambda t, regs: second(t, regs) << 32 | first(t, regs)


class Argument:
    """One argument of one call: its type, its place, and the places of all of that call."""

    __slots__ = ("abi", "getters", "index", "slots", "types")

    def __init__(
        self,
        abi: Abi,
        index: int,
        types: Sequence[ArgType],
        getters: Sequence[Getter],
        slots: Sequence[int],
    ) -> None:
        self.abi = abi
        self.index = index
        self.types = types
        self.getters = getters
        self.slots = slots

    @property
    def type(self) -> ArgType:
        return self.types[self.index]

    @property
    def get(self) -> Getter:
        return self.getters[self.index]


class Conversion:
    """A host buffer that stands for guest memory during a call made by the host.

    `address` is the buffer's; `finish` is called with the result of a call that succeeded.
    """

    __slots__ = ("address", "buffer", "finish")

    def __init__(self, buffer: HostBuffer, finish: Callable[[int], None] | None = None) -> None:
        self.buffer = buffer
        self.address = buffer.address
        self.finish = finish


class ArgType:
    """An argument passed as a 32-bit signed number; the base of all other types."""

    __slots__ = ("name",)

    wide = False
    leaves = False
    """Whether the call fills what the argument points to, so that -strace shows it afterwards."""

    def __init__(self, name: str) -> None:
        self.name = name

    def decode(self, argument: Argument) -> Decoder:
        """What a Python function gets."""
        get = argument.get
        return lambda t, regs: ((get(t, regs) & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000

    def host(self, argument: Argument) -> Decoder:
        """What the host gets: an int, bytes whose address is passed, a Conversion, None: NULL."""
        return self.decode(argument)

    def direct(self, abi: Abi) -> bool:
        """Whether the host always gets a number: nothing to convert or to keep alive."""
        return True

    def extent(self, argument: Argument) -> Getter:
        """Bytes that the call may write where the argument points."""
        return lambda t, regs: 0

    def native(self, argument: Argument) -> Native | None:
        """What native code does to pass the argument; None: it cannot."""
        return _native(k.SIGNED)

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        """For -strace; `raw` are all unsigned arguments, `result` is None before the call.

        Empty for an argument that has no meaning in this call.
        """
        return str(signed(raw[index], 32))


def _native(kind: int, size: int = 0, other: int | None = None, program: bytes = b"") -> Native:
    from pemu.linux.nativecalls import Native

    return Native(kind, size, other, program)


def signed(value: int, bits: int) -> int:
    """The two's complement number in the low `bits` of `value`."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


class FdType(ArgType):
    """A file descriptor."""

    __slots__ = ()

    def native(self, argument: Argument) -> Native | None:
        return _native(k.DESCRIPTOR)

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        fd = signed(raw[index], 32)
        return "AT_FDCWD" if fd == -100 and self.name == "dirfd" else str(fd)


class UnsignedType(ArgType):
    """A 32-bit unsigned number; `form` is its format for -strace."""

    __slots__ = ("form",)

    def __init__(self, name: str, form: str = "d") -> None:
        super().__init__(name)
        self.form = form

    def decode(self, argument: Argument) -> Decoder:
        get = argument.get
        if argument.abi.xlen == 32:
            return get
        return lambda t, regs: get(t, regs) & 0xFFFFFFFF

    def native(self, argument: Argument) -> Native | None:
        return _native(k.UNSIGNED)

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        value = raw[index] & 0xFFFFFFFF
        return octal(value) if self.form == "o" else format(value, self.form)


def octal(value: int) -> str:
    """A number as C writes it in octal."""
    return f"0{value:o}" if value else "0"


class CreationModeType(UnsignedType):
    """The mode of a file that may be created, shown only where the flags before it say so."""

    __slots__ = ()

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        creating = raw[index - 1] & GUEST_O_CREAT or raw[index - 1] & GUEST_O_TMPFILE
        return super().show(t, raw, index, result) if creating else ""


class WordType(ArgType):
    """A number as wide as a long, signed or not."""

    __slots__ = ("form", "signed")

    def __init__(self, name: str, is_signed: bool, form: str = "d") -> None:
        super().__init__(name)
        self.signed = is_signed
        self.form = form

    def decode(self, argument: Argument) -> Decoder:
        get = argument.get
        word = argument.abi.word
        sign = 1 << (8 * word - 1)
        mask = 2 * sign - 1
        if self.signed:
            return lambda t, regs: ((get(t, regs) & mask) ^ sign) - sign
        if 8 * word == argument.abi.xlen:
            return get
        return lambda t, regs: get(t, regs) & mask

    def native(self, argument: Argument) -> Native | None:
        return _native(k.SIGNED if self.signed else k.UNSIGNED)

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        bits = 8 * t.target.word
        value = raw[index] & ((1 << bits) - 1)
        return format(signed(value, bits) if self.signed else value, self.form)


class WideType(ArgType):
    """A 64-bit number in all ABIs (an aligned pair on o32), signed or not."""

    __slots__ = ("signed",)

    wide = True

    def __init__(self, name: str, is_signed: bool) -> None:
        super().__init__(name)
        self.signed = is_signed

    def decode(self, argument: Argument) -> Decoder:
        get = argument.get
        if not self.signed:
            return get
        return lambda t, regs: (get(t, regs) ^ (1 << 63)) - (1 << 63)

    def native(self, argument: Argument) -> Native | None:
        if argument.abi.xlen == 32:
            return _native(k.WIDE)
        return _native(k.SIGNED if self.signed else k.UNSIGNED)

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        return str(signed(raw[index], 64) if self.signed else raw[index])


class OffsetType(ArgType):
    """`off_t`: a signed number as wide as a register."""

    __slots__ = ()

    def decode(self, argument: Argument) -> Decoder:
        get = argument.get
        sign = 1 << (argument.abi.xlen - 1)
        return lambda t, regs: (get(t, regs) ^ sign) - sign

    def native(self, argument: Argument) -> Native | None:
        return _native(k.SIGNED)

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        return str(signed(raw[index], t.target.xlen))


class FlagsType(ArgType):
    """An int or long of bits, host numbers for Python and the host, names for -strace."""

    __slots__ = ("table", "zero")

    def __init__(self, name: str, table: Flags, zero: str = "0") -> None:
        super().__init__(name)
        self.table = table
        self.zero = zero

    def decode(self, argument: Argument) -> Decoder:
        get = argument.get
        to_host = self.table.to_host
        return lambda t, regs: to_host(get(t, regs) & 0xFFFFFFFF)

    def native(self, argument: Argument) -> Native | None:
        from pemu.linux.nativecalls import bits_table

        program = bits_table(self.table.rows_to_host(), self.table.known)
        return _native(k.BITS, program=program) if program is not None else None

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        return self.table.show(raw[index] & 0xFFFFFFFF, self.zero)


class EnumType(ArgType):
    """An int with one of several meanings, host numbers for Python and the host."""

    __slots__ = ("table",)

    def __init__(self, name: str, table: Enum) -> None:
        super().__init__(name)
        self.table = table

    def decode(self, argument: Argument) -> Decoder:
        get = argument.get
        to_host = self.table.to_host
        return lambda t, regs: to_host(signed(get(t, regs), 32))

    def native(self, argument: Argument) -> Native | None:
        from pemu.linux.nativecalls import numbers_table

        return _native(k.NUMBERS, program=numbers_table(self.table.rows()))

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        return self.table.show(signed(raw[index], 32))


class PointerType(ArgType):
    """A guest address that Python functions use through `t.mem`.

    For calls that the host makes: memory that starts there, as it is, without a known end.
    """

    __slots__ = ()

    def decode(self, argument: Argument) -> Decoder:
        get = argument.get
        if argument.abi.word == 8 or argument.abi.xlen == 32:
            return get
        return lambda t, regs: get(t, regs) & 0xFFFFFFFF

    def host(self, argument: Argument) -> Decoder:
        get = self.decode(argument)

        def decode(t: Thread, regs: Registers) -> int:
            return host_range(t.mem, get(t, regs), 1)

        return decode

    def native(self, argument: Argument) -> Native | None:
        return None

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        return show_pointer(address(t, raw[index]))


class StringsType(PointerType):
    """The address of an array of strings that NULL ends: a program's arguments, its environment."""

    __slots__ = ("shown",)

    def __init__(self, name: str, shown: int) -> None:
        super().__init__(name)
        self.shown = shown
        """How many strings -strace shows."""

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        from pemu.engine.faults import GuestFault

        start = place = address(t, raw[index])
        parts: list[str] = []
        try:
            while len(parts) < self.shown and (string := t.mem.word(place)):
                parts.append(show_string(t, string))
                place += t.target.word
            if t.mem.word(place):
                parts.append("...")
        except GuestFault:
            return show_pointer(start)
        return "[" + ", ".join(parts) + "]"


def address(t: Thread, raw: int) -> int:
    """A register's value as an address."""
    return raw if t.target.word == 8 else raw & 0xFFFFFFFF


def show_pointer(value: int) -> str:
    return f"{value:#x}" if value else "NULL"


NOWHERE = 0x7FFF_FFFF_FFFF_F000
"""A host address that no process has: the kernel's EFAULT, after all that it looks at before."""


def host_range(mem: AddressSpace, start: int, length: int) -> int:
    """The host address of guest memory, NULL for NULL, NOWHERE outside the space.

    Whether pages are there is the host kernel's to find out.
    """
    if start + length > mem.size:
        return NOWHERE
    return mem.base + start if start else 0


def host_range_for_writing(mem: AddressSpace, start: int, length: int) -> int:
    """As `host_range`; pages that are write-protected for holding translated code lose that."""
    result = host_range(mem, start, length)
    if result not in (0, NOWHERE) and length > 0:
        mem.untrack_range(start, length)
    return result


class PathType(ArgType):
    """A NUL-terminated path; bytes for Python and the host.

    `prefixed` paths are looked up under -L first, as QEMU does for calls that only read.
    `optional` ones may be NULL: None for Python.
    """

    __slots__ = ("optional", "prefixed")

    def __init__(self, name: str, prefixed: bool, optional: bool = False) -> None:
        super().__init__(name)
        self.prefixed = prefixed
        self.optional = optional

    def decode(self, argument: Argument) -> Decoder:
        get = POINTER.decode(argument)

        def plain(t: Thread, regs: Registers) -> bytes:
            return read_path(t.mem, get(t, regs))

        def prefixed(t: Thread, regs: Registers) -> bytes:
            path = read_path(t.mem, get(t, regs))
            if t.process.prefix and path[:1] == b"/":
                from pemu.linux.paths import under_prefix

                return under_prefix(t, path)
            return path

        def or_null(t: Thread, regs: Registers) -> bytes | None:
            start = get(t, regs)
            return read_path(t.mem, start) if start else None

        return prefixed if self.prefixed else or_null if self.optional else plain

    def host(self, argument: Argument) -> Decoder:
        get = self.decode(argument)

        def decode(t: Thread, regs: Registers) -> bytes | int | None:
            from pemu.engine.faults import GuestFault

            try:
                path: bytes | None = get(t, regs)
            except GuestFault:
                return NOWHERE
            return path

        return decode

    def direct(self, abi: Abi) -> bool:
        return False

    def native(self, argument: Argument) -> Native | None:
        return _native(k.PATH if self.prefixed else k.PLAIN_PATH)

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        return show_string(t, address(t, raw[index]))


def read_path(mem: AddressSpace, start: int) -> bytes:
    """The path at `start`; raises OSError(ENAMETOOLONG) and GuestFault."""
    path = mem.read_cstr(start, PATH_MAX)
    if len(path) >= PATH_MAX:
        raise OSError(errno.ENAMETOOLONG, "File name too long")
    return path


STRING_LIMIT = 32


def show_string(t: Thread, start: int) -> str:
    """A NUL-terminated string as -strace shows paths and names: whole, quoted."""
    if not start:
        return "NULL"
    from pemu.engine.faults import GuestFault

    try:
        return quote(t.mem.read_cstr(start, PATH_MAX))
    except GuestFault:
        return show_pointer(start)


def show_bytes(t: Thread, start: int, length: int) -> str:
    """A buffer as -strace shows it: quoted, its first 32 bytes."""
    if not start:
        return "NULL"
    from pemu.engine.faults import GuestFault

    try:
        data = t.mem.read(start, min(max(length, 0), STRING_LIMIT))
    except GuestFault:
        return show_pointer(start)
    return quote(data) + ("..." if length > STRING_LIMIT else "")


def quote(data: bytes) -> str:
    """`data` as a C string."""
    text = ""
    for i, byte in enumerate(data):
        if byte in _ESCAPES:
            text += _ESCAPES[byte]
        elif 32 <= byte < 127:
            text += chr(byte)
        else:
            digit_follows = i + 1 < len(data) and 48 <= data[i + 1] <= 55
            text += f"\\{byte:03o}" if digit_follows else f"\\{byte:o}"
    return f'"{text}"'


_ESCAPES = {10: "\\n", 13: "\\r", 9: "\\t", 34: '\\"', 92: "\\\\", 12: "\\f", 11: "\\v"}


class BufferType(ArgType):
    """The address of bytes; their number is the argument with index `size`, or fixed."""

    __slots__ = ("leaves", "length", "size")

    def __init__(self, name: str, size: int | None, fixed: int, leaves: bool) -> None:
        super().__init__(name)
        self.size = size
        self.length = fixed
        self.leaves = leaves

    def decode(self, argument: Argument) -> Decoder:
        return POINTER.decode(argument)

    def extent(self, argument: Argument) -> Getter:
        fixed = self.length
        if self.size is None:
            return lambda t, regs: fixed
        get = argument.getters[self.size]
        mask = (1 << 8 * argument.abi.word) - 1
        return lambda t, regs: get(t, regs) & mask

    def host(self, argument: Argument) -> Decoder:
        get = self.decode(argument)
        length = self.extent(argument)
        place = host_range_for_writing if self.leaves else host_range

        def decode(t: Thread, regs: Registers) -> int:
            return place(t.mem, get(t, regs), length(t, regs))

        return decode

    def native(self, argument: Argument) -> Native | None:
        return _native(k.WRITTEN if self.leaves else k.POINTER, self.length, self.size)

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        start = address(t, raw[index])
        if self.leaves and (result is None or result < 0):
            return show_pointer(start)
        size = self.length if self.size is None else address(t, raw[self.size])
        if self.leaves and self.size is not None and result is not None:
            size = min(size, result)
        return show_bytes(t, start, size)


class StructType(ArgType):
    """The address of a structure.

    The host gets the guest's memory itself where both layouts agree, else a converted copy.
    `foreign`: the host's structure, where it has fields of other types or in another order.
    """

    __slots__ = ("enters", "foreign", "leaves", "struct")

    def __init__(
        self, struct: Struct, enters: bool, leaves: bool, foreign: Struct | None = None
    ) -> None:
        super().__init__(struct.name)
        self.struct = struct
        self.foreign = foreign or struct
        self.enters = enters
        self.leaves = leaves

    def decode(self, argument: Argument) -> Decoder:
        return POINTER.decode(argument)

    def direct(self, abi: Abi) -> bool:
        return self.struct.layout(abi.word, abi.order).same_as(self.foreign.host())

    def extent(self, argument: Argument) -> Getter:
        size = self.struct.layout(argument.abi.word, argument.abi.order).size
        return lambda t, regs: size

    def host(self, argument: Argument) -> Decoder:
        get = self.decode(argument)
        guest = self.struct.layout(argument.abi.word, argument.abi.order)
        host = self.struct.host()
        place = host_range_for_writing if self.leaves else host_range
        if self.direct(argument.abi):
            return lambda t, regs: place(t.mem, get(t, regs), guest.size)

        def decode(t: Thread, regs: Registers) -> Conversion | int:
            start = get(t, regs)
            if not start:
                return 0
            content = b""
            if self.enters:
                data = t.mem.read(start, guest.size)
                content = self.struct.convert(data, guest, host)
            buffer = HostBuffer(host.size, content)
            if not self.leaves:
                return Conversion(buffer)

            def finish(result: int) -> None:
                t.mem.write(start, self.struct.convert(buffer.raw, host, guest))

            return Conversion(buffer, finish)

        return decode

    def native(self, argument: Argument) -> Native | None:
        from pemu.linux.nativecalls import moves

        host = self.foreign.host()
        if self.direct(argument.abi) and not (self.enters and self.leaves):
            return _native(k.WRITTEN if self.leaves else k.POINTER, host.size)
        kind = (k.BOTH if self.leaves else k.ENTERING) if self.enters else k.LEAVING
        guest = self.struct.layout(argument.abi.word, argument.abi.order)
        return _native(kind, 1, program=moves(guest, host))

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        start = address(t, raw[index])
        if not start or (self.leaves and (result is None or result < 0)):
            return show_pointer(start)
        return show_struct(t, self.struct, start)


class ArrayType(PointerType):
    """The address of a fixed number of structures that Python functions read."""

    __slots__ = ("count", "leaves", "struct")

    def __init__(self, struct: Struct, count: int, leaves: bool) -> None:
        super().__init__(struct.name)
        self.struct = struct
        self.count = count
        self.leaves = leaves

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        start = address(t, raw[index])
        if not start or (self.leaves and (result is None or result < 0)):
            return show_pointer(start)
        size = self.struct.size(t.mem)
        shown = [show_struct(t, self.struct, start + i * size) for i in range(self.count)]
        return "[" + ", ".join(item.strip("[]") for item in shown) + "]"


def show_struct(t: Thread, struct: Struct, start: int) -> str:
    """A structure as -strace shows it: `{tv_sec=1, tv_nsec=0}`."""
    from pemu.engine.faults import GuestFault

    try:
        record = struct.read(t.mem, start).__dict__
        if struct.shown:
            record = {name: record[name] for name in struct.shown}
        if list(record) == ["value"]:
            return f"[{show_value(record['value'])}]"
        shown = ", ".join(show_field(name, value) for name, value in record.items())
        return "{" + shown + (", ...}" if struct.shown else "}")
    except GuestFault:
        return show_pointer(start)


def show_field(name: str, value: Any) -> str:
    return f"{name}={octal(value)}" if name.endswith("_mode") else f"{name}={show_value(value)}"


def show_value(value: Any) -> str:
    """A value of a structure's field."""
    if isinstance(value, bytes):
        return quote(value.rstrip(b"\0"))
    if isinstance(value, tuple):
        return "[" + ", ".join(show_value(item) for item in value) + "]"
    if isinstance(value, int):
        return str(value)
    return "{" + ", ".join(show_field(n, v) for n, v in value.__dict__.items()) + "}"


Int = ArgType("int")
UInt = UnsignedType("unsigned int")
Hex = UnsignedType("unsigned int", "#x")
Mode = UnsignedType("mode_t", "o")
CreationMode = CreationModeType("mode_t", "o")
Fd = FdType("fd")
AtFd = FdType("dirfd")
Long = WordType("long", True)
ULong = WordType("unsigned long", False)
HexLong = WordType("unsigned long", False, "#x")
Size = WordType("size_t", False)
Off = OffsetType("off_t")
Off64 = WideType("loff_t", True)
U64 = WideType("u64", False)
POINTER = PointerType("pointer")
Ptr = POINTER
Arguments = StringsType("argv", 32)
Environment = StringsType("envp", 0)
Path = PathType("path", True)
PlainPath = PathType("path", False)
String = PlainPath
OptionalString = PathType("string", False, True)


def InBuf(size: int) -> BufferType:
    """Bytes that the call reads; argument `size` says how many."""
    return BufferType("const void *", size, 0, False)


def OutBuf(size: int) -> BufferType:
    """Bytes that the call writes, at most as many as argument `size` says."""
    return BufferType("void *", size, 0, True)


def InFixed(length: int) -> BufferType:
    """`length` bytes that the call reads."""
    return BufferType("const void *", None, length, False)


def OutFixed(length: int) -> BufferType:
    """`length` bytes that the call writes."""
    return BufferType("void *", None, length, True)


def In(struct: Struct, host: Struct | None = None) -> StructType:
    """A structure that the call reads, or NULL; `host`: the host's form, if that is another."""
    return StructType(struct, True, False, host)


def Out(struct: Struct, host: Struct | None = None) -> StructType:
    """A structure that the call fills, or NULL; `host`: the host's form, if that is another."""
    return StructType(struct, False, True, host)


def InArray(struct: Struct, count: int) -> ArrayType:
    """`count` structures that the call reads, or NULL."""
    return ArrayType(struct, count, False)


def OutArray(struct: Struct, count: int) -> ArrayType:
    """`count` structures that the call fills."""
    return ArrayType(struct, count, True)


def InOut(struct: Struct) -> StructType:
    """A structure that the call reads and changes, or NULL."""
    return StructType(struct, True, True)
