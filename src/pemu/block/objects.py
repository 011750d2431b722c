"""What options of images refer to by an id: --object."""

from __future__ import annotations

from pemu.block.error import ImageError
from pemu.block.tree import from_json, typed
from pemu.modules import load
from pemu.options.error import OptionError, listed, quoted
from pemu.options.keyval import Group, Key, Select, split
from pemu.options.types import Id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, TypeAlias

KINDS = {
    "secret": "pemu.block.crypto.secrets",
    "tls-creds-x509": "pemu.block.nbd.tls",
    "tls-creds-psk": "pemu.block.nbd.tls",
    "authz-simple": "pemu.block.nbd.tls",
    "authz-list": "pemu.block.nbd.tls",
    "authz-listfile": "pemu.block.nbd.tls",
    "throttle-group": "pemu.block.filters.throttle",
}
"""Kinds of objects, and the module of each; its OBJECTS have keys, and what makes one of them."""

Maker: TypeAlias = "Callable[[Mapping[str, Any], Mapping[str, Any]], Any]"
"""Makes an object of its keys' values and the other objects. Raises ImageError."""


def _kind(name: str) -> tuple[Sequence[Key], Maker] | None:
    if name not in KINDS:
        return None
    found: tuple[Sequence[Key], Maker] = load(KINDS[name]).OBJECTS[name]
    return found


_ID = Key("id", Id(), "name of the object", required=True)

OBJECT = Group(
    "--object",
    (_ID,),
    implied="qom-type",
    select=Select(
        "qom-type",
        lambda: tuple(KINDS),
        lambda name: found[0] if (found := _kind(name)) else None,
        "kind of object",
    ),
)


def show_help(texts: Sequence[str]) -> None:
    """Raise HelpRequest with the answer where one of several --object asks for help."""
    for text in texts:
        if not text.startswith("{") and any(
            value is None and key in ("help", "?") for key, value in split(text, implied="qom-type")
        ):
            OBJECT.parse(text)


def add_object(objects: dict[str, Any], text: str) -> None:
    """Make what an --object option describes and note it under its id. Raises ImageError.

    text: a comma list, or JSON with 'qom-type'.
    """
    try:
        if text.startswith("{"):
            tree = from_json(text)
            name = str(tree.pop("qom-type", ""))
            kind = _kind(name)
            if kind is None:
                raise ImageError(f"'qom-type' {quoted(name)} is none of {listed(KINDS)}")
            values = typed(tree, (_ID, *kind[0]), f"Object '{name}'")
        else:
            values = OBJECT.parse(text)
            kind = _kind(values["qom-type"])
            assert kind is not None
        if values["id"] in objects:
            raise ImageError(f"attempt to add duplicate property {quoted(values['id'])}")
        objects[values["id"]] = kind[1](values, objects)
    except OptionError as error:
        raise ImageError(str(error)) from None
