"""Argument types of calls about signals: numbers, sets and actions, with names for -strace."""

from __future__ import annotations

from pemu.engine.layout import call_table as k
from pemu.linux.mips.signals import SIGSET_BYTES, guest_sigset, guest_to_host_signal, signal_name
from pemu.linux.types.base import ArgType, signed
from pemu.linux.types.names import Bits, Named
from pemu.linux.types.pointers import PointeeType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pemu.linux.native_argument import Native
    from pemu.linux.process import Thread
    from pemu.linux.types.base import Argument

SIGNALS_SHOWN = 64
"""Signals that a set is shown by; masks of more than half of them by what is missing."""


def show_signal(number: int) -> str:
    """A guest signal's name as strace has it; a number that is none stays one."""
    if number == 32:
        return "SIGRTMIN"
    return signal_name(number) if 0 < number <= 128 else str(number)


def show_set(bits: int) -> str:
    """A signal set as strace shows it: `[USR1 CHLD]`, or `~[KILL]` for all others."""
    every = (1 << SIGNALS_SHOWN) - 1
    bits &= every
    sign = ""
    if bits.bit_count() > SIGNALS_SHOWN * 2 // 3:
        sign, bits = "~", bits ^ every
    numbers = [number for number in range(1, SIGNALS_SHOWN + 1) if bits >> (number - 1) & 1]
    return sign + "[" + " ".join(show_signal(number)[3:] for number in numbers) + "]"


class SignalType(ArgType):
    """A signal's number."""

    __slots__ = ()

    def native(self, argument: Argument) -> Native | None:
        from pemu.linux.native_argument import Native, numbers_table

        rows = [(number, guest_to_host_signal(number)) for number in range(1, 32)]
        return Native(k.NUMBERS, program=numbers_table(rows))

    def show(self, t: Thread, raw: Sequence[int], index: int, result: int | None) -> str:
        return show_signal(signed(raw[index], 32))


def _set(t: Thread, start: int, after: Sequence[int], result: int | None) -> str:
    return show_set(guest_sigset(t.mem.read(start, SIGSET_BYTES), t.target))


ActionFlags = Bits(
    "sa_flags",
    "SA_ONSTACK 0x08000000 SA_RESTART 0x10000000 SA_NODEFER 0x40000000 SA_RESETHAND 0x80000000"
    " SA_SIGINFO 8 SA_NOCLDWAIT 0x10000 SA_NOCLDSTOP 1",
)


def _action(t: Thread, start: int, after: Sequence[int], result: int | None) -> str:
    """A `struct sigaction`."""
    word = t.target.word
    flags, handler = t.mem.u32(start), t.mem.word(start + word)
    mask = guest_sigset(t.mem.read(start + 2 * word, SIGSET_BYTES), t.target)
    name = {0: "SIG_DFL", 1: "SIG_IGN"}.get(handler, f"{handler:#x}")
    field = "sa_sigaction" if flags & 8 else "sa_handler"
    shown = ActionFlags.show(t, (flags,), 0, None)
    return f"{{{field}={name}, sa_mask={show_set(mask)}, sa_flags={shown}}}"


Signal = SignalType("signal")
SetIn, SetOut = (PointeeType("sigset_t *", _set, leaves) for leaves in (False, True))
ActionIn, ActionOut = (
    PointeeType("struct sigaction *", _action, leaves) for leaves in (False, True)
)
MaskHow = Named("how", "SIG_BLOCK SIG_UNBLOCK SIG_SETMASK", 1)
