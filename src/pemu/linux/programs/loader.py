"""Load a program into guest memory: segments, its own loader, stack, signal-return stubs.

Everything goes where it went the last time, so that compiled code serves again: a program that may
go anywhere to `_LOW`, loaders and mappings below the stack, highest first.

Source: System V ABI (program loading); Linux fs/binfmt_elf.c and a MIPS kernel for the layout.
"""

from __future__ import annotations

import mmap
import os
import stat

from pemu.engine.memory.access import GuestFault
from pemu.linux.programs.elf import (
    ET_DYN,
    FP_64,
    FP_64A,
    FP_ANY,
    FP_DOUBLE,
    FP_OLD_64,
    FP_SINGLE,
    FP_SOFT,
    FP_XX,
    PF_R,
    PF_W,
    PF_X,
    Elf,
    ElfError,
)
from pemu.linux.programs.initial_stack import Stack
from pemu.linux.programs.initial_stack import make as make_stack
from pemu.options.error import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.memory.process import AddressSpace
    from pemu.linux.programs.elf import Segment
    from pemu.linux.programs.initial_stack import Start
    from pemu.linux.target import Target

_PAGE = 4096
_PROT = {0: 0, PF_R: 1, PF_W: 3, PF_X: 5, PF_R | PF_W: 3, PF_R | PF_X: 5, PF_W | PF_X: 7, 7: 7}

_FIXED, _PRIVATE, _ANONYMOUS = 0x10, 2, 0x20

MAX_PROGRAM = 1 << 36
"""Span of addresses of one program: each page costs a byte of Pemu's own."""

MAX_ALIGNMENT = 1 << 30

MIN_STACK, STACK_GAP = 16 * _PAGE, 128 << 20
"""The least stack, and the address space that Linux keeps free of mappings below the top for it."""

_LOW = {32: 0x400000, 64: 0x120000000}
"""Where programs are linked to that cannot be moved, by the bits of an address."""

_LOADER_HEAP = {32: 0x55550000, 64: 0x5555550000}
"""Where the heap begins of a program that stands among the mappings."""

SIGRETURN_NUMBERS = {"o32": (4119, 4193), "n32": (0, 6211), "n64": (0, 5211)}
"""System call numbers of sigreturn and rt_sigreturn, by ABI."""

_FOR_FR0 = (FP_ANY, FP_DOUBLE, FP_SINGLE, FP_SOFT, FP_XX)
_FOR_FR1 = (FP_ANY, FP_SINGLE, FP_XX, FP_OLD_64, FP_64, FP_64A)


class LoadedImage:
    """Where a program stands in guest memory (guest-virtual addresses).

    `entry`: where its own entry point is. `start`: where the processor starts, which is its
    loader's if it has one. `bias`: how far it was moved; `interp_base`: how far its loader was.
    `brk`: where its heap begins. `fp_abis`: what its parts want of the FPU. `sigreturn`: the stubs
    that handlers of plain and of real-time signals return to, 0 for none.
    """

    __slots__ = (
        "bias",
        "brk",
        "elf",
        "entry",
        "fp_abis",
        "interp_base",
        "sigreturn",
        "stack",
        "start",
    )

    def __init__(self, elf: Elf) -> None:
        self.elf = elf
        self.stack = Stack(0, 0, 0, b"")
        self.entry = self.start = self.brk = self.bias = self.interp_base = 0
        self.fp_abis: list[int] = []
        self.sigreturn = (0, 0)


_KERNELS = (b"/dev/", b"/proc/", b"/sys/")


def translate_path(prefix: str, path: bytes) -> bytes:
    """Where the guest's absolute `path` is on the host: below `prefix` if it exists there.

    What the kernel provides is the same everywhere: a system's tree that nobody has mounted
    anything in would only hide it.
    """
    if prefix and path.startswith(b"/") and not (path + b"/").startswith(_KERNELS):
        inside = os.fsencode(prefix) + path
        if os.path.lexists(inside):
            return inside
    return path


def open_program(path: str, target: Target) -> tuple[int, Elf]:
    """Open an ELF file for `target` and read its headers; raises ElfError."""
    try:
        # Without waiting: a named pipe would.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ElfError(f"cannot be opened ({error.strerror})", 1) from error
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise ElfError("not a file that could be a program", 1)
        if not status.st_size:
            raise ElfError("the file is empty; give an ELF program", 1)
        # A mapping, as the headers may be anywhere in the file.
        with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as content, memoryview(content) as view:
            return fd, Elf(view, target)
    except (OSError, ValueError) as error:
        os.close(fd)
        raise ElfError(f"cannot be read ({error})", 1) from error
    except ElfError:
        os.close(fd)
        raise


