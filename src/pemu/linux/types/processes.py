"""Argument types of calls about processes, with names for -strace."""

from __future__ import annotations

from pemu.linux.show import show_pointer
from pemu.linux.types.base import HexLong, WordType
from pemu.linux.types.names import Bits
from pemu.linux.types.pointers import PointerType, address
from pemu.linux.types.signals import show_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pemu.linux.process import Thread
    from pemu.linux.types.base import ArgType

WaitOptions = Bits(
    "options",
    "WNOHANG 1 WUNTRACED 2 WEXITED 4 WCONTINUED 8 WNOWAIT 0x01000000 __WNOTHREAD 0x20000000"
    " __WALL 0x40000000 __WCLONE 0x80000000",
)
_CloneBits = Bits(
    "flags",
    "CLONE_VM 0x100 CLONE_FS 0x200 CLONE_FILES 0x400 CLONE_SIGHAND 0x800 CLONE_PIDFD 0x1000"
    " CLONE_PTRACE 0x2000 CLONE_VFORK 0x4000 CLONE_PARENT 0x8000 CLONE_THREAD 0x10000"
    " CLONE_NEWNS 0x20000 CLONE_SYSVSEM 0x40000 CLONE_SETTLS 0x80000 CLONE_PARENT_SETTID 0x100000"
    " CLONE_CHILD_CLEARTID 0x200000 CLONE_DETACHED 0x400000 CLONE_UNTRACED 0x800000"
    " CLONE_CHILD_SETTID 0x1000000 CLONE_NEWCGROUP 0x2000000 CLONE_NEWUTS 0x4000000"
    " CLONE_NEWIPC 0x8000000 CLONE_NEWUSER 0x10000000 CLONE_NEWPID 0x20000000"
    " CLONE_NEWNET 0x40000000 CLONE_IO 0x80000000",
    "",
)


class CloneFlagsType(WordType):
    """Flags of clone, and the signal that the child's end sends."""

    __slots__ = ()

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        names = _CloneBits.show(t, (raw[index] & 0xFFFFFF00,), 0, None)
        signal = raw[index] & 0xFF
        ends = show_signal(signal) if signal else ""
        return "flags=" + ("|".join(part for part in (names, ends) if part) or "0")


class NamedPointerType(PointerType):
    """A pointer that -strace shows with its name."""

    __slots__ = ()

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        return f"{self.name}={show_pointer(address(t, raw[index]))}"


class StatusType(PointerType):
    """The address where a wait status goes."""

    __slots__ = ()

    leaves = True

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        from pemu.engine.memory.access import GuestFault

        start = address(t, raw[index])
        if not start or result is None or result <= 0:
            return show_pointer(start)
        try:
            return f"[{show_status(t.mem.u32(start))}]"
        except GuestFault:
            return show_pointer(start)


def show_status(status: int) -> str:
    """A guest's wait status in C, as strace shows it."""
    signal = status & 0x7F
    if status == 0xFFFF:
        return "{WIFCONTINUED(s)}"
    if status & 0xFF == 0x7F:
        return f"{{WIFSTOPPED(s) && WSTOPSIG(s) == {show_signal(status >> 8 & 0xFF)}}}"
    if signal:
        core = " && WCOREDUMP(s)" if status & 0x80 else ""
        return f"{{WIFSIGNALED(s) && WTERMSIG(s) == {show_signal(signal)}{core}}}"
    return f"{{WIFEXITED(s) && WEXITSTATUS(s) == {status >> 8 & 0xFF}}}"


CloneFlags = CloneFlagsType(HexLong.name, False)
Status = StatusType("int *")


def Pointer(name: str) -> ArgType:
    """A pointer shown with its name."""
    return NamedPointerType(name)
