"""prctl: operations on a process or thread."""

from __future__ import annotations

import errno

from pemu.isa.mips.cpu import MODE_FR1
from pemu.linux.hostcalls import NR, HostBuffer, address_of
from pemu.linux.mips.signals import guest_to_host_signal, host_to_guest_signal
from pemu.linux.native_forms import Choice, Constant, Form
from pemu.linux.syscall import syscall
from pemu.linux.types.base import Int, ULong
from pemu.linux.types.names import Named
from pemu.linux.types.pointers import OutFixed, PlainPath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.linux.abi import Abi
    from pemu.linux.native_forms import Forms
    from pemu.linux.process import Thread

PR_SET_PDEATHSIG, PR_GET_PDEATHSIG = 1, 2
PR_SET_NAME, PR_GET_NAME = 15, 16
PR_GET_SECCOMP = 21
PR_SET_MM = 35
PR_GET_CHILD_SUBREAPER = 37
PR_GET_TID_ADDRESS = 40
PR_SET_FP_MODE, PR_GET_FP_MODE = 45, 46
PR_SET_PTRACER = 0x59616D61

PR_FP_MODE_FR, PR_FP_MODE_FRE = 1, 2
TASK_COMM_LEN = 16

_SAME = frozenset(
    (
        *(3, 4),  # PR_GET_DUMPABLE, PR_SET_DUMPABLE
        *(7, 8),  # PR_GET_KEEPCAPS, PR_SET_KEEPCAPS
        *(13, 14),  # PR_GET_TIMING, PR_SET_TIMING
        *(23, 24),  # PR_CAPBSET_READ, PR_CAPBSET_DROP
        *(27, 28),  # PR_GET_SECUREBITS, PR_SET_SECUREBITS
        *(29, 30),  # PR_SET_TIMERSLACK, PR_GET_TIMERSLACK
        *(31, 32),  # PR_TASK_PERF_EVENTS_DISABLE, PR_TASK_PERF_EVENTS_ENABLE
        36,  # PR_SET_CHILD_SUBREAPER
        *(38, 39),  # PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS
        *(41, 42),  # PR_SET_THP_DISABLE, PR_GET_THP_DISABLE
        47,  # PR_CAP_AMBIENT
        *(57, 58),  # PR_SET_IO_FLUSHER, PR_GET_IO_FLUSHER
        PR_SET_PTRACER,
    )
)
"""Operations that the host makes with the same numbers.

Every other one that is not below is an error, as in a kernel without it: those of other processors,
and those that would bind Pemu's own code (seccomp filters, memory that may not be executed).
"""

Option = Named(
    "int",
    "PR_SET_PDEATHSIG PR_GET_PDEATHSIG PR_GET_DUMPABLE PR_SET_DUMPABLE PR_GET_UNALIGN"
    " PR_SET_UNALIGN PR_GET_KEEPCAPS PR_SET_KEEPCAPS PR_GET_FPEMU PR_SET_FPEMU PR_GET_FPEXC"
    " PR_SET_FPEXC PR_GET_TIMING PR_SET_TIMING PR_SET_NAME PR_GET_NAME - - PR_GET_ENDIAN"
    " PR_SET_ENDIAN PR_GET_SECCOMP PR_SET_SECCOMP PR_CAPBSET_READ PR_CAPBSET_DROP PR_GET_TSC"
    " PR_SET_TSC PR_GET_SECUREBITS PR_SET_SECUREBITS PR_SET_TIMERSLACK PR_GET_TIMERSLACK"
    " PR_TASK_PERF_EVENTS_DISABLE PR_TASK_PERF_EVENTS_ENABLE PR_MCE_KILL PR_MCE_KILL_GET"
    " PR_SET_MM PR_SET_CHILD_SUBREAPER PR_GET_CHILD_SUBREAPER PR_SET_NO_NEW_PRIVS"
    " PR_GET_NO_NEW_PRIVS PR_GET_TID_ADDRESS PR_SET_THP_DISABLE PR_GET_THP_DISABLE"
    " PR_MPX_ENABLE_MANAGEMENT PR_MPX_DISABLE_MANAGEMENT PR_SET_FP_MODE PR_GET_FP_MODE"
    " PR_CAP_AMBIENT",
    1,
)


