"""The registers of the EJTAG debug unit, which appear in kseg3 in debug mode.

There is the debug control register, which says that there are no hardware breakpoints and no probe.
Without a probe nothing answers in its part of the segment: a bus error.

Source: EJTAG Specification, chapter 5 (debug segment) and the register DCR.
"""

from __future__ import annotations

from pemu.isa.mips.cp0.translate import DEBUG_BYTES

_REGISTERS = DEBUG_BYTES // 2
"""From here on the segment has registers; below it is the probe's memory."""

_CONTROL = _REGISTERS

_BIG_ENDIAN, _INTERRUPTS, _NMI = 1 << 29, 1 << 4, 1 << 3
"""Bits of DCR: of memory in debug mode; interrupts, NMIs are enabled otherwise."""


def debug_unit_access(address: int, value: int | None, big_endian: bool) -> int | None:
    """Access a register: its value, or 0 where `value` is to be stored; None: a bus error.

    `address`: guest-physical. All registers are read-only; those that are not there read as 0.
    """
    offset = address & (DEBUG_BYTES - 1)
    if offset < _REGISTERS:
        return None
    if value is None and offset == _CONTROL:
        return _INTERRUPTS | _NMI | (_BIG_ENDIAN if big_endian else 0)
    return 0
