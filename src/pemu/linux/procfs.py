"""Files in /proc that show the guest's view instead of the host's.

Source: proc(5); Linux fs/proc/array.c, fs/proc/task_mmu.c and arch/mips/kernel/proc.c for the
forms.
"""

from __future__ import annotations

import os

from pemu.linux.mips import signals as ms
from pemu.linux.sigactions import SIG_IGN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pemu.linux.process import Thread

# Fields of /proc/<pid>/stat after the name in parentheses, counted from 0.
_VSIZE, _START_CODE, _END_CODE, _START_STACK, _ESP, _EIP = 20, 23, 24, 25, 26, 27
_HOST_ADDRESSES = (*range(42, 49), _ESP, _EIP)
"""Addresses of data, heap, arguments and environment, and registers, none of them the guest's."""


def _own(path: bytes) -> tuple[bytes, bytes]:
    """The name that `path` has in this process's own directory in /proc, and that directory.

    A thread's directory counts as well. Both are empty for any other path.
    """
    if not path.startswith(b"/proc/"):
        return b"", b""
    words = path.split(b"/")
    if words[2] not in (b"self", b"thread-self", b"%d" % os.getpid()):
        return b"", b""
    at = 5 if len(words) > 5 and words[3] == b"task" and words[4].isdigit() else 3
    return b"/".join(words[at:]), b"/".join(words[:at])


def read_special_link(t: Thread, path: bytes) -> bytes | None:
    """Where a link leads that differs for the guest: `/proc/self/exe`; else None."""
    if _own(path)[0] == b"exe":
        return os.fsencode(t.process.exe)
    return None


def open_special(t: Thread, path: bytes, flags: int) -> int | None:
    """A descriptor with the contents of a file that differs for the guest; else None."""
    text = special_contents(t, path)
    if text is None:
        return None
    fd = os.memfd_create("proc", os.MFD_CLOEXEC if flags & os.O_CLOEXEC else 0)
    os.write(fd, text)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def special_contents(t: Thread, path: bytes) -> bytes | None:
    """What such a file holds."""
    if path == b"/proc/cpuinfo":
        return cpuinfo(t)
    if path == b"/proc/sys/kernel/osrelease" and t.process.options.uname:
        return os.fsencode(t.process.options.uname) + b"\n"
    name, directory = _own(path)
    contents = _FILES.get(name)
    return None if contents is None else contents(t, directory)


def _cmdline(t: Thread, directory: bytes) -> bytes:
    return b"".join(argument + b"\0" for argument in t.process.argv)


def _environ(t: Thread, directory: bytes) -> bytes:
    return b"".join(entry + b"\0" for entry in t.process.environ)


def _auxv(t: Thread, directory: bytes) -> bytes:
    image = t.process.exe_image
    return image.stack.auxv if image is not None else b""


def _maps(t: Thread, directory: bytes) -> bytes:
    lines = [_mapping(t, region) for region in t.mem.regions()]
    return ("\n".join(lines) + "\n").encode(errors="surrogateescape")


def _mapping(t: Thread, region: tuple[int, int, int, bool, int, int, int, str]) -> str:
    """A line of `maps`."""
    start, end, prot, shared, offset, dev, inode, path = region
    name = path or _purpose(t, start, end)
    rights = "".join(
        letter if prot & bit else "-" for letter, bit in (("r", 1), ("w", 2), ("x", 4))
    )
    head = (
        f"{start:08x}-{end:08x} {rights}{'s' if shared else 'p'} {offset:08x} "
        f"{os.major(dev):02x}:{os.minor(dev):02x} {inode} "
    )
    return f"{head:<{24 + 6 * t.target.word}} {name}" if name else head


def _purpose(t: Thread, start: int, end: int) -> str:
    """How `maps` calls an anonymous mapping."""
    image = t.process.exe_image
    if image is None:
        return ""
    if image.stack.start <= start < image.stack.end:
        return "[stack]"
    if start <= t.mem.brk_end and end > t.mem.brk_start:
        return "[heap]"
    return "[vdso]" if start <= image.sigreturn[1] < end else ""


