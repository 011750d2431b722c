"""Signals of a guest thread: what they do, which are masked, and how they are delivered.

The guest's mask is the host thread's mask too, except for the synchronous signals that the engine
needs, so that the kernel does the queueing. A host signal with a guest handler is recorded by a
native handler, which leaves everything masked; `deliver` builds the frame and sets the mask.
`handlers` has how guest's handlers are entered and left, `exceptions` what raises signals in guest
code.
"""

from __future__ import annotations

import ctypes
import os
from _thread import get_native_id

from pemu.engine.host.x86_64 import INTERRUPTED, OWN_SIGNALS
from pemu.engine.memory.access import GuestFault
from pemu.linux import syscall
from pemu.linux.hostcalls import address_of
from pemu.linux.mips import signals as ms
from pemu.linux.mips.signals import SigInfo
from pemu.linux.sigactions import SIG_DFL, SIG_IGN, Action

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.linux.process import Process, Thread


UNBLOCKABLE = 1 << (ms.SIGKILL - 1) | 1 << (ms.SIGSTOP - 1)
_STOPS = {ms.SIGSTOP, ms.SIGTSTP, ms.SIGTTIN, ms.SIGTTOU}
_IGNORED = {ms.SIGCHLD, ms.SIGURG, ms.SIGWINCH, ms.SIGCONT}
_CORE = {
    ms.SIGQUIT,
    ms.SIGILL,
    ms.SIGTRAP,
    ms.SIGABRT,
    ms.SIGFPE,
    ms.SIGBUS,
    ms.SIGSEGV,
    ms.SIGSYS,
    ms.SIGXCPU,
    ms.SIGXFSZ,
    ms.SIGEMT,
}

_SA_NOCLDSTOP_HOST, _SA_NOCLDWAIT_HOST = 1, 2

_NR_SIGACTION, _NR_SIGPROCMASK, _NR_TGKILL = 13, 14, 234
_SIG_SETMASK = 2
_libc = ctypes.PyDLL(None, use_errno=True)
"""With Python's lock held: none of these calls waits."""


_DEFAULT = Action(SIG_DFL, 0, 0)
EVERY_SIGNAL = (1 << ms.NSIG) - 1


def set_host_mask(t: Thread, mask: int) -> bool:
    """Give the running thread's host thread the guest's `mask`, less what the engine needs.

    False if a signal or kick came first: then nothing has changed.
    """
    value = (ms.host_bits(mask) & ~OWN_SIGNALS).to_bytes(8, "little")
    call = t.process.engine.quick_syscall
    return call(t.cpu, _NR_SIGPROCMASK, _SIG_SETMASK, address_of(value), 0, 8) != INTERRUPTED


def apply_mask(t: Thread) -> None:
    """Give the host thread the guest's mask, unless a signal is about to be delivered: that does.

    The mask must not change while a signal is recorded: another would take its place.
    """
    kicked = False
    while not set_host_mask(t, t.sigmask):
        kicked = True
        if not t.cpu.forget_kick():
            break
    if kicked:
        t.cpu.kick()


def leave_to_others(t: Thread) -> None:
    """Let the running thread, which is about to end, take no more signals.

    The engine's own neither: there will be no cpu to note them for, and the process's first thread
    stays.
    """
    every = ctypes.c_uint64((1 << 64) - 1)
    _libc.syscall(_NR_SIGPROCMASK, _SIG_SETMASK, ctypes.byref(every), None, 8)
    data = t.cpu.take_signal()
    if data is not None:
        os.kill(os.getpid(), int.from_bytes(data[:4], "little"))


def change_mask(t: Thread, mask: int) -> None:
    """Change the mask in a system call. Raises Restart when a signal came before that."""
    mask &= ~UNBLOCKABLE
    if not set_host_mask(t, mask):
        raise syscall.Restart(syscall.ERESTARTNOINTR)
    t.sigmask = mask
    _kick_if_released(t)


