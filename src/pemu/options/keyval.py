"""Comma lists: `a,b=c,d.e=f`, as `-drive`, `-device` or `-netdev` take them, with typed keys.

The grammar: items are separated by commas, and a comma inside a value is written twice. An item
`key=value` sets a key; an item without `=` switches an on/off key on (`key`) or off (`nokey`), or,
when it comes first and the group has an implied key, is that key's value. A dotted key reaches into
a nested group (`server.port=1`) or a list (`server.0=a,server.1=b`). The last of several values for
one key counts, unless the key is declared to gather them. `help` or `?` as an item asks for the
keys.
"""

from __future__ import annotations

from pemu.options.error import HelpRequest, OptionError, listed, quoted, unknown
from pemu.options.types import Bool, ListOf, ValueType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any


class Key:
    """One key of a comma list.

    `default` is the value (already of the type's own Python type) of an absent key, `required`
    makes its absence an error, `repeat` gathers the values of several `key=value` items in a list.
    """

    __slots__ = ("default", "help", "name", "repeat", "required", "type")

    def __init__(
        self,
        name: str,
        type: ValueType,
        help: str = "",
        *,
        default: Any = None,
        required: bool = False,
        repeat: bool = False,
    ) -> None:
        self.name = name
        self.type = type
        self.help = help
        self.default = default
        self.required = required
        self.repeat = repeat


class Select:
    """A key whose value decides which further keys there are, as `-device`'s driver does.

    `names` returns every value there is, for help and suggestions; `keys` returns the further keys
    of one value, or None where the value is unknown. Both are called only when needed, so that a
    value's module is imported only when it is chosen.
    """

    __slots__ = ("help", "key", "keys", "names")

    def __init__(
        self,
        key: str,
        names: Callable[[], Sequence[str]],
        keys: Callable[[str], Sequence[Key] | None],
        help: str = "",
    ) -> None:
        self.key = key
        self.names = names
        self.keys = keys
        self.help = help


