"""The 8042 keyboard controller, with a PS/2 keyboard and mouse.

Intel 8042 as IBM programmed it: PS/2 Hardware Interface Technical Reference, Keyboard and Auxiliary
Device Controller. Of its memory, only the command byte is there.
"""

from __future__ import annotations

from pemu.devices.input.ps2 import Ps2Device, Ps2Keyboard, Ps2Mouse
from pemu.devices.input.ps2_keys import translated
from pemu.machine import prop, state
from pemu.machine.declare import Output
from pemu.machine.isa import IsaDevice
from pemu.machine.region import Mmio

# Status
OUTPUT_FULL, SYSTEM, WAS_COMMAND, UNLOCKED, FROM_MOUSE = 0x01, 0x04, 0x08, 0x10, 0x20

# Command byte
KEYBOARD_INTERRUPT, MOUSE_INTERRUPT, SYSTEM_FLAG = 0x01, 0x02, 0x04
KEYBOARD_OFF, MOUSE_OFF, TRANSLATE = 0x10, 0x20, 0x40

A20 = 0x02
"""The bit of the output port that lets address line 20 through."""

# Commands
READ_MODE, WRITE_MODE = 0x20, 0x60  # byte 0 of the memory
LAST_BYTE = 0x1F
MOUSE_DISABLE, MOUSE_ENABLE, MOUSE_TEST = 0xA7, 0xA8, 0xA9
SELF_TEST, KEYBOARD_TEST, KEYBOARD_DISABLE, KEYBOARD_ENABLE = 0xAA, 0xAB, 0xAD, 0xAE
READ_INPUT_PORT, READ_OUTPUT_PORT, WRITE_OUTPUT_PORT = 0xC0, 0xD0, 0xD1
FROM_KEYBOARD, FROM_THE_MOUSE, TO_MOUSE = 0xD2, 0xD3, 0xD4
A20_OFF, A20_ON, READ_TEST_INPUTS = 0xDD, 0xDF, 0xE0

_TAKES_DATA = (WRITE_MODE, WRITE_OUTPUT_PORT, FROM_KEYBOARD, FROM_THE_MOUSE, TO_MOUSE)


