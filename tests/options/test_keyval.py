"""Comma lists: the grammar, nested keys, lists, selecting keys, help and suggestions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pemu.options.error import HelpRequest, OptionError
from pemu.options.keyval import Group, Key, Select, split, split_words
from pemu.options.types import Bool, Enum, Int, ListOf, Size, Text

DRIVERS = {"e1000": [Key("mac", Text())], "serial": [Key("baud", Int(), default=9600)]}

PLAIN = Group(
    "-drive",
    [
        Key("file", Text("path"), "the image"),
        Key("size", Size(), default=1 << 20),
        Key("readonly", Bool(), "refuse writes", default=False),
        Key("format", Enum(("raw", "qcow2"))),
        Key("tag", Text(), repeat=True),
        Key("server", Group("server", [Key("host", Text(), required=True), Key("port", Int())])),
        Key("dns", ListOf(Text())),
    ],
    implied="file",
)
DEVICE = Group(
    "-device",
    [Key("id", Text())],
    implied="driver",
    select=Select("driver", lambda: sorted(DRIVERS), DRIVERS.get),
)


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("", []),
        ("a=b", [("a", "b")]),
        ("a=b,c=d", [("a", "b"), ("c", "d")]),
        ("a=b,,c", [("a", "b,c")]),
        ("a=b,,,c=d", [("a", "b,"), ("c", "d")]),
        ("a=,b=", [("a", ""), ("b", "")]),
        ("a=b=c", [("a", "b=c")]),
        ("on,a=b", [("first", "on"), ("a", "b")]),
        ("x,,y", [("first", "x,y")]),
        ("a=b,flag", [("a", "b"), ("flag", None)]),
        ("help", [("help", None)]),
        ("a=b,", [("a", "b")]),
    ],
)
def test_items_of_a_list(text: str, items: list[tuple[str, str | None]]) -> None:
    assert split(text, "first") == items


def test_short_form_switches_a_key_on_or_off() -> None:
    assert PLAIN.parse("x,readonly")["readonly"] is True
    assert PLAIN.parse("x,readonly=on,noreadonly")["readonly"] is False


def test_only_on_off_keys_have_a_short_form_for_off() -> None:
    with pytest.raises(OptionError, match="'nosize' is not a key here"):
        PLAIN.parse("x,nosize")


def test_value_without_key_is_refused() -> None:
    with pytest.raises(OptionError, match="'=x' has no key before its '='"):
        split("=x")


@pytest.mark.parametrize(
    ("text", "words"), [("a,b", ["a", "b"]), ("a,,b", ["a,b"]), ("", []), (",a", ["", "a"])]
)
def test_words_of_a_plain_list(text: str, words: list[str]) -> None:
    assert split_words(text) == words


@given(st.lists(st.text(min_size=1), min_size=1))
def test_any_values_survive_with_their_commas_doubled(values: list[str]) -> None:
    text = ",".join(f"k{i}={value.replace(',', ',,')}" for i, value in enumerate(values))
    assert split(text) == [(f"k{i}", value) for i, value in enumerate(values)]


def test_values_and_defaults() -> None:
    assert PLAIN.parse("disk.img,readonly,format=raw") == {
        "file": "disk.img",
        "size": 1 << 20,
        "readonly": True,
        "format": "raw",
        "tag": [],
        "server": None,
        "dns": None,
    }


def test_last_value_of_a_key_counts_unless_it_gathers() -> None:
    values = PLAIN.parse("size=1k,size=2k,tag=a,tag=b")
    assert (values["size"], values["tag"]) == (2048, ["a", "b"])


def test_dotted_keys_reach_into_groups_and_lists() -> None:
    values = PLAIN.parse("server.host=h,server.port=5,dns.1=b,dns.0=a")
    assert values["server"] == {"host": "h", "port": 5}
    assert values["dns"] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("fromat=raw", "did you mean 'format'"),
        ("format=rew", "format: .*did you mean 'raw'"),
        ("file=x,size=big", "size: 'big' is not a size"),
        ("file.name=x", "reaches into the plain value 'file'"),
        ("server=x", "'server' is a group of keys"),
        ("server.port=1", "'server.host' is missing"),
        ("server.prt=1", "did you mean 'server.port'"),
        ("dns.x=1", "no place in a list"),
        ("dns.1=a", "'dns.0' is missing"),
        ("dns=a", "needs a place in the list"),
        ("a=1,size", "'a' is not a key"),
        ("size=1,format", "'format' has no value"),
    ],
)
def test_mistake_is_named_with_its_remedy(text: str, sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        PLAIN.parse(text)


def test_selecting_key_brings_keys() -> None:
    assert DEVICE.parse("serial,id=s")["baud"] == 9600
    with pytest.raises(OptionError, match="'baud' is not a key"):
        DEVICE.parse("e1000,baud=1")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("e100", "did you mean 'e1000'"), ("id=x", "'driver' is missing"), ("", "is missing")],
)
def test_selecting_key_missing_or_unknown(text: str, sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        DEVICE.parse(text)


@pytest.mark.parametrize(
    ("group", "text", "words"),
    [
        (PLAIN, "help", ("file=<path>", "default: 1M", "server.port", "refuse writes")),
        (PLAIN, "x,?", ("readonly=<on|off>",)),
        (DEVICE, "help", ("e1000", "serial")),
        (DEVICE, "serial,help", ("baud=<int>", "default: 9600")),
    ],
)
def test_help_lists_what_there_is(group: Group, text: str, words: tuple[str, ...]) -> None:
    with pytest.raises(HelpRequest) as answer:
        group.parse(text)
    for word in words:
        assert word in str(answer.value)


NAMES = ["file", "size", "readonly", "format", "tag", "server", "server.host", "dns.0", "driver"]
PIECES = st.sampled_from([*NAMES, "=", ",", ",,", ".", "on", "1k", "raw", "help", "x", "0", "é"])


@given(st.lists(PIECES).map("".join), st.sampled_from([PLAIN, DEVICE]))
def test_any_list_gives_values_or_a_sentence(text: str, group: Group) -> None:
    values: dict[str, Any] = {}
    answer = ""
    try:
        values = group.parse(text)
    except (HelpRequest, OptionError) as error:
        answer = str(error)
    assert answer.replace("\n", "").isprintable()
    assert answer or group.parse(group.format(values)) == values


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "file": st.text(),
            "size": st.integers(0, 1 << 60),
            "readonly": st.booleans(),
            "tag": st.lists(st.text()),
            "server": st.fixed_dictionaries({"host": st.text()}),
        },
    )
)
def test_values_are_written_so_that_they_read_the_same(given_values: dict[str, Any]) -> None:
    values = PLAIN.parse("") | given_values
    if values["server"]:
        values["server"] = {"host": values["server"]["host"], "port": None}
    assert PLAIN.parse(PLAIN.format(values)) == values