def _place(memory: AddressSpace, elf: Elf, fd: int, page_size: int, high: bool) -> tuple[int, int]:
    """Map the segments; returns (bias, end of the last one)."""
    loads = [segment for segment in elf.loads if segment.memsz]
    if not loads:
        raise ElfError("it has no segment to load")
    lowest = min(segment.vaddr for segment in loads) & -_PAGE
    highest = max(segment.vaddr + segment.memsz for segment in loads)
    if highest - lowest > MAX_PROGRAM or any(s.filesz > s.memsz for s in loads):
        raise ElfError(f"impossible segments ({lowest:#x} to {highest:#x})")
    bias = 0
    try:
        if elf.type == ET_DYN:
            size = -(-(highest - lowest) // page_size) * page_size
            # As Linux does, what is no power of two is no alignment.
            aligns = [s.align for s in loads if not s.align & (s.align - 1)]
            align = max(0x10000, page_size, *aligns)
            if align > MAX_ALIGNMENT:
                raise ElfError(f"impossible alignment {align:#x} of a segment")
            bias = memory.find_free(size, align, 0 if high else _LOW[8 * memory.word_size]) - lowest
            if bias % align:
                bias = memory.find_free(size, align) - lowest
        if page_size > _PAGE:
            for segment in loads:
                start = segment.vaddr + bias
                end = -(-(start + segment.memsz) // page_size) * page_size
                start = start // page_size * page_size
                prot = _PROT[segment.flags & 7]
                memory.map(start, end - start, prot, _PRIVATE | _FIXED | _ANONYMOUS)
        for segment in loads:
            _map_segment(memory, segment.vaddr + bias, segment, fd)
    except OSError as error:
        raise ElfError(
            f"its segments ({lowest + bias:#x} to {highest + bias:#x}) do not fit the address "
            f"space ({error.strerror})"
        ) from error
    except GuestFault as fault:
        raise ElfError(f"its segments cannot be filled at {fault.address:#x}") from None
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
    memory: AddressSpace, target: Target, path: str, start: Start, prefix: str = ""
) -> LoadedImage:
    """Load the program at host `path`; raises ElfError.

    `prefix`: where the guest's loader and libraries are (-L).
    """
    page_size = memory.page_size
    # Programs are laid out for any size of page: the host's is the finest.
    memory.page_size = _PAGE
    try:
        image = _load(memory, target, path, start, prefix)
    finally:
        memory.page_size = page_size
    memory.set_brk(-(-image.brk // page_size) * page_size)
    return image


def _load(
    memory: AddressSpace, target: Target, path: str, start: Start, prefix: str
) -> LoadedImage:
    memory.mmap_top = max(memory.top - max(start.stack_size, STACK_GAP), memory.top // 3)
    fd, elf = open_program(path, target)
    image = LoadedImage(elf)
    # A program that may go anywhere and has no loader mostly is one: it leaves room for others.
    high = elf.type == ET_DYN and not elf.interp
    try:
        image.bias, end = _place(memory, elf, fd, start.page_size, high)
    finally:
        os.close(fd)
    mask = (1 << 8 * target.word) - 1
    image.entry = image.start = elf.entry + image.bias & mask
    image.fp_abis.append(elf.fp_abi)
    image.brk = _LOADER_HEAP[8 * target.word] if high else end
    if elf.interp:
        name = os.fsdecode(elf.interp)
        where = os.fsdecode(translate_path(prefix, elf.interp))
        try:
            interp_fd, interp = open_program(where, target)
            try:
                size = start.page_size
                image.interp_base, _ = _place(memory, interp, interp_fd, size, high=True)
            finally:
                os.close(interp_fd)
        except ElfError as error:
            raise ElfError(
                f"its loader {quoted(name)} cannot be used: {error}; give the directory with the "
                "guest's libraries by -L"
            ) from error
        image.start = interp.entry + image.interp_base & mask
        image.fp_abis.append(interp.fp_abi)
    _trampolines(memory, target, image)
    image.stack = make_stack(memory, target, elf, image.bias, image.interp_base, start)
    return image


def wants_fr1(abis: list[int], able: bool) -> bool:
    """Whether o32 code of all these floating-point ABIs runs with FR=1, as Linux decides that.

    `able`: the processor is of Release 2 and has 64-bit registers in its FPU. Raises ElfError.
    """
    if all(abi in _FOR_FR1 for abi in abis) and (able or not all(abi in _FOR_FR0 for abi in abis)):
        if not able:
            raise ElfError(
                "it needs an FPU with 64-bit registers; choose a processor that has one by -cpu"
            )
        return True
    if all(abi in _FOR_FR0 for abi in abis):
        return False
    raise ElfError(f"floating-point ABIs that do not go together ({', '.join(map(str, abis))})")


def _trampolines(memory: AddressSpace, target: Target, image: LoadedImage) -> None:
    """A page, like the kernel's vdso, with the stubs that signal handlers return to."""
    try:
        page = memory.map(None, _PAGE, 3, _PRIVATE | _ANONYMOUS)
    except OSError as error:
        raise ElfError(f"no room for a page of the kernel's ({error.strerror})") from error
    addresses = []
    for index, number in enumerate(SIGRETURN_NUMBERS[target.abi]):
        at = page + 16 * index
        memory.put_u32(at, 0x24020000 | number)  # addiu v0, zero, number
        memory.put_u32(at + 4, 0x0000000C)  # syscall
        addresses.append(at if number else 0)
    memory.protect(page, _PAGE, 5)
    image.sigreturn = (addresses[0], addresses[1])
