"""Becoming another user.

Only when a program does that is this imported, while Python's modules can still be read: a
superuser's may lie where nobody else gets.
"""

from __future__ import annotations

from pemu.linux.calls.dirs import load_what_others_cannot
from pemu.linux.syscall import passthrough
from pemu.linux.types.base import Int, UInt

passthrough("setuid", UInt)
passthrough("setreuid", Int, Int)
passthrough("setresuid", Int, Int, Int)
passthrough("setfsuid", UInt)

load_what_others_cannot()
