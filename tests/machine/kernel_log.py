"""What Linux complains of while it boots, to be compared between two machines."""

from __future__ import annotations

import re

WARNING = 4
"""The level of warnings; errors and worse have smaller numbers."""

_RAW = re.compile(r"^<(\d+)>(?:\[ *\d+\.\d+\] )?(.*)", re.MULTILINE)
_VARYING = re.compile(r"0x[0-9a-f]+|\b[0-9a-f]{8,}\b|\d+")


def complaints(log: str) -> set[str]:
    """The warnings and errors of `dmesg -r`, without what differs from run to run."""
    lines = _RAW.findall(log)
    assert len(lines) > 50, f"this is no kernel's log: {log[:2000]}"
    return {_VARYING.sub("N", text) for level, text in lines if int(level) & 7 <= WARNING}
