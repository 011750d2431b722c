"""Semihosting: programs without an operating system use files and the console of the host.

"MIPS UHI: unified hosting interface", MD01069, revision 1.1.6: SDBBP 1 with the operation in t9
and its arguments from a0 on; results in v0 and, as an error number, v1.
"""

from __future__ import annotations

import errno
import os
import select
import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pemu.machine.mips import MipsProcessor

OPERATION, RESULT, ERROR, ARGUMENTS = 25, 2, 3, 4
"""Registers."""

LONGEST_NAME = 4096
LONGEST_TRANSFER = 1 << 20
"""Bytes that a read or write moves at most: programs are told how many it were."""

_CONSOLE = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}

_OPEN_FLAGS = (
    (0x0008, os.O_APPEND),
    (0x0200, os.O_CREAT),
    (0x0400, os.O_TRUNC),
    (0x0800, os.O_EXCL),
)
"""Bits of the interface, which are newlib's, and of the host; the lowest two are the same."""

_ERRORS = {
    errno.ENAMETOOLONG: 91,
    errno.ELOOP: 92,
    errno.ENOSYS: 88,
    errno.ENOTEMPTY: 90,
    errno.EOVERFLOW: 139,
    errno.EDQUOT: 132,
}
"""The interface's error numbers where they are not the host's."""

_STAT = "hHIHHHh11Q"
"""Device, inode, mode, links, owner, group, device, size, three times and what is beside them,
size and number of blocks, two spare words."""


class Semihosting:
    """What programs are given.

    arguments: of the command line, the program's name first. user: whether programs in user mode
    may ask, too.
    """

    def __init__(self, arguments: Sequence[str], *, user: bool = False) -> None:
        self.features = frozenset(("semihosting", "semihosting_user")[: 1 + user])
        self.arguments = [os.fsencode(one) for one in arguments]
        self._files: dict[int, int] = {0: 0, 1: 1, 2: 2}

    def call(self, processor: MipsProcessor) -> None:
        """Carry out what the processor asks for; on its thread."""
        call = _Call(self, processor)
        cpu = processor.cpu
        operation = cpu.gpr[OPERATION] & 0xFFFF_FFFF
        action = _OPERATIONS.get(operation, _Call.unknown)
        try:
            result = action(call)
        except OSError as error:
            number = error.errno or errno.EIO
            cpu.gpr[RESULT] = call.word(-1)
            cpu.gpr[ERROR] = _ERRORS.get(number, number)
            return
        if result is not None:
            cpu.gpr[RESULT] = call.word(result)
            cpu.gpr[ERROR] = 0

    def host_file(self, number: int) -> int:
        """The host's descriptor of one of the program's. Raises OSError."""
        if number not in self._files:
            raise OSError(errno.EBADF, "no such file")
        return self._files[number]

    def add(self, descriptor: int) -> int:
        """The program's number for a file that has been opened."""
        number = next(n for n in range(3, len(self._files) + 4) if n not in self._files)
        self._files[number] = descriptor
        return number

    def remove(self, number: int) -> None:
        """Close one of the program's files. Raises OSError."""
        descriptor = self.host_file(number)
        if number > 2:
            del self._files[number]
            os.close(descriptor)


