"""-sandbox: a filter by which the host's kernel refuses system calls that machines do not need.

Source: the kernel's `seccomp(2)` and `linux/filter.h`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from typing import Any

from pemu.linux.hostcalls import NR
from pemu.options.error import OptionError

_NEVER = """
reboot swapon swapoff syslog mount umount2 pivot_root kexec_load kexec_file_load afs_syscall
getpmsg putpmsg tuxcall security vserver init_module finit_module delete_module
"""
_OBSOLETE = """
_sysctl create_module get_kernel_syms query_module sysfs uselib ustat nfsservctl
"""
_PRIVILEGES = """
setuid setgid setpgid setsid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups
capset
"""
_PROCESSES = "fork vfork execve execveat"
_RESOURCES = """
setpriority ioprio_set sched_setparam sched_setscheduler sched_setattr sched_setaffinity
"""

_MACHINE, _ARCHITECTURE, _X32 = "x86_64", 0xC000003E, 0x40000000
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENT_AT = 0, 4, 16  # in struct seccomp_data
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _IF_BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_KILL, _ERROR, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_CLONE_THREAD = 0x00010000
_PR_SET_NO_NEW_PRIVS = 38
_SET_FILTER, _ALL_THREADS = 1, 1


def enter(wanted: dict[str, Any]) -> None:
    """Have calls refused from now on, in all threads, as the keys of -sandbox say.

    Such a call ends the process, but for those that change priorities: they fail. Raises
    OptionError.
    """
    if platform.machine() != _MACHINE:
        raise OptionError(f"-sandbox: not supported yet on {platform.machine()} hosts")
    program = _program(wanted)
    libc = ctypes.CDLL(None, use_errno=True)
    code = ctypes.create_string_buffer(program, len(program))
    count = len(program) // _instruction.size
    header = struct.pack("HxxxxxxQ", count, ctypes.addressof(code))
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.syscall(
        NR["seccomp"], _SET_FILTER, _ALL_THREADS, header
    ):
        why = os.strerror(ctypes.get_errno())
        raise OptionError(f"-sandbox: the host's kernel has no filters of system calls ({why})")


_instruction = struct.Struct("HBBI")


def _program(wanted: dict[str, Any]) -> bytes:
    """The filter: instructions {operation, jump if true, jump if false, operand}."""
    end = _KILL
    refused = dict.fromkeys(_NEVER.split(), end)
    if wanted["obsolete"] == "deny":
        refused |= dict.fromkeys(_OBSOLETE.split(), end)
    if wanted["elevateprivileges"] == "deny":
        refused |= dict.fromkeys(_PRIVILEGES.split(), end)
    if wanted["spawn"] == "deny":
        refused |= dict.fromkeys(_PROCESSES.split(), end)
        refused["clone3"] = _ERROR | errno.ENOSYS  # its flags cannot be seen; clone is used then
    if wanted["resourcecontrol"] == "deny":
        refused |= dict.fromkeys(_RESOURCES.split(), _ERROR | errno.EPERM)
    rows = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_IF_EQUAL, 1, 0, _ARCHITECTURE),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_IF_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _KILL),
    ]
    for name, answer in refused.items():
        rows += [(_IF_EQUAL, 0, 1, NR[name]), (_RETURN, 0, 0, answer)]
    if wanted["spawn"] == "deny":
        rows += [
            (_IF_EQUAL, 0, 3, NR["clone"]),
            (_LOAD, 0, 0, _ARGUMENT_AT),
            (_IF_BITS, 1, 0, _CLONE_THREAD),
            (_RETURN, 0, 0, _KILL),
        ]
    rows.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(_instruction.pack(*row) for row in rows)
