"""What a user reads when a signal ends a program: which, where, and by which calls it got there."""

from __future__ import annotations

import os
import signal
from itertools import islice

from pemu.engine.memory.access import GuestFault
from pemu.isa.mips.names import FP, RA, SP
from pemu.isa.mips.unwind import callers
from pemu.linux.mips.frames import frames_of
from pemu.linux.mips.signals import SIGBUS, SIGSEGV, guest_to_host_signal
from pemu.linux.programs.symbols import Symbols

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.linux.mips.signals import SigInfo
    from pemu.linux.process import Thread

MOST_CALLERS = 8


def report(t: Thread, info: SigInfo) -> None:
    """Write to standard error that `info` ends the process of the running thread."""
    drop_host_core()
    name = signal.strsignal(guest_to_host_signal(info.signo)) or "Unknown signal"
    symbols = Symbols(t.mem, t.target)
    lines = [f"uncaught target signal {info.signo} ({name}) - core dumped"]
    where = f"at {symbols.describe(t.cpu.pc)}"
    if info.signo in (SIGSEGV, SIGBUS) and info.kind == "fault":
        where += f", access to address {info.address:#0{2 + 2 * t.target.word}x}"
    lines.append(where)
    for place, interrupted in backtrace(t, symbols):
        how = "in a signal handler, from" if interrupted else "called from"
        lines.append(f"{how} {symbols.describe(place)}")
    try:
        os.write(2, "".join(f"pemu: {line}\n" for line in lines).encode())
    except OSError:
        # Nobody listens: the signal itself still tells.
        pass


def drop_host_core() -> None:
    """No core file of Pemu itself: it would be huge, and say nothing of the guest."""
    import resource

    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


def backtrace(t: Thread, symbols: Symbols) -> list[tuple[int, bool]]:
    """Guest-virtual addresses of the calls that have not returned, the latest first.

    With each, whether a signal was delivered there: no call.
    """
    mem, gpr = t.mem, t.cpu.gpr
    mask = mem.size - 1
    width = t.target.xlen // 8

    def load(address: int) -> int:
        data = mem.read(address & mask, width)
        return int.from_bytes(data, mem.order) & (1 << 8 * t.target.word) - 1

    image = t.process.exe_image
    assert image is not None
    frames = frames_of(t.target)

    def interrupted(return_address: int, sp: int) -> tuple[int, int, int, int] | None:
        if not return_address or return_address not in image.sigreturn:
            return None
        rt = return_address == image.sigreturn[1]
        data = mem.read(sp + frames.places(rt)[1], 600)
        pc, *registers = frames.unpack_places(data)
        return pc & mask, registers[SP] & mask, registers[FP] & mask, registers[RA] & mask

    walk = callers(
        t.cpu.pc,
        gpr[SP],
        gpr[FP],
        gpr[RA],
        lambda address: mem.u32(address & mask),
        load,
        symbols.function_start,
        interrupted,
    )
    places: list[tuple[int, bool]] = []
    try:
        # Where the program ended by a jump to nowhere, only ra tells who made it.
        if not mem.readable(t.cpu.pc & mask, 4):
            if mem.readable(gpr[RA] - 8 & mask, 4):
                places.append((gpr[RA] - 8, False))
            return places
        places.extend(islice(walk, MOST_CALLERS))
    except GuestFault:
        pass
    return places
