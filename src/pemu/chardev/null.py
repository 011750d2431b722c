"""`null`: nothing is read, and what is written is discarded."""

from __future__ import annotations

from pemu.chardev.interface import Chardev

KEYS = ()


class Null(Chardev):
    """A line with nobody at the other end."""

    kind = "null"


BACKEND = Null
