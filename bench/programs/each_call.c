/* What each frequent system call costs: "name nanoseconds" a line.

   each_call [MILLISECONDS-A-CALL [NAME...]]; calls whose name begins with a NAME, or all. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/times.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static char buffer[65536];
static int zero, null, file, ends[2], pair[2], pty, epoll, event, timer, directory;
static char *page, *growing;
static volatile int handled;
static char path[64], working[4096];

static void handler(int signal) { handled += signal; }
static void handler_info(int signal, siginfo_t *info, void *context)
{
    handled += signal + (info != NULL) + (context != NULL);
}
static void *thread(void *argument) { return argument; }

#define CALL(name, ...) \
    static void name(unsigned n) { while (n--) { __VA_ARGS__; } }

CALL(getpid_, syscall(SYS_getpid))
CALL(getppid_, syscall(SYS_getppid))
CALL(gettid_, syscall(SYS_gettid))
CALL(getuid_, syscall(SYS_getuid))
CALL(umask_, umask(022))
CALL(read_zero_1, read(zero, buffer, 1))
CALL(read_zero_4k, read(zero, buffer, 4096))
CALL(read_zero_64k, read(zero, buffer, 65536))
CALL(write_null_1, write(null, buffer, 1))
CALL(write_null_4k, write(null, buffer, 4096))
CALL(write_null_64k, write(null, buffer, 65536))
CALL(pipe_1, write(ends[1], buffer, 1); read(ends[0], buffer, 1))
CALL(pipe_4k, write(ends[1], buffer, 4096); read(ends[0], buffer, 4096))
CALL(writev_, struct iovec v[2] = {{buffer, 10}, {buffer + 100, 20}}; writev(null, v, 2))
CALL(readv_, struct iovec v[2] = {{buffer, 10}, {buffer + 100, 20}}; readv(zero, v, 2))
CALL(lseek_, lseek(file, 0, SEEK_CUR))
CALL(pread_, pread(file, buffer, 100, 10))
CALL(pwrite_, pwrite(file, buffer, 100, 10))
CALL(ftruncate_, ftruncate(file, 4096))
CALL(clock_gettime_, struct timespec t; syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t))
CALL(gettimeofday_, struct timeval t; syscall(SYS_gettimeofday, &t, NULL))
CALL(time_, time(NULL))
CALL(times_, struct tms t; times(&t))
CALL(getrusage_, struct rusage u; getrusage(RUSAGE_SELF, &u))
CALL(clock_getres_, struct timespec t; clock_getres(CLOCK_MONOTONIC, &t))
CALL(nanosleep_0, struct timespec t = {0, 0}; nanosleep(&t, NULL))
CALL(clock_nanosleep_0, struct timespec t = {0, 0}; clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL))
CALL(stat_, struct stat s; stat("/etc", &s))
CALL(lstat_, struct stat s; lstat("/etc", &s))
CALL(fstat_, struct stat s; fstat(file, &s))
CALL(fstatat_, struct stat s; fstatat(AT_FDCWD, "/etc", &s, 0))
CALL(statx_, struct statx s; statx(AT_FDCWD, "/etc", 0, STATX_BASIC_STATS, &s))
CALL(stat_missing, struct stat s; stat("/none", &s))
CALL(open_close, close(open("/dev/null", O_RDONLY)))
CALL(openat_close, close(openat(AT_FDCWD, "/etc", O_RDONLY | O_DIRECTORY)))
CALL(access_, access("/etc", R_OK))
CALL(readlink_, readlink("/proc/self/cwd", buffer, 100); readlink("/etc/mtab", buffer, 100))
CALL(getcwd_, getcwd(buffer, 4096))
CALL(chdir_, chdir(working))
CALL(getdents64_, lseek(directory, 0, SEEK_SET); syscall(SYS_getdents64, directory, buffer, 32768))
CALL(create_unlink, close(open(path, O_CREAT | O_RDWR, 0600)); unlink(path))
CALL(mkdir_rmdir, mkdir(path, 0700); rmdir(path))
CALL(rename_, close(open(path, O_CREAT | O_RDWR, 0600)); rename(path, path))
CALL(chmod_, fchmod(file, 0600))
CALL(utimensat_, futimens(file, NULL))
CALL(tcgets_error, struct termios t; tcgetattr(null, &t))
CALL(tcgets_, struct termios t; tcgetattr(pty, &t))
CALL(tiocgwinsz_, struct winsize w; ioctl(pty, TIOCGWINSZ, &w))
CALL(fionread_, int n; ioctl(ends[0], FIONREAD, &n))
CALL(fcntl_getfl, fcntl(ends[0], F_GETFL))
CALL(fcntl_setfl, fcntl(ends[0], F_SETFL, 0))
CALL(fcntl_getfd, fcntl(ends[0], F_GETFD))
CALL(fcntl_setfd, fcntl(ends[0], F_SETFD, 0))
CALL(fcntl_dupfd, close(fcntl(ends[0], F_DUPFD, 10)))
CALL(fcntl_setlk,
     struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
     fcntl(file, F_SETLK, &l); l.l_type = F_UNLCK; fcntl(file, F_SETLK, &l))
CALL(dup_close, close(dup(null)))
CALL(dup2_, dup2(null, 60))
CALL(dup3_, dup3(null, 61, O_CLOEXEC))
CALL(pipe_close, int p[2]; pipe(p); close(p[0]); close(p[1]))
CALL(pipe2_close, int p[2]; pipe2(p, O_CLOEXEC); close(p[0]); close(p[1]))
CALL(poll_, struct pollfd p[2] = {{zero, POLLIN}, {ends[0], POLLIN}}; poll(p, 2, 100))
CALL(poll_0, struct pollfd p = {ends[0], POLLIN}; poll(&p, 1, 0))
CALL(ppoll_, struct pollfd p = {zero, POLLIN}; struct timespec t = {1, 0}; ppoll(&p, 1, &t, NULL))
CALL(ppoll_mask,
     struct pollfd p = {zero, POLLIN}; sigset_t s; sigemptyset(&s); ppoll(&p, 1, NULL, &s))
CALL(select_, fd_set s; FD_ZERO(&s); FD_SET(zero, &s); select(zero + 1, &s, NULL, NULL, NULL))
CALL(select_0,
     fd_set s; struct timeval t = {0, 0}; FD_ZERO(&s); FD_SET(ends[0], &s);
     select(ends[0] + 1, &s, NULL, NULL, &t))
CALL(pselect_mask,
     fd_set s; sigset_t m; sigemptyset(&m); FD_ZERO(&s); FD_SET(zero, &s);
     pselect(zero + 1, &s, NULL, NULL, NULL, &m))
CALL(epoll_wait_, struct epoll_event e; epoll_wait(epoll, &e, 1, -1))
CALL(epoll_ctl_,
     struct epoll_event e = {.events = EPOLLIN}; epoll_ctl(epoll, EPOLL_CTL_MOD, event, &e))
CALL(sendto_recvfrom,
     sendto(pair[0], buffer, 10, 0, NULL, 0); recvfrom(pair[1], buffer, 10, 0, NULL, NULL))
CALL(sendmsg_recvmsg,
     struct iovec v = {buffer, 10}; struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
     sendmsg(pair[0], &m, 0); recvmsg(pair[1], &m, 0))
CALL(sendmsg_rights,
     char control[CMSG_SPACE(4)] = {0}; struct iovec v = {buffer, 1};
     struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control};
     m.msg_controllen = sizeof control;
     struct cmsghdr *c = CMSG_FIRSTHDR(&m); c->cmsg_level = SOL_SOCKET;
     c->cmsg_type = SCM_RIGHTS; c->cmsg_len = CMSG_LEN(4); memcpy(CMSG_DATA(c), &null, 4);
     sendmsg(pair[0], &m, 0); m.msg_controllen = sizeof control; recvmsg(pair[1], &m, 0);
     int fd; memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), 4); close(fd))
CALL(recvmsg_empty,
     struct iovec v = {buffer, 10}; struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
     recvmsg(pair[1], &m, MSG_DONTWAIT))
CALL(socketpair_, int p[2]; socketpair(AF_UNIX, SOCK_STREAM, 0, p); close(p[0]); close(p[1]))
CALL(getsockopt_,
     int v; socklen_t l = sizeof v; getsockopt(pair[0], SOL_SOCKET, SO_ERROR, &v, &l))
CALL(setsockopt_, int v = 1; setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &v, sizeof v); v = 0;
     setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &v, sizeof v))
CALL(getsockname_,
     struct sockaddr_storage a; socklen_t l = sizeof a; getsockname(pair[0], (void *)&a, &l))
CALL(futex_wake, static int word; syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0))
CALL(futex_wait_again,
     static int word; syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0))
CALL(sched_yield_, sched_yield())
CALL(sched_getaffinity_, cpu_set_t s; sched_getaffinity(0, sizeof s, &s))
CALL(prctl_, char name[16]; prctl(PR_GET_NAME, name))
CALL(set_robust_list_, syscall(SYS_set_robust_list, buffer, 3 * sizeof(long)))
CALL(getrandom_, getrandom(buffer, 16, 0))
CALL(uname_, struct utsname u; uname(&u))
CALL(getrlimit_, struct rlimit r; getrlimit(RLIMIT_STACK, &r))
CALL(eventfd_, uint64_t v = 1; write(event, &v, 8); read(event, &v, 8); write(event, &v, 8))
CALL(timerfd_settime_, struct itimerspec t = {{0, 0}, {100, 0}}; timerfd_settime(timer, 0, &t, NULL))
CALL(timerfd_gettime_, struct itimerspec t; timerfd_gettime(timer, &t))
CALL(setitimer_, struct itimerval t = {{0, 0}, {100, 0}}; setitimer(ITIMER_REAL, &t, NULL))
CALL(alarm_, alarm(100))
CALL(mmap_munmap, munmap(mmap(NULL, 65536, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 65536))
CALL(mmap_file, munmap(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, file, 0), 4096))
CALL(mprotect_, mprotect(page, 4096, PROT_READ); mprotect(page, 4096, PROT_READ | PROT_WRITE))
CALL(mremap_,
     growing = mremap(growing, 65536, 131072, MREMAP_MAYMOVE);
     growing = mremap(growing, 131072, 65536, MREMAP_MAYMOVE))
CALL(madvise_, madvise(page, 65536, MADV_DONTNEED))
CALL(brk_query, syscall(SYS_brk, 0))
CALL(brk_grow, sbrk(65536); sbrk(-65536))
CALL(sigaction_, struct sigaction a; sigaction(SIGUSR1, NULL, &a))
CALL(sigaction_set, signal(SIGUSR2, SIG_IGN); signal(SIGUSR2, SIG_DFL))
CALL(sigaction_handler, signal(SIGUSR2, handler))
CALL(sigprocmask_, sigset_t s; sigprocmask(SIG_BLOCK, NULL, &s))
CALL(sigprocmask_set,
     sigset_t s; sigset_t o; sigemptyset(&s); sigaddset(&s, SIGUSR2);
     sigprocmask(SIG_BLOCK, &s, &o); sigprocmask(SIG_SETMASK, &o, NULL))
CALL(sigaltstack_, stack_t s; sigaltstack(NULL, &s))
CALL(sigpending_, sigset_t s; sigpending(&s))
CALL(kill_0, kill(getpid(), 0))
CALL(kill_handler, kill(getpid(), SIGUSR1))
CALL(tgkill_handler_info, syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGWINCH))
CALL(fault_handler, mprotect(page, 4096, PROT_NONE); *(volatile char *)page = 1)
CALL(fork_wait, if (!fork()) _exit(0); wait(NULL))
CALL(vfork_wait, if (!vfork()) _exit(0); wait(NULL))
CALL(vfork_exec, if (!vfork()) { execl("/bin/true", "true", NULL); _exit(1); } wait(NULL))
CALL(wait_none, waitpid(-1, NULL, WNOHANG))
CALL(thread_join, pthread_t t; pthread_create(&t, NULL, thread, NULL); pthread_join(t, NULL))

static void fault(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)info, (void)context;
    mprotect(page, 4096, PROT_READ | PROT_WRITE);
}

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static const struct { const char *name; void (*run)(unsigned); } calls[] = {
    {"getpid", getpid_},
    {"getppid", getppid_},
    {"gettid", gettid_},
    {"getuid", getuid_},
    {"umask", umask_},
    {"read_zero_1", read_zero_1},
    {"read_zero_4k", read_zero_4k},
    {"read_zero_64k", read_zero_64k},
    {"write_null_1", write_null_1},
    {"write_null_4k", write_null_4k},
    {"write_null_64k", write_null_64k},
    {"pipe_1", pipe_1},
    {"pipe_4k", pipe_4k},
    {"writev", writev_},
    {"readv", readv_},
    {"lseek", lseek_},
    {"pread", pread_},
    {"pwrite", pwrite_},
    {"ftruncate", ftruncate_},
    {"clock_gettime", clock_gettime_},
    {"gettimeofday", gettimeofday_},
    {"time", time_},
    {"times", times_},
    {"getrusage", getrusage_},
    {"clock_getres", clock_getres_},
    {"nanosleep_0", nanosleep_0},
    {"clock_nanosleep_0", clock_nanosleep_0},
    {"stat", stat_},
    {"lstat", lstat_},
    {"fstat", fstat_},
    {"fstatat", fstatat_},
    {"statx", statx_},
    {"stat_missing", stat_missing},
    {"open_close", open_close},
    {"openat_close", openat_close},
    {"access", access_},
    {"readlink", readlink_},
    {"getcwd", getcwd_},
    {"chdir", chdir_},
    {"getdents64", getdents64_},
    {"create_unlink", create_unlink},
    {"mkdir_rmdir", mkdir_rmdir},
    {"rename", rename_},
    {"chmod", chmod_},
    {"utimensat", utimensat_},
    {"tcgets_error", tcgets_error},
    {"tcgets", tcgets_},
    {"tiocgwinsz", tiocgwinsz_},
    {"fionread", fionread_},
    {"fcntl_getfl", fcntl_getfl},
    {"fcntl_setfl", fcntl_setfl},
    {"fcntl_getfd", fcntl_getfd},
    {"fcntl_setfd", fcntl_setfd},
    {"fcntl_dupfd", fcntl_dupfd},
    {"fcntl_setlk", fcntl_setlk},
    {"dup_close", dup_close},
    {"dup2", dup2_},
    {"dup3", dup3_},
    {"pipe_close", pipe_close},
    {"pipe2_close", pipe2_close},
    {"poll", poll_},
    {"poll_0", poll_0},
    {"ppoll", ppoll_},
    {"ppoll_mask", ppoll_mask},
    {"select", select_},
    {"select_0", select_0},
    {"pselect_mask", pselect_mask},
    {"epoll_wait", epoll_wait_},
    {"epoll_ctl", epoll_ctl_},
    {"sendto_recvfrom", sendto_recvfrom},
    {"sendmsg_recvmsg", sendmsg_recvmsg},
    {"sendmsg_rights", sendmsg_rights},
    {"recvmsg_empty", recvmsg_empty},
    {"socketpair", socketpair_},
    {"getsockopt", getsockopt_},
    {"setsockopt", setsockopt_},
    {"getsockname", getsockname_},
    {"futex_wake", futex_wake},
    {"futex_wait_again", futex_wait_again},
    {"sched_yield", sched_yield_},
    {"sched_getaffinity", sched_getaffinity_},
    {"prctl", prctl_},
    {"set_robust_list", set_robust_list_},
    {"getrandom", getrandom_},
    {"uname", uname_},
    {"getrlimit", getrlimit_},
    {"eventfd", eventfd_},
    {"timerfd_settime", timerfd_settime_},
    {"timerfd_gettime", timerfd_gettime_},
    {"setitimer", setitimer_},
    {"alarm", alarm_},
    {"mmap_munmap", mmap_munmap},
    {"mmap_file", mmap_file},
    {"mprotect", mprotect_},
    {"mremap", mremap_},
    {"madvise", madvise_},
    {"brk_query", brk_query},
    {"brk_grow", brk_grow},
    {"sigaction", sigaction_},
    {"sigaction_set", sigaction_set},
    {"sigaction_handler", sigaction_handler},
    {"sigprocmask", sigprocmask_},
    {"sigprocmask_set", sigprocmask_set},
    {"sigaltstack", sigaltstack_},
    {"sigpending", sigpending_},
    {"kill_0", kill_0},
    {"kill_handler", kill_handler},
    {"tgkill_handler_info", tgkill_handler_info},
    {"fault_handler", fault_handler},
    {"fork_wait", fork_wait},
    {"vfork_wait", vfork_wait},
    {"vfork_exec", vfork_exec},
    {"wait_none", wait_none},
    {"thread_join", thread_join},
};

static void prepare(void)
{
    struct sigaction fix = {.sa_sigaction = fault, .sa_flags = SA_SIGINFO};
    struct sigaction info = {.sa_sigaction = handler_info, .sa_flags = SA_SIGINFO};
    struct epoll_event added = {.events = EPOLLIN};
    zero = open("/dev/zero", O_RDONLY);
    null = open("/dev/null", O_RDWR);
    pty = posix_openpt(O_RDWR | O_NOCTTY);
    file = memfd_create("file", 0);
    directory = open("/etc", O_RDONLY | O_DIRECTORY);
    event = eventfd(1, 0);
    timer = timerfd_create(CLOCK_MONOTONIC, 0);
    epoll = epoll_create1(0);
    snprintf(path, sizeof path, "/tmp/each_call-%d", (int)getpid());
    page = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    growing = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (zero < 0 || null < 0 || file < 0 || pipe(ends) || !getcwd(working, sizeof working)
        || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) || ftruncate(file, 65536)
        || epoll_ctl(epoll, EPOLL_CTL_ADD, event, &added))
        exit(1);
    sigaction(SIGSEGV, &fix, NULL);
    sigaction(SIGWINCH, &info, NULL);
    signal(SIGUSR1, handler);
}

static int wanted(const char *name, int argc, char **argv)
{
    for (int i = 2; i < argc; i++)
        if (!strncmp(name, argv[i], strlen(argv[i])))
            return 1;
    return argc <= 2;
}

int main(int argc, char **argv)
{
    uint64_t least = 1000000ull * (argc > 1 ? strtoul(argv[1], NULL, 0) : 50);
    prepare();
    for (unsigned i = 0; i < sizeof calls / sizeof *calls; i++) {
        if (!wanted(calls[i].name, argc, argv))
            continue;
        uint64_t taken = 0;
        unsigned rounds = 1;
        /* The first run makes what the emulator makes once. */
        calls[i].run(1);
        for (;; rounds *= 2) {
            uint64_t start = now();
            calls[i].run(rounds);
            taken = now() - start;
            if (taken >= least)
                break;
        }
        printf("%s %u\n", calls[i].name, (unsigned)(taken / rounds));
        fflush(stdout);
    }
    unlink(path);
    return 0;
}
