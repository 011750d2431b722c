"""What the user types and points at: from displays and monitors to keyboards and mice.

Keys are called as `sendkey` of the monitor calls them: 'a', 'ret', 'ctrl', 'kp_enter', ...
"""

from __future__ import annotations

from typing import Protocol

BUTTONS = ("left", "middle", "right", "side", "extra")

ABSOLUTE = 0x7FFF
"""The largest coordinate of pointers that say where they are, and not how far they moved."""


class Keyboard(Protocol):
    """A device with keys."""

    def key(self, name: str, down: bool) -> None:
        """A key has been pressed or let go; unknown ones are ignored."""


class Pointer(Protocol):
    """A mouse or tablet."""

    absolute: bool

    def move(self, x: int, y: int) -> None:
        """It has moved by x to the right and y down, or, if `absolute`, to x and y."""

    def wheel(self, clicks: int) -> None:
        """The wheel has been turned, away from the user if positive."""

    def button(self, name: str, down: bool) -> None:
        """A button has been pressed or let go."""

    def sync(self) -> None:
        """What has been said makes one report."""


class Input:
    """The keyboards and pointers of a machine; the one added last gets what comes.

    All methods are called under the machine's lock.
    """

    def __init__(self) -> None:
        self.keyboards: list[Keyboard] = []
        self.pointers: list[Pointer] = []

    @property
    def pointer(self) -> Pointer | None:
        """The pointer that gets what comes."""
        return self.pointers[-1] if self.pointers else None

    def key(self, name: str, down: bool) -> None:
        """A key has been pressed or let go."""
        if self.keyboards:
            self.keyboards[-1].key(name, down)
