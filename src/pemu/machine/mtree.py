"""`info mtree`: the memory map as text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pemu.machine.device import Device
from pemu.machine.memory import AddressSpace
from pemu.machine.region import Alias, Ram, Region, RomDevice

_TOP = (1 << 64) - 1


@dataclass(frozen=True)
class Shown:
    """What is shown besides. owners: the device that a region belongs to (-o). disabled: regions
    that are not seen now (-D)."""

    owners: bool = False
    disabled: bool = False


def mtree(spaces: Iterable[AddressSpace], what: Shown = Shown()) -> str:
    """All address spaces as trees, as `info mtree` shows them, and what aliases show."""
    names: dict[Region, list[str]] = {}
    for space in spaces:
        names.setdefault(space.root, []).append(space.name)
    aliased: list[Region] = []
    parts = []
    for root, titles in names.items():
        lines = [f"address-space: {name}" for name in titles]
        _branch(lines, root, 0, 1, aliased, what)
        parts.append("\n".join(lines) + "\n")
    done: set[Region] = set()
    for target in aliased:  # grows while it is walked
        if target not in done:
            done.add(target)
            lines = [f"memory-region: {target.name}"]
            _branch(lines, target, 0, 1, aliased, what)
            parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def flat(spaces: Iterable[AddressSpace], what: Shown = Shown()) -> str:
    """What is seen of each space, as `info mtree -f` shows it."""
    parts = []
    for number, space in enumerate(spaces):
        lines = [
            f"FlatView #{number}",
            f' AS "{space.name}", root: {space.root.name}',
            f" Root memory region: {space.root.name}",
        ]
        for one in space.view:
            kind = _kind(one.region, one.readonly)
            at = f" @{one.offset:016x}" if one.offset else ""
            lines.append(
                f"  {one.start:016x}-{one.end - 1:016x} (prio {one.region.priority}, {kind}): "
                f"{one.region.name}{at}{_owner(one.region) if what.owners else ''}"
            )
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _branch(
    lines: list[str],
    region: Region,
    base: int,
    depth: int,
    aliased: list[Region],
    what: Shown,
) -> None:
    start = (base + region.address if region.parent else base) & _TOP
    end = start + region.size - 1 & _TOP
    text = f"{'  ' * depth}{start:016x}-{end:016x} (prio {region.priority}, "
    if isinstance(region, Alias):
        last = region.offset + region.size - 1
        text += f"{_kind(region.target, region.readonly)}): alias {region.name} "
        text += f"@{region.target.name} {region.offset:016x}-{last:016x}"
        aliased.append(region.target)
    else:
        text += f"{_kind(region, region.readonly)}): {region.name}"
    text += _owner(region) if what.owners else ""
    if region.enabled or what.disabled:
        lines.append(text + ("" if region.enabled else " [disabled]"))
    for child in sorted(region.children, key=lambda one: (one.address, -one.priority)):
        _branch(lines, child, start, depth + 1, aliased, what)


def _owner(region: Region) -> str:
    """Which device a region belongs to, itself or by what it stands in."""
    label, holder = "owner", region
    while holder.owner is None and holder.parent is not None:
        label, holder = "parent", holder.parent
    if not isinstance(holder.owner, Device):
        return " orphan"
    device = holder.owner
    return f" {label}:{{dev {f'id={device.id}' if device.id else f'path={device.path}'}}}"


def _kind(region: Region, readonly: bool) -> str:
    """What kind of region it is, in QEMU's words."""
    if isinstance(region, Ram) and not isinstance(region, RomDevice) and readonly:
        return "rom"
    return region.kind
