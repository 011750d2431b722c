"""Terminals, pseudoterminals and serial lines; the requests that every descriptor knows.

Sources: the kernel's MIPS and generic `asm/termbits.h`, `asm/termios.h`, `asm/ioctls.h`.
"""

from __future__ import annotations

import struct

from pemu.linux.flags import Flags
from pemu.linux.hostcalls import HostBuffer
from pemu.linux.ioctls.request import (
    CHAR,
    INT,
    U64,
    Code,
    Request,
    coded,
    fills,
    fixed,
    host_ioctl,
    host_ioctl_with,
    nothing,
    reads,
    same,
    value,
)
from pemu.linux.mips.fcntl import OPEN_FLAGS
from pemu.linux.structs.layout import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.linux.ioctls.request import Action
    from pemu.linux.process import Thread

TERMIOS2 = Struct(
    "termios2", "u32 c_iflag", "u32 c_oflag", "u32 c_cflag", "u32 c_lflag", "uchar c_line",
    "char c_cc[23]", "u32 c_ispeed", "u32 c_ospeed",
)  # fmt: skip
TERMIOS = Struct(
    "termios", "u32 c_iflag", "u32 c_oflag", "u32 c_cflag", "u32 c_lflag", "uchar c_line",
    "char c_cc[23]",
)  # fmt: skip
TERMIO = Struct(
    "termio", "u16 c_iflag", "u16 c_oflag", "u16 c_cflag", "u16 c_lflag", "uchar c_line",
    "char c_cc[23]",
)  # fmt: skip
WINSIZE = Struct("winsize", "u16 ws_row", "u16 ws_col", "u16 ws_xpixel", "u16 ws_ypixel")
SERIAL = Struct(
    "serial_struct", "int type", "int line", "uint port", "int irq", "int flags",
    "int xmit_fifo_size", "int custom_divisor", "int baud_base", "ushort close_delay",
    "uchar io_type", "uchar reserved_char", "int hub6", "ushort closing_wait",
    "ushort closing_wait2", "ptr iomem_base", "ushort iomem_reg_shift", "uint port_high",
    "ulong iomap_base",
)  # fmt: skip
SERIAL_COUNTERS = Struct("serial_icounter_struct", "int counters[20]")
RS485 = Struct("serial_rs485", "u32 fields[8]")

LFLAG = Flags(
    """
    ISIG    0x1
    ICANON  0x2
    XCASE   0x4
    ECHO    0x8
    ECHOE   0x10
    ECHOK   0x20
    ECHONL  0x40
    NOFLSH  0x80
    IEXTEN  0x100   0x8000
    ECHOCTL 0x200
    ECHOPRT 0x400
    ECHOKE  0x800
    FLUSHO  0x2000  0x1000
    PENDIN  0x4000
    TOSTOP  0x8000  0x100
    EXTPROC 0x10000
    """
)
"""Local modes; all other modes have the host's bits."""

MODEM_LINES = Flags(
    """
    TIOCM_LE   0x001
    TIOCM_DTR  0x002
    TIOCM_RTS  0x004
    TIOCM_ST   0x010  0x008
    TIOCM_SR   0x020  0x010
    TIOCM_CTS  0x040  0x020
    TIOCM_CAR  0x100  0x040
    TIOCM_RNG  0x200  0x080
    TIOCM_DSR  0x400  0x100
    TIOCM_OUT1 0x2000
    TIOCM_OUT2 0x4000
    TIOCM_LOOP 0x8000
    """
)

# Control characters: the host's index by the guest's. INTR QUIT ERASE KILL MIN TIME EOL2 SWTC
# START STOP SUSP (unused) REPRINT DISCARD WERASE LNEXT EOF EOL.
_CC = (0, 1, 2, 3, 6, 5, 16, 7, 8, 9, 10, None, 12, 13, 14, 15, 4, 11)
_HOST_CC = 19
_HOST = struct.Struct(f"<4IB{_HOST_CC}sII")
_HOST_TCGETS2, _HOST_TCSETS2 = 0x802C542A, 0x402C542B
_HOST_TCGETS = 0x5401


class Modes:
    """A terminal's modes, in the host's numbers."""

    __slots__ = ("cc", "cflag", "iflag", "ispeed", "lflag", "line", "oflag", "ospeed")

    def __init__(self, data: bytes) -> None:
        """`data`: the host's `struct termios2`, or only its `struct termios`."""
        fields = _HOST.unpack(data.ljust(_HOST.size, b"\0"))
        self.iflag, self.oflag, self.cflag, self.lflag, self.line, cc = fields[:6]
        self.cc = bytearray(cc)
        self.ispeed, self.ospeed = fields[6:]

    def pack(self) -> bytes:
        """The host's structure."""
        flags = (self.iflag, self.oflag, self.cflag, self.lflag)
        return _HOST.pack(*flags, self.line, bytes(self.cc), self.ispeed, self.ospeed)

    def guest_cc(self) -> bytes:
        """The control characters in the guest's order."""
        return bytes(self.cc[host] if host is not None else 0 for host in _CC)

    def set_guest_cc(self, data: bytes) -> None:
        """Take control characters in the guest's order."""
        for host, char in zip(_CC, data, strict=False):
            if host is not None:
                self.cc[host] = char


