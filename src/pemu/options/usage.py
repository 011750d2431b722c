"""Help texts, derived from the schemas."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pemu.options.command import Option
    from pemu.options.keyval import Group, Key


def group_usage(group: Group, keys: Mapping[str, Key], chosen: str | None = None) -> str:
    """The answer to `help` inside a comma list: the keys, or the values of the selecting key."""
    select = group.select
    if select and chosen is None:
        names = "".join(f"  {name}\n" for name in select.names())
        return f"{group.name} {select.key}s:\n{names}"
    title = f"{chosen} options" if chosen else f"{group.name} keys"
    rows = [(f"{name}=<{kind}>", text) for name, kind, text in _rows(keys, "", type(group))]
    width = max((len(left) for left, _ in rows), default=0)
    lines = [f"  {left:<{width}}  {text}".rstrip() for left, text in rows]
    return "\n".join([f"{title}:", *lines]) + "\n"


def _rows(keys: Mapping[str, Key], prefix: str, nested: type[Group]) -> list[tuple[str, str, str]]:
    """(dotted name, type, help with default) of every key, nested ones included."""
    rows: list[tuple[str, str, str]] = []
    for name, key in keys.items():
        if isinstance(key.type, nested):
            rows += _rows(key.type.keys, f"{prefix}{name}.", nested)
            continue
        notes = []
        if key.required:
            notes.append("required")
        if key.repeat:
            notes.append("may be repeated")
        if key.default is not None:
            notes.append(f"default: {key.type.format(key.default)}")
        text = f"{key.help} ({', '.join(notes)})" if notes else key.help
        rows.append((prefix + name, key.type.name, text.strip()))
    return rows


def option_table(options: Sequence[Option]) -> str:
    """The options as qemu-user's -h shows them: argument, environment variable, description."""
    rows = [("Argument", "Env-variable", "Description")]
    for option in options:
        argument = f"-{option.name} {option.metavar}".rstrip()
        variable = option.env[-1] if option.env else ""
        rows.append((argument, variable, option.help))
        rows += [(f"-{alias}", "", "") for alias in option.aliases]
    first = max(len(row[0]) for row in rows)
    second = max(len(row[1]) for row in rows)
    return "".join(f"{a:<{first}} {b:<{second}} {c}".rstrip() + "\n" for a, b, c in rows)