class _Call:
    """One call of a processor."""

    def __init__(self, shared: Semihosting, processor: MipsProcessor) -> None:
        self.shared = shared
        self.processor = processor

    def word(self, value: int) -> int:
        """A number of 32 bits as a register has it."""
        value = (value & 0xFFFF_FFFF ^ 0x8000_0000) - 0x8000_0000
        return value & (1 << self.processor.engine.arch.xlen) - 1

    def argument(self, number: int) -> int:
        """An argument as it is, an address perhaps."""
        value: int = self.processor.cpu.gpr[ARGUMENTS + number]
        return value

    def number(self, at: int) -> int:
        """An argument that is a signed number of 32 bits."""
        return (self.argument(at) & 0xFFFF_FFFF ^ 0x8000_0000) - 0x8000_0000

    def file(self) -> int:
        """The host's descriptor of the file that the first argument is."""
        return self.shared.host_file(self.number(0))

    # The program's memory

    def read(self, address: int, size: int) -> bytes:
        """Bytes of the program. Raises OSError where there are none."""
        data = self.processor.read_virtual(address, size)
        if data is None:
            raise OSError(errno.EFAULT, "no memory")
        return data

    def write(self, address: int, data: bytes) -> None:
        """Write into the program. Raises OSError where it has no memory."""
        if not self.processor.write_virtual(address, data):
            raise OSError(errno.EFAULT, "no memory")

    def text(self, number: int) -> bytes:
        """The string that an argument points at. Raises OSError."""
        address, data = self.argument(number), bytearray()
        while len(data) < LONGEST_NAME:
            piece = self.read(address + len(data), 64 - (address + len(data)) % 64)
            end = piece.find(0)
            data += piece if end < 0 else piece[:end]
            if end >= 0:
                return bytes(data)
        raise OSError(errno.ENAMETOOLONG, "a string has no end")

    # Operations

    def exit(self) -> None:
        self._end(self.number(0) & 0xFF)

    def _end(self, status: int) -> None:
        self.processor.machine.control.quit("guest-shutdown", status)
        self.processor.kick()

    def open(self) -> int:
        name, flags = self.text(0), self.argument(1)
        number = _CONSOLE.get(os.fsdecode(name))
        if number is not None:
            return number
        host = flags & 3 | os.O_CLOEXEC
        for bit, value in _OPEN_FLAGS:
            host |= value if flags & bit else 0
        return self.shared.add(os.open(name, host, self.argument(2) & 0o7777))

    def close(self) -> int:
        self.shared.remove(self.number(0))
        return 0

    def load(self) -> int | None:
        descriptor = self.file()
        size = min(self.argument(2) & 0xFFFF_FFFF, LONGEST_TRANSFER)
        if descriptor == 0 and not self._await_input():
            return None
        data = os.read(descriptor, size)
        self.write(self.argument(1), data)
        return len(data)

    def _await_input(self) -> bool:
        """Wait until somebody has typed, or the machine ends; it may be paused meanwhile.

        False where the processor has been sent elsewhere, and the call is forgotten.
        """
        control, cpu = self.processor.machine.control, self.processor.cpu
        while True:
            if control.halting and not control.ending:
                pc = cpu.pc
                control.admit(self.processor)
                if cpu.pc != pc:
                    return False
            if control.ending:
                raise OSError(errno.EINTR, "the machine ends")
            if select.select([0], [], [], 0.1)[0]:
                return True

    def store(self) -> int:
        size = min(self.argument(2) & 0xFFFF_FFFF, LONGEST_TRANSFER)
        return os.write(self.file(), self.read(self.argument(1), size))

    def load_at(self) -> int:
        size = min(self.argument(2) & 0xFFFF_FFFF, LONGEST_TRANSFER)
        data = os.pread(self.file(), size, self.number(3))
        self.write(self.argument(1), data)
        return len(data)

    def store_at(self) -> int:
        size = min(self.argument(2) & 0xFFFF_FFFF, LONGEST_TRANSFER)
        return os.pwrite(self.file(), self.read(self.argument(1), size), self.number(3))

    def seek(self) -> int:
        return os.lseek(self.file(), self.number(1), self.number(2))

    def unlink(self) -> int:
        os.unlink(self.text(0))
        return 0

    def link(self) -> int:
        os.link(self.text(0), self.text(1))
        return 0

    def stat(self) -> int:
        of = os.fstat(self.file())
        small = (of.st_dev & 0x7FFF, of.st_ino & 0xFFFF, of.st_mode, of.st_nlink & 0xFFFF)
        owner = (of.st_uid & 0xFFFF, of.st_gid & 0xFFFF, of.st_rdev & 0x7FFF)
        times = (int(of.st_atime), 0, int(of.st_mtime), 0, int(of.st_ctime), 0)
        mark = ">" if self.processor.machine.order == "big" else "<"
        sizes = (of.st_blksize, of.st_blocks, 0, 0)
        packed = struct.pack(mark + _STAT, *small, *owner, of.st_size, *times, *sizes)
        self.write(self.argument(1), packed)
        return 0

    def argument_count(self) -> int:
        return len(self.shared.arguments)

    def argument_length(self) -> int:
        chosen = self._chosen()
        return -1 if chosen is None else len(chosen)

    def argument_text(self) -> int:
        chosen = self._chosen()
        if chosen is None:
            return -1
        self.write(self.argument(1), chosen + b"\0")
        return 0

    def _chosen(self) -> bytes | None:
        number, arguments = self.number(0), self.shared.arguments
        return arguments[number] if 0 <= number < len(arguments) else None

    def log(self) -> int:
        text = self.text(0).replace(b"%d", str(self.number(1)).encode(), 1)
        return os.write(1, text)

    def fail(self) -> None:
        """An assertion of the program does not hold: as abort() would, this ends it."""
        text = b"assertion '%s': file \"%s\", line %d\n"
        os.write(2, text % (self.text(0), self.text(1), self.number(2)))
        self._end(128 + 6)

    def unknown(self) -> None:
        """What this ends a program with that asks for more than there is."""
        operation = self.processor.cpu.gpr[OPERATION] & 0xFFFF_FFFF
        os.write(2, f"Unknown UHI operation {operation}\n".encode())
        self._end(128 + 6)


_OPERATIONS: dict[int, Callable[[Any], int | None]] = {
    1: _Call.exit,
    2: _Call.open,
    3: _Call.close,
    4: _Call.load,
    5: _Call.store,
    6: _Call.seek,
    7: _Call.unlink,
    8: _Call.stat,
    9: _Call.argument_count,
    10: _Call.argument_length,
    11: _Call.argument_text,
    13: _Call.log,
    14: _Call.fail,
    19: _Call.load_at,
    20: _Call.store_at,
    22: _Call.link,
}
