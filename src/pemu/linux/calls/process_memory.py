"""Copying between the memory of processes.

A guest's memory can only be told from Pemu's own within the process: of any other the calls end
with EPERM, as for a process that the caller may not trace.
"""

from __future__ import annotations

import errno
import os

from pemu.linux.hostcalls import NR, address_of
from pemu.linux.syscall import syscall
from pemu.linux.types.base import Int, ULong
from pemu.linux.types.iovec import IoVecIn, IoVecOut, host_iovec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.linux.process import Thread

VECTORS_MAX = 1024


def _copy(
    t: Thread, call: str, pid: int, local: tuple[int, int], remote: tuple[int, int], flags: int
) -> int:
    """`local` and `remote`: address and number of vectors."""
    if flags or max(local[1], remote[1]) > VECTORS_MAX:
        return -errno.EINVAL
    reads = call == "process_vm_readv"
    near, far = host_iovec(t, *local, reads), host_iovec(t, *remote, not reads)
    if pid != os.getpid() and pid not in t.process.threads:
        os.kill(pid, 0)
        return -errno.EPERM
    places = (address_of(near), local[1], address_of(far), remote[1])
    return t.host_syscall(NR[call], os.getpid(), *places, 0)


@syscall("process_vm_readv", Int, IoVecOut(2), ULong, IoVecIn(4), ULong, ULong)
def process_vm_readv(
    t: Thread, pid: int, local: int, local_count: int, remote: int, remote_count: int, flags: int
) -> int:
    ends = (local, local_count), (remote, remote_count)
    return _copy(t, "process_vm_readv", pid, *ends, flags)


@syscall("process_vm_writev", Int, IoVecIn(2), ULong, IoVecOut(4), ULong, ULong)
def process_vm_writev(
    t: Thread, pid: int, local: int, local_count: int, remote: int, remote_count: int, flags: int
) -> int:
    ends = (local, local_count), (remote, remote_count)
    return _copy(t, "process_vm_writev", pid, *ends, flags)
