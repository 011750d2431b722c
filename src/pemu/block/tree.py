"""Options of nodes as trees: `file.driver=nbd,file.server.port=1` and JSON become nested dicts."""

from __future__ import annotations

from pemu.block.error import ImageError
from pemu.options.error import OptionError, quoted
from pemu.options.keyval import Key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, TypeAlias

Tree: TypeAlias = "dict[str, Any]"
"""Keys and their values: text, numbers, on/off, None, lists, trees."""

DEEPEST = 100
"""Levels of a tree: more is a mistake, or malice."""


def nested(items: Iterable[tuple[str, Any]]) -> Tree:
    """Turn keys with dots into trees. Raises ImageError where a key is both plain and a tree."""
    root: Tree = {}
    for key, value in items:
        path = key.split(".")
        if len(path) > DEEPEST:
            raise ImageError(f"{quoted(key)} has more than {DEEPEST} levels")
        inner = root
        for i, part in enumerate(path[:-1]):
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                plain = ".".join(path[: i + 1])
                raise ImageError(
                    f"{quoted(plain)} cannot be a plain value and have keys of its own"
                )
        if isinstance(inner.get(path[-1]), dict) and not isinstance(value, dict):
            raise ImageError(f"{quoted(key)} cannot be a plain value and have keys of its own")
        inner[path[-1]] = value
    return root


def from_json(text: str) -> Tree:
    """The tree that the text after `json:` stands for. Raises ImageError."""
    import json

    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ImageError(f"Could not parse the JSON options: {error}") from None
    if not isinstance(value, dict):
        raise ImageError("Invalid JSON object given")
    return nested(_flat(value))


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """JSON may mix nested objects with dotted keys: all keys with dots, and their plain values."""
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield from _flat(inner, f"{prefix}{key}.")
        else:
            yield prefix + key, inner


def typed(tree: Mapping[str, Any], keys: Iterable[Key], what: str) -> dict[str, Any]:
    """The values of `keys` in `tree`, parsed, defaults filled in.

    Lists may be given as lists or as trees with the keys '0', '1', ... Raises ImageError for a
    value of the wrong kind, for a required key that is missing, and for keys that are not declared.
    """
    declared = {key.name: key for key in keys}
    for name in tree:
        if name not in declared:
            raise ImageError(f"{what} does not support the option '{name}'")
    values: dict[str, Any] = {}
    for name, key in declared.items():
        if tree.get(name) is None:
            if key.required:
                raise ImageError(f"Parameter '{name}' is missing; {what} needs it")
            values[name] = key.default
            continue
        values[name] = _value(tree[name], key, what)
    return values


def _value(value: Any, key: Key, what: str) -> Any:
    from pemu.options.keyval import Group
    from pemu.options.types import ListOf

    kind = key.type
    if isinstance(kind, Group):
        if not isinstance(value, dict) and kind.implied:
            value = {kind.implied: value}
        if not isinstance(value, dict):
            raise ImageError(f"Parameter '{key.name}' is a group; write {key.name}.<key>=<value>")
        return typed(value, kind.keys.values(), what)
    if isinstance(kind, ListOf):
        items = _items(value, key)
        return [_value(item, Key(key.name, kind.item), what) for item in items]
    if isinstance(value, bool):
        text = "on" if value else "off"
    elif isinstance(value, int | str):
        text = str(value)
    else:
        raise ImageError(f"Parameter '{key.name}' has a value of the wrong kind: {value!r}")
    try:
        return kind.parse(text)
    except OptionError as error:
        raise ImageError(f"Parameter '{key.name}': {error}") from None


def _items(value: Any, key: Key) -> list[Any]:
    if isinstance(value, dict):
        try:
            return [value.pop(str(i)) for i in range(len(value))]
        except KeyError as missing:
            raise ImageError(f"Parameter '{key.name}.{missing.args[0]}' is missing") from None
    if not isinstance(value, list):
        raise ImageError(f"Parameter '{key.name}' is a list; write {key.name}.0=<value>")
    return value
