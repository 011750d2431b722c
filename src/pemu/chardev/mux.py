"""The multiplexer: several front ends, such as a serial port and a monitor, share one back end.

One of them has the keyboard: what is typed goes there. Ctrl-A (or the character of `-echr`) and one
more key are for the multiplexer itself. What any front end writes is shown.
"""

from __future__ import annotations

import time
from _thread import allocate_lock

from pemu.chardev.interface import Chardev, Event, FrontEnd, Host, LineSettings, ModemLines
from pemu.options.keyval import Key
from pemu.options.types import Id

TYPED_AHEAD = 64 * 1024
"""Bytes kept for a front end that does not take them; so many that the multiplexer's own keys are
seen however long somebody has typed at a guest that hangs."""

_HELP = (
    ("h", "print this help"),
    ("x", "exit emulator"),
    ("s", "save disk data back to file (if -snapshot)"),
    ("t", "toggle console timestamps"),
    ("b", "send break (magic sysrq)"),
    ("c", "switch between console and monitor"),
)

KEYS = (Key("chardev", Id(), "the id of the back end that is shared", required=True),)


class Mux(Chardev, FrontEnd):
    """The multiplexer over `base`, whose front end it is."""

    kind = "mux"

    def __init__(self, host: Host, label: str, base: Chardev) -> None:
        super().__init__(host, label, {})
        self.is_open = False
        self._channels: list[Channel] = []
        self._focus: Channel | None = None
        self._escaped = False
        self._lock = allocate_lock()
        """Guards the three below, which every thread that writes uses."""
        self._stamping = False
        self._line_begins = False
        self._first_stamp: float | None = None
        self.base = base
        base.attach(self)

    @property
    def escape_name(self) -> str:
        """The escape character as help texts show it: `C-a`."""
        code = self.host.escape
        return f"C-{chr(code + 96)}" if 1 <= code <= 26 else "Escape-Char"

    @property
    def is_used(self) -> bool:
        """Whether there is any front end."""
        return bool(self._channels)

    def attach(self, front: FrontEnd) -> Chardev:
        """Add a front end, give it the keyboard and return what it writes to."""
        channel = Channel(self, front)
        self._channels.append(channel)
        self.host.post(self._enter, channel)
        return channel

    @property
    def backlog(self) -> int:
        """Bytes that were taken and have not reached the host yet."""
        return self.base.backlog

    def close(self, patience: float = 0) -> None:
        """Let go of the front ends; the base is closed by itself."""
        self._channels.clear()
        self._focus = None
        self.base.detach()
        super().close(patience)

    # As the front end of the base.

    def can_receive(self) -> int:
        """Room for more that is typed; without a front end only the escapes count."""
        return TYPED_AHEAD - (len(self._focus.typed) if self._focus else 0)

    def receive(self, data: bytes) -> None:
        """Give what is typed to the front end that has the keyboard, and obey the escapes."""
        for code in data:
            if self._escaped:
                self._escaped = False
                if code == self.host.escape:
                    self._type(code)
                else:
                    self._obey(chr(code))
            elif code == self.host.escape:
                self._escaped = True
            else:
                self._type(code)
        if self._focus:
            self.feed(self._focus)

    def event(self, event: Event) -> None:
        """Pass on what happens at the other end: to all, but a break as if it were typed."""
        if event is Event.BREAK:
            if self._focus:
                self._focus.event(event)
            return
        self.is_open = event is Event.OPENED
        for channel in self._channels:
            channel.follow(self.is_open)

    def writable(self) -> None:
        """Tell all that there is room for output again."""
        for channel in self._channels:
            channel.writable()

    # For the channels.

    def feed(self, channel: Channel) -> None:
        """Deliver what was typed ahead, as far as the front end takes it; on the I/O thread."""
        channel.feed()
        self.base.accept_input()

    def leave(self, channel: Channel) -> None:
        """Forget a front end; the one before it gets the keyboard if it had it."""
        self._channels.remove(channel)
        if self._focus is channel:
            self._focus = None
            if self._channels:
                self.give_focus(self._channels[-1])

    def give_focus(self, channel: Channel) -> None:
        """Give the keyboard to a front end; on the I/O thread."""
        before, self._focus = self._focus, channel
        if before is not channel:
            if before:
                before.event(Event.MUX_OUT)
            channel.event(Event.MUX_IN)

    def _write(self, data: bytes, whole: bool) -> int:
        if not self._stamping:
            return self.base.write(data, whole=whole)
        with self._lock:
            if whole:
                before = self._line_begins
                if self.base.write(self._stamped(data), whole=True):
                    return len(data)
                self._line_begins = before
                return 0
            taken = 0
            while taken < len(data):
                if self._line_begins and not self.base.write(self._stamp(), whole=True):
                    break
                self._line_begins = False
                end = data.find(b"\n", taken) + 1 or len(data)
                written = self.base.write(data[taken:end])
                taken += written
                if taken < end:
                    break
                self._line_begins = data[end - 1] == ord("\n")
            return taken

    def _send(self, data: bytes) -> None:
        with self._lock:
            self.base.send(self._stamped(data) if self._stamping else data)

    def _stamped(self, data: bytes) -> bytes:
        """`data` with the time before each line that begins in it."""
        stamped = bytearray()
        for text in data.splitlines(keepends=True):
            if self._line_begins:
                stamped += self._stamp()
            self._line_begins = text.endswith(b"\n")
            stamped += text
        return bytes(stamped)

    def _stamp(self) -> bytes:
        now = time.monotonic()
        if self._first_stamp is None:
            self._first_stamp = now
        milliseconds = int((now - self._first_stamp) * 1000)
        seconds, milliseconds = divmod(milliseconds, 1000)
        minutes, seconds = divmod(seconds, 60)
        hours, minutes = divmod(minutes, 60)
        return b"[%02d:%02d:%02d.%03d] " % (hours, minutes, seconds, milliseconds)

    def _enter(self, channel: Channel) -> None:
        if channel in self._channels:
            channel.follow(self.is_open)
            self.give_focus(channel)
            self.base.accept_input()

    def _type(self, code: int) -> None:
        if self._focus:
            self._focus.typed.append(code)

    def _obey(self, key: str) -> None:
        if key in "h?":
            self.base.send(self._help().encode())
        elif key == "x":
            self.base.send(b"Pemu: Terminated\r\n")
            self.host.quit()
        elif key == "s":
            self.host.save()
        elif key == "t":
            with self._lock:
                self._stamping = not self._stamping
                self._line_begins = False
                self._first_stamp = None
        elif key == "b":
            self.event(Event.BREAK)
        elif key == "c" and self._focus:
            place = self._channels.index(self._focus) + 1
            self.feed(self._focus)
            self.give_focus(self._channels[place % len(self._channels)])

    def _help(self) -> str:
        name = self.escape_name
        lines = [f"{name} {key}    {text}" for key, text in _HELP]
        lines.append(f"{name} {name}  sends {name}")
        if name == "Escape-Char":
            lines.insert(0, f"Escape-Char set to Ascii: {self.host.escape:#04x}")
        return "\r\n" + "".join(f"{text}\r\n" for text in lines)


