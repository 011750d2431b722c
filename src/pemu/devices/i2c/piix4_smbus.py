"""The SMBus host of the PIIX4.

82371AB (PIIX4) data sheet, April 1997, section 11.5; System Management Bus 2.0 section 5.5.
Transfers take no time. Left out: the slave interface and the alert line.
"""

from __future__ import annotations

from pemu.machine import state
from pemu.machine.declare import Output
from pemu.machine.device import Device
from pemu.machine.i2c import I2cBus
from pemu.machine.registers import Register, RegisterBank

# Status
BUSY, INTERRUPT, DEVICE_ERROR, COLLISION, FAILED = 0x01, 0x02, 0x04, 0x08, 0x10

# Control
INTERRUPT_ENABLE, KILL, START = 0x01, 0x02, 0x40

QUICK, BYTE, BYTE_DATA, WORD_DATA, BLOCK = 0, 1, 2, 3, 5
"""Protocols, bits 2 to 4 of control."""

MOST_BLOCK = 32
SIZE = 16


class Piix4Smbus(Device):
    """The host. `registers` are its 16 I/O ports, `smbus` the bus, `irq` its interrupt."""

    driver = "piix4-smbus"
    description = "SMBus host of the PIIX4"
    category = "misc"
    user_creatable = False

    irq = Output("the interrupt of the host")

    status = Register(0x0, writable=0, clears=0x1E)
    slave_status = Register(0x1, writable=0, clears=0x3C)
    control = Register(0x2, writable=0x1D)
    command = Register(0x3)
    address = Register(0x4)
    data0 = Register(0x5)
    data1 = Register(0x6)
    block_data = Register(0x7, writable=0)
    slave_control = Register(0x8, writable=0x0F)
    shadow_command = Register(0x9, writable=0)
    slave_event = Register(0xA, 16)
    slave_data = Register(0xC, 16, writable=0)

    block = state.memory(MOST_BLOCK, help="the bytes of a block transfer")
    position = state.uint(6, help="which of them is next")

    registers: RegisterBank
    smbus: I2cBus

    def realize(self) -> None:
        self.registers = RegisterBank(self, "pm-smbus", SIZE)
        self.own(self.registers)
        self.smbus = I2cBus(self.machine, "i2c", self)

    def _update(self) -> None:
        ended = self.status & (INTERRUPT | DEVICE_ERROR | COLLISION | FAILED)
        self.irq.set(ended and self.control & INTERRUPT_ENABLE)

    @status.on_write
    def _status_written(self, written: int, old: int) -> None:
        self._update()

    @control.on_read
    def _read_control(self) -> int:
        self.position = 0
        return self.control

    @control.on_write
    def _control_written(self, written: int, old: int) -> None:
        if written & KILL:
            self.status |= FAILED
        elif written & START:
            self.status &= ~(INTERRUPT | DEVICE_ERROR | COLLISION | FAILED)
            done = self._transfer(self.control >> 2 & 7)
            self.status |= INTERRUPT if done else DEVICE_ERROR
        self._update()

    @block_data.on_read
    def _read_block(self) -> int:
        value = self.block[self.position]
        self.position = (self.position + 1) % MOST_BLOCK
        return value

    @block_data.on_write
    def _block_written(self, written: int, old: int) -> None:
        self.block[self.position] = written
        self.position = (self.position + 1) % MOST_BLOCK

    def _transfer(self, protocol: int) -> bool:
        """Carry out what has been set up; False where no device acknowledges."""
        bus, place, reading = self.smbus, self.address >> 1, self.address & 1
        command = bytes((self.command,))
        self.position = 0
        if protocol == QUICK:
            done = bus.start(place, bool(reading))
            bus.stop()
            return done
        if not reading:
            sent = {
                BYTE: command,
                BYTE_DATA: command + bytes((self.data0,)),
                WORD_DATA: command + bytes((self.data0, self.data1)),
                BLOCK: command + bytes((self.data0,)) + self.block[: min(self.data0, MOST_BLOCK)],
            }.get(protocol)
            return sent is not None and bus.write(place, bytes(sent))
        lengths = {BYTE: 1, BYTE_DATA: 1, WORD_DATA: 2, BLOCK: MOST_BLOCK + 1}
        if protocol not in lengths:
            return False
        data = bus.read(place, b"" if protocol == BYTE else command, lengths[protocol])
        if data is None:
            return False
        self.data0 = data[0]
        if protocol == WORD_DATA:
            self.data1 = data[1]
        elif protocol == BLOCK:
            self.data0 = min(data[0], MOST_BLOCK)
            self.block[:] = data[1:]
        return True
