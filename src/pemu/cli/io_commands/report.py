"""Numbers as `pemu-io` reads and prints them."""

from __future__ import annotations

from pemu.options.error import OptionError
from pemu.options.types import Size

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


class Failure(Exception):
    """A command has failed: its text is printed as it is, on standard output or error."""

    def __init__(self, text: str = "", *, error: bool = False) -> None:
        super().__init__(text)
        self.error = error


def parse_number(text: str) -> int:
    """Bytes with a suffix. Raises Failure."""
    try:
        value = int(Size(0, 1 << 90).parse(text))
    except OptionError:
        raise Failure(
            f"Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- {text}"
        ) from None
    if value >= 1 << 63:
        raise Failure(f"Parsing error: argument too large -- {text}")
    return value


def parse_pattern(text: str) -> int:
    """A byte. Raises Failure."""
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if not 0 <= value <= 255:
        raise Failure(f"{text} is not a valid pattern byte")
    return value


def amount(value: float) -> str:
    """A number of bytes: '64 KiB', '1.223 GiB', '7 bytes'."""
    power = 0
    while power < len(_UNITS) and value >= 1024:
        value /= 1024
        power += 1
    if not power:
        return f"{value:f}".removesuffix(".000000") + " bytes"
    return f"{value:.3f}".removesuffix(".000") + f" {_UNITS[power - 1]}"


def duration(seconds: float, *, terse: bool = False) -> str:
    """A time: '00.01 sec', '02:03.50', and with hours or if `terse` '0:02:03.50'."""
    whole = int(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    rest = seconds - whole + whole % 60
    if terse or hours:
        return f"{hours}:{minutes:02}:{rest:05.2f}"
    return f"{minutes:02}:{rest:05.2f}" if minutes else f"{rest:05.2f} sec"


def statistics(
    verb: str, offset: int, wanted: int, done: int, seconds: float, *, machine: bool
) -> str:
    """What is said of a request. machine: for programs."""
    seconds = max(seconds, 1e-9)
    if machine:
        time = duration(seconds, terse=True)
        return f"{done},1,{time},{done / seconds:.3f},{1 / seconds:.3f}"
    return (
        f"{verb} {done}/{wanted} bytes at offset {offset}\n"
        f"{amount(done)}, 1 ops; {duration(seconds)} ({amount(done / seconds)}/sec and "
        f"{1 / seconds:.4f} ops/sec)"
    )


def dump(data: memoryview, offset: int) -> str:
    """Contents in hexadecimal, 16 bytes a line."""
    lines = []
    for at in range(0, len(data), 16):
        part = bytes(data[at : at + 16])
        shown = "".join(chr(byte) if chr(byte).isalnum() and byte < 128 else "." for byte in part)
        lines.append(f"{offset + at:08x}:  {part.hex(' ')}  {shown}")
    return "\n".join(lines)