def set_mask(t: Thread, mask: int) -> None:
    """Change the mask at the beginning or the end of a handler."""
    t.sigmask = mask & ~UNBLOCKABLE
    apply_mask(t)
    _kick_if_released(t)


def _kick_if_released(t: Thread) -> None:
    """What was held back may come now."""
    if t.held and _released(t) is not None:
        t.cpu.kick()


def hold(t: Thread, info: SigInfo) -> None:
    """Keep a signal back until the mask lets it through. Like Linux, one of each."""
    if all(info.signo != other.signo for other in t.held):
        t.held.append(info)
    t.cpu.hold_signals(True)


def release(t: Thread, info: SigInfo) -> None:
    """A signal that was held back has been taken."""
    t.held.remove(info)
    t.cpu.hold_signals(bool(t.held))


def _released(t: Thread) -> SigInfo | None:
    """A signal among those held back that the mask lets through now."""
    for info in t.held:
        if not t.sigmask >> (info.signo - 1) & 1:
            return info
    return None


def action_of(process: Process, signo: int) -> Action:
    """What a signal does in a process."""
    return process.sigactions[signo]


def set_action(process: Process, signo: int, action: Action) -> None:
    """Choose what a signal does, on the host too."""
    process.sigactions[signo] = action
    host = ms.guest_to_host_signal(signo)
    if signo in (ms.SIGSEGV, ms.SIGBUS) or not 0 < host <= 64:
        return
    kept = (_SA_NOCLDSTOP_HOST if action.flags & ms.SA_NOCLDSTOP else 0) | (
        _SA_NOCLDWAIT_HOST if action.flags & ms.SA_NOCLDWAIT else 0
    )
    reported = _reported(process, signo)
    if action.handler == SIG_IGN or (action.handler == SIG_DFL and not reported):
        _host_action(host, action.handler, kept)
    else:
        process.engine.install_signal(host, kept)


def _reported(process: Process, signo: int) -> bool:
    """Whether somebody is to be told when the signal's default takes effect."""
    traced = "strace" in process.log.items and signo not in (ms.SIGKILL, ms.SIGSTOP)
    return signo in _CORE or traced or process.debugger is not None


def watch_fatal(process: Process) -> None:
    """Have signals that end the process with a report come to `die` instead of to the host."""
    for signo in range(1, 32) if "strace" in process.log.items else _CORE:
        if _reported(process, signo) and action_of(process, signo).handler == SIG_DFL:
            set_action(process, signo, _DEFAULT)


def describe(process: Process) -> None:
    """Tell native code what it has to know to change masks and actions."""
    hosts = [ms.guest_to_host_signal(signo) for signo in range(1, ms.NSIG + 1)]
    numbers = bytes(host if host <= 64 else 0 for host in hosts)
    caught = sum(1 << (signo - 1) for signo in _CORE)
    process.engine.set_signals(numbers, UNBLOCKABLE, caught, process.sigactions.address)


def adopt_ignored(process: Process, host_mask: int) -> None:
    """Let a new process ignore what was ignored when it started: host signals, bit n-1 each."""
    for host in range(1, 65):
        if host_mask >> (host - 1) & 1:
            process.sigactions[ms.host_to_guest_signal(host)] = Action(SIG_IGN, 0, 0)


def _host_action(host: int, handler: int, flags: int = 0) -> None:
    action = (ctypes.c_uint64 * 4)(handler, flags, 0, 0)
    _libc.syscall(_NR_SIGACTION, host, ctypes.byref(action), None, 8)


# Delivery


def deliver(t: Thread) -> None:
    """Handle what made the thread leave native code: a recorded signal, or an interrupted call."""
    data = t.cpu.take_signal()
    if data is not None:
        info = ms.from_host(data)
        if t.sigmask >> (info.signo - 1) & 1:
            hold(t, info)  # one that the host must not mask
        else:
            send(t, info)
            return
    released = _released(t)
    if released is not None:
        release(t, released)
        send(t, released)
    else:
        _go_on(t)


