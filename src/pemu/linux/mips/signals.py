"""Signals as MIPS Linux has them: numbers, sets, siginfo, and the frames of handlers.

Source: Linux `arch/mips/include/uapi/asm/{signal,siginfo,sigcontext,ucontext}.h` for the layouts.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal

    from pemu.engine.vcpu import Cpu
    from pemu.linux.target import Target

SIGSET_BYTES = 16
NSIG = 128

(SIGHUP, SIGINT, SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGEMT, SIGFPE, SIGKILL, SIGBUS, SIGSEGV) = (
    range(1, 12)
)
(SIGSYS, SIGPIPE, SIGALRM, SIGTERM, SIGUSR1, SIGUSR2, SIGCHLD, SIGPWR, SIGWINCH, SIGURG) = range(
    12, 22
)
(SIGIO, SIGSTOP, SIGTSTP, SIGCONT, SIGTTIN, SIGTTOU, SIGVTALRM, SIGPROF, SIGXCPU, SIGXFSZ) = range(
    22, 32
)

NAMES = (
    "0 HUP INT QUIT ILL TRAP ABRT EMT FPE KILL BUS SEGV SYS PIPE ALRM TERM USR1 USR2 CHLD PWR "
    "WINCH URG IO STOP TSTP CONT TTIN TTOU VTALRM PROF XCPU XFSZ"
).split()

_HOST = (
    "0 HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM EMT CHLD CONT STOP "
    "TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
).split()

_TO_HOST = {guest: _HOST.index(name) for guest, name in enumerate(NAMES)}
_TO_GUEST = {host: guest for guest, host in _TO_HOST.items()}


def guest_to_host_signal(number: int) -> int:
    """The host's number of a guest signal; what is no signal stays as it is."""
    return _TO_HOST.get(number, number)


def host_to_guest_signal(number: int) -> int:
    """The guest's number of a host signal."""
    return _TO_GUEST.get(number, number)


def signal_name(number: int) -> str:
    """Name of a guest signal, as SIGSEGV."""
    return f"SIG{NAMES[number]}" if 0 < number < 32 else f"SIGRT_{number - 32}"


def guest_sigset(data: bytes, target: Target) -> int:
    """The set in guest memory as an integer: bit n-1 for guest signal n."""
    return int.from_bytes(_in_words(data, target), "little")


def pack_sigset(bits: int, target: Target) -> bytes:
    """A set as it stands in guest memory."""
    return _in_words(bits.to_bytes(SIGSET_BYTES, "little"), target)


def _in_words(data: bytes, target: Target) -> bytes:
    """A set between guest memory, where it is an array of longs, and little-endian order."""
    if not target.big_endian:
        return data
    form = "Q" if target.abi == "n64" else "I"
    count = len(data) // (8 if form == "Q" else 4)
    return struct.pack(f"<{count}{form}", *struct.unpack(f">{count}{form}", data))


def host_bits(guest: int) -> int:
    """A guest set as the host's 64-bit set."""
    bits = guest & ((1 << 64) - 1) & ~0x7FFFFFFF
    left = guest & 0x7FFFFFFF
    while left:
        lowest = left & -left
        bits |= 1 << (_TO_HOST[lowest.bit_length()] - 1)
        left ^= lowest
    return bits


def guest_bits(host: int) -> int:
    """The host's 64-bit set as a guest set."""
    bits = host & ~0x7FFFFFFF
    for number in range(1, 32):
        if host >> (number - 1) & 1:
            bits |= 1 << (_TO_GUEST[number] - 1)
    return bits


def guest_to_host_sigset(data: bytes, target: Target) -> int:
    """A set in guest memory as the host's 64-bit set."""
    return host_bits(guest_sigset(data, target))


# siginfo

_CODES_TO_GUEST = {-2: -3, -3: -4, -4: -2}
_CODES_TO_HOST = {guest: host for host, guest in _CODES_TO_GUEST.items()}

SI_USER, SI_KERNEL = 0, 128


