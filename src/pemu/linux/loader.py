"""Load a program into guest memory: segments, interpreter, stack, signal-return stubs.

Source: System V ABI (process initialization); Linux fs/binfmt_elf.c documents in
Documentation/ and `asm/auxvec.h` give the entries; the layout follows a MIPS kernel's.
"""

from __future__ import annotations

import mmap
import os

from pemu.linux.elf import ET_DYN, PF_R, PF_W, PF_X, PT_GNU_STACK, PT_PHDR, Elf, ElfError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.memory import AddressSpace
    from pemu.linux.elf import Segment
    from pemu.linux.target import Target

_PAGE = 4096
_PROT = {0: 0, PF_R: 1, PF_W: 3, PF_X: 5, PF_R | PF_W: 3, PF_R | PF_X: 5, PF_W | PF_X: 7, 7: 7}

_FIXED, _FIXED_NEW, _PRIVATE, _ANONYMOUS = 0x10, 0x100000, 2, 0x20

MAX_PROGRAM = 1 << 31
"""Span of addresses of one program: what a 32-bit process has in all."""

STACK_GAP = 128 << 20
"""Address space that Linux keeps free of mappings below the top, for the stack to grow."""

SIGRETURN_NUMBERS = {"o32": (4119, 4193), "n32": (0, 6211), "n64": (0, 5211)}
"""System call numbers of sigreturn and rt_sigreturn, by ABI."""

_AT_NULL, _AT_PHDR, _AT_PHENT, _AT_PHNUM, _AT_PAGESZ, _AT_BASE, _AT_FLAGS, _AT_ENTRY = (
    0,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
)
_AT_UID, _AT_EUID, _AT_GID, _AT_EGID, _AT_PLATFORM, _AT_HWCAP, _AT_CLKTCK, _AT_SECURE = (
    11,
    12,
    13,
    14,
    15,
    16,
    17,
    23,
)
_AT_RANDOM, _AT_HWCAP2, _AT_EXECFN = 25, 26, 31


class LoadedImage:
    """Where a program stands in guest memory (guest-virtual addresses)."""

    __slots__ = (
        "auxv",
        "base",
        "bias",
        "brk",
        "elf",
        "entry",
        "interp_base",
        "sigreturn",
        "sp",
        "stack_end",
        "stack_start",
    )

    def __init__(self) -> None:
        self.entry = self.sp = self.brk = self.bias = self.base = self.interp_base = 0
        self.stack_start = self.stack_end = 0
        self.sigreturn = (0, 0)
        self.auxv = b""
        self.elf: Elf | None = None


def translate_path(prefix: str, path: bytes) -> bytes:
    """Where the guest's absolute `path` is on the host: below `prefix` if it exists there."""
    if prefix and path.startswith(b"/"):
        inside = os.fsencode(prefix) + path
        if os.path.lexists(inside):
            return inside
    return path


def open_program(path: str, target: Target) -> tuple[int, Elf]:
    """Open an ELF file for `target` and read its headers; raises ElfError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ElfError(str(error.strerror)) from error
    try:
        size = os.fstat(fd).st_size
        if not size:
            raise ElfError("the file is empty")
        # Headers and the interpreter's name; a short read leaves zeros, which are refused.
        with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as content:
            view = memoryview(content)
            try:
                return fd, Elf(view, target)
            finally:
                view.release()
    except (OSError, ValueError) as error:
        os.close(fd)
        raise ElfError(f"cannot be read ({error})") from error
    except ElfError:
        os.close(fd)
        raise


def _place(memory: AddressSpace, elf: Elf, fd: int, high: bool) -> tuple[int, int]:
    """Map the segments; returns (bias, end of the last one)."""
    loads = [segment for segment in elf.loads if segment.memsz]
    if not loads:
        raise ElfError("no loadable segment")
    lowest = min(segment.vaddr for segment in loads) & -_PAGE
    highest = max(segment.vaddr + segment.memsz for segment in loads)
    if highest - lowest > MAX_PROGRAM or any(s.filesz > s.memsz for s in loads):
        raise ElfError(f"impossible segments ({lowest:#x} to {highest:#x})")
    bias = 0
    try:
        if elf.type == ET_DYN:
            size = -(-(highest - lowest) // _PAGE) * _PAGE
            align = max(max(segment.align for segment in loads), 0x10000)
            if align & (align - 1) or align > 1 << 24:
                raise ElfError(f"impossible alignment {align:#x} of a segment")
            hint = 0 if high else 0x400000 if memory.size == 1 << 32 else 0x120000000
            bias = memory.find_free(size, align, hint) - lowest
            if bias % align:
                bias = memory.find_free(size, align) - lowest
        for segment in loads:
            _map_segment(memory, segment.vaddr + bias, segment, fd)
    except OSError as error:
        raise ElfError(f"its segments do not fit ({error.strerror})") from error
    return bias, highest + bias


def _map_segment(memory: AddressSpace, start: int, segment: Segment, fd: int) -> None:
    prot = _PROT[segment.flags & 7]
    page, inside = start & -_PAGE, start % _PAGE
    if segment.filesz and segment.offset % _PAGE != inside:
        raise ElfError(f"segment at {segment.vaddr:#x} is not aligned in the file")
    file_end = start + segment.filesz
    mapped_end = -(-file_end // _PAGE) * _PAGE if segment.filesz else page
    end = -(-(start + segment.memsz) // _PAGE) * _PAGE
    if segment.filesz:
        flags = _PRIVATE | _FIXED
        memory.map(page, mapped_end - page, prot, flags, fd, segment.offset - inside)
    if end > mapped_end:
        flags = _PRIVATE | _FIXED | _ANONYMOUS
        memory.map(mapped_end, end - mapped_end, prot, flags)
    if segment.memsz > segment.filesz and file_end < mapped_end and prot & 2:
        memory.write(file_end, bytes(min(mapped_end, end) - file_end))


def load(
    memory: AddressSpace,
    target: Target,
    path: str,
    argv: list[bytes],
    environ: list[bytes],
    *,
    prefix: str = "",
    exec_name: bytes = b"",
    stack_size: int = 8 << 20,
    hwcap: int = 0,
    random: bytes = b"",
) -> LoadedImage:
    """Load the program at host `path`; raises ElfError.

    `prefix`: where the guest's interpreter and libraries are (-L). `exec_name`: the name the
    program is told it was executed by. `random`: the 16 bytes of AT_RANDOM.
    """
    image = LoadedImage()
    stack_size = max(-(-stack_size // _PAGE), 16) * _PAGE
    memory.mmap_top = max(memory.top - max(stack_size, STACK_GAP), memory.top // 3)
    fd, elf = open_program(path, target)
    image.elf = elf
    try:
        # A program that is its own loader goes where the kernel puts loaders.
        image.bias, end = _place(memory, elf, fd, high=elf.type == ET_DYN and not elf.interp)
    finally:
        os.close(fd)
    image.entry = elf.entry + image.bias
    image.brk = -(-end // _PAGE) * _PAGE
    start = image.entry
    if elf.interp:
        name = os.fsdecode(elf.interp)
        where = os.fsdecode(translate_path(prefix, elf.interp))
        try:
            interp_fd, interp = open_program(where, target)
        except ElfError as error:
            raise ElfError(
                f"its loader {name} cannot be used: {error}; give the directory with the "
                "guest's libraries by -L"
            ) from error
        try:
            image.interp_base, _ = _place(memory, interp, interp_fd, high=True)
        finally:
            os.close(interp_fd)
        start = interp.entry + image.interp_base
    _trampolines(memory, target, image)
    _stack(memory, target, image, argv, environ, exec_name, stack_size, hwcap, random)
    memory.set_brk(image.brk)
    image.entry = start
    return image


def _trampolines(memory: AddressSpace, target: Target, image: LoadedImage) -> None:
    """A page, like the kernel's vdso, with the stubs that signal handlers return to."""
    page = memory.map(None, _PAGE, 3, _PRIVATE | _ANONYMOUS)
    addresses = []
    for index, number in enumerate(SIGRETURN_NUMBERS[target.abi]):
        at = page + 16 * index
        memory.put_u32(at, 0x24020000 | number)  # addiu v0, zero, number
        memory.put_u32(at + 4, 0x0000000C)  # syscall
        addresses.append(at if number else 0)
    memory.protect(page, _PAGE, 5)
    image.sigreturn = (addresses[0], addresses[1])


