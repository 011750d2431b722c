"""What options of images refer to by an id: --object."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pemu.block.crypto import secrets
from pemu.block.error import ImageError
from pemu.block.tree import from_json, typed
from pemu.options.error import OptionError, listed, quoted
from pemu.options.keyval import Group, Key, Select
from pemu.options.types import Id

KINDS: dict[str, tuple[tuple[Key, ...], Callable[[Mapping[str, Any], Mapping[str, Any]], Any]]] = {
    "secret": (secrets.KEYS, secrets.make_secret),
}
"""The keys of each kind of object, and what makes one of their values and the other objects."""

_ID = Key("id", Id(), "name of the object", required=True)

OBJECT = Group(
    "--object",
    (_ID,),
    implied="qom-type",
    select=Select(
        "qom-type",
        lambda: tuple(KINDS),
        lambda kind: KINDS[kind][0] if kind in KINDS else None,
        "kind of object",
    ),
)


def add_object(objects: dict[str, Any], text: str) -> None:
    """Make what an --object option describes and note it under its id. Raises ImageError.

    text: a comma list, or JSON with 'qom-type'.
    """
    try:
        if text.startswith("{"):
            tree = from_json(text)
            kind = str(tree.pop("qom-type", ""))
            if kind not in KINDS:
                raise ImageError(f"'qom-type' {quoted(kind)} is none of {listed(KINDS)}")
            values = typed(tree, (_ID, *KINDS[kind][0]), f"Object '{kind}'")
        else:
            values = OBJECT.parse(text)
            kind = values["qom-type"]
        if values["id"] in objects:
            raise ImageError(f"attempt to add duplicate property {quoted(values['id'])}")
        objects[values["id"]] = KINDS[kind][1](values, objects)
    except OptionError as error:
        raise ImageError(str(error)) from None