class SigInfo:
    """A siginfo in guest numbers. `kind` says which of the fields count:

    "kill" (pid, uid), "timer" (pid: timer id, uid: overrun, value), "queue" (pid, uid, value),
    "child" (pid, uid, status, utime, stime), "fault" (address), "poll" (band in value, fd in
    status), "sys" (address, status: number, uid: architecture).
    """

    __slots__ = (
        "address",
        "code",
        "errno",
        "kind",
        "pid",
        "signo",
        "status",
        "times",
        "uid",
        "value",
    )

    def __init__(self, signo: int, code: int, kind: str = "kill") -> None:
        self.signo = signo
        self.code = code
        self.kind = kind
        self.errno = self.pid = self.uid = self.value = self.status = self.address = 0
        self.times = (0, 0)

    def pack(self, target: Target) -> bytes:
        """The 128 bytes of guest memory."""
        order = ">" if target.big_endian else "<"
        word = "Q" if target.word == 8 else "I"
        mask = (1 << 8 * target.word) - 1
        head = struct.pack(order + "iii", self.signo, self.code, self.errno)
        if target.word == 8:
            head += bytes(4)
        if self.kind == "fault":
            body = struct.pack(order + word, self.address & mask)
        elif self.kind == "child":
            body = struct.pack(order + "iIi", self.pid, self.uid, self.status)
            if target.word == 8:
                body += bytes(4)
            body += struct.pack(order + 2 * word, *(time & mask for time in self.times))
        elif self.kind in ("queue", "timer"):
            body = struct.pack(order + "iI", self.pid, self.uid & 0xFFFFFFFF)
            body += _sigval(self.value, target)
        elif self.kind == "poll":
            body = struct.pack(order + word + "i", self.value & mask, self.status)
        else:
            body = struct.pack(order + "iI", self.pid, self.uid)
        return (head + body).ljust(128, b"\0")


def _sigval(value: int, target: Target) -> bytes:
    """A union sigval: an int in its first four bytes as the host's low half."""
    order = ">" if target.big_endian else "<"
    if target.word == 4:
        return struct.pack(order + "I", value & 0xFFFFFFFF)
    return struct.pack(order + "Q", value)


_POLL_CODES = 6
"""POLL_IN to POLL_HUP: codes of SIGIO, and of whatever signal fcntl(F_SETSIG) put in its place."""

_HOST_OWN_CODES = (4, 5, 7, 8, 11, 31)
"""Host signals (ILL, TRAP, BUS, FPE, SEGV, SYS) with codes of their own from 1 on."""


def from_host(data: bytes) -> SigInfo:
    """Read the host's 128-byte siginfo."""
    signo, errno, code = struct.unpack_from("<iii", data)
    info = SigInfo(host_to_guest_signal(signo), _CODES_TO_GUEST.get(code, code))
    info.errno = errno
    first, second = struct.unpack_from("<iI", data, 16)
    if code == -2:
        info.kind = "timer"
        info.pid, info.uid = first, second
        (info.value,) = struct.unpack_from("<Q", data, 24)
    elif code < 0 and code != -6:
        info.kind = "queue"
        info.pid, info.uid = first, second
        (info.value,) = struct.unpack_from("<Q", data, 24)
    elif code > 0 and code != 128 and signo == 17:
        info.kind = "child"
        info.pid, info.uid = first, second
        (info.status,) = struct.unpack_from("<i", data, 24)
        if code != 1:
            info.status = host_to_guest_signal(info.status)
        info.times = struct.unpack_from("<QQ", data, 32)
    elif 0 < code <= _POLL_CODES and signo not in _HOST_OWN_CODES:
        info.kind = "poll"
        info.value, info.status = struct.unpack_from("<qi", data, 16)
    else:
        info.pid, info.uid = first, second
    return info


def to_host(data: bytes, target: Target) -> bytes:
    """Turn a guest siginfo for rt_sigqueueinfo into the host's 128 bytes."""
    order = ">" if target.big_endian else "<"
    signo, code, errno = struct.unpack_from(order + "iii", data)
    at = 16 if target.word == 8 else 12
    pid, uid = struct.unpack_from(order + "iI", data, at)
    if target.word == 8:
        (value,) = struct.unpack_from(order + "Q", data, at + 8)
    else:
        (value,) = struct.unpack_from(order + "I", data, at + 8)
    head = struct.pack(
        "<iiiiiIQ",
        guest_to_host_signal(signo),
        errno,
        _CODES_TO_HOST.get(code, code),
        0,
        pid,
        uid,
        value,
    )
    return head.ljust(128, b"\0")


# Frames

USED_FP, USED_FR1 = 1, 2


