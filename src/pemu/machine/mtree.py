"""`info mtree`: the memory map as text."""

from __future__ import annotations

from collections.abc import Iterable

from pemu.machine.memory import AddressSpace
from pemu.machine.region import Alias, Ram, Region, RomDevice

_TOP = (1 << 64) - 1


def mtree(spaces: Iterable[AddressSpace]) -> str:
    """All address spaces as trees, as `info mtree` shows them, and what aliases show."""
    names: dict[Region, list[str]] = {}
    for space in spaces:
        names.setdefault(space.root, []).append(space.name)
    shown: list[Region] = []
    parts = []
    for root, titles in names.items():
        lines = [f"address-space: {name}" for name in titles]
        _branch(lines, root, 0, 1, shown)
        parts.append("\n".join(lines) + "\n")
    done: set[Region] = set()
    for target in shown:  # grows while it is walked
        if target not in done:
            done.add(target)
            lines = [f"memory-region: {target.name}"]
            _branch(lines, target, 0, 1, shown)
            parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def flat(spaces: Iterable[AddressSpace]) -> str:
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
                f"{one.region.name}{at}"
            )
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _branch(lines: list[str], region: Region, base: int, depth: int, aliased: list[Region]) -> None:
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
    lines.append(text + ("" if region.enabled else " [disabled]"))
    for child in sorted(region.children, key=lambda one: (one.address, -one.priority)):
        _branch(lines, child, start, depth + 1, aliased)


def _kind(region: Region, readonly: bool) -> str:
    """What kind of region it is, in QEMU's words."""
    if isinstance(region, Ram) and not isinstance(region, RomDevice) and readonly:
        return "rom"
    return region.kind
