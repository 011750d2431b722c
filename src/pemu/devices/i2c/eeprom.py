"""A serial EEPROM of 256 bytes on an SMBus, as memory modules have it.

JEDEC 21-C section 4.1.2.4 (serial presence detect of SDRAM); Atmel AT24C02.
"""

from __future__ import annotations

from typing import ClassVar

from pemu.machine import state
from pemu.machine.i2c import I2cDevice

SIZE = 256
MIB = 1 << 20


class SmbusEeprom(I2cDevice):
    """The chip. `contents` is set by the board; writes last until the machine ends."""

    driver = "smbus-eeprom"
    description = "serial EEPROM on an SMBus"
    category: ClassVar[str] = "misc"
    user_creatable = False

    contents = state.memory(SIZE, kept=True)
    place = state.uint(8, help="the byte that is next")
    addressed = state.flag(help="the next byte written is data")

    def start(self, reading: bool) -> bool:
        self.addressed = False
        return True

    def send(self, byte: int) -> bool:
        if self.addressed:
            self.contents[self.place] = byte
            self.place = (self.place + 1) % SIZE
        else:
            self.place = byte
            self.addressed = True
        return True

    def receive(self) -> int:
        value = self.contents[self.place]
        self.place = (self.place + 1) % SIZE
        return value


def spd_sdram(size: int) -> bytes:
    """What a memory module of PC100 SDRAM tells of itself. size: bytes, a power of two.

    Modules have one or two banks of 4 to 512 MiB; empty for a size that there is not.
    """
    banks = 2 if size > 512 * MIB else 1
    bank = size // banks // MIB
    if size & (size - 1) or not 4 <= bank <= 512:
        return bytes(SIZE)
    density = bank // 4 if bank >= 4 else 0
    data = bytearray(SIZE)
    data[0:3] = bytes((128, 8, 4))  # bytes in use, size of the chip, SDRAM
    data[3:8] = bytes((12, 10, banks, 64, 0))  # rows, columns, banks, width
    data[8:16] = bytes((1, 0x80, 0x60, 0, 0x80, 8, 0, 1))  # LVTTL, 8 ns at CAS latency 3
    data[16:22] = bytes((0x8F, 4, 6, 1, 1, 0))  # bursts, banks of a chip, latencies
    data[22:31] = bytes((0x0E, 0xA0, 0x70, 0, 0, 20, 20, 20, 50))
    data[31] = density & 0xFF
    data[32:36] = bytes((0x20, 0x10, 0x20, 0x10))
    data[62] = 0x12  # revision 1.2
    data[63] = sum(data[:63]) & 0xFF
    data[126:128] = bytes((100, 0x8F))  # 100 MHz
    return bytes(data)
