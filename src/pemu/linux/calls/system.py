"""The system as a whole: its name, its state, what only an administrator may do."""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from pemu.linux.hostcalls import NR, HostBuffer, address_of
from pemu.linux.native_forms import Form, Patched
from pemu.linux.structs.layout import Struct
from pemu.linux.syscall import passthrough, syscall, table_for
from pemu.linux.types.base import Int, UInt, ULong
from pemu.linux.types.pointers import InBuf, OutBuf, PlainPath, Ptr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.linux.abi import Abi
    from pemu.linux.native_forms import Forms
    from pemu.linux.process import Thread

UTS_LENGTH = 65
SYSINFO = Struct(
    "sysinfo",
    "long uptime",
    "ulong loads[3]",
    "ulong totalram",
    "ulong freeram",
    "ulong sharedram",
    "ulong bufferram",
    "ulong totalswap",
    "ulong freeswap",
    "u16 procs",
    "u16 pad",
    "ulong totalhigh",
    "ulong freehigh",
    "u32 mem_unit",
)
SYSINFO_BYTES_32 = 64
_SCALED = (
    *("totalram", "freeram", "sharedram", "bufferram", "totalswap", "freeswap"),
    *("totalhigh", "freehigh"),
)
USTAT = Struct("ustat", "long tfree", "ulong tinode", "char fname[6]", "char fpack[6]")
_HOST_USTAT = struct.Struct("<i4xQ6s6s4x")

passthrough("sethostname", InBuf(1), Int)
passthrough("setdomainname", InBuf(1), Int)
passthrough("syslog", Int, OutBuf(2), Int)
passthrough("swapon", PlainPath, Int)
passthrough("swapoff", PlainPath)


def _native_uname(abi: Abi) -> Forms | None:
    """The host's names but for the machine's; with LINUX32 and -r the function says them."""
    if ctypes.CDLL(None).personality(QUERY) & PER_MASK == PER_LINUX32:
        return None
    machine = b"mips" if abi.name == "o32" else b"mips64"
    size = 6 * UTS_LENGTH
    return Form("uname", Patched(size, 4 * UTS_LENGTH, machine.ljust(UTS_LENGTH, b"\0")))


@syscall("uname", Ptr, native=_native_uname)
def uname(t: Thread, result: int) -> int:
    host = HostBuffer(6 * UTS_LENGTH)
    done = t.host_syscall(NR["uname"], host.address)
    if done < 0:
        return done
    raw = host.raw
    fields = [raw[i : i + UTS_LENGTH].split(b"\0")[0] for i in range(0, len(raw), UTS_LENGTH)]
    release = t.process.options.uname
    if release:
        fields[2] = os.fsencode(release)[: UTS_LENGTH - 1]
    machine: str = t.target.uname_machine
    if machine == "mips64" and _persona(t) & PER_MASK == PER_LINUX32:
        machine = "mips"
    fields[4] = machine.encode()
    t.mem.write(result, b"".join(field.ljust(UTS_LENGTH, b"\0") for field in fields))
    return 0


@syscall("sysinfo", Ptr)
def sysinfo(t: Thread, result: int) -> int:
    host = HostBuffer(SYSINFO.host().size)
    done = t.host_syscall(NR["sysinfo"], host.address)
    if done < 0:
        return done
    values = SYSINFO.host().unpack(host.raw).__dict__
    layout = SYSINFO.of(t.mem)
    if t.target.word == 8:
        t.mem.write(result, layout.pack(values))
        return 0
    # As the kernel does for 32-bit programs: units as large as a page, if sizes need that.
    largest = max(values["totalram"], values["totalswap"])
    unit = values["mem_unit"]
    shift = 0
    if largest >> 32:
        while unit < 4096:
            unit <<= 1
            shift += 1
    for name in _SCALED:
        values[name] >>= shift
    values["mem_unit"] = unit
    t.mem.write(result, layout.pack(values).ljust(SYSINFO_BYTES_32, b"\0"))
    return 0


@syscall("ustat", UInt, Ptr)
def ustat(t: Thread, device: int, result: int) -> int:
    host = HostBuffer(_HOST_USTAT.size)
    done = t.host_syscall(NR["ustat"], device, host.address)
    if done >= 0:
        tfree, tinode, fname, fpack = _HOST_USTAT.unpack(host.raw)
        USTAT.write(t.mem, result, tfree=tfree, tinode=tinode, fname=fname, fpack=fpack)
    return done


@syscall("sysfs", Int, ULong, ULong)
def sysfs(t: Thread, option: int, arg1: int, arg2: int) -> int:
    """Kinds of file systems: index of a name, name of an index, their number."""
    if option == 1:
        name = t.mem.read_cstr(arg1, 4096)
        return t.host_syscall(NR["sysfs"], 1, address_of(name))
    if option == 2:
        buffer = HostBuffer(4096)
        done = t.host_syscall(NR["sysfs"], 2, arg1, buffer.address)
        if done >= 0:
            t.mem.write(arg2, buffer.raw.split(b"\0")[0] + b"\0")
        return done
    return t.host_syscall(NR["sysfs"], option, 0, 0)


@syscall("acct", Ptr)
def acct(t: Thread, path: int) -> int:
    name = t.mem.read_cstr(path, 4096) if path else None
    return t.host_syscall(NR["acct"], 0 if name is None else address_of(name))


@syscall("reboot", UInt, UInt, UInt, Ptr)
def reboot(t: Thread, magic1: int, magic2: int, command: int, argument: int) -> int:
    """A guest program never restarts the host."""
    return -errno.EPERM


# Personality

PER_MASK = 0xFF
PER_LINUX32 = 0x08
QUERY = 0xFFFFFFFF
_GUEST_ONLY = 0x08F00000
"""Bits that say how memory is laid out: the host's personality would change Pemu's own memory.

MMAP_PAGE_ZERO, ADDR_COMPAT_LAYOUT, READ_IMPLIES_EXEC, ADDR_LIMIT_32BIT, ADDR_LIMIT_3GB.
"""

_own_bits = 0


def _persona(t: Thread) -> int:
    return t.host_syscall(NR["personality"], QUERY) | _own_bits


@syscall("personality", UInt, returns="x")
def personality(t: Thread, persona: int) -> int:
    global _own_bits
    old = _persona(t)
    if persona != QUERY:
        result = t.host_syscall(NR["personality"], persona & ~_GUEST_ONLY)
        if result < 0:
            return result
        _own_bits = persona & _GUEST_ONLY
        native = table_for(t.target).native
        if native is not None:
            native.exclude("uname")
    return old
