"""The first process of a User-Mode Linux kernel: runs the command of its arguments, and halts.

The root directory is the host's, for reading; /run is the kernel's own. The host finds the
command's exit status in the last line of the console.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

FINIT_MODULE = 313
"""Its number on x86-64, the only machine that User-Mode Linux is made for."""

POWER_OFF = 0x4321FEDC
"""LINUX_REBOOT_CMD_POWER_OFF."""

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def main(words: list[str]) -> None:
    for kind, place in ((b"proc", b"/proc"), (b"sysfs", b"/sys"), (b"tmpfs", b"/run")):
        _check(_libc.mount(kind, place, kind, 0, None))
    for name in ("tmp", "lock"):
        Path("/run", name).mkdir()
    module = Path("/usr/lib/uml/modules", os.uname().release, "kernel/drivers/block/nbd.ko")
    with module.open("rb") as file:
        _check(_libc.syscall(FINIT_MODULE, file.fileno(), b"max_part=7", 0))
    os.environ.update(
        PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        HOME="/run/tmp",
        TMPDIR="/run/tmp",
        PYTHONDONTWRITEBYTECODE="1",
    )
    status = subprocess.run(words, check=False, stdin=subprocess.DEVNULL).returncode
    print(f"status {status}", flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    finally:
        _libc.reboot(POWER_OFF)
