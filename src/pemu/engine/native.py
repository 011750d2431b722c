"""What native code and Python share: the context structure, tier 0's functions, signal handlers."""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
from _thread import RLock, start_new_thread

from pemu.engine.code.area import CodeArea
from pemu.engine.host.masking import with_signals_blocked
from pemu.engine.host.x86_64 import KICK_CODE
from pemu.engine.layout import context as c
from pemu.engine.layout import signal_table as sig
from pemu.engine.memory.access import use_native_copy
from pemu.engine.tier0parts import Tier0Parts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.code.cache import CodeCache
    from pemu.engine.staging.architecture import Architecture
    from pemu.engine.vcpu import Cpu

_libc = ctypes.CDLL(None, use_errno=True)

_EVERY_SIGNAL = (1 << 64) - 1


def _nothing() -> None:
    pass


_SA_SIGINFO, _SA_RESTORER, _SA_ONSTACK = 4, 0x04000000, 0x08000000
_SA_RESTART = 0x10000000
_SIGSETXID = 33
_NR_RT_SIGACTION = 13
_NR_RT_TGSIGQUEUEINFO = 297
_SIGBUS, _SIGSEGV = 7, 11


_SERVICES = ("pemu_copy", "pemu_on_fault", "pemu_on_signal", "pemu_restorer", "pemu_syscall")
_services: dict[str, int] = {}
"""Host addresses of what serves every engine of the process: signal handlers, and the functions
whose instructions these have to know. They are the first engine's."""


