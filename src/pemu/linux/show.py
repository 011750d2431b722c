"""How -strace writes values: numbers, addresses, strings, structures."""

from __future__ import annotations

from pemu.engine.memory.access import GuestFault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pemu.linux.process import Thread
    from pemu.linux.structs.layout import Struct

PATH_MAX = 4096
STRING_LIMIT = 32


def octal(value: int) -> str:
    """A number as C writes it in octal."""
    return f"0{value:o}" if value else "0"


def show_pointer(value: int) -> str:
    """An address as -strace shows it."""
    return f"{value:#x}" if value else "NULL"


def show_string(t: Thread, start: int) -> str:
    """A NUL-terminated string as -strace shows paths and names: whole, quoted."""
    if not start:
        return "NULL"
    try:
        return quote(t.mem.read_cstr(start, PATH_MAX))
    except GuestFault:
        return show_pointer(start)


def show_bytes(t: Thread, start: int, length: int) -> str:
    """A buffer as -strace shows it: quoted, its first 32 bytes."""
    if not start:
        return "NULL"
    try:
        data = t.mem.read(start, min(max(length, 0), STRING_LIMIT))
    except GuestFault:
        return show_pointer(start)
    return quote(data) + ("..." if length > STRING_LIMIT else "")


def quote(data: bytes) -> str:
    """`data` as a C string."""
    text = ""
    for i, byte in enumerate(data):
        if byte in _ESCAPES:
            text += _ESCAPES[byte]
        elif 32 <= byte < 127:
            text += chr(byte)
        else:
            digit_follows = i + 1 < len(data) and 48 <= data[i + 1] <= 55
            text += f"\\{byte:03o}" if digit_follows else f"\\{byte:o}"
    return f'"{text}"'


_ESCAPES = {10: "\\n", 13: "\\r", 9: "\\t", 34: '\\"', 92: "\\\\", 12: "\\f", 11: "\\v"}


def show_struct(t: Thread, struct: Struct, start: int) -> str:
    """A structure as -strace shows it: `{tv_sec=1, tv_nsec=0}`."""
    try:
        record = struct.read(t.mem, start).__dict__
        if struct.shown:
            record = {name: record[name] for name in struct.shown}
        if list(record) == ["value"]:
            return f"[{show_value(record['value'])}]"
        shown = ", ".join(show_field(name, value) for name, value in record.items())
        return "{" + shown + (", ...}" if struct.shown else "}")
    except GuestFault:
        return show_pointer(start)


def show_field(name: str, value: Any) -> str:
    """A structure's field as -strace shows it: `tv_sec=1`."""
    return f"{name}={octal(value)}" if name.endswith("_mode") else f"{name}={show_value(value)}"


def show_value(value: Any) -> str:
    """A value of a structure's field."""
    if isinstance(value, bytes):
        return quote(value.rstrip(b"\0"))
    if isinstance(value, tuple):
        return "[" + ", ".join(show_value(item) for item in value) + "]"
    if isinstance(value, int):
        return str(value)
    return "{" + ", ".join(show_field(n, v) for n, v in value.__dict__.items()) + "}"
