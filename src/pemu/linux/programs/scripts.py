"""Which program runs when a file is executed: the file itself, or what the line `#!` of it names.

Source: execve(2), "Interpreter scripts"; Linux fs/binfmt_script.c.
"""

from __future__ import annotations

import errno
import os
import stat

from pemu.linux.programs.loader import translate_path

MAX_SCRIPTS = 5
"""Interpreters that are scripts themselves, as many as Linux follows."""

HEAD_BYTES = 256
"""How far Linux looks into a file; a longer first line is cut there."""


def find_program(
    prefix: str, host: bytes, name: bytes, argv: list[bytes]
) -> tuple[bytes, list[bytes], bytes]:
    """The host path of the program for the file at `host`, its argv, and its first bytes.

    `name`: what scripts are told that they are called; `prefix`: where the guest's interpreters are
    (-L). Raises OSError as execve(2) does.
    """
    for _ in range(MAX_SCRIPTS + 1):
        head = _head(host)
        if not head.startswith(b"#!"):
            return host, argv, head
        line, newline, _ = head[2:].partition(b"\n")
        line = line.strip(b" \t")
        length = next((at for at, byte in enumerate(line) if byte in b" \t"), len(line))
        interpreter, argument = line[:length].partition(b"\0")[0], line[length:].strip(b" \t")
        if not interpreter or (not newline and not argument and len(head) == HEAD_BYTES):
            raise OSError(errno.ENOEXEC, "no interpreter is named after #!")
        further = [argument] if argument else []
        argv = [interpreter, *further, name, *argv[1:]]
        name, host = interpreter, translate_path(prefix, interpreter)
    raise OSError(errno.ELOOP, "interpreters that are scripts themselves, too many of them")


def _head(path: bytes) -> bytes:
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) or not os.access(path, os.X_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), path)
    with open(path, "rb", buffering=0) as file:
        return file.read(HEAD_BYTES)