def _stack(
    memory: AddressSpace,
    target: Target,
    image: LoadedImage,
    argv: list[bytes],
    environ: list[bytes],
    exec_name: bytes,
    stack_size: int,
    hwcap: int,
    random: bytes,
) -> None:
    elf = image.elf
    assert elf is not None
    word = target.word
    executable = any(s.type == PT_GNU_STACK and s.flags & PF_X for s in elf.segments)
    if not any(s.type == PT_GNU_STACK for s in elf.segments):
        executable = True
    size = stack_size
    prot = 7 if executable else 3
    try:
        start = memory.map(memory.top - size, size, prot, _PRIVATE | _ANONYMOUS | _FIXED_NEW)
    except OSError as error:
        raise ElfError(f"no room for a stack of {size} bytes") from error
    image.stack_start, image.stack_end = start, start + size
    strings = bytearray()
    top = start + size - word

    def put(data: bytes) -> int:
        nonlocal top
        top -= len(data)
        strings[:0] = data
        return top

    if sum(map(len, argv)) + sum(map(len, environ)) > size // 2:
        raise ElfError("arguments and environment are too long for the stack")
    exec_at = put(exec_name + b"\0")
    environ_at = [put(entry + b"\0") for entry in reversed(environ)][::-1]
    argv_at = [put(entry + b"\0") for entry in reversed(argv)][::-1]
    random_at = put(random)
    platform_at = put(b"mips\0")
    phdr = next(
        (s.vaddr + image.bias for s in elf.segments if s.type == PT_PHDR),
        elf.loads[0].vaddr - elf.loads[0].offset + elf.phoff + image.bias,
    )
    vector = [
        (_AT_HWCAP, hwcap),
        (_AT_PAGESZ, memory.page_size),
        (_AT_CLKTCK, 100),
        (_AT_PHDR, phdr),
        (_AT_PHENT, elf.phentsize),
        (_AT_PHNUM, len(elf.segments)),
        (_AT_BASE, image.interp_base),
        (_AT_FLAGS, 0),
        (_AT_ENTRY, elf.entry + image.bias),
        (_AT_UID, os.getuid()),
        (_AT_EUID, os.geteuid()),
        (_AT_GID, os.getgid()),
        (_AT_EGID, os.getegid()),
        (_AT_SECURE, 0),
        (_AT_RANDOM, random_at),
        (_AT_HWCAP2, 0),
        (_AT_EXECFN, exec_at),
        (_AT_PLATFORM, platform_at),
        (_AT_NULL, 0),
    ]
    words = [len(argv), *argv_at, 0, *environ_at, 0]
    words += [part for pair in vector for part in pair]
    padding = (top - len(words) * word) % 16
    put(bytes(padding))
    order = "big" if target.big_endian else "little"
    table = b"".join(value.to_bytes(word, order) for value in words)  # type: ignore[arg-type]
    image.auxv = table[-2 * word * len(vector) :]
    image.sp = put(table)
    memory.write(image.sp, bytes(strings))
