"""Terminal lines of the host: raw mode, speed and format, breaks and modem lines.

Source: termios(3), ioctl_tty(2).
"""

from __future__ import annotations

import fcntl
import struct
import termios as t
from typing import Any

from pemu.chardev.interface import LineSettings, ModemLines

IFLAG, OFLAG, CFLAG, LFLAG, ISPEED, OSPEED, CC = range(7)
"""Places in the attributes that tcgetattr returns."""

_INPUT_CHANGES = (
    t.IGNBRK | t.BRKINT | t.PARMRK | t.ISTRIP | t.INLCR | t.IGNCR | t.ICRNL | t.IXON | t.IXOFF
)
_LINE_EDITING = t.ECHO | t.ECHONL | t.ICANON | t.IEXTEN
_FORMAT = t.CSIZE | t.CSTOPB | t.PARENB | t.PARODD

_SPEEDS = {
    int(name[1:]): value
    for name, value in vars(t).items()
    if name[0] == "B" and name[1:].isdigit() and value
}
_TIOCSBRK, _TIOCCBRK = 0x5427, 0x5428  # asm-generic/ioctls.h
_DATA_BITS = {5: t.CS5, 6: t.CS6, 7: t.CS7, 8: t.CS8}
_PARITIES = {"N": 0, "E": t.PARENB, "O": t.PARENB | t.PARODD}


def raw(attributes: list[Any], *, output: bool, signals: bool) -> list[Any]:
    """The attributes by which every byte comes in at once, as it is, and is not shown.

    With `output`, what goes out is not changed either; with `signals`, the interrupt, quit and
    suspend characters keep their meanings.
    """
    changed = [*attributes[:CC], [*attributes[CC]]]
    changed[IFLAG] &= ~_INPUT_CHANGES
    if output:
        changed[OFLAG] &= ~t.OPOST
    else:
        changed[OFLAG] |= t.OPOST
    changed[CFLAG] = changed[CFLAG] & ~(t.CSIZE | t.PARENB) | t.CS8
    changed[LFLAG] &= ~(_LINE_EDITING if signals else _LINE_EDITING | t.ISIG)
    changed[CC][t.VMIN] = 1
    changed[CC][t.VTIME] = 0
    return changed


def formatted(attributes: list[Any], settings: LineSettings) -> list[Any]:
    """The attributes with another speed and format; the nearest speed that there is."""
    speed = _SPEEDS[min(_SPEEDS, key=lambda known: abs(known - settings.speed))]
    changed = list(attributes)
    changed[CFLAG] = (
        changed[CFLAG] & ~_FORMAT
        | _PARITIES[settings.parity]
        | _DATA_BITS[settings.data_bits]
        | (t.CSTOPB if settings.stop_bits == 2 else 0)
        | t.CLOCAL
        | t.CREAD
    )
    changed[ISPEED] = changed[OSPEED] = speed
    return changed


def set_break(fd: int, on: bool) -> None:
    """Begin or end a break; where the line knows none, nothing happens."""
    try:
        fcntl.ioctl(fd, _TIOCSBRK if on else _TIOCCBRK)
    except OSError:
        pass


def modem_lines(fd: int) -> ModemLines | None:
    """The modem lines that the host reads, None where there are none."""
    try:
        (bits,) = struct.unpack("i", fcntl.ioctl(fd, t.TIOCMGET, bytes(4)))
    except OSError:
        return None
    return ModemLines(
        *(bool(bits & line) for line in (t.TIOCM_CTS, t.TIOCM_DSR, t.TIOCM_RNG, t.TIOCM_CAR))
    )


def set_modem_lines(fd: int, rts: bool, dtr: bool) -> None:
    """Assert or release the modem lines that the host drives, where there are any."""
    on = t.TIOCM_RTS * rts | t.TIOCM_DTR * dtr
    off = (t.TIOCM_RTS | t.TIOCM_DTR) & ~on
    try:
        fcntl.ioctl(fd, t.TIOCMBIS, struct.pack("i", on))
        fcntl.ioctl(fd, t.TIOCMBIC, struct.pack("i", off))
    except OSError:
        pass