def send(t: Thread, info: SigInfo) -> None:
    """Let a signal take effect on the running thread now, if a debugger does not mind."""
    if t.process.debugger is not None:
        wanted = t.process.debugger.on_signal(t, info)
        if wanted is None:
            _go_on(t)
            return
        info = wanted
    take_effect(t, info)


def take_effect(t: Thread, info: SigInfo) -> None:
    """Let a signal take effect on the running thread now."""
    signo = info.signo
    if t.process.tracer is not None:
        t.process.tracer.signal(t, info)
    action = action_of(t.process, signo)
    if action.handler == SIG_DFL and signo not in _IGNORED:
        die(t, info)
    if action.handler in (SIG_DFL, SIG_IGN):
        _go_on(t)
        return
    if t.restart:
        syscall.settle_restart(t, True, bool(action.flags & ms.SA_RESTART))
    from pemu.linux import handlers

    try:
        handlers.enter(t, info, action, t.sigmask if t.saved_mask is None else t.saved_mask)
    except GuestFault:
        if signo == ms.SIGSEGV:
            t.process.sigactions.reset(signo)
        raise_signal(t, SigInfo(ms.SIGSEGV, ms.SI_KERNEL, "kill"))
        return
    t.saved_mask = None
    if action.flags & ms.SA_RESETHAND:
        set_action(t.process, signo, Action(SIG_DFL, action.flags, action.mask))
    set_mask(t, mask_of_handler(t.sigmask, action, signo))


def _go_on(t: Thread) -> None:
    """Continue where no handler runs: interrupted calls again, a wait's mask back to before."""
    if t.restart:
        syscall.settle_restart(t, False)
    if t.saved_mask is not None:
        t.sigmask, t.saved_mask = t.saved_mask, None
    apply_mask(t)


def mask_of_handler(mask: int, action: Action, signo: int) -> int:
    """The mask while a handler runs."""
    mask |= action.mask
    if not action.flags & ms.SA_NODEFER:
        mask |= 1 << (signo - 1)
    return mask


def raise_signal(t: Thread, info: SigInfo) -> None:
    """Raise a synchronous signal: one that is masked or ignored kills."""
    if t.process.debugger is not None:
        wanted = t.process.debugger.on_signal(t, info)
        if wanted is None:
            return
        info = wanted
    action = action_of(t.process, info.signo)
    if t.sigmask >> (info.signo - 1) & 1 or action.handler == SIG_IGN:
        t.process.sigactions.reset(info.signo)
        die(t, info)
        return
    take_effect(t, info)


def die(t: Thread, info: SigInfo) -> None:
    """Do what is a signal's default: end the process with it, or stop, and return after that."""
    signo = info.signo
    host = ms.guest_to_host_signal(signo)
    if signo in _STOPS:
        _host_action(host, SIG_DFL)
        t.sigmask &= ~(1 << (signo - 1))
        apply_mask(t)
        _raise(host)
        if t.process.debugger is not None:
            set_action(t.process, signo, _DEFAULT)
        return
    if signo in _CORE:
        from pemu.linux.fatal import report

        report(t, info)  # reads guest memory, for which SIGSEGV and SIGBUS must be caught still
    if t.process.tracer is not None:
        t.process.tracer.killed(t, info, signo in _CORE)
    if t.process.debugger is not None:
        t.process.debugger.killed(signo)
    _host_action(host, SIG_DFL)
    t.process.engine.close()
    value = ctypes.c_uint64(~(1 << (host - 1)))
    _libc.syscall(_NR_SIGPROCMASK, 2, ctypes.byref(value), None, 8)
    _raise(host)
    os._exit(128 + host)  # the first process of a PID namespace, which no signal ends


def _raise(host: int) -> None:
    """Raise a host signal for the running thread: it has taken effect when this returns.

    One for the process might wait for another thread, which does not come to run yet.
    """
    _libc.syscall(_NR_TGKILL, os.getpid(), get_native_id(), host)
