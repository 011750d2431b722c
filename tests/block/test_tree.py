"""Options of nodes as trees."""

from __future__ import annotations

import pytest

from pemu.block.error import ImageError
from pemu.block.tree import from_json, nested, typed
from pemu.options.keyval import Group, Key
from pemu.options.types import Bool, Int, ListOf, Size, Text

KEYS = (
    Key("name", Text(), required=True),
    Key("size", Size(), default=7),
    Key("server", Group("server", (Key("port", Int(maximum=65535)),))),
    Key("flag", Bool()),
    Key("words", ListOf(Text())),
)


def test_dots_make_trees() -> None:
    assert nested([("a.b.c", 1), ("a.d", 2), ("e", 3)]) == {"a": {"b": {"c": 1}, "d": 2}, "e": 3}


@pytest.mark.parametrize("items", [[("a", 1), ("a.b", 2)], [("a.b", 2), ("a", 1)]])
def test_key_is_plain_or_a_tree(items: list[tuple[str, int]]) -> None:
    with pytest.raises(ImageError, match="'a' cannot be a plain value"):
        nested(items)


def test_json_mixes_objects_and_dots() -> None:
    text = '{"driver": "raw", "file.driver": "nbd", "file": {"server.port": "1"}}'
    assert from_json(text) == {
        "driver": "raw",
        "file": {"driver": "nbd", "server": {"port": "1"}},
    }


@pytest.mark.parametrize("text", ['["raw"]', "{", '{"a":' * 100000])
def test_json_that_is_none(text: str) -> None:
    with pytest.raises(ImageError):
        from_json(text)


def test_values_are_parsed_from_text_and_from_json() -> None:
    said = {"name": "x", "server": {"port": "5"}, "flag": True, "words": {"0": "a", "1": "b"}}
    expected = {"name": "x", "size": 7, "server": {"port": 5}, "flag": True, "words": ["a", "b"]}
    assert typed(said, KEYS, "It") == expected


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({}, "'name' is missing"),
        ({"name": "x", "nam": "y"}, "does not support the option 'nam'"),
        ({"name": "x", "size": "1q"}, "'size': '1q' is not a size"),
        ({"name": "x", "size": [1]}, "wrong kind"),
        ({"name": "x", "server": "y"}, "'server' is a group"),
        ({"name": "x", "words": {"1": "b"}}, "'words.0' is missing"),
    ],
)
def test_mistakes_are_named(tree: dict[str, object], message: str) -> None:
    with pytest.raises(ImageError, match=message):
        typed(tree, KEYS, "It")