class I8042(IsaDevice):
    """The controller. irq, mouse_irq: its interrupts, connected to the bus by their properties."""

    driver = "i8042"
    description = "8042 keyboard controller"
    category = "input"
    user_creatable = False

    kbd_irq = prop.uint(8, 1, "interrupt of the keyboard")
    mouse_irq = prop.uint(8, 12, "interrupt of the mouse")

    keyboard_line = Output("interrupt of the keyboard")
    mouse_line = Output("interrupt of the mouse")
    a20 = Output("the gate of address line 20")

    mode = state.uint(8, reset=KEYBOARD_INTERRUPT | MOUSE_INTERRUPT, help="the command byte")
    output = state.uint(8, help="what port 60 reads as")
    full = state.flag(help="`output` has not been read yet")
    from_mouse = state.flag()
    command = state.uint(8, help="the command whose data comes next, 0 for none")
    was_command = state.flag(reset=True, help="the last write was to port 64")
    passed = state.flag(help="the self-test has been made")
    output_port = state.uint(8, reset=0x03)
    released = state.flag(help="the next code of the keyboard is that of a key let go")

    keyboard: Ps2Keyboard
    mouse: Ps2Mouse

    def realize(self) -> None:
        create = self.machine.create
        self.keyboard = create(Ps2Keyboard)
        self.mouse = create(Ps2Mouse)
        for device in (self.keyboard, self.mouse):
            device.ready.connect(lambda level: self._fetch())
        self.bus.connect(self.keyboard_line, self.kbd_irq)
        self.bus.connect(self.mouse_line, self.mouse_irq)
        data = Mmio("i8042-data", 1, self._read_data, self._write_data, self, maximum=1)
        control = Mmio("i8042-cmd", 1, self._read_status, self._write_command, self, maximum=1)
        self.ports(data, 0x60)
        self.ports(control, 0x64)

    def reset(self) -> None:
        self.a20.raise_()

    # To the host

    def _fetch(self) -> None:
        """Take the next byte of a device, if there is room for it."""
        if self.full:
            return
        if not self.mode & KEYBOARD_OFF and self.keyboard.ready.level:
            self._fetch_key()
        elif not self.mode & MOUSE_OFF and self.mouse.ready.level:
            self._put(self._taken(self.mouse), mouse=True)
        else:
            self._update()

    def _taken(self, device: Ps2Device) -> int:
        self.full = True  # so that what `read` does to the line does not come back here
        return device.read()

    def _fetch_key(self) -> None:
        code = self._taken(self.keyboard)
        if self.mode & TRANSLATE:
            if code == 0xF0:
                self.released = True
                self.full = False
                self._fetch()
                return
            code = translated(code) | (0x80 if self.released else 0)
            self.released = False
        self._put(code)

    def _put(self, value: int, *, mouse: bool = False) -> None:
        self.output = value
        self.full = True
        self.from_mouse = mouse
        self._update()

    def _update(self) -> None:
        mouse = self.full and self.from_mouse
        keyboard = self.full and not self.from_mouse
        self.keyboard_line.set(keyboard and self.mode & KEYBOARD_INTERRUPT)
        self.mouse_line.set(mouse and self.mode & MOUSE_INTERRUPT)

    def _read_data(self, offset: int, size: int) -> int:
        value = self.output
        if self.full:
            self.full = False
            self._update()
            self._fetch()
        return value

    def _read_status(self, offset: int, size: int) -> int:
        status = UNLOCKED
        status |= OUTPUT_FULL if self.full else 0
        status |= FROM_MOUSE if self.full and self.from_mouse else 0
        status |= WAS_COMMAND if self.was_command else 0
        return status | (SYSTEM if self.passed or self.mode & SYSTEM_FLAG else 0)

    # From the host

    def _write_command(self, offset: int, value: int, size: int) -> None:
        self.was_command = True
        self.command = 0
        if 0xF0 <= value <= 0xFF:
            if not value & 1:
                self.machine.control.request_reset()
            return
        if value in _TAKES_DATA:
            self.command = value
        elif value == READ_MODE:
            self._put(self.mode)
        elif value in (MOUSE_DISABLE, MOUSE_ENABLE):
            self._set_mode(MOUSE_OFF, value == MOUSE_DISABLE)
        elif value in (KEYBOARD_DISABLE, KEYBOARD_ENABLE):
            self._set_mode(KEYBOARD_OFF, value == KEYBOARD_DISABLE)
        elif value == SELF_TEST:
            self.passed = True
            self._put(0x55)
        elif value in (MOUSE_TEST, KEYBOARD_TEST, READ_TEST_INPUTS):
            self._put(0x00)
        elif value == READ_INPUT_PORT:
            self._put(0x80)
        elif value == READ_OUTPUT_PORT:
            self._put(self._output_port())
        elif value in (A20_OFF, A20_ON):
            self._write_output_port(
                self.output_port | A20 if value == A20_ON else self.output_port & ~A20
            )
        elif READ_MODE < value <= READ_MODE | LAST_BYTE:
            self._put(0x00)
        elif WRITE_MODE < value <= WRITE_MODE | LAST_BYTE:
            self.command = value
        else:
            self.guest_error(f"unknown command {value:#04x}")

    def _set_mode(self, bit: int, on: bool) -> None:
        self.mode = self.mode | bit if on else self.mode & ~bit
        self._fetch()

    def _output_port(self) -> int:
        full = self.full and (0x20 if self.from_mouse else 0x10)
        return self.output_port & 3 | 0xC0 | int(full)

    def _write_output_port(self, value: int) -> None:
        self.output_port = value & 3
        self.a20.set(value & A20)
        if not value & 1:
            self.machine.control.request_reset()

    def _write_data(self, offset: int, value: int, size: int) -> None:
        self.was_command = False
        command, self.command = self.command, 0
        if command == WRITE_MODE:
            self.mode = value
            self._update()
            self._fetch()
        elif command == WRITE_OUTPUT_PORT:
            self._write_output_port(value)
        elif command == FROM_KEYBOARD:
            self._put(value)
        elif command == FROM_THE_MOUSE:
            self._put(value, mouse=True)
        elif command == TO_MOUSE:
            self.mode &= ~MOUSE_OFF
            self.mouse.write(value)
        elif not command:
            self.mode &= ~KEYBOARD_OFF
            self.released = False
            self.keyboard.write(value)
