"""The options with which a qcow2 image is opened, and what may change while it is open."""

from __future__ import annotations

from pemu.block.error import ImageError
from pemu.block.formats.qcow2.overlaps import KEY as OVERLAP_CHECK
from pemu.block.formats.qcow2.overlaps import protected
from pemu.block.formats.qcow2.reading import Settings
from pemu.block.tree import typed
from pemu.options.keyval import Group, Key
from pemu.options.types import Bool, Enum, Int, Size, Text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

KEYS = (
    Key("lazy-refcounts", Bool(), "let refcounts be behind while the image is in use"),
    Key("pass-discard-request", Bool(), "tell the host of what a guest discards"),
    Key("pass-discard-snapshot", Bool(), "tell the host of what snapshots give back"),
    Key("pass-discard-other", Bool(), "tell the host of other clusters that become free"),
    OVERLAP_CHECK,
    Key("cache-size", Size(), "bytes of L2 tables and refcount blocks in memory"),
    Key("l2-cache-size", Size(), "bytes of L2 tables in memory"),
    Key("l2-cache-entry-size", Size(), "accepted; tables are cached whole"),
    Key("refcount-cache-size", Size(), "bytes of refcount blocks in memory"),
    Key(
        "cache-clean-interval",
        Int(maximum=0xFFFFFFFF),
        "accepted; seconds after which unused tables are dropped",
    ),
    Key(
        "encrypt",
        Group(
            "encrypt",
            (
                Key("format", Enum(("aes", "luks")), "how the image is encrypted"),
                Key("key-secret", Text("id"), "id of the secret with the key or passphrase"),
            ),
        ),
        "encryption",
    ),
)


CHANGEABLE = {key.name: key for key in KEYS if key.name != "encrypt"}
"""Keys that can change while an image is open."""


def changed_settings(
    old: dict[str, Any], new: Mapping[str, Any], cluster: int, *, discard: bool
) -> Settings:
    """The settings where `new` keys, as the user has written them, come to `old` values.

    Raises ImageError.
    """
    values = typed(new, [CHANGEABLE[name] for name in new], "Block format 'qcow2'")
    for name, value in values.items():
        if isinstance(value, dict):
            before = old.get(name) or {}
            values[name] = {**before, **{k: one for k, one in value.items() if one is not None}}
    return settings_of({**old, **values}, cluster, discard=discard)


def settings_of(options: dict[str, Any], cluster: int, *, discard: bool) -> Settings:
    """What the values of KEYS say. cluster: bytes. discard: whether the host is told of what is
    discarded where they say nothing about it. Raises ImageError."""

    def choice(name: str, *, default: bool) -> bool:
        given = options[f"pass-discard-{name}"]
        return default if given is None else bool(given)

    cached = options["l2-cache-size"]
    total, refcounts = options["cache-size"], options["refcount-cache-size"]
    if total is not None and cached is not None and refcounts is not None:
        raise ImageError(
            "cache-size, l2-cache-size and refcount-cache-size may not be set at the same time"
        )
    for name in ("l2-cache-size", "refcount-cache-size"):
        if total is not None and (options[name] or 0) > total:
            raise ImageError(f"{name} may not exceed cache-size")
    for name, size in (("L2", cached), ("Refcount", refcounts or total)):
        if (size or 0) // cluster >> 31:
            raise ImageError(f"{name} cache size too big")
    if cached is None:
        cached = 32 << 20 if total is None else total - (refcounts or 0)
    entry = options["l2-cache-entry-size"]
    if entry is not None and (not 512 <= entry <= cluster or entry & (entry - 1)):
        raise ImageError(
            "L2 cache entry size must be a power of two between 512 and the cluster size "
            f"({cluster})"
        )
    return Settings(
        given=options,
        overlap=protected(options["overlap-check"]),
        cached=cached,
        cached_refcounts=32 << 20 if refcounts is None else refcounts,
        discard_request=choice("request", default=discard),
        discard_snapshot=choice("snapshot", default=True),
        discard_other=choice("other", default=False),
        lazy=options["lazy-refcounts"],
    )
