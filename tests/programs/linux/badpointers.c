/* Makes calls with addresses that are no good, twice: under Pemu Python makes a call first, native
 * code then. Prints how each ends, which must be as on the host. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define CALL(...) do { errno = 0; long r = syscall(__VA_ARGS__); show(#__VA_ARGS__, r); } while (0)

static void show(const char *text, long result)
{
    printf("%s = %s\n", text, result == -1 ? strerrorname_np(errno) : result ? "positive" : "0");
}

static void all(void *p, const char *what)
{
    int fd = open("/dev/zero", O_RDWR), pair[2], epoll = epoll_create1(0), ends[2];
    int timer = timerfd_create(CLOCK_MONOTONIC, 0);
    struct timespec zero = {0, 0};
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    pipe(ends);
    write(ends[1], "abcdefgh", 8);
    write(pair[0], "abcdefgh", 8);
    printf("%s\n", what);
    CALL(SYS_read, fd, p, 8);
    CALL(SYS_read, ends[0], p, 1);
    CALL(SYS_read, -1, p, 8);
    CALL(SYS_write, ends[1], p, 8);
    CALL(SYS_readv, fd, p, 1);
    CALL(SYS_writev, ends[1], p, 1);
    CALL(SYS_open, p, O_RDONLY, 0);
    CALL(SYS_openat, AT_FDCWD, p, O_RDONLY, 0);
    CALL(SYS_access, p, R_OK);
    CALL(SYS_chdir, p);
    CALL(SYS_mkdir, p, 0700);
    CALL(SYS_unlink, p);
    CALL(SYS_rename, p, "x");
    CALL(SYS_rename, "/none/x", p);
    CALL(SYS_symlink, p, "/none/x");
    CALL(SYS_readlink, p, p, 8);
    CALL(SYS_readlink, "/dev/fd", p, 8);
    CALL(SYS_getcwd, p, 4096);
    CALL(SYS_statx, AT_FDCWD, "/", 0, STATX_ALL, p);
    CALL(SYS_statx, AT_FDCWD, p, 0, STATX_ALL, p);
    CALL(SYS_utimensat, AT_FDCWD, "/none", p, 0);
    CALL(SYS_pipe2, p, 0);
    CALL(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, p);
    CALL(SYS_bind, pair[0], p, 10);
    CALL(SYS_connect, pair[0], p, 10);
    CALL(SYS_getsockname, pair[0], p, p);
    CALL(SYS_setsockopt, pair[0], SOL_SOCKET, SO_REUSEADDR, p, 4);
    CALL(SYS_getsockopt, pair[0], SOL_SOCKET, SO_TYPE, p, p);
    CALL(SYS_sendto, pair[0], p, 4, MSG_DONTWAIT, NULL, 0);
    CALL(SYS_recvfrom, pair[1], p, 1, MSG_DONTWAIT, NULL, NULL);
    CALL(SYS_sendmsg, pair[0], p, MSG_DONTWAIT);
    CALL(SYS_recvmsg, pair[1], p, MSG_DONTWAIT);
    CALL(SYS_poll, p, 1, 0);
    CALL(SYS_epoll_ctl, epoll, EPOLL_CTL_ADD, pair[0], p);
    CALL(SYS_epoll_wait, epoll, p, 0, 0);
    CALL(SYS_clock_gettime, CLOCK_MONOTONIC, p);
    CALL(SYS_gettimeofday, p, NULL);
    CALL(SYS_clock_getres, CLOCK_MONOTONIC, p);
    CALL(SYS_getitimer, ITIMER_REAL, p);
    CALL(SYS_setitimer, ITIMER_REAL, NULL, p);
    CALL(SYS_timerfd_gettime, timer, p);
    CALL(SYS_timerfd_settime, timer, 0, p, NULL);
    CALL(SYS_getrusage, RUSAGE_SELF, p);
    CALL(SYS_times, p);
    CALL(SYS_uname, p);
    CALL(SYS_sysinfo, p);
    CALL(SYS_getrlimit, RLIMIT_CORE, p);
    CALL(SYS_prlimit64, 0, RLIMIT_CORE, NULL, p);
    CALL(SYS_rt_sigaction, SIGUSR1, NULL, p, _NSIG / 8);
    CALL(SYS_rt_sigprocmask, SIG_BLOCK, NULL, p, _NSIG / 8);
    CALL(SYS_rt_sigpending, p, _NSIG / 8);
    CALL(SYS_sigaltstack, NULL, p);
    CALL(SYS_sched_getaffinity, 0, 128, p);
    CALL(SYS_sched_getparam, 0, p);
    CALL(SYS_getrandom, p, 8, 0);
    CALL(SYS_getgroups, 0, p);
    CALL(SYS_getresuid, p, p, p);
    CALL(SYS_ioctl, ends[0], FIONREAD, p);
    CALL(SYS_ioctl, ends[0], TCGETS, p);
    CALL(SYS_fcntl, fd, F_SETLK, p);
    CALL(SYS_futex, p, 1 /* FUTEX_WAKE */, 1, NULL, NULL, 0);
    CALL(SYS_wait4, -1, p, WNOHANG, NULL);
    CALL(SYS_nanosleep, p, NULL);
    CALL(SYS_mincore, p, 4096, p);
    CALL(SYS_memfd_create, p, 0);
    CALL(SYS_getxattr, "/", p, p, 8);
    CALL(SYS_statfs, "/", p);
    CALL(SYS_execve, p, NULL, NULL);
    CALL(SYS_ppoll, NULL, 0, &zero, p, _NSIG / 8);
    CALL(SYS_pselect6, 0, NULL, NULL, NULL, &zero, p);
    CALL(SYS_timer_create, CLOCK_MONOTONIC, p, p);
    CALL(SYS_capget, p, NULL);
    CALL(SYS_prctl, 16 /* PR_GET_NAME */, p);
    for (int last = open("/", O_RDONLY); last >= fd; last--)
        close(last);
}

int main(void)
{
    char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(pages + 4096, 4096);
    for (int round = 0; round < 2; round++) {
        all((void *)16, "low");
        all(pages + 4096, "unmapped");
        all((void *)-16l, "at the end");
    }
    return 0;
}
