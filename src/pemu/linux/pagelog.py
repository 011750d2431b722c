"""The log item `page`: what a new process's memory looks like, in the form of QEMU's log."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pemu.linux.process import Process


def layout(process: Process) -> str:
    """The table of mapped pages, and where the loader has put what (guest-virtual addresses)."""
    memory, image = process.mem, process.exe_image
    assert image is not None
    digits = 2 * process.target.word
    width = digits + 1
    lines = [
        f"guest_base  {memory.base:#x}",
        "page layout changed following binary load",
        f"{'start':<{width}}{'end':<{width}}{'size':<{width}}prot",
    ]
    for start, end, prot in _merged((r[0], r[1], r[2]) for r in memory.regions()):
        access = "".join(letter if prot >> bit & 1 else "-" for bit, letter in enumerate("rwx"))
        lines.append(f"{start:0{digits}x}-{end:0{digits}x} {end - start:0{digits}x} {access}")
    code = [s for s in image.elf.loads if s.flags & 1]
    data = [s for s in image.elf.loads if s.flags & 2] or code
    word = process.target.word
    argv = image.stack.sp + word
    envp = argv + word * (len(process.argv) + 1)
    places = {
        "start_brk": memory.brk_start,
        "end_code": max(s.vaddr + s.filesz for s in code) + image.bias if code else 0,
        "start_code": min(s.vaddr for s in code) + image.bias if code else 0,
        "start_data": min(s.vaddr for s in data) + image.bias if data else 0,
        "end_data": max(s.vaddr + s.filesz for s in data) + image.bias if data else 0,
        "start_stack": image.stack.sp,
        "brk": memory.brk_end,
        "entry": image.start,
        "argv_start": argv,
        "env_start": envp,
        "auxv_start": envp + word * (len(process.environ) + 1),
    }
    lines += [f"{name:<11} 0x{value:0{digits}x}" for name, value in places.items()]
    return "\n".join([*lines, ""])


def _merged(mappings: Iterable[tuple[int, int, int]]) -> Iterator[tuple[int, int, int]]:
    """(start, end, protection) of ranges of pages with one protection."""
    first, last, prot = 0, 0, -1
    for start, end, access in mappings:
        if start != last or access != prot:
            if last:
                yield first, last, prot
            first, prot = start, access
        last = end
    if last:
        yield first, last, prot
