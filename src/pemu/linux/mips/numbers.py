"""System call numbers of the three MIPS ABIs, Linux 6.1.

Each row starts with the number of its first name; the names after it follow without a gap.
Numbers that the kernel keeps reserved have no name. Source: the kernel's `asm/unistd_o32.h`,
`asm/unistd_n64.h`, `asm/unistd_n32.h`.
"""

from __future__ import annotations

_O32 = """
4000 syscall exit fork read write open close waitpid creat link unlink execve chdir time mknod
4015 chmod lchown break
4019 lseek getpid mount umount setuid getuid stime ptrace alarm
4029 pause utime stty gtty access nice ftime sync kill rename mkdir rmdir dup pipe times prof
4045 brk setgid getgid signal geteuid getegid acct umount2 lock ioctl fcntl mpx setpgid ulimit
4060 umask chroot ustat dup2 getppid getpgrp setsid sigaction sgetmask ssetmask setreuid
4071 setregid sigsuspend sigpending sethostname setrlimit getrlimit getrusage gettimeofday
4079 settimeofday getgroups setgroups
4083 symlink
4085 readlink uselib swapon reboot readdir mmap munmap truncate ftruncate fchmod fchown
4096 getpriority setpriority profil statfs fstatfs ioperm socketcall syslog setitimer getitimer
4106 stat lstat fstat
4110 iopl vhangup idle vm86 wait4 swapoff sysinfo ipc fsync sigreturn clone setdomainname uname
4123 modify_ldt adjtimex mprotect sigprocmask create_module init_module delete_module
4130 get_kernel_syms quotactl getpgid fchdir bdflush sysfs personality afs_syscall setfsuid
4139 setfsgid _llseek getdents _newselect flock msync readv writev cacheflush cachectl sysmips
4151 getsid fdatasync _sysctl mlock munlock mlockall munlockall sched_setparam sched_getparam
4160 sched_setscheduler sched_getscheduler sched_yield sched_get_priority_max
4164 sched_get_priority_min sched_rr_get_interval nanosleep mremap accept bind connect
4171 getpeername getsockname getsockopt listen recv recvfrom recvmsg send sendmsg sendto
4181 setsockopt shutdown socket socketpair setresuid getresuid query_module poll nfsservctl
4190 setresgid getresgid prctl rt_sigreturn rt_sigaction rt_sigprocmask rt_sigpending
4197 rt_sigtimedwait rt_sigqueueinfo rt_sigsuspend pread64 pwrite64 chown getcwd capget capset
4206 sigaltstack sendfile getpmsg putpmsg mmap2 truncate64 ftruncate64 stat64 lstat64 fstat64
4216 pivot_root mincore madvise getdents64 fcntl64
4222 gettid readahead setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr listxattr
4231 llistxattr flistxattr removexattr lremovexattr fremovexattr tkill sendfile64 futex
4239 sched_setaffinity sched_getaffinity io_setup io_destroy io_getevents io_submit io_cancel
4246 exit_group lookup_dcookie epoll_create epoll_ctl epoll_wait remap_file_pages
4252 set_tid_address restart_syscall fadvise64 statfs64 fstatfs64 timer_create timer_settime
4259 timer_gettime timer_getoverrun timer_delete clock_settime clock_gettime clock_getres
4265 clock_nanosleep tgkill utimes mbind get_mempolicy set_mempolicy mq_open mq_unlink
4273 mq_timedsend mq_timedreceive mq_notify mq_getsetattr vserver waitid
4280 add_key request_key keyctl set_thread_area inotify_init inotify_add_watch inotify_rm_watch
4287 migrate_pages openat mkdirat mknodat fchownat futimesat fstatat64 unlinkat renameat linkat
4297 symlinkat readlinkat fchmodat faccessat pselect6 ppoll unshare splice sync_file_range tee
4307 vmsplice move_pages set_robust_list get_robust_list kexec_load getcpu epoll_pwait
4314 ioprio_set ioprio_get utimensat signalfd timerfd eventfd fallocate timerfd_create
4322 timerfd_gettime timerfd_settime signalfd4 eventfd2 epoll_create1 dup3 pipe2 inotify_init1
4330 preadv pwritev rt_tgsigqueueinfo perf_event_open accept4 recvmmsg fanotify_init
4337 fanotify_mark prlimit64 name_to_handle_at open_by_handle_at clock_adjtime syncfs sendmmsg
4344 setns process_vm_readv process_vm_writev kcmp finit_module sched_setattr sched_getattr
4351 renameat2 seccomp getrandom memfd_create bpf execveat userfaultfd membarrier mlock2
4360 copy_file_range preadv2 pwritev2 pkey_mprotect pkey_alloc pkey_free statx rseq
4368 io_pgetevents
4393 semget semctl shmget shmctl shmat shmdt msgget msgsnd msgrcv msgctl clock_gettime64
4404 clock_settime64 clock_adjtime64 clock_getres_time64 clock_nanosleep_time64 timer_gettime64
4409 timer_settime64 timerfd_gettime64 timerfd_settime64 utimensat_time64 pselect6_time64
4414 ppoll_time64
4416 io_pgetevents_time64 recvmmsg_time64 mq_timedsend_time64 mq_timedreceive_time64
4420 semtimedop_time64 rt_sigtimedwait_time64 futex_time64 sched_rr_get_interval_time64
4424 pidfd_send_signal io_uring_setup io_uring_enter io_uring_register open_tree move_mount
4430 fsopen fsconfig fsmount fspick pidfd_open clone3 close_range openat2 pidfd_getfd faccessat2
4440 process_madvise epoll_pwait2 mount_setattr quotactl_fd landlock_create_ruleset
4445 landlock_add_rule landlock_restrict_self
4448 process_mrelease futex_waitv set_mempolicy_home_node
"""

