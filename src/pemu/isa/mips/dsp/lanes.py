"""Vectors of equal lanes, staged: what the DSP instructions compute with.

A register is split into lanes, computed with lane by lane, and joined again. Lanes are LLVM
vectors, so that a host with vector instructions uses them. Lane 0 is the least significant.
"""

from __future__ import annotations

from pemu.engine.staging.values import StagingError, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pemu.engine.staging.values import Emitter

UNSIGNED, SIGNED = False, True
"""How lanes are read as numbers."""


class Lanes:
    """`count` lanes of `width` bits. Operators are modulo 2**width, as those of `Value`.

    The other operand is lanes of the same shape, or one number or value for every lane.
    """

    __slots__ = ("count", "emitter", "symbol", "width")

    def __init__(self, emitter: Emitter, count: int, width: int, symbol: str) -> None:
        self.emitter = emitter
        self.count = count
        self.width = width
        self.symbol = symbol

    @classmethod
    def split(cls, value: Value, width: int) -> Lanes:
        """Cut `value` into lanes of `width` bits."""
        count = value.width // width
        symbol = value.emitter.op(f"bitcast i{value.width} {value.ir} to <{count} x i{width}>")
        return cls(value.emitter, count, width, symbol)

    @classmethod
    def splat(cls, value: Value, count: int) -> Lanes:
        """Put `value` into each of `count` lanes."""
        kind = f"<{count} x i{value.width}>"
        one = value.emitter.op(f"insertelement {kind} poison, i{value.width} {value.ir}, i64 0")
        symbol = value.emitter.op(
            f"shufflevector {kind} {one}, {kind} poison, <{count} x i32> zeroinitializer"
        )
        return cls(value.emitter, count, value.width, symbol)

    def join(self) -> Value:
        """Return all lanes as one value."""
        width = self.count * self.width
        symbol = self.emitter.op(f"bitcast {self.kind} {self.symbol} to i{width}")
        return self.emitter.name(symbol, width)

    @property
    def kind(self) -> str:
        """The LLVM type."""
        return f"<{self.count} x i{self.width}>"

    def lane(self, index: int) -> Value:
        """Return one lane; a negative index counts from the most significant."""
        index %= self.count
        text = f"extractelement {self.kind} {self.symbol}, i64 {index}"
        return self.emitter.name(self.emitter.op(text), self.width)

    def _like(self, text: str, width: int | None = None) -> Lanes:
        symbol = self.emitter.op(text)
        return Lanes(self.emitter, self.count, width or self.width, symbol)

    def _peer(self, other: Lanes | Value | int) -> str:
        if isinstance(other, int):
            lane = f"i{self.width} {other & ((1 << self.width) - 1)}"
            return f"<{', '.join([lane] * self.count)}>"
        if isinstance(other, Value):
            other = Lanes.splat(other, self.count)
        if (other.count, other.width) != (self.count, self.width):
            raise StagingError(f"operands of type {self.kind} and {other.kind}")
        return other.symbol

    def _binary(self, opcode: str, other: Lanes | Value | int) -> Lanes:
        return self._like(f"{opcode} {self.kind} {self.symbol}, {self._peer(other)}")

    def __add__(self, other: Lanes | Value | int) -> Lanes:
        return self._binary("add", other)

    def __sub__(self, other: Lanes | Value | int) -> Lanes:
        return self._binary("sub", other)

    def __mul__(self, other: Lanes | Value | int) -> Lanes:
        return self._binary("mul", other)

    def __or__(self, other: Lanes | Value | int) -> Lanes:
        return self._binary("or", other)

    def __lshift__(self, amount: Value | int) -> Lanes:
        return self._binary("shl", amount)

    def lshr(self, amount: Value | int) -> Lanes:
        """Shift right, zeros in; the amount must be less than the width."""
        return self._binary("lshr", amount)

    def ashr(self, amount: Value | int) -> Lanes:
        """Shift right, sign bits in; the amount must be less than the width."""
        return self._binary("ashr", amount)

    # Widths.

    def widen(self, signed: bool, width: int = 0) -> Lanes:
        """Extend each lane to `width` bits (default: twice its width)."""
        width = width or 2 * self.width
        opcode = "sext" if signed else "zext"
        text = f"{opcode} {self.kind} {self.symbol} to <{self.count} x i{width}>"
        return self._like(text, width)

    def narrow(self, width: int = 0) -> Lanes:
        """Keep the low `width` bits of each lane (default: half its width)."""
        width = width or self.width // 2
        return self._like(f"trunc {self.kind} {self.symbol} to <{self.count} x i{width}>", width)

    def clamp(self, signed: bool) -> Lanes:
        """Limit each lane, a signed number, to the range of half its width, and narrow it."""
        half = self.width // 2
        low, high = (-(1 << (half - 1)), (1 << (half - 1)) - 1) if signed else (0, (1 << half) - 1)
        return self.smax(low).smin(high).narrow()

    def exceeds(self, signed: bool) -> Value:
        """One if any lane, a signed number, is outside the range of half its width."""
        return self.ne(self.narrow().widen(signed)).any()

    # Comparisons yield lanes of one bit.

    def _compare(self, predicate: str, other: Lanes | Value | int) -> Lanes:
        return self._like(f"icmp {predicate} {self.kind} {self.symbol}, {self._peer(other)}", 1)

    def eq(self, other: Lanes | Value | int) -> Lanes:
        """One where equal."""
        return self._compare("eq", other)

    def ne(self, other: Lanes | Value | int) -> Lanes:
        """One where different."""
        return self._compare("ne", other)

    def less(self, other: Lanes | Value | int, signed: bool) -> Lanes:
        """One where less."""
        return self._compare("slt" if signed else "ult", other)

    def less_or_equal(self, other: Lanes | Value | int, signed: bool) -> Lanes:
        """One where less or equal."""
        return self._compare("sle" if signed else "ule", other)

    def greater(self, other: Lanes | Value | int, signed: bool) -> Lanes:
        """One where greater."""
        return self._compare("sgt" if signed else "ugt", other)

    def any(self) -> Value:
        """For lanes of one bit: one if any of them is one."""
        return self.join().ne(0)

    def select(self, if_one: Lanes, if_zero: Lanes | int) -> Lanes:
        """For lanes of one bit: the lane of `if_one` where it is 1, else that of `if_zero`."""
        other = if_one._peer(if_zero)
        kind = if_one.kind
        return if_one._like(
            f"select {self.kind} {self.symbol}, {kind} {if_one.symbol}, {kind} {other}"
        )

    def _intrinsic(self, name: str, other: str, other_kind: str) -> Lanes:
        function = f"@llvm.{name}.v{self.count}i{self.width}"
        self.emitter.declarations.add(f"declare {self.kind} {function}({self.kind}, {other_kind})")
        return self._like(
            f"call {self.kind} {function}({self.kind} {self.symbol}, {other_kind} {other})"
        )

    def smin(self, other: Lanes | Value | int) -> Lanes:
        """The lesser, both signed."""
        return self._intrinsic("smin", self._peer(other), self.kind)

    def smax(self, other: Lanes | Value | int) -> Lanes:
        """The greater, both signed."""
        return self._intrinsic("smax", self._peer(other), self.kind)

    def abs(self) -> Lanes:
        """Magnitude of a signed lane; the most negative stays."""
        return self._intrinsic("abs", "false", "i1")

    # Lanes to other places.

    def pick(self, indices: Sequence[int]) -> Lanes:
        """Return the lanes with these indices, the first as lane 0."""
        return self._shuffle("poison", indices)

    def _shuffle(self, other: str, indices: Sequence[int]) -> Lanes:
        listed = ", ".join(f"i32 {index}" for index in indices)
        symbol = self.emitter.op(
            f"shufflevector {self.kind} {self.symbol}, {self.kind} {other}, "
            f"<{len(indices)} x i32> <{listed}>"
        )
        return Lanes(self.emitter, len(indices), self.width, symbol)

    def over(self, low: Lanes) -> Lanes:
        """Return these lanes above those of `low`."""
        return low._shuffle(self.symbol, range(2 * self.count))

    def right(self) -> Lanes:
        """The less significant half of the lanes."""
        return self.pick(range(self.count // 2))

    def left(self) -> Lanes:
        """The more significant half of the lanes."""
        return self.pick(range(self.count // 2, self.count))

    def even(self) -> Lanes:
        """Lanes 0, 2, ...: what the manual calls right alternate."""
        return self.pick(range(0, self.count, 2))

    def odd(self) -> Lanes:
        """Lanes 1, 3, ...: left alternate."""
        return self.pick(range(1, self.count, 2))

    def swapped(self) -> Lanes:
        """Neighbours change places."""
        return self.pick([index ^ 1 for index in range(self.count)])
