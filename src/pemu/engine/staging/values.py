"""Staged values: integers that are known while translating, or names in the code being emitted.

A `Value` stands for an unsigned bit pattern of a fixed width. Operations on two known values fold
to a known value; anything else appends one line of LLVM IR to the emitter. Operators are modulo
2**width; where signedness matters the method name says so (`sdiv`, `ashr`, `slt`, ...). Python
integers are accepted as the other operand and take the width of the value they meet.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class StagingError(Exception):
    """An instruction's meaning was written in a way that cannot be staged."""


class Emitter:
    """A function body under construction, as LLVM IR text."""

    __slots__ = ("_labels", "_temporaries", "declarations", "lines")

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.declarations: set[str] = set()
        self._temporaries = 0
        self._labels = 0

    def op(self, text: str) -> str:
        """Append an instruction that yields a result and return the result's name."""
        self._temporaries += 1
        name = f"%t{self._temporaries}"
        self.lines.append(f"  {name} = {text}")
        return name

    def do(self, text: str) -> None:
        """Append an instruction without result."""
        self.lines.append(f"  {text}")

    def label(self, hint: str = "L") -> str:
        """Return a label that is new in this function."""
        self._labels += 1
        return f"{hint}{self._labels}"

    def place(self, label: str) -> None:
        """Start the basic block `label` here."""
        self.lines.append(f"{label}:")

    @property
    def here(self) -> str:
        """Label of the basic block that is being emitted."""
        for line in reversed(self.lines):
            if isinstance(line, str) and line.endswith(":"):
                return line[:-1]
        label = self.label("here")
        self.do(f"br label %{label}")
        self.place(label)
        return label

    def const(self, value: int, width: int) -> Value:
        """Return the known value `value` modulo 2**width."""
        return Value(self, width, None, value & ((1 << width) - 1))

    def name(self, name: str, width: int) -> Value:
        """Return the value that the IR operand `name` of `width` bits holds."""
        return Value(self, width, name, None)

    def call(self, width: int, function: str, arguments: str, parameters: str) -> Value:
        """Call an external or intrinsic function that returns `width` bits."""
        self.declarations.add(f"declare i{width} {function}({parameters})")
        return Value(self, width, self.op(f"call i{width} {function}({arguments})"), None)

    def raw_load(
        self, pointer: str, width: int, *, volatile: bool = False, align: int = 1
    ) -> Value:
        """Load `width` bits from the host pointer operand `pointer`."""
        how = "volatile " if volatile else ""
        return Value(
            self, width, self.op(f"load {how}i{width}, ptr {pointer}, align {align}"), None
        )

    def raw_store(
        self, pointer: str, value: Value, *, volatile: bool = False, align: int = 1
    ) -> None:
        """Store `value` at the host pointer operand `pointer`."""
        how = "volatile " if volatile else ""
        self.do(f"store {how}i{value.width} {value.ir}, ptr {pointer}, align {align}")

    def offset(self, pointer: str, offset: Value | int) -> str:
        """Return the pointer operand `pointer` plus a byte offset."""
        if isinstance(offset, int):
            return self.op(f"getelementptr i8, ptr {pointer}, i64 {offset}")
        return self.op(f"getelementptr i8, ptr {pointer}, i{offset.width} {offset.ir}")


def signed(value: int, width: int) -> int:
    """Read the bit pattern `value` of `width` bits as a two's complement number."""
    return value - (1 << width) if value >> (width - 1) else value


def _fold_div(a: int, b: int) -> int:
    quotient = abs(a) // abs(b)
    return -quotient if (a < 0) != (b < 0) else quotient


