"""Values of options: what they accept, what they say to anything else, and the way back."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pemu.options.error import OptionError, nearest, quoted
from pemu.options.types import Bool, Enum, Id, Int, Size, Text, ValueType

KINDS = (Text(), Text(empty=False), Id(), Int(-5, 1 << 40), Size(), Size(unit="M"), Bool())
ALL_KINDS = (*KINDS, Enum(("raw", "qcow2"), {"qcow": "qcow2"}))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("4096", 4096),
        ("0x1000", 4096),
        ("0X1f", 31),
        ("64k", 65536),
        ("64K", 65536),
        ("1.5G", 3 << 29),
        ("1b", 1),
        ("2T", 2 << 40),
        ("0.5k", 512),
        ("1e", 1 << 60),
        ("007", 7),
    ],
)
def test_size(text: str, value: int) -> None:
    assert Size().parse(text) == value


@pytest.mark.parametrize(
    "text",
    ["", "k", "1.5", "1.k", ".5k", "-1", "+1", " 1", "1 ", "1kk", "0x", "0x1k", "1_0", "ten", "١"],
)
def test_no_size(text: str) -> None:
    with pytest.raises(OptionError, match="is not a size; give a number with a suffix"):
        Size().parse(text)


@pytest.mark.parametrize("text", ["9" * 5000, "9" * 5000 + "k", "1." + "0" * 5000 + "k"])
def test_number_of_thousands_of_digits_is_refused(text: str) -> None:
    for kind in (Size(), Int()):
        with pytest.raises(OptionError):
            kind.parse(text)


def test_size_out_of_range_names_the_limits() -> None:
    with pytest.raises(OptionError, match="'2M' is out of range; give a size from 4k to 1M"):
        Size(4096, 1 << 20).parse("2M")


def test_size_without_suffix_counts_in_the_unit() -> None:
    assert Size(unit="M").parse("8") == 8 << 20
    assert Size(unit="M").parse("8k") == 8 << 10


@given(st.integers(0, (1 << 64) - 1))
@example(1023)
def test_size_is_written_so_that_it_reads_the_same(value: int) -> None:
    for unit in "bkM":
        kind = Size(unit=unit)
        assert kind.parse(kind.format(value)) == value


@pytest.mark.parametrize(
    ("text", "value"), [("10", 10), ("0x10", 16), ("010", 8), ("0", 0), ("-3", -3), ("+4", 4)]
)
def test_integer_is_written_as_in_c(text: str, value: int) -> None:
    assert Int(-10).parse(text) == value


@pytest.mark.parametrize("text", ["", "08", "1.0", "1e3", "0b1", "0o7", "1_000", "--1", "x", "-"])
def test_no_integer(text: str) -> None:
    with pytest.raises(OptionError, match="is not an integer"):
        Int().parse(text)


def test_integer_out_of_range() -> None:
    with pytest.raises(OptionError, match="give a number from 1 to 65535"):
        Int(1, 65535).parse("65536")


@pytest.mark.parametrize("word", ["on", "yes", "true", "y"])
def test_switched_on(word: str) -> None:
    assert Bool().parse(word) is True


@pytest.mark.parametrize("word", ["off", "no", "false", "n"])
def test_switched_off(word: str) -> None:
    assert Bool().parse(word) is False


@pytest.mark.parametrize("word", ["", "1", "0", "ON", "On", "disable"])
def test_neither_on_nor_off(word: str) -> None:
    with pytest.raises(OptionError, match="neither on nor off"):
        Bool().parse(word)


def test_misspelt_name_is_answered_with_the_nearest() -> None:
    kind = Enum(("writeback", "writethrough", "none"))
    with pytest.raises(OptionError, match="did you mean 'writeback'"):
        kind.parse("writebak")
    with pytest.raises(OptionError, match="writeback, writethrough and none"):
        kind.parse("xyz")


def test_alias_stands_for_its_name() -> None:
    assert ALL_KINDS[-1].parse("qcow") == "qcow2"


@pytest.mark.parametrize(
    ("name", "wanted"), [("strce", "strace"), ("Strace", "strace"), ("str", "strace"), ("q", None)]
)
def test_nearest(name: str, wanted: str | None) -> None:
    assert nearest(name, ("strace", "seed", "version")) == wanted


@given(st.text())
def test_any_text_is_quoted_on_one_short_line(text: str) -> None:
    shown = quoted(text)
    assert shown.isprintable()
    assert shown[0] == shown[-1]


@given(st.sampled_from(ALL_KINDS), st.text())
def test_any_text_is_a_value_or_a_sentence(kind: ValueType, text: str) -> None:
    value = None
    sentence = ""
    try:
        value = kind.parse(text)
    except OptionError as error:
        sentence = str(error)
    assert sentence.isprintable()
    assert len(sentence) < 600
    assert sentence or kind.parse(kind.format(value)) == value
