"""What an image is, for people and programs."""

from __future__ import annotations

from pemu.block.image import Image, Snapshot
from pemu.block.opening import resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


def describe(image: Image) -> dict[str, Any]:
    """What QMP's ImageInfo says of an image."""
    one: dict[str, Any] = {"virtual-size": image.size, "filename": image.name}
    if image.limits().cluster:
        one["cluster-size"] = image.limits().cluster
    one["format"] = image.format
    allocated = image.allocated()
    if allocated is not None:
        one["actual-size"] = allocated
    if image.encrypted:
        one["encrypted"] = True
    details = image.details()
    if details:
        one["format-specific"] = {"type": image.format, "data": details}
    if image.backing_file:
        one["backing-filename"] = image.backing_file
        one["full-backing-filename"] = resolve(image.backing_file, image.name)
        if image.backing_format:
            one["backing-filename-format"] = image.backing_format
    snapshots = image.snapshots()
    if snapshots:
        one["snapshots"] = [_snapshot(snapshot) for snapshot in snapshots]
    if image.dirty is not None:
        one["dirty-flag"] = image.dirty
    return one


def _snapshot(one: Snapshot) -> dict[str, Any]:
    found = {
        "id": one.id,
        "name": one.name,
        "vm-state-size": one.state_size,
        "date-sec": one.date,
        "date-nsec": one.nanoseconds,
        "vm-clock-sec": one.clock // 10**9,
        "vm-clock-nsec": one.clock % 10**9,
    }
    if one.instructions != -1:
        found["icount"] = one.instructions
    return found


def human(one: dict[str, Any]) -> str:
    """What people read of an ImageInfo; without the last line end."""
    size = one["virtual-size"]
    taken = amount(one["actual-size"]) if "actual-size" in one else "unavailable"
    lines = [
        f"image: {one['filename']}",
        f"file format: {one['format']}",
        f"virtual size: {amount(size)} ({size} bytes)",
        f"disk size: {taken}",
    ]
    if one.get("encrypted"):
        lines.append("encrypted: yes")
    if "cluster-size" in one:
        lines.append(f"cluster_size: {one['cluster-size']}")
    if one.get("dirty-flag"):
        lines.append("cleanly shut down: no")
    if "backing-filename" in one:
        below, full = one["backing-filename"], one["full-backing-filename"]
        lines.append(f"backing file: {below}" + (f" (actual path: {full})" * (full != below)))
        if "backing-filename-format" in one:
            lines.append(f"backing file format: {one['backing-filename-format']}")
    if one.get("snapshots"):
        lines += ["Snapshot list:", *snapshot_table(one["snapshots"])]
    if "format-specific" in one:
        lines.append("Format specific information:")
        lines += detail_lines(one["format-specific"]["data"])
    return "\n".join(lines) + "\n"


def snapshot_table(snapshots: Sequence[dict[str, Any]]) -> list[str]:
    """The table of an image's snapshots, given as QMP's SnapshotInfo."""
    import time

    row = "{:<9} {:<16} {:>8}{:>20}{:>13}{:>11}"
    lines = [row.format("ID", "TAG", "VM SIZE", "DATE", "VM CLOCK", "ICOUNT")]
    for one in snapshots:
        date = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one["date-sec"]))
        seconds, rest = one["vm-clock-sec"], one["vm-clock-nsec"] // 10**6
        clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{rest:03}"
        state = amount(one["vm-state-size"])
        lines.append(row.format(one["id"], one["name"], state, date, clock, one.get("icount", "")))
    return lines


def detail_lines(value: Any, level: int = 1) -> list[str]:
    """What people read of a format's details: a key a line, deeper ones indented."""
    pairs: list[tuple[str, Any]]
    if isinstance(value, dict):
        pairs = [(key.replace("-", " "), inner) for key, inner in value.items()]
    else:
        pairs = [(f"[{i}]", inner) for i, inner in enumerate(value)]
    lines = []
    for key, inner in pairs:
        left = "    " * level + key + ":"
        if isinstance(inner, dict | list):
            lines += [left, *detail_lines(inner, level + 1)]
        else:
            lines.append(f"{left} {str(inner).lower() if isinstance(inner, bool) else inner}")
    return lines


def snapshots_of(image: Image) -> list[dict[str, Any]]:
    """The snapshots of an image as QMP's SnapshotInfo."""
    return [_snapshot(one) for one in image.snapshots()]


def amount(size: int) -> str:
    """A number of bytes for people: three digits and a unit, '1.5 GiB'."""
    power = 0
    while power < 6 and size / 1024**power * 1.024 >= 1024:
        power += 1
    unit = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")[power]
    return f"{size / 1024**power:.3g} {unit}B"