class NativeContext:
    """The context of an engine (`layout.context`) and the native functions that share it."""

    def __init__(self, arch: Architecture, cache: CodeCache | None) -> None:
        self.arch = arch
        self.cache = cache
        self.lock = RLock()
        self.code = CodeArea()
        self._keep: list[object] = []
        self._call_count = 0
        self._context_bytes = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE)
        self.context_address = ctypes.addressof(ctypes.c_char.from_buffer(self._context_bytes))
        self.context = memoryview(self._context_bytes).cast("Q")
        self._load_tier0()
        self._set(c.CODE_START, self.code.start)
        self._set(c.CODE_END, self.code.end)

    def _set(self, field: int, value: int) -> None:
        self.context[field >> 3] = value

    def _get(self, field: int) -> int:
        return self.context[field >> 3]

    def _load_tier0(self) -> None:
        self.tier0 = Tier0Parts(self.arch, self.cache, self.code, self.lock)
        self.symbols = self.tier0.symbols
        self._set(c.PARTS, ctypes.addressof(self.tier0.table))
        prototype = ctypes.CFUNCTYPE
        address = self.symbols
        self.enter = prototype(None, ctypes.c_void_p)(address["pemu_enter"])
        if not _services:
            _services.update((name, address[name]) for name in _SERVICES)
            use_native_copy(_services["pemu_copy"])
        self._set(c.COPY, _services["pemu_copy"])
        self._set(c.SYSCALL, _services["pemu_syscall"])
        self._set(c.CLOCK, ctypes.cast(_libc.clock_gettime, ctypes.c_void_p).value or 0)
        call = (ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p)
        self._native_syscall = prototype(*call)(_services["pemu_syscall"])
        self._quick_syscall = ctypes.PYFUNCTYPE(*call)(_services["pemu_syscall"])
        one = prototype(None, ctypes.c_void_p)
        one(address["pemu_functions"])(self.context_address)
        self._native_lock = one(address["pemu_lock"])
        self._native_unlock = one(address["pemu_unlock"])
        self._native_invalidate = prototype(
            ctypes.c_int64, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64
        )(address["pemu_invalidate"])
        self._install_handler(_SIGSEGV, _services["pemu_on_fault"], _SA_RESTART)
        self._install_handler(_SIGBUS, _services["pemu_on_fault"], _SA_RESTART)

    def _install_handler(self, signal: int, address: int, more: int = 0) -> None:
        # The C library's sigaction refuses the two signals that it keeps for itself.
        flags = _SA_SIGINFO | _SA_ONSTACK | _SA_RESTORER | more
        restorer = _services["pemu_restorer"]
        action = (ctypes.c_uint64 * 4)(address, flags, restorer, _EVERY_SIGNAL)
        if _libc.syscall(_NR_RT_SIGACTION, signal, ctypes.byref(action), None, 8):
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))

    def install_signal(self, signal: int, flags: int = 0) -> None:
        """Let the native handler record host signal `signal` for the guest.

        `flags`: more of the host's SA_ flags.
        """
        # The kernel goes back before a call that it would restart, where `pemu_syscall` gives
        # INTERRUPTED as if the call had not begun; -EINTR is left to those that never restart.
        if signal == _SIGSETXID:
            # The host's C library takes it for itself when it makes its first thread.
            with_signals_blocked(lambda: start_new_thread(_nothing, ()))
        self._install_handler(signal, _services["pemu_on_signal"], _SA_RESTART | flags)

    def interrupt(self, cpu: Cpu, tid: int) -> None:
        """Make the cpu of host thread `tid` leave native code, or a call it waits in, soon."""
        cpu.kick()
        # A thread that a debugger stops may have all other signals masked.
        info = struct.pack("<iii116x", _SIGBUS, 0, KICK_CODE)
        _libc.syscall(_NR_RT_TGSIGQUEUEINFO, os.getpid(), tid, _SIGBUS, info)

    # System calls of the host, and those that native code makes for the guest.

    def syscall(self, cpu: Cpu, number: int, *arguments: int) -> int:
        """Make a host system call that signals for `cpu`'s thread cannot slip past.

        Returns the kernel's result (-errno on error), or -512 if a signal or kick was pending.
        """
        slots = cpu.syscall_arguments
        for index, argument in enumerate(arguments):
            slots[index] = argument
        result: int = self._native_syscall(cpu.address, number, cpu.syscall_address)
        return result

    def quick_syscall(self, cpu: Cpu, number: int, *arguments: int) -> int:
        """As `syscall`, for a call that cannot wait: with Python's lock held.

        To get the lock back from a thread that compiles would take longer than the call.
        """
        slots = cpu.syscall_arguments
        for index, argument in enumerate(arguments):
            slots[index] = argument
        result: int = self._quick_syscall(cpu.address, number, cpu.syscall_address)
        return result

    def set_native_calls(
        self, base: int, count: int, table: int, errno_map: bytes, descriptors: int
    ) -> None:
        """Install the table of system calls that native code makes itself.

        `table`: host address of `count` entries as `call_table` describes, for numbers from `base`
        on. They may be filled later. `errno_map`: 4096 guest error numbers of 2 bytes, by host
        error number. `descriptors`: host address of a byte for each file descriptor, not 0 for
        those that Python has to look after.
        """
        kept = ctypes.create_string_buffer(errno_map)
        self._keep.append(kept)
        self._set(c.CALLS, table)
        self._set(c.CALL_BASE, base)
        self._set(c.DESCRIPTOR_FLAGS, descriptors)
        self._set(c.ERRNO_MAP, ctypes.addressof(kept))
        self._call_count = count
        self._set(c.CALL_COUNT, count)

    def use_native_calls(self, wanted: bool) -> None:
        """Let native code make the calls of its table, or leave them all to Python."""
        self._set(c.CALL_COUNT, self._call_count if wanted else 0)

    def set_signals(self, numbers: bytes, unblockable: int, caught: int, actions: int) -> None:
        """Say what native code has to know about the guest's signals (see `syscalls.signals`).

        `numbers`: the host's number by the guest's from 1; `unblockable`, `caught`: sets, bit n-1
        for the guest's signal n; `actions`: host address of the rows of actions.
        """
        table = bytearray(sig.TABLE_BYTES)
        table[sig.NUMBERS : sig.NUMBERS + len(numbers)] = numbers
        table[sig.NUMBERS + _SIGSETXID - 1] = sig.BY_PYTHON
        table[sig.UNBLOCKABLE : sig.UNBLOCKABLE + 16] = unblockable.to_bytes(16, "little")
        table[sig.CAUGHT : sig.CAUGHT + 16] = caught.to_bytes(16, "little")
        handlers = (actions, _services["pemu_on_signal"], _services["pemu_restorer"])
        struct.pack_into("<QQQ", table, sig.ACTIONS, *handlers)
        kept = ctypes.create_string_buffer(bytes(table))
        self._keep.append(kept)
        self._set(c.SIGNALS, ctypes.addressof(kept))

    def set_path_prefix(self, prefix: bytes) -> None:
        """Say under which directory of the host the guest's absolute paths may lie; b"" for none.

        Paths under /dev and /sys are never looked up there, those under /proc left to Python.
        """
        if not prefix:
            self._set(c.PATH_PREFIX, 0)
            return
        kept = ctypes.create_string_buffer(struct.pack("<Q", len(prefix)) + prefix)
        self._keep.append(kept)
        self._set(c.PATH_PREFIX, ctypes.addressof(kept))