def get_modes(layout: Struct) -> Action:
    """Write the terminal's modes as `layout`."""

    def action(t: Thread, fd: int, number: int, argument: int) -> int:
        buffer = HostBuffer(_HOST.size)
        result = host_ioctl(t, fd, number, buffer.address)
        if result < 0:
            return result
        modes = Modes(buffer.raw)
        fields = {
            "c_iflag": modes.iflag,
            "c_oflag": modes.oflag,
            "c_cflag": modes.cflag,
            "c_lflag": LFLAG.to_guest(modes.lflag),
            "c_line": modes.line,
            "c_cc": modes.guest_cc()[: 8 if layout is TERMIO else None],
        }
        if layout is TERMIOS2:
            fields |= {"c_ispeed": modes.ispeed, "c_ospeed": modes.ospeed}
        layout.write(t.mem, argument, **fields)
        return result

    return action


def set_modes(layout: Struct) -> Action:
    """Set the terminal's modes from `layout`; a `termio` leaves the upper half of the flags."""

    def action(t: Thread, fd: int, number: int, argument: int) -> int:
        given = layout.read(t.mem, argument)
        buffer = HostBuffer(_HOST.size)
        kept = 0
        modes = Modes(b"")
        if layout is TERMIO:
            result = host_ioctl(t, fd, _HOST_TCGETS, buffer.address)
            if result < 0:
                return result
            modes = Modes(buffer.raw)
            kept = 0xFFFF0000
        modes.iflag = modes.iflag & kept | given.c_iflag
        modes.oflag = modes.oflag & kept | given.c_oflag
        modes.cflag = modes.cflag & kept | given.c_cflag
        modes.lflag = LFLAG.to_host(LFLAG.to_guest(modes.lflag) & kept | given.c_lflag)
        modes.line = given.c_line
        modes.set_guest_cc(given.c_cc[: 8 if layout is TERMIO else None])
        if layout is TERMIOS2:
            modes.ispeed, modes.ospeed = given.c_ispeed, given.c_ospeed
        content = modes.pack()
        return host_ioctl_with(t, fd, number, content)

    return action


def get_modem_lines(t: Thread, fd: int, number: int, argument: int) -> int:
    """TIOCMGET: the lines have other bits on MIPS."""
    buffer = HostBuffer(4)
    result = host_ioctl(t, fd, number, buffer.address)
    if result >= 0:
        lines = int.from_bytes(buffer.raw, "little")
        t.mem.put_u32(argument, MODEM_LINES.to_guest(lines))
    return result


def set_modem_lines(t: Thread, fd: int, number: int, argument: int) -> int:
    """TIOCMSET, TIOCMBIS, TIOCMBIC: the lines have other bits on MIPS."""
    lines = MODEM_LINES.to_host(t.mem.u32(argument))
    buffer = HostBuffer(4, lines.to_bytes(4, "little"))
    return host_ioctl(t, fd, number, buffer.address)


def wait_for_modem_lines(t: Thread, fd: int, number: int, argument: int) -> int:
    """TIOCMIWAIT: the lines are in the argument itself."""
    return host_ioctl(t, fd, number, MODEM_LINES.to_host(argument & 0xFFFFFFFF))


def send_signal(t: Thread, fd: int, number: int, argument: int) -> int:
    """TIOCSIG: the argument is a guest's signal."""

    from pemu.linux.mips.signals import guest_to_host_signal

    return host_ioctl(t, fd, number, guest_to_host_signal(argument))


def open_peer(t: Thread, fd: int, number: int, argument: int) -> int:
    """TIOCGPTPEER: the argument has a guest's flags of open."""
    return host_ioctl(t, fd, number, OPEN_FLAGS.to_host(argument & 0xFFFFFFFF))


