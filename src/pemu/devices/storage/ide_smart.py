"""SMART, as far as programs that look after disks need it: a healthy disk without a history.

ATA/ATAPI-7 section 6.51.
"""

from __future__ import annotations

from collections.abc import Callable, MutableSequence
from typing import Protocol

from pemu.block.image import SECTOR


class Disk(Protocol):
    """What of a disk SMART deals with; the registers are those of the ATA task file."""

    smart_enabled: bool

    @property
    def lba_low(self) -> MutableSequence[int]: ...
    @property
    def lba_mid(self) -> MutableSequence[int]: ...
    @property
    def lba_high(self) -> MutableSequence[int]: ...

    def send(self, data: bytes | bytearray, then: str) -> None:
        """Give the host a block of data; `then`: the method that follows."""

    def succeed(self) -> None:
        """The command is done."""


KEYS = (0x4F, 0xC2)
"""What the host writes to the middle registers, lest a stray command does something."""

ENABLE = 0xD8

ATTRIBUTES = (
    # number, flags, worst and present value, threshold
    (0x01, 0x03, 100, 6),  # raw read errors
    (0x03, 0x03, 100, 0),  # spin-up time
    (0x04, 0x02, 100, 20),  # starts and stops
    (0x05, 0x03, 100, 36),  # reallocated sectors
    (0x09, 0x03, 100, 0),  # hours of operation
    (0x0C, 0x03, 100, 0),  # power cycles
)


def _summed(data: bytearray) -> bytes:
    """`data` with the last byte such that all add up to 0."""
    data[-1] = -sum(data[:-1]) & 0xFF
    return bytes(data)


def _values(disk: Disk) -> bool:
    data = bytearray(SECTOR)
    data[0] = 1
    for index, (number, flags, value, _) in enumerate(ATTRIBUTES):
        at = 2 + 12 * index
        data[at : at + 5] = bytes((number, flags, 0, value, value))
    data[362] = 2  # off-line collection has been completed
    data[364:367] = (0).to_bytes(2, "little") + b"\x01"
    data[367] = 0x1B  # self-tests and off-line collection
    data[368:370] = (3).to_bytes(2, "little")
    data[370] = 1  # logs
    data[372:374] = bytes((2, 54))  # minutes of the short and long self-test
    disk.send(_summed(data), "answered")
    return True


def _thresholds(disk: Disk) -> bool:
    data = bytearray(SECTOR)
    data[0] = 1
    for index, (number, _, _, threshold) in enumerate(ATTRIBUTES):
        data[2 + 12 * index : 4 + 12 * index] = bytes((number, threshold))
    disk.send(_summed(data), "answered")
    return True


def _log(disk: Disk) -> bool:
    logs = {0x00: 1, 0x01: 1, 0x06: 1}
    number = disk.lba_low[0]
    if number not in logs:
        return False
    data = bytearray(SECTOR)
    data[0] = 1
    if number == 0:
        data[2] = data[12] = 1  # sectors of the logs 1 and 6
    disk.send(_summed(data), "answered")
    return True


def _enable(disk: Disk) -> bool:
    disk.smart_enabled = True
    disk.succeed()
    return True


def _disable(disk: Disk) -> bool:
    disk.smart_enabled = False
    disk.succeed()
    return True


def _status(disk: Disk) -> bool:
    disk.lba_mid[0], disk.lba_high[0] = KEYS  # it is well
    disk.succeed()
    return True


def _nothing(disk: Disk) -> bool:
    disk.succeed()
    return True


ACTIONS: dict[int, Callable[[Disk], bool]] = {
    0xD0: _values,
    0xD1: _thresholds,
    0xD2: _nothing,  # save attributes by itself
    0xD4: _nothing,  # self-tests end at once and find nothing
    0xD5: _log,
    ENABLE: _enable,
    0xD9: _disable,
    0xDA: _status,
}
"""What to do by the feature; False where that cannot be."""
