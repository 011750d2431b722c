"""Argument types of system calls: the base of all, and numbers.

A type knows how an argument arrives (which registers or stack words, how wide), what a Python
function gets for it, what the host gets for it when the host itself makes the call, how -strace
shows it, and what native code may do with it. Addresses are in `pointers`.
"""

from __future__ import annotations

from pemu.engine.layout import call_table as k
from pemu.linux.native_argument import Native, bits_table, numbers_table
from pemu.linux.show import octal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pemu.linux.abi import Abi, Decoder, Getter
    from pemu.linux.flags import Enum, Flags
    from pemu.linux.process import Thread

GUEST_O_CREAT, GUEST_O_TMPFILE = 0x100, 0x400000


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
        """The argument's own type."""
        return self.types[self.index]

    @property
    def get(self) -> Getter:
        """Fetches the argument's unsigned value."""
        return self.getters[self.index]


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
        return Native(k.SIGNED)

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        """For -strace; `raw` are all unsigned arguments, `result` is None before the call.

        Empty for an argument that has no meaning in this call.
        """
        return str(signed(raw[index], 32))


def signed(value: int, bits: int) -> int:
    """The two's complement number in the low `bits` of `value`."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


class FdType(ArgType):
    """A file descriptor."""

    __slots__ = ()

    def native(self, argument: Argument) -> Native | None:
        return Native(k.DESCRIPTOR)

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
        return Native(k.UNSIGNED)

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        value = raw[index] & 0xFFFFFFFF
        return octal(value) if self.form == "o" else format(value, self.form)


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
        return Native(k.SIGNED if self.signed else k.UNSIGNED)

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
            return Native(k.WIDE)
        return Native(k.SIGNED if self.signed else k.UNSIGNED)

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
        return Native(k.SIGNED)

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
        program = bits_table(self.table.rows_to_host(), self.table.known)
        return Native(k.BITS, program=program) if program is not None else None

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
        return Native(k.NUMBERS, program=numbers_table(self.table.rows()))

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        return self.table.show(signed(raw[index], 32))


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
