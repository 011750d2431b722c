"""Signals as MIPS Linux has them: numbers, sets, siginfo.

Source: Linux `arch/mips/include/uapi/asm/{signal,siginfo}.h` for the layouts.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
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

SA_ONSTACK, SA_SIGINFO, SA_NOCLDWAIT, SA_NOCLDSTOP = 0x08000000, 8, 0x10000, 1
SA_RESTART, SA_NODEFER, SA_RESETHAND = 0x10000000, 0x40000000, 0x80000000
SS_ONSTACK, SS_DISABLE, SS_AUTODISARM = 1, 2, 1 << 31

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