def _smaps(t: Thread, directory: bytes) -> bytes:
    """The host's figures for the parts of its address space that are guest memory."""
    base, size = t.mem.base, t.mem.size
    regions = list(t.mem.regions())
    lines: list[str] = []
    shown = False
    with open(directory + b"/smaps", "rb") as file:
        text = file.read().decode(errors="surrogateescape")
    for line in text.splitlines():
        first = line.partition(" ")[0]
        if first.endswith(":"):
            if shown:
                lines.append(line)
            continue
        start, end = (int(part, 16) - base for part in first.split("-"))
        region = None
        if 0 <= start < size:
            region = next((one for one in regions if one[0] <= start < one[1]), None)
        shown = region is not None
        if region is not None:
            offset = region[4] + start - region[0] if region[7] else 0
            part = (start, min(end, region[1]), *region[2:4], offset, *region[5:])
            lines.append(_mapping(t, part))
    return ("\n".join(lines) + "\n").encode(errors="surrogateescape")


def _stat(t: Thread, directory: bytes) -> bytes:
    """The host's, with addresses and sizes of the guest."""
    with open(directory + b"/stat", "rb") as file:
        head, _, rest = file.read().rpartition(b") ")
    fields = rest.split()
    for index in _HOST_ADDRESSES:
        fields[index] = b"0"
    image = t.process.exe_image
    if image is not None:
        code = [load for load in image.elf.loads if load.flags & 1]
        if code:
            fields[_START_CODE] = b"%d" % (min(load.vaddr for load in code) + image.bias)
            fields[_END_CODE] = b"%d" % (
                max(load.vaddr + load.filesz for load in code) + image.bias
            )
        fields[_START_STACK] = b"%d" % image.stack.sp
    fields[_VSIZE] = b"%d" % sum(region[1] - region[0] for region in t.mem.regions())
    return head + b") " + b" ".join(fields) + b"\n"


def _status(t: Thread, directory: bytes) -> bytes:
    """The host's, with the guest's signals."""
    process = t.process
    ignored = caught = 0
    for signo in process.sigactions:
        handler = process.sigactions[signo].handler
        if handler == SIG_IGN:
            ignored |= 1 << (signo - 1)
        elif handler:
            caught |= 1 << (signo - 1)
    own = directory.rpartition(b"/")[2]
    thread = process.threads.get(int(own), t) if own.isdigit() else t
    sets = {b"SigBlk": thread.sigmask, b"SigIgn": ignored, b"SigCgt": caught}
    lines = []
    with open(directory + b"/status", "rb") as file:
        for line in file.read().splitlines():
            name, _, value = line.partition(b":\t")
            if name in (b"SigPnd", b"ShdPnd"):
                sets[name] = ms.guest_bits(int(value, 16))
            lines.append(b"%s:\t%032x" % (name, sets[name]) if name in sets else line)
    return b"\n".join(lines) + b"\n"


def cpuinfo(t: Thread) -> bytes:
    """/proc/cpuinfo as Linux prints it on MIPS."""
    from pemu.isa.mips.models import model

    chosen = model(t.process.options.cpu or t.target.default_cpu, t.target.xlen)
    version = f"V{chosen.prid >> 4 & 15}.{chosen.prid & 15}"
    if chosen.fir:
        version += f"  FPU V{chosen.fir >> 4 & 15}.{chosen.fir & 15}"
    lines = ["system type\t\t: Pemu", "machine\t\t\t: Unknown"]
    for number in range(len(os.sched_getaffinity(0))):
        lines += [
            f"processor\t\t: {number}",
            f"cpu model\t\t: {chosen.kernel_name} {version}",
            "BogoMIPS\t\t: 1000.00",
            "wait instruction\t: yes",
            "microsecond timers\t: yes",
            f"tlb_entries\t\t: {chosen.tlb}",
            "extra interrupt vector\t: yes",
            "hardware watchpoint\t: no",
            f"isa\t\t\t: {chosen.isa_line}",
            f"ASEs implemented\t: {chosen.ases_line}".rstrip(" "),
            "shadow register sets\t: 1",
            "kscratch registers\t: 0",
            "package\t\t\t: 0",
            f"core\t\t\t: {number}",
            "VCED exceptions\t\t: not available",
            "VCEI exceptions\t\t: not available",
            "",
        ]
    return ("\n".join(lines) + "\n").encode()


_FILES: dict[bytes, Callable[[Thread, bytes], bytes]] = {
    b"auxv": _auxv,
    b"cmdline": _cmdline,
    b"environ": _environ,
    b"maps": _maps,
    b"smaps": _smaps,
    b"stat": _stat,
    b"status": _status,
}
"""Contents of the files in a process's directory, from the thread and the directory's path."""