def _native_prctl(abi: Abi) -> Forms:
    none = Constant(0)
    same = Form("prctl", Int, ULong, ULong, ULong, ULong)
    forms = {option: same for option in _SAME if option != PR_SET_PTRACER}
    forms[PR_SET_NAME] = Form("prctl", Int, PlainPath, none, none, none)
    forms[PR_GET_NAME] = Form("prctl", Int, OutFixed(TASK_COMM_LEN), none, none, none)
    return Choice(0, forms)


@syscall("prctl", Option, ULong, ULong, ULong, ULong, native=_native_prctl)
def prctl(t: Thread, option: int, arg2: int, arg3: int, arg4: int, arg5: int) -> int:
    if option in _SAME:
        if option == PR_SET_PTRACER and arg2 == (1 << 8 * t.target.word) - 1:
            arg2 = -1  # PR_SET_PTRACER_ANY is a long's all ones
        return t.host_syscall(NR["prctl"], option, arg2, arg3, arg4, arg5)
    operation = _OPERATIONS.get(option)
    return -errno.EINVAL if operation is None else operation(t, arg2)


def _set_death_signal(t: Thread, signal: int) -> int:
    return t.host_syscall(NR["prctl"], PR_SET_PDEATHSIG, guest_to_host_signal(signal))


def _get_death_signal(t: Thread, result: int) -> int:
    buffer = HostBuffer(4)
    done = t.host_syscall(NR["prctl"], PR_GET_PDEATHSIG, buffer.address)
    signal = int.from_bytes(buffer.raw, "little")
    t.mem.put_u32(result, host_to_guest_signal(signal))
    return done


def _set_name(t: Thread, name: int) -> int:
    text = t.mem.read_cstr(name, TASK_COMM_LEN - 1)
    return t.host_syscall(NR["prctl"], PR_SET_NAME, address_of(text))


def _get_name(t: Thread, result: int) -> int:
    buffer = HostBuffer(TASK_COMM_LEN)
    done = t.host_syscall(NR["prctl"], PR_GET_NAME, buffer.address)
    t.mem.write(result, buffer.raw)
    return done


def _get_seccomp(t: Thread, unused: int) -> int:
    return 0


def _set_memory_map(t: Thread, unused: int) -> int:
    return -errno.EPERM


def _get_subreaper(t: Thread, result: int) -> int:
    buffer = HostBuffer(4)
    done = t.host_syscall(NR["prctl"], PR_GET_CHILD_SUBREAPER, buffer.address)
    t.mem.put_u32(result, int.from_bytes(buffer.raw, "little"))
    return done


def _get_tid_address(t: Thread, result: int) -> int:
    t.mem.put_word(result, t.clear_child_tid)
    return 0


def _get_fp_mode(t: Thread, unused: int) -> int:
    return PR_FP_MODE_FR if t.cpu.mode & MODE_FR1 else 0


def _set_fp_mode(t: Thread, mode: int) -> int:
    """Switch between 32 (FR=0) and 64 bits a floating-point register, for all threads."""
    if mode & ~(PR_FP_MODE_FR | PR_FP_MODE_FRE):
        return -errno.EOPNOTSUPP
    if mode == _get_fp_mode(t, 0):
        return 0
    if mode & PR_FP_MODE_FRE or t.target.abi != "o32":
        return -errno.EOPNOTSUPP
    if mode & PR_FP_MODE_FR:
        from pemu.isa.mips.models import FIR_F64, model

        fir = model(t.process.options.cpu or t.target.default_cpu, t.target.xlen).fir
        if not fir & FIR_F64:
            return -errno.EOPNOTSUPP
    for thread in list(t.process.threads.values()):
        thread.cpu.mode = thread.cpu.mode & ~MODE_FR1 | mode
        if thread is not t:
            thread.cpu.kick()
    return 0


_OPERATIONS = {
    PR_SET_PDEATHSIG: _set_death_signal,
    PR_GET_PDEATHSIG: _get_death_signal,
    PR_SET_NAME: _set_name,
    PR_GET_NAME: _get_name,
    PR_GET_SECCOMP: _get_seccomp,
    PR_SET_MM: _set_memory_map,
    PR_GET_CHILD_SUBREAPER: _get_subreaper,
    PR_GET_TID_ADDRESS: _get_tid_address,
    PR_GET_FP_MODE: _get_fp_mode,
    PR_SET_FP_MODE: _set_fp_mode,
}
