"""What Linux complains of while it boots, to be compared between two machines."""

from __future__ import annotations

import re

WARNING = 4
"""The level of warnings; errors and worse have smaller numbers."""

_RAW = re.compile(r"^<(\d+)>(?:\[ *\d+\.\d+\] )?(.*)", re.MULTILINE)
_VARYING = re.compile(r"0x[0-9a-f]+|\b[0-9a-f]{8,}\b|\d+")
_OF_TIME = re.compile(r"interrupt took|clocksource.*(skew|unstable)|RT throttling")
"""What a kernel says of a host that had too little time for it."""


def complaints(log: str) -> set[str]:
    """The warnings and errors of `dmesg -r`, without what differs from run to run."""
    lines = _RAW.findall(log)
    assert len(lines) > 50, f"this is no kernel's log: {log[:2000]}"
    found = {_VARYING.sub("N", text) for level, text in lines if int(level) & 7 <= WARNING}
    return {text for text in found if not _OF_TIME.search(text)}
