"""The system calls, one module a kind. Which module declares which call stands here.

A module is imported when one of its calls is first made. `tests/linux/test_syscall_index.py`
checks that each list holds just the names that its module declares.
"""

from __future__ import annotations

_INDEX = {
    "plain": """
        clock_gettime clock_gettime64 close dup fchmod fdatasync flock fsync ftruncate
        getegid geteuid getgid getpgid getpgrp getpid getppid getsid gettid gettimeofday getuid
        lseek pread64 pwrite64 read sched_yield umask write
    """,
    "clocks": """
        clock_getres clock_getres_time64 clock_nanosleep clock_nanosleep_time64 clock_settime
        clock_settime64 nanosleep settimeofday stime time times
    """,
    "credentials": """
        capget capset getgroups getresgid getresuid setfsgid setgid setgroups setpgid setregid
        setresgid setsid
    """,
    "dirs": """
        chdir chroot fchdir getcwd getdents getdents64 link linkat mkdir mkdirat mknod mknodat
        pivot_root readdir readlink readlinkat rename renameat renameat2 rmdir symlink symlinkat
        unlink unlinkat
    """,
    "epoll": "epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait",
    "eventfds": """
        eventfd eventfd2 signalfd signalfd4 timerfd_create timerfd_gettime timerfd_gettime64
        timerfd_settime timerfd_settime64
    """,
    "fdio": """
        _llseek copy_file_range preadv preadv2 pwritev pwritev2 readv sendfile sendfile64 splice
        tee vmsplice writev
    """,
    "files": """
        close_range creat dup2 dup3 fadvise64 fallocate fcntl fcntl64 ftruncate64 memfd_create
        open openat openat2 pipe pipe2 readahead sync sync_file_range syncfs
        truncate truncate64
    """,
    "fsinfo": """
        fsconfig fsmount fsopen fspick fstatfs fstatfs64 mount mount_setattr move_mount
        name_to_handle_at open_by_handle_at open_tree statfs statfs64 umount umount2
    """,
    "ioctl": "ioctl",
    "ipc_sysv": """
        ipc msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat
        shmctl shmdt shmget
    """,
    "limits": "getrlimit getrusage prlimit64 setrlimit",
    "memory": """
        brk cachectl cacheflush madvise mincore mlock mlock2 mlockall mmap mmap2 mprotect mremap
        msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect sysmips
    """,
    "messages": "recvmmsg recvmmsg_time64 recvmsg sendmmsg sendmsg",
    "mqueue": """
        mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
        mq_timedsend_time64 mq_unlink
    """,
    "namespaces": "kcmp pidfd_getfd setns unshare vhangup",
    "poll": "poll ppoll ppoll_time64",
    "prctl": "prctl",
    "process": "clone clone3 execve execveat fork wait4 waitid waitpid",
    "process_memory": "process_vm_readv process_vm_writev",
    "random": "getrandom",
    "scheduling": """
        getcpu getpriority ioprio_get ioprio_set membarrier nice sched_get_priority_max
        sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
        sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr
        sched_setparam sched_setscheduler setpriority
    """,
    "select": "_newselect pselect6 pselect6_time64",
    "signals": """
        kill pause pidfd_open pidfd_send_signal rt_sigaction rt_sigpending rt_sigprocmask
        rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64
        rt_tgsigqueueinfo sgetmask sigaction sigaltstack signal sigpending sigprocmask sigreturn
        sigsuspend ssetmask tgkill tkill
    """,
    "sockets": """
        accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom send
        sendto setsockopt shutdown socket socketcall socketpair
    """,
    "stat": """
        access chmod chown faccessat faccessat2 fchmodat fchown fchownat fstat fstat64 fstatat64
        futimesat lchown lstat lstat64 newfstatat stat stat64 statx utime utimensat
        utimensat_time64 utimes
    """,
    "system": """
        acct personality reboot setdomainname sethostname swapoff swapon sysfs sysinfo syslog uname
        ustat
    """,
    "threads": """
        exit exit_group futex futex_time64 get_robust_list set_robust_list set_thread_area
        set_tid_address
    """,
    "timers": """
        alarm getitimer setitimer timer_create timer_delete timer_getoverrun timer_gettime
        timer_gettime64 timer_settime timer_settime64
    """,
    "timex": "adjtimex clock_adjtime clock_adjtime64",
    "users": "setfsuid setresuid setreuid setuid",
    "watch": """
        fanotify_init fanotify_mark inotify_add_watch inotify_init inotify_init1
        inotify_rm_watch
    """,
    "xattr": """
        fgetxattr flistxattr fremovexattr fsetxattr getxattr lgetxattr listxattr llistxattr
        lremovexattr lsetxattr removexattr setxattr
    """,
}
"""Names of calls by module."""

_modules: dict[str, str] = {}


def module_of(name: str) -> str | None:
    """The full name of the module that declares the call `name`."""
    if not _modules:
        for module, names in _INDEX.items():
            for call in names.split():
                _modules[call] = f"pemu.linux.calls.{module}"
    return _modules.get(name)


def modules() -> dict[str, list[str]]:
    """The names of the calls by module."""
    return {module: names.split() for module, names in _INDEX.items()}
