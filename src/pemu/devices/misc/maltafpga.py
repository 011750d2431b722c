"""The FPGA of the Malta board: switches, LEDs, the alphanumeric display, the reset register.

MIPS Malta User's Manual, MD00048, revision 1.7, section 4.3. Its CBUS UART is a 16550A of its own,
which the board maps over this. Left out: the I2C bus to the module's EEPROM, whose lines are idle.
"""

from __future__ import annotations

from pemu.machine import prop
from pemu.machine.device import Device
from pemu.machine.registers import Register, RegisterBank, Registers

BIG_ENDIAN, PRESENT = 2, 0x10
"""Bits of STATUS."""
RESET = 0x42
"""What SOFTRES and BRKRES are written to reset the board."""
LINES_IDLE = 3


class MaltaFpga(Device):
    """The FPGA. The board maps `registers`."""

    driver = "malta-fpga"
    description = "FPGA of the Malta board"
    user_creatable = False

    switches = prop.uint(8, 0, "position of the switches S2-1 to S2-8")

    switch = Register(0x200, 32, writable=0)
    status = Register(0x208, 32, writable=0)
    jumpers = Register(0x210, 32, writable=0)
    led_bar = Register(0x408, 32, writable=0xFF)
    ascii_word = Register(0x410, 32)
    ascii_positions = Registers(0x418, 8, bits=32, stride=8, writable=0xFF, reset=ord(" "))
    soft_reset = Register(0x500, 32, writable=0)
    break_reset = Register(0x508, 32, writable=0xFF, reset=0x0A)
    general_output = Register(0xA00, 32, writable=0xFF)
    general_input = Register(0xA08, 32, writable=0)
    i2c_input = Register(0xB00, 32, writable=0, reset=LINES_IDLE)
    i2c_enable = Register(0xB08, 32, writable=3)
    i2c_output = Register(0xB10, 32, writable=3, reset=3)
    i2c_select = Register(0xB18, 32, writable=1)

    registers: RegisterBank

    def realize(self) -> None:
        self.registers = RegisterBank(self, "malta-fpga", 0x10_0000, order=None)
        self.own(self.registers)

    @property
    def display(self) -> str:
        """What the display shows."""
        return "".join(chr(code) if 32 <= code < 127 else "?" for code in self.ascii_positions)

    @switch.on_read
    def _read_switch(self) -> int:
        return self.switches

    @status.on_read
    def _read_status(self) -> int:
        return PRESENT | (BIG_ENDIAN if self.machine.order == "big" else 0)

    @ascii_word.on_write
    def _word_written(self, written: int, old: int) -> None:
        self.ascii_positions[:] = f"{self.ascii_word:08X}".encode()

    @soft_reset.on_write
    def _reset_written(self, written: int, old: int) -> None:
        if written == RESET:
            self.machine.control.request_reset()