_N64 = """
5000 read write open close stat fstat lstat poll lseek mmap mprotect munmap brk rt_sigaction
5014 rt_sigprocmask ioctl pread64 pwrite64 readv writev access pipe _newselect sched_yield
5024 mremap msync mincore madvise shmget shmat shmctl dup dup2 pause nanosleep getitimer
5036 setitimer alarm getpid sendfile socket connect accept sendto recvfrom sendmsg recvmsg
5047 shutdown bind listen getsockname getpeername socketpair setsockopt getsockopt clone fork
5057 execve exit wait4 kill uname semget semop semctl shmdt msgget msgsnd msgrcv msgctl fcntl
5071 flock fsync fdatasync truncate ftruncate getdents getcwd chdir fchdir rename mkdir rmdir
5083 creat link unlink symlink readlink chmod fchmod chown fchown lchown umask gettimeofday
5095 getrlimit getrusage sysinfo times ptrace getuid syslog getgid setuid setgid geteuid getegid
5107 setpgid getppid getpgrp setsid setreuid setregid getgroups setgroups setresuid getresuid
5117 setresgid getresgid getpgid setfsuid setfsgid getsid capget capset rt_sigpending
5126 rt_sigtimedwait rt_sigqueueinfo rt_sigsuspend sigaltstack utime mknod personality ustat
5134 statfs fstatfs sysfs getpriority setpriority sched_setparam sched_getparam
5141 sched_setscheduler sched_getscheduler sched_get_priority_max sched_get_priority_min
5145 sched_rr_get_interval mlock munlock mlockall munlockall vhangup pivot_root _sysctl prctl
5154 adjtimex setrlimit chroot sync acct settimeofday mount umount2 swapon swapoff reboot
5165 sethostname setdomainname create_module init_module delete_module get_kernel_syms
5171 query_module quotactl nfsservctl getpmsg putpmsg afs_syscall
5178 gettid readahead setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr listxattr
5187 llistxattr flistxattr removexattr lremovexattr fremovexattr tkill
5194 futex sched_setaffinity sched_getaffinity cacheflush cachectl sysmips io_setup io_destroy
5202 io_getevents io_submit io_cancel exit_group lookup_dcookie epoll_create epoll_ctl
5209 epoll_wait remap_file_pages rt_sigreturn set_tid_address restart_syscall semtimedop
5215 fadvise64 timer_create timer_settime timer_gettime timer_getoverrun timer_delete
5221 clock_settime clock_gettime clock_getres clock_nanosleep tgkill utimes mbind get_mempolicy
5229 set_mempolicy mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr
5236 vserver waitid
5239 add_key request_key keyctl set_thread_area inotify_init inotify_add_watch inotify_rm_watch
5246 migrate_pages openat mkdirat mknodat fchownat futimesat newfstatat unlinkat renameat linkat
5256 symlinkat readlinkat fchmodat faccessat pselect6 ppoll unshare splice sync_file_range tee
5266 vmsplice move_pages set_robust_list get_robust_list kexec_load getcpu epoll_pwait
5273 ioprio_set ioprio_get utimensat signalfd timerfd eventfd fallocate timerfd_create
5281 timerfd_gettime timerfd_settime signalfd4 eventfd2 epoll_create1 dup3 pipe2 inotify_init1
5289 preadv pwritev rt_tgsigqueueinfo perf_event_open accept4 recvmmsg fanotify_init
5296 fanotify_mark prlimit64 name_to_handle_at open_by_handle_at clock_adjtime syncfs sendmmsg
5303 setns process_vm_readv process_vm_writev kcmp finit_module getdents64 sched_setattr
5310 sched_getattr renameat2 seccomp getrandom memfd_create bpf execveat userfaultfd membarrier
5319 mlock2 copy_file_range preadv2 pwritev2 pkey_mprotect pkey_alloc pkey_free statx rseq
5328 io_pgetevents
5424 pidfd_send_signal io_uring_setup io_uring_enter io_uring_register open_tree move_mount
5430 fsopen fsconfig fsmount fspick pidfd_open clone3 close_range openat2 pidfd_getfd faccessat2
5440 process_madvise epoll_pwait2 mount_setattr quotactl_fd landlock_create_ruleset
5445 landlock_add_rule landlock_restrict_self
5448 process_mrelease futex_waitv set_mempolicy_home_node
"""

