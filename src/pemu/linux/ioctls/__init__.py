"""Requests of ioctl, a module a kind, by the letter in bits 8 to 15 of their numbers."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.linux.ioctls.request import Request

_MODULES = {
    0x00: "filesystems",
    0x03: "block",
    0x12: "block",
    ord("F"): "terminals",
    ord("K"): "consoles",
    ord("L"): "block",
    ord("R"): "devices",
    ord("T"): "terminals devices",
    ord("V"): "consoles",
    ord("X"): "filesystems",
    ord("f"): "terminals filesystems sockets",
    ord("p"): "devices",
    ord("s"): "sockets",
    ord("t"): "terminals",
    ord("v"): "filesystems",
    0x89: "sockets",
    0x94: "filesystems",
    0xB7: "devices",
}

_tables: dict[tuple[str, int], dict[int, Request]] = {}


def modules() -> list[str]:
    """The names of all modules."""
    return sorted({name for names in _MODULES.values() for name in names.split()})


def requests(module: str, word: int) -> dict[int, Request]:
    """The requests of a module by guest number, for a word of `word` bytes."""
    table = _tables.get((module, word))
    if table is None:
        from importlib import import_module

        found: tuple[Request, ...] = import_module(f"pemu.linux.ioctls.{module}").REQUESTS
        table = _tables[module, word] = {request.guest_number(word): request for request in found}
    return table


def find(number: int, word: int) -> Request | None:
    """The request with this guest number, for a word of `word` bytes."""
    for module in _MODULES.get(number >> 8 & 0xFF, "").split():
        request = requests(module, word).get(number)
        if request is not None:
            return request
    return None
