"""How a guest's signal handlers are entered and left: frames on the stack, alternate stacks.

Source: Linux arch/mips/kernel/signal.c.
"""

from __future__ import annotations

from pemu.engine.memory.access import GuestFault
from pemu.isa.mips.fpu import control as fpu_control
from pemu.isa.mips.names import A0, A1, A2, RA, SP, T9
from pemu.linux.mips import signals as ms
from pemu.linux.mips.frames import frames_of
from pemu.linux.mips.signals import (
    SA_ONSTACK,
    SA_SIGINFO,
    SS_AUTODISARM,
    SS_DISABLE,
    SS_ONSTACK,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.linux.mips.signals import SigInfo
    from pemu.linux.process import Thread
    from pemu.linux.sigactions import Action

_SS_FLAGS = SS_ONSTACK | SS_DISABLE | SS_AUTODISARM


def on_altstack(t: Thread, sp: int) -> bool:
    """True if a stack pointer lies in the thread's alternate stack."""
    start, flags, size = t.altstack
    return not flags & (SS_DISABLE | SS_AUTODISARM) and start < sp <= start + size


def enter(t: Thread, info: SigInfo, action: Action, mask: int) -> None:
    """Have a thread call its handler for a signal; `mask` is restored after it.

    Raises GuestFault where there is no room on the stack.
    """
    target = t.target
    cpu = t.cpu
    gpr: memoryview = cpu.gpr
    frames = frames_of(target)
    sp = gpr[SP]
    if target.abi == "o32":
        sp -= 32
    start, flags, size = t.altstack
    if action.flags & SA_ONSTACK and not flags & SS_DISABLE and not on_altstack(t, gpr[SP]):
        sp = start + size
    rt = bool(action.flags & SA_SIGINFO) or target.abi != "o32"
    room, context_at, mask_at = frames.places(rt)
    frame = (sp - room) & (-8 if target.abi == "o32" else -16)
    if frame < 0:
        raise GuestFault(frame)
    image = bytearray(room)
    context = frames.pack_context(cpu, fpu_control.fcsr_value(cpu))
    image[context_at : context_at + len(context)] = context
    image[mask_at : mask_at + ms.SIGSET_BYTES] = ms.pack_sigset(mask, target)
    if rt:
        image[frames.info : frames.info + 128] = info.pack(target)
        image[frames.stack : frames.stack + 3 * target.word] = pack_stack(t)
    t.mem.write(frame, image)
    if flags & SS_AUTODISARM:
        t.altstack = (0, SS_DISABLE, 0)
    program = t.process.exe_image
    assert program is not None
    gpr[A0] = info.signo
    gpr[A1] = frame + frames.info if rt else 0
    gpr[A2] = frame + (frames.ucontext if rt else context_at)
    gpr[RA] = program.sigreturn[rt]
    gpr[SP] = frame
    gpr[T9] = action.handler
    cpu.pc = action.handler


def pack_stack(t: Thread, sp: int | None = None) -> bytes:
    """A stack_t that describes the alternate stack (MIPS: address, size, flags).

    With `sp`, as sigaltstack(2) tells it to who runs on that stack pointer; without, as it was set.
    """
    start, flags, size = t.altstack
    if sp is not None:
        flags = flags & ~SS_ONSTACK | (SS_ONSTACK if on_altstack(t, sp) else 0)
    word, order = t.target.word, t.mem.order
    return (
        start.to_bytes(word, order)
        + size.to_bytes(word, order)
        + flags.to_bytes(4, order).ljust(word, b"\0")
    )


def _unpack_stack(t: Thread, data: bytes) -> tuple[int, int, int]:
    """Address, flags and size of the alternate stack that a stack_t describes."""
    word, order = t.target.word, t.mem.order
    start, size = (int.from_bytes(data[at : at + word], order) for at in (0, word))
    flags = int.from_bytes(data[2 * word : 2 * word + 4], order)
    return start, flags & _SS_FLAGS, size


def leave(t: Thread, rt: bool) -> int:
    """Restore what the frame at the stack pointer holds, but for the mask, which is returned.

    `rt`: the frame has a siginfo. Raises GuestFault where there is no frame.
    """
    frames = frames_of(t.target)
    size, context, mask_at = frames.places(rt)
    image = t.mem.read(t.cpu.gpr[SP], size)
    fcsr = frames.unpack_context(image[context : context + frames.context_size], t.cpu)
    fpu_control.set_fcsr(t.cpu, fcsr)
    if rt and not on_altstack(t, t.cpu.gpr[SP]):
        t.altstack = _unpack_stack(t, image[frames.stack :])
    return ms.guest_sigset(image[mask_at : mask_at + ms.SIGSET_BYTES], t.target)