class Frames:
    """Offsets of an ABI's frames, in bytes. Everything that a handler's context saves."""

    __slots__ = (
        "_packed",
        "_unpacked",
        "context_size",
        "info",
        "plain_context",
        "plain_mask",
        "plain_size",
        "rt_context",
        "rt_mask",
        "rt_size",
        "stack",
        "target",
        "ucontext",
    )

    def __init__(self, target: Target) -> None:
        self.target = target
        self.context_size = 592 if target.abi == "o32" else 600
        self.plain_context = 24
        self.plain_mask = 24 + self.context_size
        self.plain_size = self.plain_mask + SIGSET_BYTES
        self.info = 24
        self.ucontext = 152
        self.stack = self.ucontext + (16 if target.abi == "n64" else 8)
        self.rt_context = self.ucontext + (40 if target.abi == "n64" else 24)
        self.rt_mask = self.rt_context + self.context_size
        self.rt_size = (self.rt_mask + SIGSET_BYTES + 7) & ~7
        order = ">" if target.big_endian else "<"
        low = "4xI" if target.big_endian else "I4x"
        if target.abi == "o32":
            self._packed = struct.Struct(order + "IIQ32q32Q5I4xqq6I")
            self._unpacked = struct.Struct(order + "8x" + 33 * low + "32Q4xI8xI4x" + 2 * low + "6I")
        else:
            self._packed = struct.Struct(order + "73Q4I")
            self._unpacked = struct.Struct(order + "73QI4xI4x")

    def pack_context(self, cpu: Cpu, fcsr: int) -> bytes:
        """The sigcontext for a cpu."""
        fr1 = cpu.mode & 1
        used = USED_FP | (USED_FR1 if fr1 else 0)
        dsp: int = cpu.dspctl
        hi, lo = cpu.hi, cpu.lo
        if self.target.abi != "o32":
            return self._packed.pack(*cpu.gpr, *cpu.fpr, *hi, *lo, cpu.pc, fcsr, used, dsp, 0)
        # Registers of 32 bits stand there sign-extended.
        signed = [view.cast("B").cast("i") for view in (cpu.gpr, hi, lo)]
        floats = cpu.fpr if fr1 else _pairs(cpu.fpr)
        pc = _extend(cpu.pc)
        rest = (hi[1], lo[1], hi[2], lo[2], hi[3], lo[3])
        head = (0, fcsr, 0, used, dsp, signed[1][0], signed[2][0])
        return self._packed.pack(0, 0, pc, *signed[0], *floats, *head, *rest)

    def unpack_places(self, data: bytes) -> list[int]:
        """The pc of a sigcontext, and its 32 general registers."""
        values = self._unpacked.unpack(data[: self.context_size])
        pc = values[0] if self.target.abi == "o32" else values[72]
        first = 1 if self.target.abi == "o32" else 0
        return [pc, *values[first : first + 32]]

    def unpack_context(self, data: bytes, cpu: Cpu) -> int:
        """Put a sigcontext back into a cpu; returns the FCSR."""
        fcsr: int
        values = self._unpacked.unpack(data)
        if self.target.abi == "o32":
            pc, *rest = values
            registers, floats = rest[:32], rest[32:64]
            if not cpu.mode & 1:
                floats = _slots(floats)
            fcsr, dsp, hi0, lo0, hi1, lo1, hi2, lo2, hi3, lo3 = rest[64:]
            high, low = (hi0, hi1, hi2, hi3), (lo0, lo1, lo2, lo3)
            form: Literal["I", "Q"] = "I"
        else:
            registers, floats = list(values[:32]), list(values[32:64])
            high, low = values[64:68], values[68:72]
            pc, fcsr, dsp = values[72:]
            form = "Q"
        cpu.gpr[1:] = _view(registers[1:], form)
        cpu.fpr[:] = _view(floats, "Q")
        cpu.hi[:] = _view(high, form)
        cpu.lo[:] = _view(low, form)
        cpu.dspctl = dsp
        cpu.pc = pc
        return fcsr


def _extend(value: int) -> int:
    """Sign-extend 32 bits to 64, as the kernel stores them."""
    return value | 0xFFFFFFFF00000000 if value >> 31 else value


def _view(values: Sequence[int], form: Literal["I", "Q"]) -> memoryview:
    """Numbers as they go into a register file."""
    return memoryview(struct.pack(f"={len(values)}{form}", *values)).cast(form)


def _pairs(slots: memoryview) -> list[int]:
    """FPU registers as a context has them with FR=0: halves of doubles in 64 bits each."""
    words = slots.cast("B").cast("I")
    result = [0] * 32
    result[::2] = words[::4]
    result[1::2] = words[1::4]
    return result


def _slots(context: Sequence[int]) -> list[int]:
    """The reverse of `_pairs`."""
    result = [0] * 32
    for index in range(0, 32, 2):
        result[index] = context[index] & 0xFFFFFFFF | (context[index + 1] & 0xFFFFFFFF) << 32
    return result


_frames: dict[Target, Frames] = {}


def frames_of(target: Target) -> Frames:
    """The frames of a target."""
    frames = _frames.get(target)
    if frames is None:
        frames = _frames[target] = Frames(target)
    return frames