class Value:
    """`width` bits: `known` holds them if they are known while translating, else None.

    `sum`: for a sum of a value and a known number, the two (address modes use it).
    """

    __slots__ = ("emitter", "known", "sum", "symbol", "width")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, emitter: Emitter, width: int, symbol: str | None, known: int | None) -> None:
        self.sum: tuple[Value, int] | None = None
        self.emitter = emitter
        self.width = width
        self.symbol = symbol
        self.known = known

    @property
    def ir(self) -> str:
        """The value as an LLVM IR operand, without its type."""
        if self.known is not None:
            return str(self.known)
        assert self.symbol is not None
        return self.symbol

    def __bool__(self) -> bool:
        raise StagingError("a staged value has no truth while translating: use cpu.if_ or select")

    def __iter__(self) -> Iterator[object]:
        raise StagingError("a staged value is not a sequence")

    def __eq__(self, other: object) -> bool:
        raise StagingError("compare staged values with .eq() and .ne()")

    def __ne__(self, other: object) -> bool:
        raise StagingError("compare staged values with .eq() and .ne()")

    def __repr__(self) -> str:
        return f"<i{self.width} {self.ir}>"

    def _constant(self, value: int) -> Value:
        return Value(self.emitter, self.width, None, value & ((1 << self.width) - 1))

    def _peer(self, other: Value | int) -> Value:
        if isinstance(other, int):
            return self._constant(other)
        if other.width != self.width:
            raise StagingError(f"operands of {self.width} and {other.width} bits")
        return other

    def _emit(self, opcode: str, other: Value) -> Value:
        text = f"{opcode} i{self.width} {self.ir}, {other.ir}"
        return Value(self.emitter, self.width, self.emitter.op(text), None)

    # Arithmetic modulo 2**width.

    def __add__(self, other: Value | int) -> Value:
        other = self._peer(other)
        if other.known is not None:
            if other.known == 0:
                return self
            if self.known is not None:
                return self._constant(self.known + other.known)
            total = self._emit("add", other)
            total.sum = (self, signed(other.known, self.width))
            return total
        if self.known == 0:
            return other
        return self._emit("add", other)

    __radd__ = __add__

    def __sub__(self, other: Value | int) -> Value:
        other = self._peer(other)
        if other.known is not None:
            if other.known == 0:
                return self
            if self.known is not None:
                return self._constant(self.known - other.known)
        return self._emit("sub", other)

    def __rsub__(self, other: int) -> Value:
        return self._constant(other) - self

    def __neg__(self) -> Value:
        return self._constant(0) - self

    def __mul__(self, other: Value | int) -> Value:
        other = self._peer(other)
        if self.known is not None and other.known is not None:
            return self._constant(self.known * other.known)
        return self._emit("mul", other)

    __rmul__ = __mul__

    def udiv(self, other: Value | int) -> Value:
        """Unsigned quotient; the divisor must not be zero."""
        other = self._peer(other)
        if self.known is not None and other.known:
            return self._constant(self.known // other.known)
        return self._emit("udiv", other)

    def urem(self, other: Value | int) -> Value:
        """Unsigned remainder; the divisor must not be zero."""
        other = self._peer(other)
        if self.known is not None and other.known:
            return self._constant(self.known % other.known)
        return self._emit("urem", other)

    def sdiv(self, other: Value | int) -> Value:
        """Signed quotient, rounded to zero; not for a zero divisor or the most negative by -1."""
        other = self._peer(other)
        if self.known is not None and other.known:
            return self._constant(
                _fold_div(signed(self.known, self.width), signed(other.known, self.width))
            )
        return self._emit("sdiv", other)

    def srem(self, other: Value | int) -> Value:
        """Signed remainder with the dividend's sign; same exceptions as `sdiv`."""
        other = self._peer(other)
        if self.known is not None and other.known:
            a, b = signed(self.known, self.width), signed(other.known, self.width)
            return self._constant(a - _fold_div(a, b) * b)
        return self._emit("srem", other)

    # Bits.

    def __and__(self, other: Value | int) -> Value:
        other = self._peer(other)
        if other.known is not None:
            if other.known == 0 or self.known is not None:
                return self._constant((self.known or 0) & other.known)
            if other.known == (1 << self.width) - 1:
                return self
        return self._emit("and", other)

    __rand__ = __and__

    def __or__(self, other: Value | int) -> Value:
        other = self._peer(other)
        if other.known is not None:
            if other.known == 0:
                return self
            if self.known is not None:
                return self._constant(self.known | other.known)
        elif self.known == 0:
            return other
        return self._emit("or", other)

    __ror__ = __or__

    def __xor__(self, other: Value | int) -> Value:
        other = self._peer(other)
        if other.known is not None:
            if other.known == 0:
                return self
            if self.known is not None:
                return self._constant(self.known ^ other.known)
        return self._emit("xor", other)

    __rxor__ = __xor__

    def __invert__(self) -> Value:
        return self ^ -1

    def __lshift__(self, amount: Value | int) -> Value:
        """Shift left; the amount must be less than the width."""
        amount = self._peer(amount)
        if amount.known is not None:
            if amount.known == 0:
                return self
            if self.known is not None:
                return self._constant(self.known << amount.known)
        return self._emit("shl", amount)

    def lshr(self, amount: Value | int) -> Value:
        """Shift right, zeros in; the amount must be less than the width."""
        amount = self._peer(amount)
        if amount.known is not None:
            if amount.known == 0:
                return self
            if self.known is not None:
                return self._constant(self.known >> amount.known)
        return self._emit("lshr", amount)

    def ashr(self, amount: Value | int) -> Value:
        """Shift right, sign bits in; the amount must be less than the width."""
        amount = self._peer(amount)
        if amount.known is not None:
            if amount.known == 0:
                return self
            if self.known is not None:
                return self._constant(signed(self.known, self.width) >> amount.known)
        return self._emit("ashr", amount)

    def rotr(self, amount: Value | int) -> Value:
        """Rotate right by an amount modulo the width."""
        amount = self._peer(amount)
        if self.known is not None and amount.known is not None:
            n = amount.known % self.width
            return self._constant((self.known >> n) | (self.known << (self.width - n)))
        kind = f"i{self.width}"
        return self.emitter.call(
            self.width,
            f"@llvm.fshr.{kind}",
            f"{kind} {self.ir}, {kind} {self.ir}, {kind} {amount.ir}",
            f"{kind}, {kind}, {kind}",
        )

    def bits(self, low: int, count: int) -> Value:
        """Return the field of `count` bits that starts at bit `low`, as a value of that width."""
        return self.lshr(low).trunc(count)

    def insert(self, low: int, field: Value) -> Value:
        """Return this value with `field` put in place of the bits from bit `low` on."""
        hole = ~(((1 << field.width) - 1) << low)
        return (self & hole) | (field.zext(self.width) << low)

    def bit(self, index: int) -> Value:
        """Return bit `index` as a value of one bit."""
        return self.lshr(index).trunc(1)

    def _unary(self, intrinsic: str, extra: str = "", extra_type: str = "") -> Value:
        kind = f"i{self.width}"
        return self.emitter.call(
            self.width,
            f"@llvm.{intrinsic}.{kind}",
            f"{kind} {self.ir}{extra}",
            f"{kind}{extra_type}",
        )

    def clz(self) -> Value:
        """Count of leading zeros; the width for zero."""
        if self.known is not None:
            return self._constant(self.width - self.known.bit_length())
        return self._unary("ctlz", ", i1 false", ", i1")

    def ctz(self) -> Value:
        """Count of trailing zeros; the width for zero."""
        if self.known is not None:
            low = self.known & -self.known
            return self._constant(low.bit_length() - 1 if low else self.width)
        return self._unary("cttz", ", i1 false", ", i1")

    def popcount(self) -> Value:
        """Count of one bits."""
        if self.known is not None:
            return self._constant(self.known.bit_count())
        return self._unary("ctpop")

    def bswap(self) -> Value:
        """Bytes in reverse order."""
        if self.width == 8:
            return self
        if self.known is not None:
            size = self.width // 8
            return self._constant(int.from_bytes(self.known.to_bytes(size, "little"), "big"))
        return self._unary("bswap")

    def bitreverse(self) -> Value:
        """Bits in reverse order."""
        if self.known is not None:
            return self._constant(int(f"{self.known:0{self.width}b}"[::-1], 2))
        return self._unary("bitreverse")

    # Widths.

    def zext(self, width: int) -> Value:
        """Widen with zeros (or return the value itself at the same width)."""
        if width == self.width:
            return self
        if width < self.width:
            raise StagingError(f"zext from {self.width} to {width} bits")
        if self.known is not None:
            return Value(self.emitter, width, None, self.known)
        text = f"zext i{self.width} {self.symbol} to i{width}"
        return Value(self.emitter, width, self.emitter.op(text), None)

    def sext(self, width: int) -> Value:
        """Widen with copies of the sign bit (or return the value itself at the same width)."""
        if width == self.width:
            return self
        if width < self.width:
            raise StagingError(f"sext from {self.width} to {width} bits")
        if self.known is not None:
            return self.emitter.const(signed(self.known, self.width), width)
        text = f"sext i{self.width} {self.symbol} to i{width}"
        return Value(self.emitter, width, self.emitter.op(text), None)

    def trunc(self, width: int) -> Value:
        """Keep the low `width` bits."""
        if width == self.width:
            return self
        if width > self.width:
            raise StagingError(f"trunc from {self.width} to {width} bits")
        if self.known is not None:
            return self.emitter.const(self.known, width)
        text = f"trunc i{self.width} {self.symbol} to i{width}"
        return Value(self.emitter, width, self.emitter.op(text), None)

    def concat(self, low: Value) -> Value:
        """Return a wider value with this one above and `low` below."""
        width = self.width + low.width
        return (self.zext(width) << low.width) | low.zext(width)

    # Comparisons yield one bit.

    def _compare(self, predicate: str, other: Value, known: bool | None) -> Value:
        if known is not None:
            return Value(self.emitter, 1, None, int(known))
        text = f"icmp {predicate} i{self.width} {self.ir}, {other.ir}"
        return Value(self.emitter, 1, self.emitter.op(text), None)

    def eq(self, other: Value | int) -> Value:
        """One if equal."""
        other = self._peer(other)
        both = self.known is not None and other.known is not None
        return self._compare("eq", other, self.known == other.known if both else None)

    def ne(self, other: Value | int) -> Value:
        """One if different."""
        other = self._peer(other)
        both = self.known is not None and other.known is not None
        return self._compare("ne", other, self.known != other.known if both else None)

    def ult(self, other: Value | int) -> Value:
        """One if less, both unsigned."""
        other = self._peer(other)
        if self.known is not None and other.known is not None:
            return self._compare("ult", other, self.known < other.known)
        return self._compare("ult", other, None)

    def ule(self, other: Value | int) -> Value:
        """One if less or equal, both unsigned."""
        return ~self._peer(other).ult(self)

    def ugt(self, other: Value | int) -> Value:
        """One if greater, both unsigned."""
        return self._peer(other).ult(self)

    def uge(self, other: Value | int) -> Value:
        """One if greater or equal, both unsigned."""
        return ~self.ult(other)

    def slt(self, other: Value | int) -> Value:
        """One if less, both signed."""
        other = self._peer(other)
        if self.known is not None and other.known is not None:
            less = signed(self.known, self.width) < signed(other.known, self.width)
            return self._compare("slt", other, less)
        return self._compare("slt", other, None)

    def sle(self, other: Value | int) -> Value:
        """One if less or equal, both signed."""
        return ~self._peer(other).slt(self)

    def sgt(self, other: Value | int) -> Value:
        """One if greater, both signed."""
        return self._peer(other).slt(self)

    def sge(self, other: Value | int) -> Value:
        """One if greater or equal, both signed."""
        return ~self.slt(other)

    def select(self, if_one: Value, if_zero: Value | int) -> Value:
        """For a value of one bit: `if_one` where it is 1, else `if_zero`."""
        if self.width != 1:
            raise StagingError(f"select on {self.width} bits")
        other = if_one._peer(if_zero)
        if self.known is not None:
            return if_one if self.known else other
        kind = f"i{if_one.width}"
        text = f"select i1 {self.symbol}, {kind} {if_one.ir}, {kind} {other.ir}"
        return Value(self.emitter, if_one.width, self.emitter.op(text), None)

    def smin(self, other: Value | int) -> Value:
        """The lesser, both signed."""
        other = self._peer(other)
        return self.slt(other).select(self, other)

    def smax(self, other: Value | int) -> Value:
        """The greater, both signed."""
        other = self._peer(other)
        return self.slt(other).select(other, self)

    def umin(self, other: Value | int) -> Value:
        """The lesser, both unsigned."""
        other = self._peer(other)
        return self.ult(other).select(self, other)

    def umax(self, other: Value | int) -> Value:
        """The greater, both unsigned."""
        other = self._peer(other)
        return self.ult(other).select(other, self)

    def abs(self) -> Value:
        """Magnitude of a signed value; the most negative stays."""
        return self.slt(0).select(-self, self)
