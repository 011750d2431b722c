"""PS/2 keyboard and mouse.

IBM PS/2 Hardware Interface Technical Reference, Keyboards and Auxiliary Device Controller; the
wheel as of Microsoft's IntelliMouse. Keys do not repeat by themselves: whoever presses them does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from pemu.devices.input.ps2_keys import codes
from pemu.machine import state
from pemu.machine.declare import Output
from pemu.machine.device import Device
from pemu.machine.input import BUTTONS

MOST_QUEUED = 16
"""Bytes of keys or movements that wait; the real devices have no more."""

MOST_REPLIES = 8

ACK, RESEND, ECHO, PASSED = 0xFA, 0xFE, 0xEE, 0xAA
OVERRUN = {1: 0xFF, 2: 0x00, 3: 0x00}
"""What tells that keys have been lost, by scan code set."""


class Ps2Device(Device, ABC):
    """What both have: a queue of replies to commands, and one of what the user does."""

    category = "input"
    user_creatable = False

    ready = Output("high while there is something to read")

    replies = state.buffer(MOST_REPLIES)
    events = state.buffer(MOST_QUEUED)
    awaited = state.uint(8, help="the command whose argument comes next, 0 for none")
    enabled = state.flag()
    last = state.uint(8, help="what has been sent last, for RESEND")

    def read(self) -> int:
        """The next byte that it sends; the one before again without one."""
        queue = self.replies or self.events
        if queue:
            self.last = queue.pop(0)
        self.update()
        return self.last

    def update(self) -> None:
        """Drive the line."""
        self.ready.set(bool(self.replies or self.events))

    def reply(self, *values: int) -> None:
        """Answer a command."""
        self.replies += bytes(values[: MOST_REPLIES - len(self.replies)])
        self.update()

    def write(self, value: int) -> None:
        """Take a command, or the argument of one."""
        awaited, self.awaited = self.awaited, 0
        self.replies = bytearray()
        if awaited:
            self.argument(awaited, value)
        else:
            self.command(value)
        self.update()

    @abstractmethod
    def command(self, value: int) -> None:
        """Carry out a command."""

    @abstractmethod
    def argument(self, command: int, value: int) -> None:
        """Take the argument of `command`."""


class Ps2Keyboard(Ps2Device):
    """The keyboard."""

    driver = "ps2-kbd"
    description = "PS/2 keyboard"

    enabled = state.flag(reset=True)
    scan_set = state.uint(8, reset=2)
    leds = state.uint(8)
    rate = state.uint(8, reset=0x2B, help="of repetition")

    def realize(self) -> None:
        self.machine.input.add_keyboard(self)

    def unplugged(self) -> None:
        self.machine.input.remove(self)

    def key(self, name: str, down: bool) -> None:
        """A key has been pressed or let go."""
        if not self.enabled:
            return
        sent = codes(name, down, self.scan_set)
        if len(self.events) + len(sent) < MOST_QUEUED:
            self.events += sent
        elif sent and len(self.events) < MOST_QUEUED:
            self.events.append(OVERRUN[self.scan_set])
        self.update()

    def _defaults(self) -> None:
        self.events = bytearray()
        self.scan_set, self.rate = 2, 0x2B

    def command(self, value: int) -> None:
        if value in (0xED, 0xF0, 0xF3, 0xFB, 0xFC, 0xFD):
            self.awaited = value
            self.reply(ACK)
        elif value == ECHO:
            self.reply(ECHO)
        elif value == 0xF2:
            self.reply(ACK, 0xAB, 0x83)
        elif value in (0xF4, 0xF5, 0xF6):
            if value != 0xF4:
                self._defaults()
            self.enabled = value != 0xF5
            self.events = bytearray()
            self.reply(ACK)
        elif 0xF7 <= value <= 0xFA:
            self.reply(ACK)
        elif value == RESEND:
            self.reply(self.last)
        elif value == 0xFF:
            self._defaults()
            self.enabled = True
            self.leds = 0
            self.reply(ACK, PASSED)
        else:
            self.reply(RESEND)

    def argument(self, command: int, value: int) -> None:
        if command == 0xED:
            self.leds = value & 7
        elif command == 0xF3:
            self.rate = value & 0x7F
        elif command == 0xF0:
            if value == 0:
                self.reply(ACK, self.scan_set)
                return
            if value > 3:
                self.reply(RESEND)
                return
            self.scan_set = value
            self.events = bytearray()
        self.reply(ACK)


STANDARD, WHEEL, FIVE_BUTTONS = 0, 3, 4
"""Kinds of mice, as they tell themselves."""

_KNOCKS = {(200, 100, 80): WHEEL, (200, 200, 80): FIVE_BUTTONS}
"""Sample rates in whose sequence a driver asks for more than a standard mouse."""

_MOST_MOVED = 1 << 15
"""How far it moves before the guest has to read: what is beyond is forgotten."""


class Ps2Mouse(Ps2Device):
    """The mouse."""

    driver = "ps2-mouse"
    description = "PS/2 mouse"

    absolute = False

    kind = state.uint(8)
    remote = state.flag(help="it tells when asked")
    wrapped = state.flag(help="it echoes")
    doubled = state.flag(help="scaling 2:1")
    resolution = state.uint(8, reset=2)
    rate = state.uint(8, reset=100)
    knocks = state.array(8, 3, help="the last sample rates")
    buttons = state.uint(5)
    reported = state.uint(5, help="buttons as last told")
    x = state.sint(32)
    y = state.sint(32, help="upwards")
    z = state.sint(32, help="of the wheel, towards the user")

    def realize(self) -> None:
        self.machine.input.add_pointer(self)

    def unplugged(self) -> None:
        self.machine.input.remove(self)

    # The user

    def move(self, x: int, y: int) -> None:
        """It has moved by x to the right and y down."""
        self.x = _bounded(self.x + x, _MOST_MOVED)
        self.y = _bounded(self.y - y, _MOST_MOVED)

    def wheel(self, clicks: int) -> None:
        """The wheel has been turned, away from the user if positive."""
        self.z = _bounded(self.z - clicks, _MOST_MOVED)

    def button(self, name: str, down: bool) -> None:
        """A button has been pressed or let go."""
        bits = {"left": 1, "right": 2, "middle": 4, "side": 8, "extra": 16}
        if name in BUTTONS:
            self.buttons = self.buttons | bits[name] if down else self.buttons & ~bits[name]

    def sync(self) -> None:
        """Tell the guest, if it wants to be told."""
        if self.enabled and not self.remote and not self.wrapped:
            while self._changed and len(self.events) + 4 <= MOST_QUEUED:
                self.events += self._packet()
        else:
            self.x = self.y = self.z = 0
        self.update()

    def read(self) -> int:
        value = super().read()
        if self._changed and not self.events and self.enabled:
            self.sync()
        return value

    @property
    def _changed(self) -> bool:
        return bool(self.x or self.y or self.z) or self.buttons != self.reported

    def _packet(self) -> bytes:
        """One report; what does not fit into it is left for the next."""
        x, y = _bounded(self.x, 127), _bounded(self.y, 127)
        self.x -= x
        self.y -= y
        self.reported = self.buttons
        first = 8 | self.buttons & 7 | (0x10 if x < 0 else 0) | (0x20 if y < 0 else 0)
        data = bytes((first, x & 0xFF, y & 0xFF))
        if self.kind == STANDARD:
            self.z = 0
            return data
        z = _bounded(self.z, 127 if self.kind == WHEEL else 7)
        self.z -= z
        if self.kind == WHEEL:
            return data + bytes((z & 0xFF,))
        return data + bytes((z & 15 | self.buttons >> 3 << 4,))

    # Commands

    def _defaults(self) -> None:
        self.rate, self.resolution = 100, 2
        self.enabled = self.remote = self.doubled = False
        self.events = bytearray()

    def command(self, value: int) -> None:
        if self.wrapped and value not in (0xEC, 0xFF):
            self.reply(value)
            return
        self.wrapped = False
        if value in (0xE8, 0xF3):
            self.awaited = value
        elif value in (0xE6, 0xE7):
            self.doubled = value == 0xE7
        elif value in (0xEA, 0xF0):
            self.remote = value == 0xF0
        elif value == 0xEE:
            self.wrapped = True
        elif value in (0xF4, 0xF5):
            self.enabled = value == 0xF4
            self.events = bytearray()
        elif value == 0xF6:
            self._defaults()
        elif value == RESEND:
            self.reply(self.last)
            return
        elif value not in (0xE9, 0xEB, 0xEC, 0xF2, 0xFF):
            self.reply(RESEND)
            return
        self.reply(ACK)
        if value == 0xE9:
            self.reply(self._status(), self.resolution, self.rate)
        elif value == 0xEB:
            self.reply(*self._packet())
        elif value == 0xF2:
            self.reply(self.kind)
        elif value == 0xFF:
            self._defaults()
            self.kind = STANDARD
            self.reply(PASSED, 0)

    def _status(self) -> int:
        buttons = (self.buttons & 1) << 2 | (self.buttons & 4) >> 1 | (self.buttons & 2) >> 1
        flags = (0x40 if self.remote else 0) | (0x20 if self.enabled else 0)
        return flags | (0x10 if self.doubled else 0) | buttons

    def argument(self, command: int, value: int) -> None:
        if command == 0xE8:
            self.resolution = value
        else:
            self.rate = value
            self.knocks = [*self.knocks[1:], value]
            self.kind = _KNOCKS.get((self.knocks[0], self.knocks[1], self.knocks[2]), self.kind)
        self.reply(ACK)


def _bounded(value: int, most: int) -> int:
    return max(-most, min(value, most))
