"""Argument types that are addresses: of strings, bytes and structures."""

from __future__ import annotations

from pemu.engine.layout import call_table as k
from pemu.engine.memory.access import GuestFault
from pemu.linux.host_ranges import NOWHERE, host_range, host_range_for_writing, read_path
from pemu.linux.hostcalls import HostBuffer
from pemu.linux.native_argument import Native, moves
from pemu.linux.show import show_bytes, show_pointer, show_string, show_struct
from pemu.linux.types.base import ArgType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from pemu.linux.abi import Abi, Decoder, Getter, Registers
    from pemu.linux.process import Thread
    from pemu.linux.structs.layout import Struct
    from pemu.linux.types.base import Argument

    Text: TypeAlias = Callable[[Thread, int, Sequence[int], int | None], str]


def address(t: Thread, raw: int) -> int:
    """A register's value as an address."""
    return raw if t.target.word == 8 else raw & 0xFFFFFFFF


class Conversion:
    """A host buffer that stands for guest memory during a call made by the host.

    `address` is the buffer's; `finish` is called with the result of a call that succeeded.
    """

    __slots__ = ("address", "buffer", "finish")

    def __init__(self, buffer: HostBuffer, finish: Callable[[int], None] | None = None) -> None:
        self.buffer = buffer
        self.address = buffer.address
        self.finish = finish


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
            try:
                path: bytes | None = get(t, regs)
            except GuestFault:
                return NOWHERE
            return path

        return decode

    def direct(self, abi: Abi) -> bool:
        return False

    def native(self, argument: Argument) -> Native | None:
        return Native(k.PATH if self.prefixed else k.PLAIN_PATH)

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        return show_string(t, address(t, raw[index]))


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
        return Native(k.WRITTEN if self.leaves else k.POINTER, self.length, self.size)

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
        host = self.foreign.host()
        if self.direct(argument.abi) and not (self.enters and self.leaves):
            return Native(k.WRITTEN if self.leaves else k.POINTER, host.size)
        kind = (k.BOTH if self.leaves else k.ENTERING) if self.enters else k.LEAVING
        guest = self.struct.layout(argument.abi.word, argument.abi.order)
        return Native(kind, 1, program=moves(guest, host))

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        start = address(t, raw[index])
        if not start or (self.leaves and (result is None or result < 0)):
            return show_pointer(start)
        return show_struct(t, self.struct, start)


class PointeeType(PointerType):
    """The address of something that Python functions use and -strace shows, or NULL.

    `text`: what -strace shows, from the thread, the address, the unsigned arguments after this one,
    and the result, which is None before the call. It may raise GuestFault.
    """

    __slots__ = ("leaves", "text")

    def __init__(self, name: str, text: Text, leaves: bool = False) -> None:
        super().__init__(name)
        self.text = text
        self.leaves = leaves

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        start = address(t, raw[index])
        if not start or (self.leaves and (result is None or result < 0)):
            return show_pointer(start)
        try:
            return self.text(t, start, raw[index + 1 :], result if self.leaves else None)
        except GuestFault:
            return show_pointer(start)


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
