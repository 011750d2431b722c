"""Numbers as users of the monitor write them."""

from __future__ import annotations

import pytest

from pemu.monitor.expression import Evaluator

REGISTERS = {"pc": 0xBFC00000, "sp": 0x80001000}


def evaluate(text: str) -> tuple[int, str]:
    evaluator = Evaluator(text, 0, lambda name: REGISTERS[name])
    return evaluator.evaluate(), text[evaluator.at :]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1+2*3", 7),
        ("(1+2)*3", 9),
        ("1|2&3^1", 2),
        ("1+2|4", 7),
        ("-7/2", -3),
        ("-7%2", -1),
        ("~0", -1),
        ("0x10", 16),
        ("010", 8),
        ("'a'", 97),
        (r"'\n'", 10),
        ("$pc + 4", 0xBFC00004),
        ("0xffffffffffffffff", -1),
        ("0x7fffffffffffffff + 1", -(1 << 63)),
    ],
)
def test_value(text: str, value: int) -> None:
    assert evaluate(text) == (value, "")


@pytest.mark.parametrize(("text", "rest"), [("1 2", "2"), ("0x", "x"), ("09", "9")])
def test_an_expression_ends_where_it_cannot_go_on(text: str, rest: str) -> None:
    assert evaluate(text)[1] == rest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "unexpected end of expression"),
        ("1+", "unexpected end of expression"),
        ("zz", "invalid char 'z' in expression"),
        ("(1", "'\\)' expected"),
        ("1/0", "division by zero"),
        ("''", "character constant expected"),
        ("99999999999999999999", "number too large"),
        ("9" * 5000, "number too large"),
        ("(" * 5000, "nests too deep"),
        ("-" * 5000 + "1", "nests too deep"),
    ],
)
def test_mistakes(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(text)