class Channel(Chardev):
    """What one front end of a multiplexer writes to."""

    kind = "mux"

    def __init__(self, mux: Mux, front: FrontEnd) -> None:
        super().__init__(mux.host, mux.label, {})
        self.front = front
        self.is_open = False
        self.typed = bytearray()
        """What was typed for this front end and not delivered yet."""
        self._asked = False
        self._mux = mux

    def detach(self) -> None:
        """Take the front end from the multiplexer."""
        super().detach()
        self._mux.leave(self)

    @property
    def backlog(self) -> int:
        """Bytes that were taken and have not reached the host yet."""
        return self._mux.backlog

    def accept_input(self) -> None:
        """Note that the front end, which could receive nothing, can receive again."""
        if self.typed and not self._asked:
            self._asked = True
            self.host.post(self._mux.feed, self)

    def set_line(self, settings: LineSettings) -> None:
        """Drive the line of the back end."""
        self._mux.base.set_line(settings)

    def set_break(self, on: bool) -> None:
        """Begin or end a break on the line of the back end."""
        self._mux.base.set_break(on)

    def set_modem_lines(self, rts: bool, dtr: bool) -> None:
        """Assert or release the lines of the back end."""
        self._mux.base.set_modem_lines(rts, dtr)

    def modem_lines(self) -> ModemLines | None:
        """The lines of the back end."""
        return self._mux.base.modem_lines()

    def set_open(self, on: bool) -> None:
        """Say whether the guest listens."""
        self._mux.base.set_open(on)

    def take_focus(self) -> None:
        """Give this front end the keyboard."""
        self.host.post(self._mux.give_focus, self)

    # For the multiplexer.

    def feed(self) -> None:
        """Deliver what the front end takes of what was typed."""
        self._asked = False
        while self.typed and (room := self._room()) > 0:
            data = bytes(self.typed[:room])
            del self.typed[:room]
            self._deliver(data)

    def follow(self, is_open: bool) -> None:
        """Note whether the back end is open."""
        self._set_state(is_open)

    def writable(self) -> None:
        """Note that there is room for output again."""
        self._writable()

    def write(self, data: bytes, *, whole: bool = False) -> int:
        """Send bytes; this has no log of its own."""
        return self._mux.write(data, whole=whole)

    def _send(self, data: bytes) -> None:
        self._mux.send(data)
