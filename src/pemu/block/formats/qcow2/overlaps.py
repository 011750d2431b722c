"""Which clusters of a qcow2 image have its own tables: contents must never go there."""

from __future__ import annotations

from pemu.options.keyval import Group, Key
from pemu.options.types import Bool, Enum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

NAMES = {
    "main-header": "qcow2_header",
    "active-l1": "active L1 table",
    "active-l2": "active L2 table",
    "refcount-table": "refcount table",
    "refcount-block": "refcount block",
    "snapshot-table": "snapshot table",
    "inactive-l1": "inactive L1 table",
    "inactive-l2": "inactive L2 table",
    "bitmap-directory": "bitmap directory",
}
"""Kinds of tables as options name them, and as messages do."""

OTHERS = {
    "encryption-header": "encryption header",
    "bitmap-table": "bitmap table",
    "bitmap": "bitmap",
}
"""Kinds that are protected wherever anything is."""

_CONSTANT = {"main-header", "active-l1", "refcount-table", "snapshot-table", "bitmap-directory"}
_CACHED = {*_CONSTANT, "active-l2", "refcount-block", "inactive-l1"}

TEMPLATES: Mapping[str, frozenset[str]] = {
    "none": frozenset(),
    "constant": frozenset(_CONSTANT),
    "cached": frozenset(_CACHED),
    "all": frozenset(NAMES),
}
"""What is protected: what never moves, what is in memory anyway, everything."""

KEY = Key(
    "overlap-check",
    Group(
        "overlap-check",
        (
            Key("template", Enum(tuple(TEMPLATES)), "which tables are protected"),
            *(Key(kind, Bool(), f"whether that is: {name}") for kind, name in NAMES.items()),
        ),
        implied="template",
    ),
    "refuse to write over the image's own tables",
)


def protected(given: Mapping[str, Any] | None) -> frozenset[str]:
    """The kinds of tables that the values of KEY say are to be protected."""
    values = given or {}
    kinds = set(TEMPLATES[values.get("template") or "cached"])
    for kind in NAMES:
        if values.get(kind) is not None:
            kinds = kinds | {kind} if values[kind] else kinds - {kind}
    return frozenset(kinds | OTHERS.keys() if kinds else kinds)


class Overlaps:
    """The tables of one image. kinds: those that are protected.

    corrupt: is told what is wrong with the image, and makes an OSError of it.
    """

    def __init__(self, kinds: frozenset[str], corrupt: Callable[[str], OSError]) -> None:
        self.kinds = kinds
        self._corrupt = corrupt
        self._owners: dict[int, str] = {}

    def forget(self) -> None:
        """Know of no tables."""
        self._owners = {}

    def note(self, kind: str, cluster: int, count: int) -> None:
        """There are such tables from `cluster` on."""
        if kind in self.kinds:
            self._owners.update(dict.fromkeys(range(cluster, cluster + count), kind))

    def drop(self, cluster: int, count: int) -> None:
        """There are none any more."""
        if self._owners:
            for i in range(cluster, cluster + count):
                self._owners.pop(i, None)

    def guard(self, cluster: int, count: int, kind: str = "") -> None:
        """Clusters are about to be written to, for contents or for a table of this kind.

        Raises OSError where others have tables there: the image is marked as corrupt.
        """
        owners = self._owners
        if owners and not owners.keys().isdisjoint(range(cluster, cluster + count)):
            found = next(owners[i] for i in range(cluster, cluster + count) if i in owners)
            name = {**NAMES, **OTHERS}[found]
            raise self._corrupt(f"Preventing invalid write on metadata (overlaps with {name})")
        if kind:
            self.note(kind, cluster, count)
