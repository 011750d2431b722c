"""Numbers that users of the monitor write: `1+2*3`, `$pc - 16`, `0x80000000 | 'a'`.

All is computed in signed 64 bits. `*`, `/` and `%` bind strongest, then `&`, `|` and `^`, and `+`
and `-` weakest, as in QEMU; each from left to right. An expression ends where it cannot go on, so
that two can stand one after the other.
"""

from __future__ import annotations

from collections.abc import Callable

_LEVELS = ("+-", "&|^", "*/%")
_CONSTANTS = {"n": "\n", "r": "\r", "t": "\t", "0": "\0"}
_MOST_NESTED = 50


class Evaluator:
    """Evaluates the expression that begins at `at` of `text`; `at` is then where it ends.

    `register`: the value of `$name`.
    """

    def __init__(self, text: str, at: int, register: Callable[[str], int]) -> None:
        self.text = text
        self.at = at
        self._register = register
        self._depth = 0

    def evaluate(self) -> int:
        """The value. Raises ValueError with a sentence for the user."""
        return self._level(0)

    def _next(self) -> str:
        """The character that comes next, less spaces; empty at the end."""
        while self.text[self.at : self.at + 1].isspace():
            self.at += 1
        return self.text[self.at : self.at + 1]

    def _level(self, level: int) -> int:
        if level == len(_LEVELS):
            return self._unary()
        value = self._level(level + 1)
        while (operator := self._next()) and operator in _LEVELS[level]:
            self.at += 1
            value = _signed(_apply(operator, value, self._level(level + 1)))
        return value

    def _unary(self) -> int:
        char = self._next()
        if not char:
            raise ValueError("unexpected end of expression")
        if char in "+-~(":
            self.at += 1
            self._depth += 1
            if self._depth > _MOST_NESTED:
                raise ValueError("expression nests too deep")
            value = self._level(0) if char == "(" else self._unary()
            self._depth -= 1
            if char == "(":
                if self._next() != ")":
                    raise ValueError("')' expected")
                self.at += 1
            return _signed({"-": -value, "~": ~value}.get(char, value))
        if char == "'":
            return self._character()
        if char == "$":
            start = self.at + 1
            self.at = self._end(start, lambda one: one.isalnum() or one in "_.")
            return _signed(self._register(self.text[start : self.at]))
        return self._number(char)

    def _end(self, at: int, belongs: Callable[[str], bool]) -> int:
        while at < len(self.text) and belongs(self.text[at]):
            at += 1
        return at

    def _character(self) -> int:
        text = self.text[self.at + 1 :]
        length = 2 if text.startswith("\\") else 1
        if text[length : length + 1] != "'" or text.startswith("'"):
            raise ValueError("character constant expected")
        self.at += length + 2
        char = text[length - 1]
        return ord(_CONSTANTS.get(char, char) if length == 2 else char)

    def _number(self, first: str) -> int:
        if first not in "0123456789":
            raise ValueError(f"invalid char '{first}' in expression")
        start, base, digits = self.at, 10, "0123456789"
        hexadecimal = "0123456789abcdefABCDEF"
        if first == "0":
            base, digits = 8, "01234567"
            if self.text[start + 1 : start + 2] in ("x", "X"):
                if self.text[start + 2 : start + 3] in set(hexadecimal):
                    start, base, digits = start + 2, 16, hexadecimal
        self.at = self._end(start, lambda one: one in digits)
        if self.at - start > 30:
            raise ValueError("number too large")
        value = int(self.text[start : self.at], base)
        if value >> 64:
            raise ValueError("number too large")
        return _signed(value)


def _apply(operator: str, left: int, right: int) -> int:
    if operator in "/%":
        if not right:
            raise ValueError("division by zero")
        quotient = abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
        return quotient if operator == "/" else left - quotient * right
    return {
        "+": left + right,
        "-": left - right,
        "*": left * right,
        "&": left & right,
        "|": left | right,
        "^": left ^ right,
    }[operator]


def _signed(value: int) -> int:
    return (value + (1 << 63) & (1 << 64) - 1) - (1 << 63)
