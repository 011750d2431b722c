"""Which system calls a signal can interrupt.

The host keeps a call from beginning while a signal waits to be delivered, whatever the call; a
program, however, must see EINTR only from calls that wait; and not from close, which has closed the
descriptor even then. Source: signal(7), "Interruption of
system calls and library functions by signal handlers".
"""

from __future__ import annotations

_NAMES = frozenset(
    """
    accept accept4 clock_nanosleep clock_nanosleep_time64 connect copy_file_range creat
    epoll_pwait epoll_pwait2 epoll_wait fallocate fcntl fcntl64 flock futex futex_time64 getrandom
    ioctl ipc mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 msgrcv msgsnd
    nanosleep _newselect open open_by_handle_at openat openat2 pause poll ppoll ppoll_time64 pread64
    preadv preadv2 pselect6 pselect6_time64 pwrite64 pwritev pwritev2 read readv recv recvfrom
    recvmmsg recvmmsg_time64 recvmsg rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 semop
    semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto sigsuspend
    socketcall splice tee vmsplice wait4 waitid waitpid write writev
    """.split()
)


def interruptible(name: str | None) -> bool:
    """Whether the call `name` may end with EINTR."""
    return name in _NAMES
