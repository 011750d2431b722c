"""Value types: what a single option or key may hold, parsed, checked, described and written back.

Every type has `parse(text)`, which returns the value or raises `OptionError`; `format(value)`, its
inverse; and `name`, the word that help texts show for the value.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from pemu.options.error import OptionError, listed, quoted, unknown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

UNSIGNED_64 = (1 << 64) - 1


class ValueType(ABC):
    """The base of all value types."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def parse(self, text: str) -> Any:
        """The value that `text` stands for; raises `OptionError` where there is none."""

    def format(self, value: Any) -> str:
        """Text that `parse` turns into `value` again."""
        return str(value)

    def values(self) -> Sequence[str]:
        """Every value by name, where they can be counted; for help texts and completion."""
        return ()


class Text(ValueType):
    """Any text; an empty one only if `empty` is set."""

    __slots__ = ("empty",)

    def __init__(self, name: str = "str", *, empty: bool = True) -> None:
        super().__init__(name)
        self.empty = empty

    def parse(self, text: str) -> str:
        if not text and not self.empty:
            raise OptionError(f"'' is empty; give a {self.name}")
        return text


class Id(ValueType):
    """The name by which a user calls an object: a letter, then letters, digits, '-', '.', '_'."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("id")

    def parse(self, text: str) -> str:
        rest = text.replace("-", "").replace(".", "").replace("_", "")
        if not (text.isascii() and rest.isalnum() and text[0].isalpha()):
            raise OptionError(
                f"{quoted(text)} is not an id; start with a letter and go on with letters, "
                "digits, '-', '.' and '_'"
            )
        return text


class Int(ValueType):
    """An integer as C writes it: decimal, 0x hexadecimal, or octal with a leading 0."""

    __slots__ = ("maximum", "minimum")

    def __init__(self, minimum: int = 0, maximum: int = UNSIGNED_64, name: str = "int") -> None:
        super().__init__(name)
        self.minimum = minimum
        self.maximum = maximum

    def parse(self, text: str) -> int:
        value = _c_integer(text)
        if value is None:
            raise OptionError(
                f"{quoted(text)} is not an integer; write it in decimal or as 0x and hex digits"
            )
        if not self.minimum <= value <= self.maximum:
            raise OptionError(
                f"{quoted(text)} is out of range; give a number from {self.minimum} to "
                f"{self._limit()}"
            )
        return value

    def _limit(self) -> str:
        return str(self.maximum) if self.maximum < 1 << 32 else hex(self.maximum)


class Size(ValueType):
    """A number of bytes: `4096`, `0x1000`, `64k`, `1.5G`.

    The suffixes b, k, M, G, T, P and E, in either case, are powers of 1024; a number without one
    counts in `unit`. A fraction needs a suffix and is rounded down to whole bytes.
    """

    __slots__ = ("maximum", "minimum", "unit")

    SUFFIXES = "bkMGTPE"

    def __init__(
        self, minimum: int = 0, maximum: int = UNSIGNED_64, unit: str = "b", name: str = "size"
    ) -> None:
        super().__init__(name)
        self.minimum = minimum
        self.maximum = maximum
        self.unit = unit

    def parse(self, text: str) -> int:
        value = self._bytes(text)
        if value is None:
            raise OptionError(
                f"{quoted(text)} is not a size; give a number with a suffix of b, k, M, G, T, P "
                "or E, such as 64k or 1.5G"
            )
        if not self.minimum <= value <= self.maximum:
            raise OptionError(
                f"{quoted(text)} is out of range; give a size from {self.format(self.minimum)} "
                f"to {self.format(self.maximum)}"
            )
        return value

    def format(self, value: int) -> str:
        """`value` bytes with the largest suffix that keeps it a whole number."""
        power = 0
        while value and power + 1 < len(self.SUFFIXES) and value % 1024 == 0:
            value //= 1024
            power += 1
        if power == 0 and self.unit == "b":
            return str(value)
        return f"{value}{self.SUFFIXES[power]}"

    def _bytes(self, text: str) -> int | None:
        if len(text) > LONGEST_NUMBER:
            return None
        if text[:2] in ("0x", "0X"):
            value = _c_integer(text)
            return None if value is None else value * self._unit(self.unit)
        suffix = self.unit
        if text and text[-1].isalpha():
            text, suffix = text[:-1], text[-1]
        multiplier = self._unit(suffix)
        whole, point, fraction = text.partition(".")
        if not multiplier or not _digits(whole) or (point and not _digits(fraction)):
            return None
        if point and multiplier == 1:
            return None
        scale: int = 10 ** len(fraction)
        return int(whole + fraction) * multiplier // scale

    def _unit(self, suffix: str) -> int:
        """Bytes that one `suffix` stands for, 0 for a letter that is none."""
        place = self.SUFFIXES.lower().find(suffix.lower()) if suffix.isascii() else -1
        return 0 if place < 0 else 1 << (10 * place)


class Bool(ValueType):
    """`on` or `off`; also yes, true, y and no, false, n."""

    __slots__ = ()

    WORDS = {
        "on": True,
        "off": False,
        "yes": True,
        "no": False,
        "true": True,
        "false": False,
        "y": True,
        "n": False,
    }

    def __init__(self) -> None:
        super().__init__("on|off")

    def parse(self, text: str) -> bool:
        value = self.WORDS.get(text)
        if value is None:
            raise OptionError(f"{quoted(text)} is neither on nor off")
        return value

    def format(self, value: bool) -> str:
        return "on" if value else "off"

    def values(self) -> Sequence[str]:
        return ("on", "off")


class Enum(ValueType):
    """One of some names; `aliases` maps further spellings to them."""

    __slots__ = ("aliases", "names")

    def __init__(
        self, names: Sequence[str], aliases: Mapping[str, str] | None = None, name: str = ""
    ) -> None:
        super().__init__(name or "|".join(names))
        self.names = tuple(names)
        self.aliases = dict(aliases or {})

    def parse(self, text: str) -> str:
        if text in self.names:
            return text
        if text in self.aliases:
            return self.aliases[text]
        known = listed(self.names)
        raise unknown(
            f"{quoted(text)} is none of {known}",
            text,
            (*self.names, *self.aliases),
            "use one of these",
        )

    def values(self) -> Sequence[str]:
        return self.names


class ListOf(ValueType):
    """Several values of type `item`: keys `x.0=`, `x.1=`, ... of a comma list."""

    __slots__ = ("item",)

    def __init__(self, item: ValueType) -> None:
        super().__init__(f"list of {item.name}")
        self.item = item

    def parse(self, text: str) -> Any:
        raise OptionError(f"{quoted(text)} needs a place in the list; number the values from .0")


LONGEST_NUMBER = 1000
"""Characters of a number; Python refuses to read very long ones, and none of 64 bits is as long."""


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _c_integer(text: str) -> int | None:
    """The value of an integer as C's strtol reads it with base 0, or None for anything else."""
    sign = text[:1] in ("-", "+")
    digits = text[sign:]
    if not (digits.isascii() and digits.isalnum()):
        return None  # also keeps out what int() allows and C does not: '1_000', ' 1'
    base = 16 if digits[:2] in ("0x", "0X") else 8 if digits[0] == "0" else 10
    if base != 16 and not digits.isdigit():
        return None  # '0o7', which only Python knows
    try:
        return int(text, base)
    except ValueError:
        return None