class Group(ValueType):
    """A set of keys, and as a value type the comma list that sets them.

    `name` is what messages call it, such as `-netdev`. `implied` is the key whose value may stand
    first without its name. `select` adds the keys that one key's value chooses. `rest`, if not
    empty, is where the values have the list of all further `key=value` items, as pairs of texts.
    """

    __slots__ = ("implied", "keys", "rest", "select")

    def __init__(
        self,
        name: str,
        keys: Iterable[Key],
        *,
        implied: str = "",
        select: Select | None = None,
        rest: str = "",
    ) -> None:
        super().__init__(name)
        self.keys = {key.name: key for key in keys}
        self.implied = implied
        self.select = select
        self.rest = rest
        chosen = select.key if select else ""
        if implied and implied != chosen and implied not in self.keys:
            raise ValueError(f"{name}: the implied key {implied!r} is not declared")
        if chosen in self.keys:
            raise ValueError(f"{name}: the selecting key {chosen!r} is declared twice")

    def parse(self, text: str) -> dict[str, Any]:
        """The values of all keys by name, nested groups as nested dicts, defaults filled in.

        Raises `OptionError` for a mistake and `HelpRequest` with the answer when help is asked for.
        """
        items = split(text, self.implied)
        keys = self._select(items)
        if any(value is None and key in ("help", "?") for key, value in items):
            raise HelpRequest(self._usage(keys, self._chosen(items)))
        return self._values(items, keys, "")

    def format(self, value: dict[str, Any]) -> str:
        """A comma list that `parse` turns into `value` again, without keys at their default."""
        return ",".join(f"{key}={text.replace(',', ',,')}" for key, text in self._pairs(value, ""))

    def _usage(self, keys: dict[str, Key], chosen: str | None) -> str:
        """The answer to `help`: the keys, or the values of the selecting key if none is chosen."""
        if self.select and chosen is None:
            names = "".join(f"  {name}\n" for name in self.select.names())
            return f"{self.name} {self.select.key}s:\n{names}"
        title = f"{chosen} options" if chosen else f"{self.name} keys"
        rows = _rows(keys, "")
        width = max((len(left) for left, _ in rows), default=0)
        lines = [f"  {left:<{width}}  {text}".rstrip() for left, text in rows]
        return "\n".join([f"{title}:", *lines]) + "\n"

    def _pairs(self, value: dict[str, Any], prefix: str) -> list[tuple[str, str]]:
        keys = self.keys
        pairs = list(value.get(self.rest) or ()) if self.rest else []
        if self.select:
            chosen = value[self.select.key]
            pairs.append((prefix + self.select.key, str(chosen)))
            keys = keys | {key.name: key for key in self.select.keys(chosen) or ()}
        for name, key in keys.items():
            held = value.get(name)
            if held is None or held == key.default:
                continue
            if isinstance(key.type, Group):
                pairs += key.type._pairs(held, f"{prefix}{name}.")
            elif isinstance(key.type, ListOf):
                item = key.type.item
                pairs += [(f"{prefix}{name}.{i}", item.format(v)) for i, v in enumerate(held)]
            else:
                every = held if key.repeat else [held]
                pairs += [(prefix + name, key.type.format(v)) for v in every]
        return pairs

    def _chosen(self, items: list[tuple[str, str | None]]) -> str | None:
        if self.select is None:
            return None
        values = [value for key, value in items if key == self.select.key]
        return values[-1] if values else None

    def _select(self, items: list[tuple[str, str | None]]) -> dict[str, Key]:
        """The keys that hold for `items`: those of the group and those its selecting key adds."""
        select = self.select
        chosen = self._chosen(items)
        if select is None or chosen is None:
            return self.keys
        further = select.keys(chosen)
        if further is None:
            raise unknown(
                f"{select.key} {quoted(chosen)} does not exist",
                chosen,
                select.names(),
                f"{self.name} help lists what there is",
            )
        return self.keys | {key.name: key for key in further}

    def _values(
        self, items: list[tuple[str, str | None]], keys: dict[str, Key], prefix: str
    ) -> dict[str, Any]:
        values: dict[str, Any] = {}
        nested: dict[str, list[tuple[str, str | None]]] = {}
        select = self.select
        for name, text in items:
            if select and name == select.key:
                if text is not None:
                    values[name] = text
                continue
            head, dot, tail = name.partition(".")
            key = keys.get(name) or keys.get(head)
            if key is None and text is None and name[:2] == "no":
                switched = keys.get(name[2:])
                if switched and isinstance(switched.type, Bool):
                    values[switched.name] = False
                    continue
            plain = dot and key is not None and not isinstance(key.type, Group | ListOf)
            if self.rest and text is not None and (key is None or (plain and key.name != name)):
                values.setdefault(self.rest, []).append((name, text))
                continue
            if key is None:
                raise self._unknown_key(prefix + name, prefix, keys)
            if dot and key.name != name:
                if not isinstance(key.type, Group | ListOf):
                    raise OptionError(
                        f"{quoted(prefix + name)} reaches into the plain value "
                        f"'{prefix}{head}'; write {prefix}{head}=<{key.type.name}>"
                    )
                nested.setdefault(head, []).append((tail, text))
                continue
            value = _value(key, text, prefix + name)
            if key.repeat:
                values.setdefault(name, []).append(value)
            else:
                values[name] = value
        for head, inner in nested.items():
            kind = keys[head].type
            if isinstance(kind, Group):
                chosen = kind._select(inner)
                values[head] = kind._values(inner, chosen, f"{prefix}{head}.")
            elif isinstance(kind, ListOf):
                values[head] = _list(kind.item, inner, prefix + head)
        if self.rest:
            values.setdefault(self.rest, [])
        self._complete(values, keys, prefix)
        return values

    def _complete(self, values: dict[str, Any], keys: dict[str, Key], prefix: str) -> None:
        select = self.select
        if select and select.key not in values:
            raise OptionError(
                f"'{prefix}{select.key}' is missing; write {prefix}{select.key}=<name>, "
                f"{self.name} help lists the names"
            )
        for name, key in keys.items():
            if name in values:
                continue
            if key.required:
                raise OptionError(
                    f"'{prefix}{name}' is missing; write {prefix}{name}=<{key.type.name}>"
                )
            values[name] = [] if key.repeat and key.default is None else key.default

    def _unknown_key(self, name: str, prefix: str, keys: dict[str, Key]) -> OptionError:
        names = [prefix + key for key in keys]
        if self.select:
            names.insert(0, prefix + self.select.key)
        otherwise = f"the keys are {listed(names)}" if len(names) <= 8 else "help lists the keys"
        return unknown(f"{quoted(name)} is not a key here", name, names, otherwise)


