"""The targets of system emulation: what `pemu-system-<name>` runs."""

from __future__ import annotations

from typing import NamedTuple

from pemu.machine.region import Order


class Target(NamedTuple):
    """Processors of one instruction set, byte order and width.

    architecture: the key of `pemu.machine.boards.BOARDS`. bits: width of the registers.
    """

    name: str
    architecture: str
    order: Order
    bits: int


TARGETS = {
    target.name: target
    for target in (
        Target("mips", "mips", "big", 32),
        Target("mipsel", "mips", "little", 32),
        Target("mips64", "mips", "big", 64),
        Target("mips64el", "mips", "little", 64),
    )
}