_N32 = """
6000 read write open close stat fstat lstat poll lseek mmap mprotect munmap brk rt_sigaction
6014 rt_sigprocmask ioctl pread64 pwrite64 readv writev access pipe _newselect sched_yield
6024 mremap msync mincore madvise shmget shmat shmctl dup dup2 pause nanosleep getitimer
6036 setitimer alarm getpid sendfile socket connect accept sendto recvfrom sendmsg recvmsg
6047 shutdown bind listen getsockname getpeername socketpair setsockopt getsockopt clone fork
6057 execve exit wait4 kill uname semget semop semctl shmdt msgget msgsnd msgrcv msgctl fcntl
6071 flock fsync fdatasync truncate ftruncate getdents getcwd chdir fchdir rename mkdir rmdir
6083 creat link unlink symlink readlink chmod fchmod chown fchown lchown umask gettimeofday
6095 getrlimit getrusage sysinfo times ptrace getuid syslog getgid setuid setgid geteuid getegid
6107 setpgid getppid getpgrp setsid setreuid setregid getgroups setgroups setresuid getresuid
6117 setresgid getresgid getpgid setfsuid setfsgid getsid capget capset rt_sigpending
6126 rt_sigtimedwait rt_sigqueueinfo rt_sigsuspend sigaltstack utime mknod personality ustat
6134 statfs fstatfs sysfs getpriority setpriority sched_setparam sched_getparam
6141 sched_setscheduler sched_getscheduler sched_get_priority_max sched_get_priority_min
6145 sched_rr_get_interval mlock munlock mlockall munlockall vhangup pivot_root _sysctl prctl
6154 adjtimex setrlimit chroot sync acct settimeofday mount umount2 swapon swapoff reboot
6165 sethostname setdomainname create_module init_module delete_module get_kernel_syms
6171 query_module quotactl nfsservctl getpmsg putpmsg afs_syscall
6178 gettid readahead setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr listxattr
6187 llistxattr flistxattr removexattr lremovexattr fremovexattr tkill
6194 futex sched_setaffinity sched_getaffinity cacheflush cachectl sysmips io_setup io_destroy
6202 io_getevents io_submit io_cancel exit_group lookup_dcookie epoll_create epoll_ctl
6209 epoll_wait remap_file_pages rt_sigreturn fcntl64 set_tid_address restart_syscall semtimedop
6216 fadvise64 statfs64 fstatfs64 sendfile64 timer_create timer_settime timer_gettime
6223 timer_getoverrun timer_delete clock_settime clock_gettime clock_getres clock_nanosleep
6229 tgkill utimes mbind get_mempolicy set_mempolicy mq_open mq_unlink mq_timedsend
6237 mq_timedreceive mq_notify mq_getsetattr vserver waitid
6243 add_key request_key keyctl set_thread_area inotify_init inotify_add_watch inotify_rm_watch
6250 migrate_pages openat mkdirat mknodat fchownat futimesat newfstatat unlinkat renameat linkat
6260 symlinkat readlinkat fchmodat faccessat pselect6 ppoll unshare splice sync_file_range tee
6270 vmsplice move_pages set_robust_list get_robust_list kexec_load getcpu epoll_pwait
6277 ioprio_set ioprio_get utimensat signalfd timerfd eventfd fallocate timerfd_create
6285 timerfd_gettime timerfd_settime signalfd4 eventfd2 epoll_create1 dup3 pipe2 inotify_init1
6293 preadv pwritev rt_tgsigqueueinfo perf_event_open accept4 recvmmsg getdents64 fanotify_init
6301 fanotify_mark prlimit64 name_to_handle_at open_by_handle_at clock_adjtime syncfs sendmmsg
6308 setns process_vm_readv process_vm_writev kcmp finit_module sched_setattr sched_getattr
6315 renameat2 seccomp getrandom memfd_create bpf execveat userfaultfd membarrier mlock2
6324 copy_file_range preadv2 pwritev2 pkey_mprotect pkey_alloc pkey_free statx rseq
6332 io_pgetevents
6403 clock_gettime64 clock_settime64 clock_adjtime64 clock_getres_time64 clock_nanosleep_time64
6408 timer_gettime64 timer_settime64 timerfd_gettime64 timerfd_settime64 utimensat_time64
6413 pselect6_time64 ppoll_time64
6416 io_pgetevents_time64 recvmmsg_time64 mq_timedsend_time64 mq_timedreceive_time64
6420 semtimedop_time64 rt_sigtimedwait_time64 futex_time64 sched_rr_get_interval_time64
6424 pidfd_send_signal io_uring_setup io_uring_enter io_uring_register open_tree move_mount
6430 fsopen fsconfig fsmount fspick pidfd_open clone3 close_range openat2 pidfd_getfd faccessat2
6440 process_madvise epoll_pwait2 mount_setattr quotactl_fd landlock_create_ruleset
6445 landlock_add_rule landlock_restrict_self
6448 process_mrelease futex_waitv set_mempolicy_home_node
"""

_ROWS = {"o32": _O32, "n64": _N64, "n32": _N32}


def parse_rows(rows: str) -> dict[int, str]:
    """The names by number of a table written as above."""
    names = {}
    number = 0
    for token in rows.split():
        if token.isdigit():
            number = int(token)
        else:
            names[number] = token
            number += 1
    return names


def call_names(abi: str) -> dict[int, str]:
    """The names of all system calls of `abi` ("o32", "n32" or "n64") by number."""
    return parse_rows(_ROWS[abi])
