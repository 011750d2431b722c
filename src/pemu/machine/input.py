"""What the user types and points at: from displays and monitors to keyboards and mice.

Keys are called as `sendkey` of the monitor calls them: 'a', 'ret', 'ctrl', 'kp_enter', ...
`KEYS` has them all; a keyboard may not have some of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from pemu.machine.clock import Clock

BUTTONS = ("left", "middle", "right", "side", "extra")

KEYS = tuple(
    "esc 1 2 3 4 5 6 7 8 9 0 minus equal backspace tab q w e r t y u i o p bracket_left "
    "bracket_right ret ctrl a s d f g h j k l semicolon apostrophe grave_accent shift backslash "
    "z x c v b n m comma dot slash shift_r asterisk alt spc caps_lock f1 f2 f3 f4 f5 f6 f7 f8 f9 "
    "f10 num_lock scroll_lock kp_7 kp_8 kp_9 kp_subtract kp_4 kp_5 kp_6 kp_add kp_1 kp_2 kp_3 kp_0 "
    "kp_decimal sysrq less f11 f12 kp_enter ctrl_r kp_divide print alt_r home up pgup left right "
    "end down pgdn insert delete meta_l meta_r menu compose pause kp_multiply kp_comma kp_equals "
    "ro hiragana henkan muhenkan katakanahiragana yen lang1 lang2 stop again props undo front copy "
    "open paste find cut lf help power sleep wake audionext audioprev audiostop audioplay "
    "audiomute volumeup volumedown mediaselect mail calculator computer ac_home ac_back "
    "ac_forward ac_refresh ac_bookmarks f13 f14 f15 f16 f17 f18 f19 f20 f21 f22 f23 f24".split()
)

MOST_TYPED = 1024
"""Presses and releases that wait for their time; more are not taken."""

ABSOLUTE = 0x7FFF
"""The largest coordinate of pointers that say where they are, and not how far they moved."""


class Keyboard(Protocol):
    """A device with keys. description: what users call it."""

    @property
    def description(self) -> str: ...

    def key(self, name: str, down: bool) -> None:
        """A key has been pressed or let go; unknown ones are ignored."""


class Pointer(Protocol):
    """A mouse or tablet. absolute: whether it says where it is, and not how far it has moved."""

    @property
    def description(self) -> str: ...
    @property
    def absolute(self) -> bool: ...

    def move(self, x: int, y: int) -> None:
        """It has moved by x to the right and y down, or, if `absolute`, to x and y."""

    def wheel(self, clicks: int) -> None:
        """The wheel has been turned, away from the user if positive."""

    def button(self, name: str, down: bool) -> None:
        """A button has been pressed or let go."""

    def sync(self) -> None:
        """What has been said makes one report."""


class Input:
    """The keyboards and pointers of a machine; of each kind the last of its list gets what comes.

    numbers: what the user calls each device. clock: virtual time. All methods are called under the
    machine's lock.
    """

    def __init__(self, clock: Clock) -> None:
        self.keyboards: list[Keyboard] = []
        self.pointers: list[Pointer] = []
        self.numbers: dict[int, Keyboard | Pointer] = {}
        self._last = 0
        self._waiting: deque[tuple[str, bool, int]] = deque()
        self._next_key = clock.timer(self._type)

    def add_keyboard(self, keyboard: Keyboard) -> None:
        """There is a new keyboard, which gets what comes."""
        self.keyboards.append(keyboard)
        self._number(keyboard)

    def add_pointer(self, pointer: Pointer) -> None:
        """There is a new pointer, which gets what comes."""
        self.pointers.append(pointer)
        self._number(pointer)

    def _number(self, device: Keyboard | Pointer) -> None:
        self._last += 1
        self.numbers[self._last] = device

    def remove(self, device: Keyboard | Pointer) -> None:
        """A device is no longer there."""
        self.keyboards = [one for one in self.keyboards if one is not device]
        self.pointers = [one for one in self.pointers if one is not device]
        self.numbers = {number: one for number, one in self.numbers.items() if one is not device}

    @property
    def pointer(self) -> Pointer | None:
        """The pointer that gets what comes."""
        return self.pointers[-1] if self.pointers else None

    def select(self, pointer: Pointer) -> None:
        """Let this pointer get what comes."""
        self.pointers.remove(pointer)
        self.pointers.append(pointer)

    def key(self, name: str, down: bool) -> None:
        """A key has been pressed or let go."""
        if self.keyboards:
            self.keyboards[-1].key(name, down)

    def type(self, keys: Sequence[str], hold: int) -> None:
        """Press keys in turn, then let them go, the last one first; `hold` ns after each."""
        events = [(key, True, hold) for key in keys]
        events += [(key, False, hold) for key in reversed(keys)]
        if len(self._waiting) + len(events) <= MOST_TYPED:
            self._waiting.extend(events)
            if self._next_key.expires is None:
                self._type()

    def _type(self) -> None:
        if self._waiting:
            key, down, hold = self._waiting.popleft()
            self.key(key, down)
            self._next_key.arm_in(hold)