REQUESTS: tuple[Request, ...] = (
    fixed("TCGETA", 0x5401, _HOST_TCGETS, get_modes(TERMIO)),
    fixed("TCSETA", 0x5402, 0x5402, set_modes(TERMIO)),
    fixed("TCSETAW", 0x5403, 0x5403, set_modes(TERMIO)),
    fixed("TCSETAF", 0x5404, 0x5404, set_modes(TERMIO)),
    fixed("TCSBRK", 0x5405, 0x5409, value),
    fixed("TCXONC", 0x5406, 0x540A, value),
    fixed("TCFLSH", 0x5407, 0x540B, value),
    fixed("TCGETS", 0x540D, _HOST_TCGETS, get_modes(TERMIOS)),
    fixed("TCSETS", 0x540E, 0x5402, set_modes(TERMIOS)),
    fixed("TCSETSW", 0x540F, 0x5403, set_modes(TERMIOS)),
    fixed("TCSETSF", 0x5410, 0x5404, set_modes(TERMIOS)),
    Request("TCGETS2", Code("r", "T", 0x2A, TERMIOS2), _HOST_TCGETS2, get_modes(TERMIOS2)),
    Request("TCSETS2", Code("w", "T", 0x2B, TERMIOS2), _HOST_TCSETS2, set_modes(TERMIOS2)),
    Request("TCSETSW2", Code("w", "T", 0x2C, TERMIOS2), _HOST_TCSETS2 + 1, set_modes(TERMIOS2)),
    Request("TCSETSF2", Code("w", "T", 0x2D, TERMIOS2), _HOST_TCSETS2 + 2, set_modes(TERMIOS2)),
    fixed("TIOCGLCKTRMIOS", 0x548B, 0x5456, get_modes(TERMIOS)),
    fixed("TIOCSLCKTRMIOS", 0x548C, 0x5457, set_modes(TERMIOS)),
    fixed("TIOCEXCL", 0x740D, 0x540C, nothing),
    fixed("TIOCNXCL", 0x740E, 0x540D, nothing),
    fixed("TIOCOUTQ", 0x7472, 0x5411, fills(INT)),
    fixed("TIOCSTI", 0x5472, 0x5412, reads(CHAR)),
    fixed("TIOCMGET", 0x741D, 0x5415, get_modem_lines),
    fixed("TIOCMBIS", 0x741B, 0x5416, set_modem_lines),
    fixed("TIOCMBIC", 0x741C, 0x5417, set_modem_lines),
    fixed("TIOCMSET", 0x741A, 0x5418, set_modem_lines),
    fixed("TIOCMIWAIT", 0x5491, 0x545C, wait_for_modem_lines),
    fixed("TIOCGICOUNT", 0x5492, 0x545D, fills(SERIAL_COUNTERS)),
    fixed("TIOCPKT", 0x5470, 0x5420, reads(INT)),
    Request("TIOCSWINSZ", Code("w", "t", 103, WINSIZE), 0x5414, reads(WINSIZE)),
    Request("TIOCGWINSZ", Code("r", "t", 104, WINSIZE), 0x5413, fills(WINSIZE)),
    fixed("TIOCNOTTY", 0x5471, 0x5422, nothing),
    fixed("TIOCSETD", 0x7401, 0x5423, reads(INT)),
    fixed("TIOCGETD", 0x7400, 0x5424, fills(INT)),
    Request("TIOCSPGRP", Code("w", "t", 118, INT), 0x5410, reads(INT)),
    Request("TIOCGPGRP", Code("r", "t", 119, INT), 0x540F, fills(INT)),
    Request("TIOCCONS", Code("w", "t", 120, INT), 0x541D, nothing),
    fixed("TIOCSCTTY", 0x5480, 0x540E, value),
    fixed("TIOCGSID", 0x7416, 0x5429, fills(INT)),
    fixed("TIOCGSOFTCAR", 0x5481, 0x5419, fills(INT)),
    fixed("TIOCSSOFTCAR", 0x5482, 0x541A, reads(INT)),
    fixed("TIOCGSERIAL", 0x5484, 0x541E, fills(SERIAL)),
    fixed("TIOCSSERIAL", 0x5485, 0x541F, reads(SERIAL)),
    fixed("TIOCSERCONFIG", 0x5488, 0x5453, nothing),
    fixed("TIOCSERGETLSR", 0x548E, 0x5459, fills(INT)),
    fixed("TCSBRKP", 0x5486, 0x5425, value),
    same("TIOCSBRK", 0x5427, nothing),
    same("TIOCCBRK", 0x5428, nothing),
    same("TIOCVHANGUP", 0x5437, nothing),
    Request("TIOCGRS485", Code("r", "T", 0x2E, RS485), 0x542E, fills(RS485)),
    Request("TIOCSRS485", Code("rw", "T", 0x2F, RS485), 0x542F, reads(RS485)),
    coded("TIOCGPTN", "r", "T", 0x30, INT, fills(INT)),
    coded("TIOCSPTLCK", "w", "T", 0x31, INT, reads(INT)),
    coded("TIOCGDEV", "r", "T", 0x32, INT, fills(INT)),
    coded("TIOCSIG", "w", "T", 0x36, INT, send_signal),
    coded("TIOCGPKT", "r", "T", 0x38, INT, fills(INT)),
    coded("TIOCGPTLCK", "r", "T", 0x39, INT, fills(INT)),
    coded("TIOCGEXCL", "r", "T", 0x40, INT, fills(INT)),
    coded("TIOCGPTPEER", "", "T", 0x41, None, open_peer),
    fixed("FIOCLEX", 0x6601, 0x5451, nothing),
    fixed("FIONCLEX", 0x6602, 0x5450, nothing),
    fixed("FIOASYNC", 0x667D, 0x5452, reads(INT)),
    fixed("FIONBIO", 0x667E, 0x5421, reads(INT)),
    fixed("FIOQSIZE", 0x667F, 0x5460, fills(U64)),
    fixed("FIONREAD", 0x467F, 0x541B, fills(INT)),
)
