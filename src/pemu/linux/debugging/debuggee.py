"""What gdb sees and changes of a Linux process that has stopped: registers, memory, files."""

from __future__ import annotations

import errno
import os
from abc import abstractmethod

from pemu.engine.layout.pages import MAPPED, PAGE
from pemu.engine.memory.access import GuestFault
from pemu.isa.mips import debug as isa
from pemu.linux import fdtable
from pemu.linux.paths import open_special_file, special_link
from pemu.linux.programs.loader import translate_path
from pemu.monitor.gdb.target import EFAULT, PolledTarget, TargetError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.linux.process import Process, Thread


class Debuggee(PolledTarget):
    """A process, less its running and stopping."""

    osabi = "GNU/Linux"

    def __init__(self, process: Process) -> None:
        self.process = process
        self.pid = os.getpid()
        self.byte_order = process.mem.order
        arch = process.engine.arch
        self.architecture = isa.architecture_name(arch)
        self.registers = self._variables = isa.variables(arch)
        self._memory = fdtable.reserve(os.open("/proc/self/mem", os.O_RDWR | os.O_CLOEXEC))

    @abstractmethod
    def guest_thread(self, number: int) -> Thread:
        """The thread with this number. Raises TargetError."""

    # Threads and their registers.

    def thread_name(self, thread: int) -> str:
        try:
            with open(f"/proc/{self.pid}/task/{thread}/comm", encoding="utf-8") as file:
                return file.read().strip()
        except (OSError, UnicodeDecodeError):
            return ""

    def read_register(self, thread: int, index: int) -> int:
        return self._variables[index].read(self.guest_thread(thread).cpu)

    def write_register(self, thread: int, index: int, value: int) -> None:
        self._variables[index].write(self.guest_thread(thread).cpu, value)

    # Memory.

    def guest_address(self, address: int) -> int:
        """A guest-virtual address from gdb, which extends those of 32 bits by their sign."""
        mem = self.process.mem
        if mem.word_size == 4:
            address &= mem.size - 1
        if address >= mem.size:
            raise TargetError(EFAULT, "no such address")
        return address

    def _mapped(self, address: int, size: int) -> int:
        """How many of `size` bytes from an address on are mapped."""
        mem = self.process.mem
        end = min(address + size, mem.size)
        at = address
        while at < end and mem.flags[at >> 12] & MAPPED:
            at = (at | (PAGE - 1)) + 1
        return min(at, end) - address

    def read_memory(self, address: int, size: int) -> bytes:
        address = self.guest_address(address)
        size = self._mapped(address, size)
        data = b""
        try:
            data = os.pread(self._memory, size, self.process.mem.host(address))
        except OSError:
            # A page of a file that has become shorter; those before it can be read.
            size = min(size, PAGE - address % PAGE)
            try:
                data = os.pread(self._memory, size, self.process.mem.host(address))
            except OSError:
                pass
        if not data:
            raise TargetError(EFAULT, "memory that cannot be read")
        return data

    def write_memory(self, address: int, data: bytes) -> None:
        address = self.guest_address(address)
        mem = self.process.mem
        if self._mapped(address, len(data)) < len(data):
            raise TargetError(EFAULT, "memory that is not mapped")
        try:
            # The kernel lets a debugger write private memory whatever its protection.
            if os.pwrite(self._memory, data, mem.host(address)) < len(data):
                raise TargetError(EFAULT, "memory that cannot be written")
        except OSError:
            try:
                mem.write(address, data)
            except GuestFault:
                raise TargetError(EFAULT, "memory that cannot be written") from None
        self.process.engine.invalidate(address, address + len(data))

    # Files, as the guest sees them.

    def _any_thread(self) -> Thread:
        for number in self.threads():
            return self.guest_thread(number)
        raise ProcessLookupError(errno.ESRCH, "no thread is left")

    def open_file(self, path: bytes) -> int:
        if path == b"/proc/%d/smaps" % self.pid:
            raise FileNotFoundError(errno.ENOENT, "only maps is known of the guest")
        fd = open_special_file(self._any_thread(), path, os.O_CLOEXEC)
        if fd is None:
            host = translate_path(self.process.prefix, path)
            # A FIFO must not keep the server waiting.
            fd = os.open(host, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        return fdtable.reserve(fd)

    def close_file(self, descriptor: int) -> None:
        fdtable.release(descriptor)
        os.close(descriptor)

    def read_link(self, path: bytes) -> bytes:
        special = special_link(self._any_thread(), path)
        return special or os.readlink(translate_path(self.process.prefix, path))

    def auxv(self) -> bytes | None:
        image = self.process.exe_image
        return None if image is None else image.stack.auxv

    def exec_file(self) -> bytes | None:
        return os.fsencode(self.process.exe)
