"""Options of new images: `-o`, its help, and how `create` shows them."""

from __future__ import annotations

from pemu.block.driver import Driver
from pemu.block.graph import creating_protocol
from pemu.cli.img_commands.session import driver_of
from pemu.options.error import OptionError, unknown
from pemu.options.keyval import Key, split
from pemu.options.types import Bool, Int, Size, ValueType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

SIZE = Key("size", Size(), "Virtual disk size")

_KINDS: tuple[tuple[type[ValueType], str], ...] = (
    (Size, "size"),
    (Bool, "bool (on/off)"),
    (Int, "num"),
)
"""What QEMU calls types; everything else is 'str'."""


def option_pairs(texts: Iterable[str]) -> list[tuple[str, str]] | None:
    """The keys and values of all -o; None where one asks for help. Raises OptionError."""
    pairs: list[tuple[str, str]] = []
    for text in texts:
        if not text or text.startswith(",") or text.endswith(",") and not text.endswith(",,"):
            raise OptionError(f"Invalid option list: {text}")
        for key, value in split(text):
            if value is None:
                if key in ("help", "?"):
                    return None
                key, value = (key[2:], "off") if key.startswith("no") else (key, "on")
            pairs.append((key, value))
    return pairs


def creation_keys(driver: Driver, protocol: Driver | None) -> list[Key]:
    """The keys that a new image can have, 'size' among them.

    protocol: what would keep it, if that is known: its keys come last.
    """
    keys = list(driver.creation)
    if all(key.name != "size" for key in keys):
        keys.insert(0, SIZE)
    known = {key.name for key in keys}
    below = protocol.creation if protocol is not None else ()
    return [*keys, *(key for key in below if key.name not in known)]


def creating_driver(format: str) -> Driver:
    """The driver that is called `format`, which can make images. Raises OptionError."""
    driver = driver_of(format)
    if driver.create is None:
        raise OptionError(f"Format driver '{format}' does not support image creation")
    return driver


def check_keys(keys: Iterable[Key], pairs: Iterable[tuple[str, str]]) -> None:
    """Raise OptionError where `pairs` has what is none of `keys`, or a value of a wrong type."""
    known = {key.name: key for key in keys}
    for name, value in pairs:
        if name not in known:
            raise unknown(f"Invalid parameter '{name}'", name, known, "-o help lists the options")
        _check_type(known[name], value)


def _check_type(key: Key, text: str) -> None:
    if isinstance(key.type, Size | Int | Bool):
        try:
            key.type.parse(text)
        except OptionError as error:
            raise OptionError(f"Parameter '{key.name}': {error}") from None


def shown_options(keys: Iterable[Key], values: Mapping[str, Any], size: int) -> str:
    """What 'Formatting' shows: all options that were given or have defaults."""
    shown = []
    for key in keys:
        value = size if key.name == "size" else values.get(key.name, key.default)
        if value is None:
            continue
        if isinstance(key.type, Size):
            value = key.type.parse(value) if isinstance(value, str) else value
        elif not isinstance(value, str):
            value = key.type.format(value)
        shown.append(f"{key.name}={value}".replace(",", ",,"))
    return " ".join(shown)


def option_help(format: str, name: str = "") -> str:
    """The answer to -o help. name: of the new image, if that is known."""
    driver = creating_driver(format)
    keys = creation_keys(driver, creating_protocol(name) if name else None)
    title = "Supported options:" if name else f"Supported {format} options:"
    lines = [title, *option_lines(keys)]
    if not name:
        lines += [
            "",
            "The protocol level may support further options.",
            "Specify the target filename to include those options.",
        ]
    return "\n".join(lines)


def option_lines(keys: Iterable[Key]) -> list[str]:
    """The options in the order of the alphabet, with types and what they are for."""
    lines = []
    for key in sorted(keys, key=lambda key: key.name):
        kind = next((name for type, name in _KINDS if isinstance(key.type, type)), "str")
        left = f"  {key.name}=<{kind}>"
        lines.append(f"{left:<24} - {key.help}" if key.help else left)
    return lines
