"""What a new program finds on its stack: arguments, environment and the auxiliary vector.

Source: System V ABI (process initialization); `asm/auxvec.h` names the entries.
"""

from __future__ import annotations

import os

from pemu.engine.memory.access import GuestFault
from pemu.linux.programs.elf import PF_X, PT_GNU_STACK, PT_PHDR, ElfError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pemu.engine.memory.process import AddressSpace
    from pemu.linux.programs.elf import Elf
    from pemu.linux.target import Target

_AT_PHDR, _AT_PHENT, _AT_PHNUM, _AT_PAGESZ, _AT_BASE, _AT_FLAGS, _AT_ENTRY = range(3, 10)
_AT_UID, _AT_EUID, _AT_GID, _AT_EGID = range(11, 15)
_AT_HWCAP, _AT_CLKTCK, _AT_SECURE, _AT_BASE_PLATFORM, _AT_RANDOM = 16, 17, 23, 24, 25
_AT_EXECFN = 31

_PRIVATE, _ANONYMOUS, _FIXED_NEW = 2, 0x20, 0x100000


class Start:
    """What a program is started with.

    `name`: the name it is executed by. `stack_size`: bytes of the stack, a multiple of a page's.
    `page_size`: what the program takes for a page's size. `hwcap`, `platform`: AT_HWCAP and
    AT_BASE_PLATFORM of the processor. `random`: the 16 bytes of AT_RANDOM.
    """

    __slots__ = (
        "argv",
        "environ",
        "hwcap",
        "name",
        "page_size",
        "platform",
        "random",
        "stack_size",
    )

    def __init__(
        self,
        name: bytes,
        argv: Sequence[bytes],
        environ: Sequence[bytes],
        *,
        stack_size: int,
        page_size: int,
        hwcap: int,
        platform: str,
        random: bytes,
    ) -> None:
        self.name = name
        self.argv = argv
        self.environ = environ
        self.stack_size = stack_size
        self.page_size = page_size
        self.hwcap = hwcap
        self.platform = platform
        self.random = random


class Stack:
    """A new program's stack, which lies at guest-virtual addresses `start` to `end`.

    `sp`: where the stack pointer is to stand. `auxv`: the auxiliary vector, as it lies there.
    """

    __slots__ = ("auxv", "end", "sp", "start")

    def __init__(self, start: int, end: int, sp: int, auxv: bytes) -> None:
        self.start = start
        self.end = end
        self.sp = sp
        self.auxv = auxv


def make(
    memory: AddressSpace, target: Target, elf: Elf, bias: int, interp_base: int, start: Start
) -> Stack:
    """Map the stack at the top of `memory` and fill it; raises ElfError.

    `bias`: how far the program `elf` was moved; `interp_base`: how far its loader was, 0 for none.
    """
    size = start.stack_size
    lowest = _map(memory, elf, size)
    word = target.word
    end = lowest + size
    contents = _Contents(end - word)
    name = contents.put(start.name + b"\0")
    environ = [contents.put(entry + b"\0") for entry in reversed(start.environ)][::-1]
    argv = [contents.put(entry + b"\0") for entry in reversed(start.argv)][::-1]
    vector = (
        (_AT_HWCAP, start.hwcap),
        (_AT_PAGESZ, start.page_size),
        (_AT_CLKTCK, 100),
        (_AT_PHDR, _headers_address(elf) + bias),
        (_AT_PHENT, elf.phentsize),
        (_AT_PHNUM, len(elf.segments)),
        (_AT_BASE, interp_base),
        (_AT_FLAGS, 0),
        (_AT_ENTRY, elf.entry + bias),
        *_identity(),
        (_AT_RANDOM, contents.put(start.random)),
        (_AT_EXECFN, name),
        (_AT_BASE_PLATFORM, contents.put(start.platform.encode() + b"\0")),
        (0, 0),
    )
    words = [len(argv), *argv, 0, *environ, 0]
    words += [part for pair in vector for part in pair]
    contents.put(bytes((contents.lowest - len(words) * word) % 16))
    mask = (1 << 8 * word) - 1
    table = b"".join((value & mask).to_bytes(word, memory.order) for value in words)
    sp = contents.put(table)
    try:
        if sp <= lowest:
            raise GuestFault(sp)
        memory.write(sp, contents.data())
    except GuestFault:
        raise ElfError(
            f"arguments and environment ({end - sp} bytes) do not fit a stack of {size} bytes; "
            "give more by -s"
        ) from None
    return Stack(lowest, end, sp, table[-2 * word * len(vector) :])


def _map(memory: AddressSpace, elf: Elf, size: int) -> int:
    """Map `size` bytes at the top of `memory`, executable unless `elf` forbids it; return where."""
    marks = [segment.flags for segment in elf.segments if segment.type == PT_GNU_STACK]
    prot = 7 if not marks or marks[-1] & PF_X else 3
    try:
        return memory.map(memory.top - size, size, prot, _PRIVATE | _ANONYMOUS | _FIXED_NEW)
    except OSError as error:
        raise ElfError(f"no room for a stack of {size} bytes below {memory.top:#x}") from error


class _Contents:
    """What is put on a stack, downwards. `lowest`: guest-virtual address of the last put."""

    __slots__ = ("_parts", "lowest")

    def __init__(self, end: int) -> None:
        self.lowest = end
        self._parts: list[bytes] = []

    def put(self, data: bytes) -> int:
        """Put `data` below all else; return its address."""
        self.lowest -= len(data)
        self._parts.append(data)
        return self.lowest

    def data(self) -> bytes:
        """All of it, from the lowest address up."""
        return b"".join(reversed(self._parts))


def _identity() -> tuple[tuple[int, int], ...]:
    """The entries about whom the process runs for."""
    uid, euid, gid, egid = os.getuid(), os.geteuid(), os.getgid(), os.getegid()
    return (
        (_AT_UID, uid),
        (_AT_EUID, euid),
        (_AT_GID, gid),
        (_AT_EGID, egid),
        (_AT_SECURE, int(uid != euid or gid != egid)),
    )


def _headers_address(elf: Elf) -> int:
    """Where the program headers stand in memory, before the program is moved."""
    for segment in elf.segments:
        if segment.type == PT_PHDR:
            return segment.vaddr
    for segment in elf.loads:
        if segment.offset <= elf.phoff < segment.offset + segment.filesz:
            return segment.vaddr + elf.phoff - segment.offset
    return 0
