"""Files in /proc that show the guest's view instead of the host's."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.linux.process import Thread


def _own(t: Thread, path: bytes) -> bytes | None:
    """The name below this process's own directory in /proc that `path` means, or None."""
    if not path.startswith(b"/proc/"):
        return None
    first, _, rest = path[6:].partition(b"/")
    if first in (b"self", b"thread-self", b"%d" % os.getpid()):
        return rest
    return None


def read_special_link(t: Thread, path: bytes) -> bytes | None:
    """Where a link leads that differs for the guest: `/proc/self/exe`; else None."""
    if _own(t, path) == b"exe":
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
    name = _own(t, path)
    if name == b"maps":
        return maps(t)
    if name == b"cmdline":
        return b"".join(argument + b"\0" for argument in t.process.argv)
    if name == b"auxv" and t.process.exe_image is not None:
        return t.process.exe_image.auxv
    if name == b"environ":
        return b"".join(entry + b"\0" for entry in t.process.environ)
    if name == b"stat":
        return _stat(t)
    return None


def maps(t: Thread) -> bytes:
    """/proc/self/maps: the guest's mappings."""
    lines = []
    image = t.process.exe_image
    width = 8 if t.target.word == 4 else 12
    for start, end, prot, shared, offset, dev, inode, path in t.mem.regions():
        name = path
        if image is not None and not path:
            if image.stack_start <= start < image.stack_end:
                name = "[stack]"
            elif t.mem.brk_start <= start < max(t.mem.brk_end, t.mem.brk_start + 1):
                name = "[heap]"
            elif start <= image.sigreturn[1] < end:
                name = "[vdso]"
        rights = "".join(
            letter if prot & bit else "-" for letter, bit in (("r", 1), ("w", 2), ("x", 4))
        )
        head = (
            f"{start:0{width}x}-{end:0{width}x} {rights}{'s' if shared else 'p'} {offset:08x} "
            f"{os.major(dev):02x}:{os.minor(dev):02x} {inode}"
        )
        lines.append(f"{head:<{25 + 2 * width + 8}} {name}".rstrip() if name else head + " ")
    return ("\n".join(lines) + "\n").encode()


def _stat(t: Thread) -> bytes:
    """/proc/self/stat with the guest's name and stack."""
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    name = os.path.basename(os.fsencode(t.process.exe))[:15]
    image = t.process.exe_image
    if image is not None:
        fields[25] = b"%d" % image.sp
    return b"%d (%s) " % (os.getpid(), name) + b" ".join(fields) + b"\n"


def cpuinfo(t: Thread) -> bytes:
    """/proc/cpuinfo as Linux prints it on MIPS."""
    count = len(os.sched_getaffinity(0))
    model = t.process.options.cpu or t.target.default_cpu
    isa = "mips1 mips2 mips32r1 mips32r2"
    if t.target.xlen == 64:
        isa = "mips1 mips2 mips3 mips4 mips5 mips32r1 mips32r2 mips64r1 mips64r2"
    lines = ["system type\t\t: Pemu", "machine\t\t\t: Unknown"]
    for number in range(count):
        lines += [
            f"processor\t\t: {number}",
            f"cpu model\t\t: MIPS {model}",
            "BogoMIPS\t\t: 1000.00",
            "wait instruction\t: yes",
            "microsecond timers\t: yes",
            "tlb_entries\t\t: 16",
            "extra interrupt vector\t: yes",
            "hardware watchpoint\t: no",
            f"isa\t\t\t: {isa}",
            "ASEs implemented\t:",
            "shadow register sets\t: 1",
            "kscratch registers\t: 0",
            "package\t\t\t: 0",
            f"core\t\t\t: {number}",
            "VCED exceptions\t\t: not available",
            "VCEI exceptions\t\t: not available",
            "",
        ]
    return ("\n".join(lines) + "\n").encode()
