"""A register as debuggers see it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    Read: TypeAlias = Callable[[Any], int]
    Write: TypeAlias = Callable[[Any, int], None]


class Variable:
    """A register with how a stopped cpu's is read and changed.

    `feature`: the standard feature of gdb's target descriptions it belongs to. `name`: gdb's.
    `bits`: its width. `type`: gdb's name for the type, empty for an integer. `group`: the register
    group, if not the one of its type.
    """

    __slots__ = ("bits", "feature", "group", "name", "read", "type", "write")

    def __init__(
        self,
        feature: str,
        name: str,
        bits: int,
        read: Read,
        write: Write,
        type: str = "",
        group: str = "",
    ) -> None:
        self.feature = feature
        self.name = name
        self.bits = bits
        self.read = read
        self.write = write
        self.type = type
        self.group = group