def split(text: str, implied: str = "") -> list[tuple[str, str | None]]:
    """The items of a comma list as (key, value) pairs; the value of an item without `=` is None.

    A first item without `=` becomes the value of the key `implied`, if there is one, except for
    `help` and `?`. Doubled commas in values are undoubled.
    """
    items: list[tuple[str, str | None]] = []
    at = 0
    while at < len(text):
        comma = text.find(",", at)
        equals = text.find("=", at)
        if equals >= 0 and (comma < 0 or equals < comma):
            key = text[at:equals]
            value, at = _take(text, equals + 1)
            if not key:
                raise OptionError(f"{quoted('=' + value)} has no key before its '='")
            items.append((key, value))
            continue
        word, at = _take(text, at)
        if not items and implied and word not in ("help", "?"):
            items.append((implied, word))
        else:
            items.append((word, None))
    return items


def split_words(text: str) -> list[str]:
    """The values of a plain comma list, `a,b,c`, with doubled commas undoubled."""
    words = []
    at = 0
    while at < len(text):
        word, at = _take(text, at)
        words.append(word)
    return words


def _take(text: str, at: int) -> tuple[str, int]:
    """The value that starts at `at`, up to a single comma, and the place after that comma."""
    end = text.find(",", at)
    if end < 0:
        return text[at:], len(text)
    parts = []
    while end >= 0 and text[end + 1 : end + 2] == ",":
        parts.append(text[at : end + 1])
        at = end + 2
        end = text.find(",", at)
    if end < 0:
        end = len(text)
    parts.append(text[at:end])
    return "".join(parts), end + 1


def _rows(keys: dict[str, Key], prefix: str) -> list[tuple[str, str]]:
    """What help shows of every key, nested ones included: `name=<type>`, and what it is for."""
    rows: list[tuple[str, str]] = []
    for name, key in keys.items():
        if isinstance(key.type, Group):
            rows += _rows(key.type.keys, f"{prefix}{name}.")
            continue
        notes = []
        if key.required:
            notes.append("required")
        if key.repeat:
            notes.append("may be repeated")
        if key.default is not None:
            notes.append(f"default: {key.type.format(key.default)}")
        text = f"{key.help} ({', '.join(notes)})" if notes else key.help
        rows.append((f"{prefix}{name}=<{key.type.name}>", text.strip()))
    return rows


def _value(key: Key, text: str | None, name: str) -> Any:
    """The value of one item; `text` is None for an item without `=`."""
    if isinstance(key.type, Group):
        raise OptionError(f"'{name}' is a group of keys; write {name}.<key>=<value>")
    if text is None:
        if isinstance(key.type, Bool):
            return True
        raise OptionError(f"'{name}' has no value; write {name}=<{key.type.name}>")
    try:
        return key.type.parse(text)
    except OptionError as error:
        raise error.within(name) from None


def _list(item: ValueType, items: list[tuple[str, str | None]], name: str) -> list[Any]:
    """The list whose places `items` give as keys '0', '1', ..., in any order, without gaps.

    Where each place is a group they are '0.key', '0.other', '1.key', ...
    """
    places: dict[int, list[tuple[str, str | None]]] = {}
    for key, text in items:
        place, dot, inner = key.partition(".")
        if not (place.isascii() and place.isdigit()) or (dot and not isinstance(item, Group)):
            raise OptionError(f"'{name}.{key}' is no place in a list; write {name}.0, {name}.1")
        places.setdefault(int(place), []).append((inner, text))
    values = []
    for wanted in range(len(places)):
        found = places.get(wanted)
        if found is None:
            raise OptionError(f"'{name}.{wanted}' is missing; number the list's values from 0")
        where = f"{name}.{wanted}"
        if isinstance(item, Group):
            values.append(item._values(found, item._select(found), f"{where}."))
        else:
            values.append(_value(Key(where, item), found[-1][1], where))
    return values
