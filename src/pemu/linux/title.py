"""What other processes see of a guest in /proc: its name, arguments and environment.

Source: prctl(2), PR_SET_NAME and PR_SET_MM_MAP; Linux `linux/prctl.h` (struct prctl_mm_map).
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_PR_SET_NAME, _PR_SET_MM, _PR_SET_MM_MAP = 15, 35, 14
_NR_BRK = 12

# Fields of /proc/self/stat after the name in parentheses, counted from 0.
_START_CODE, _END_CODE, _START_STACK, _START_DATA, _END_DATA, _START_BRK = 23, 24, 25, 42, 43, 44

_libc = ctypes.CDLL(None)
_libc.syscall.restype = ctypes.c_long

_shown: list[mmap.mmap] = []
"""The memory that the host's kernel reads a process's arguments from."""


def show(name: bytes, argv: Sequence[bytes], environ: Sequence[bytes]) -> None:
    """Let ps and its kin see the path that a guest was executed as, its arguments and environment.

    The last two only where the kernel allows it.
    """
    _libc.prctl(_PR_SET_NAME, ctypes.c_char_p(os.path.basename(name)[:15]))
    first = b"\0".join((*argv, b""))
    text = first + b"\0".join((*environ, b""))
    try:
        with open("/proc/self/stat", "rb", buffering=0) as file:
            fields = file.readall().rpartition(b") ")[2].split()
    except OSError:
        return  # without /proc nobody looks there either
    area = mmap.mmap(-1, len(text), mmap.MAP_PRIVATE)
    area[:] = text
    start = ctypes.addressof(ctypes.c_char.from_buffer(area))
    end = start + len(text)
    places = (_START_CODE, _END_CODE, _START_DATA, _END_DATA, _START_BRK)
    layout = struct.pack(
        "<11QQII",
        *(int(fields[index]) for index in places),
        _libc.syscall(_NR_BRK, 0),
        int(fields[_START_STACK]),
        *(start, start + len(first), start + len(first), end),
        *(0, 0, 0xFFFFFFFF),  # vector and program stay as they are
    )
    if _libc.prctl(_PR_SET_MM, _PR_SET_MM_MAP, ctypes.c_char_p(layout), len(layout), 0) == 0:
        _shown[:] = [area]
