/* Makes calls several times: the first time Pemu's Python makes one, then its native code does.
 * Prints what each round found; every round must find the same. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BAD ((void *)16)
#define SHOW(call) show(#call, (long)(call))

static void show(const char *name, long result)
{
    if (result == -1)
        printf("  %s: %s\n", name, strerrorname_np(errno));
    else
        printf("  %s: %ld\n", name, result);
}

static void show_stat(const char *name, int result, const struct stat *s)
{
    if (result) {
        printf("  %s: %s\n", name, strerrorname_np(errno));
        return;
    }
    printf("  %s: mode %o links %ld uid %ld size %lld rdev %lx blksize %ld mtime %ld.%09ld\n", name,
           s->st_mode, (long)s->st_nlink, (long)s->st_uid, (long long)s->st_size, (long)s->st_rdev,
           (long)s->st_blksize, (long)s->st_mtim.tv_sec, s->st_mtim.tv_nsec);
}

static void files(const char *path)
{
    struct stat s;
    struct statx x;
    struct timespec times[2] = {{1000000001, 123456789}, {1234567890, 987654321}};
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0640);
    SHOW(fd >= 0);
    SHOW((fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK | O_SYNC)) == (O_RDWR | O_APPEND));
    SHOW(fcntl(fd, F_GETFD));
    SHOW(fcntl(fd, F_SETFD, 0));
    SHOW(fcntl(fd, F_SETFL, O_NONBLOCK));
    SHOW((fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK)) == (O_RDWR | O_NONBLOCK));
    SHOW(write(fd, "0123456789", 10));
    SHOW(futimens(fd, times));
    show_stat("stat", stat(path, &s), &s);
    show_stat("lstat", lstat(path, &s), &s);
    show_stat("fstat", fstat(fd, &s), &s);
    show_stat("fstatat", fstatat(AT_FDCWD, path, &s, 0), &s);
    show_stat("stat /dev/null", stat("/dev/null", &s), &s);
    show_stat("none", stat("/nonexistent/file", &s), &s);
    show_stat("bad path", stat(BAD, &s), &s);
    SHOW(syscall(SYS_statx, AT_FDCWD, path, 0, STATX_ALL, BAD));
    show_stat("bad descriptor", fstat(-1, &s), &s);
    SHOW(statx(AT_FDCWD, path, 0, STATX_ALL, &x));
    printf("  %o %llu %lld.%09u %u\n", x.stx_mode, (unsigned long long)x.stx_size,
           (long long)x.stx_mtime.tv_sec, x.stx_mtime.tv_nsec, x.stx_blksize);
    SHOW(access(path, R_OK));
    SHOW(access("/nonexistent", R_OK));
    SHOW(lseek(fd, 3, SEEK_SET));
    SHOW(lseek(fd, -100, SEEK_CUR));
    char buffer[64] = "", other[64] = "";
    struct iovec two[2] = {{buffer, 4}, {other, 60}};
    SHOW(readv(fd, two, 2));
    printf("  %s %s\n", buffer, other);
    SHOW(preadv(fd, two, 2, 5));
    printf("  %s %s\n", buffer, other);
    SHOW(pread(fd, buffer, 3, 7));
    SHOW(pwrite(fd, "xyz", 3, 1L << 20));
    two[0].iov_base = BAD;
    SHOW(readv(fd, two, 1));
    SHOW(readv(fd, BAD, 1));
    SHOW(readv(fd, two, -1));
    SHOW(readv(fd, two, 100000));
    two[0] = (struct iovec){"ab", 2}, two[1] = (struct iovec){"cde", 3};
    SHOW(pwritev(fd, two, 2, 100));
    SHOW(writev(fd, two, 2));
    SHOW(lseek(fd, 0, SEEK_END));
    SHOW(ftruncate(fd, 7));
    SHOW(open(path, O_WRONLY | O_CREAT | O_EXCL, 0600));
    SHOW(open("/nonexistent/file", O_RDONLY));
    SHOW(open(path, O_RDONLY | O_DIRECTORY));
    SHOW(mkdir(path, 0700));
    SHOW(rename(path, "/nonexistent/file"));
    SHOW(close(fd));
    SHOW(close(fd));
    SHOW(unlink(path));
    SHOW(readlink("/dev/fd", buffer, sizeof buffer));
    SHOW(getcwd(BAD, 10) == NULL ? -1 : 0);
}

static void waiting(void)
{
    int ends[2], far, epoll = epoll_create1(0);
    struct timespec zero = {0, 0}, little = {0, 1000000}, wrong = {0, 2000000000};
    struct timeval none = {0, 0}, some = {0, 1000};
    SHOW(pipe(ends));
    far = fcntl(ends[0], F_DUPFD, 100);
    SHOW(far);
    struct pollfd polled[3] = {{ends[0], POLLIN, 7}, {ends[1], POLLOUT | POLLIN, 7}, {-1, POLLIN, 7}};
    SHOW(poll(polled, 3, 0));
    printf("  %x %x %x\n", polled[0].revents, polled[1].revents, polled[2].revents);
    polled[1].events = POLLWRNORM;
    SHOW(poll(polled, 2, 0));
    printf("  %d\n", polled[1].revents & POLLWRNORM ? 1 : 0);
    SHOW(poll(polled, 1, 1));
    SHOW(ppoll(polled, 1, &zero, NULL));
    SHOW(ppoll(polled, 1, &little, NULL));
    SHOW(ppoll(polled, 1, &wrong, NULL));
    SHOW(poll(BAD, 2, 0));
    fd_set in, out;
    FD_ZERO(&in);
    FD_ZERO(&out);
    FD_SET(far, &in);
    FD_SET(ends[1], &out);
    SHOW(select(far + 1, &in, &out, NULL, &none));
    SHOW(FD_ISSET(far, &in) * 2 + FD_ISSET(ends[1], &out));
    FD_SET(far, &in);
    SHOW(select(far + 1, &in, NULL, NULL, &some));
    struct epoll_event event = {EPOLLIN, {.u64 = 0x123456789abcdef0}}, events[4];
    SHOW(epoll_ctl(epoll, EPOLL_CTL_ADD, far, &event));
    SHOW(epoll_ctl(epoll, EPOLL_CTL_ADD, far, &event));
    SHOW(epoll_wait(epoll, events, 4, 0));
    SHOW(epoll_wait(epoll, events, 4, 1));
    SHOW(write(ends[1], "abc", 3));
    FD_SET(far, &in);
    SHOW(select(far + 1, &in, NULL, NULL, NULL));
    SHOW(FD_ISSET(far, &in) != 0);
    SHOW(pselect(far + 1, &in, NULL, NULL, &zero, NULL));
    SHOW(poll(polled, 1, -1));
    SHOW(epoll_wait(epoll, events, 4, -1));
    printf("  %x %llx\n", events[0].events, (unsigned long long)events[0].data.u64);
    SHOW(epoll_pwait(epoll, events, 1, 1000, NULL));
    SHOW(epoll_wait(epoll, events, 0, 0));
    SHOW(epoll_wait(epoll, BAD, 4, 0));
    SHOW(epoll_ctl(epoll, EPOLL_CTL_DEL, far, NULL));
    int count = 0;
    SHOW(ioctl(ends[0], FIONREAD, &count));
    SHOW(count);
    SHOW(ioctl(ends[0], FIONREAD, BAD));
    count = 1;
    SHOW(ioctl(ends[0], FIONBIO, &count));
    SHOW(fcntl(ends[0], F_GETFL) == O_NONBLOCK);
    SHOW(isatty(ends[0]) ? 1 : -1);
    close(ends[0]), close(ends[1]), close(far), close(epoll);
}

static void sockets(void)
{
    int pair[2];
    char buffer[100] = "", more[100] = "";
    SHOW(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
    struct iovec two[2] = {{"hello", 5}, {" there", 7}};
    struct msghdr message = {.msg_iov = two, .msg_iovlen = 2};
    SHOW(sendmsg(pair[0], &message, 0));
    two[0] = (struct iovec){buffer, 3}, two[1] = (struct iovec){more, 100};
    message.msg_flags = -1, message.msg_controllen = 77;
    SHOW(recvmsg(pair[1], &message, 0));
    printf("  %s|%s|%x|%ld\n", buffer, more, message.msg_flags, (long)message.msg_controllen);
    SHOW(recvmsg(pair[1], &message, MSG_DONTWAIT));
    SHOW(sendmsg(pair[0], BAD, 0));
    SHOW(send(pair[0], "0123456789", 10, 0));
    two[1].iov_len = 2;
    SHOW(recvmsg(pair[1], &message, 0));
    SHOW(message.msg_flags == MSG_TRUNC);
    SHOW(send(pair[0], "0123456789", 10, 0));
    SHOW(recv(pair[1], buffer, 4, MSG_PEEK));
    SHOW(recv(pair[1], buffer, 40, 0));
    close(pair[0]), close(pair[1]);

    int one = socket(AF_INET, SOCK_DGRAM, 0), other = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}}, from;
    socklen_t size = sizeof address;
    SHOW(bind(one, (void *)&address, size));
    SHOW(getsockname(one, (void *)&address, &size));
    printf("  %d %s %d\n", address.sin_family, inet_ntoa(address.sin_addr), (int)size);
    SHOW(sendto(other, "ping", 4, 0, (void *)&address, size));
    SHOW(recvfrom(one, buffer, 100, 0, (void *)&from, &size));
    printf("  %d %s %d\n", from.sin_family, inet_ntoa(from.sin_addr), (int)size);
    two[0] = (struct iovec){"pong", 4};
    struct msghdr named = {&address, sizeof address, two, 1};
    SHOW(sendmsg(other, &named, 0));
    struct msghdr filled = {&from, sizeof from, two, 1};
    two[0] = (struct iovec){buffer, 100};
    from.sin_family = 0;
    SHOW(recvmsg(one, &filled, 0));
    printf("  %d %s %d\n", from.sin_family, inet_ntoa(from.sin_addr), (int)filled.msg_namelen);
    close(one), close(other);

    int listening = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un name = {AF_UNIX, ""};
    snprintf(name.sun_path + 1, 90, "pemu-test-%d", getpid());
    SHOW(bind(listening, (void *)&name, 2 + 1 + strlen(name.sun_path + 1)));
    SHOW(listen(listening, 1));
    SHOW(connect(client, (void *)&name, 2 + 1 + strlen(name.sun_path + 1)));
    int accepted = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    SHOW(fcntl(accepted, F_GETFD));
    SHOW((fcntl(accepted, F_GETFL) & O_NONBLOCK) != 0);
    struct sockaddr_un peer;
    socklen_t room = sizeof peer;
    SHOW(getpeername(client, (void *)&peer, &room));
    SHOW(peer.sun_family);
    close(listening), close(client), close(accepted);
}

static void others(void)
{
    static unsigned word = 0x01020304;
    struct timespec now, resolution;
    struct timeval day;
    struct rusage usage;
    SHOW(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0x01020305, NULL));
    SHOW(syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1));
    SHOW(syscall(SYS_futex, &word, FUTEX_WAIT_BITSET, 4, NULL, NULL, 1));
    SHOW(syscall(SYS_futex, &word, FUTEX_WAIT_BITSET, 4, NULL, NULL, 0));
    SHOW(syscall(SYS_futex, (char *)&word + 1, FUTEX_WAKE, 1));
    SHOW(syscall(SYS_futex, BAD, FUTEX_WAIT, 0, NULL));
    now.tv_sec = 0;
    SHOW(syscall(SYS_clock_gettime, CLOCK_REALTIME, &now));
    SHOW(syscall(SYS_gettimeofday, &day, NULL));
    SHOW(now.tv_sec == day.tv_sec || now.tv_sec + 1 == day.tv_sec);
    SHOW(syscall(SYS_clock_getres, CLOCK_MONOTONIC, &resolution));
    SHOW(resolution.tv_nsec);
    SHOW(syscall(SYS_clock_gettime, 77, &now));
    SHOW(syscall(SYS_clock_gettime, CLOCK_REALTIME, BAD));
    SHOW(getrusage(RUSAGE_SELF, &usage));
    SHOW(usage.ru_maxrss > 0);
    /* Results in memory that is read-only, in two pages, half missing. */
    char *pages =
        mmap(NULL, 3 * 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct statx *split = (void *)(pages + 65536 - 64);
    SHOW(syscall(SYS_statx, AT_FDCWD, "/dev/null", 0, STATX_ALL, split));
    SHOW(split->stx_mode);
    SHOW(split->stx_rdev_minor);
    SHOW(mprotect(pages, 65536, PROT_READ));
    SHOW(syscall(SYS_statx, AT_FDCWD, "/dev/null", 0, STATX_ALL, pages));
    SHOW(syscall(SYS_statx, AT_FDCWD, "/dev/null", 0, STATX_ALL, split));
    SHOW(munmap(pages + 65536, 2 * 65536));
    char *path = pages + 65536 - 10;
    SHOW(mprotect(pages, 65536, PROT_READ | PROT_WRITE));
    SHOW(syscall(SYS_statx, AT_FDCWD, "/dev/null", 0, STATX_ALL, split));
    memcpy(path, "/dev/null", 10);
    SHOW(access(path, F_OK));
    memset(path, 'x', 10);
    SHOW(access(path, F_OK));
    munmap(pages, 65536);
}

static void on_alarm(int signo)
{
    (void)signo;
}

static void interrupted(void)
{
    struct sigaction action = {.sa_handler = on_alarm}, old;
    struct itimerval soon = {{.tv_usec = 100000}, {.tv_usec = 100000}}, never = {{0}};
    struct timespec long_time = {.tv_sec = 100};
    struct pollfd item = {.events = POLLIN};
    char byte;
    int ends[2];

    pipe(ends);
    item.fd = ends[0];
    sigaction(SIGALRM, &action, &old);
    setitimer(ITIMER_REAL, &soon, NULL);
    SHOW(read(ends[0], &byte, 1));
    SHOW(poll(&item, 1, -1));
    SHOW(nanosleep(&long_time, NULL));
    action.sa_flags = SA_RESTART;
    sigaction(SIGALRM, &action, NULL);
    SHOW(poll(&item, 1, -1));
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &old, NULL);
    close(ends[0]);
    close(ends[1]);
}

static volatile sig_atomic_t alarms;
static void count_alarm(int signal) { alarms++; }

/* Waiting under another mask: what has happened already comes first, then signals. */
static void masked_waiting(void)
{
    int ends[2], epoll = epoll_create1(EPOLL_CLOEXEC);
    sigset_t none, blocked, old;
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 7};
    struct timespec zero = {0, 0};
    fd_set in;
    SHOW(pipe2(ends, O_NONBLOCK));
    SHOW(fcntl(ends[0], F_GETFD));
    SHOW((fcntl(ends[1], F_GETFL) & O_NONBLOCK) != 0);
    SHOW(pipe2(BAD, 0));
    SHOW(pipe2(ends, 0x12345678));
    SHOW(epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event));
    struct pollfd polled[2] = {{ends[0], POLLIN}, {ends[1], POLLOUT}};
    signal(SIGALRM, count_alarm);
    sigemptyset(&none);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGALRM);
    SHOW(sigprocmask(SIG_BLOCK, &blocked, &old));
    SHOW(raise(SIGALRM));
    SHOW(ppoll(polled, 2, NULL, &none));
    SHOW(alarms);
    SHOW(ppoll(polled, 1, &zero, &blocked));
    SHOW(alarms);
    SHOW(ppoll(polled, 1, NULL, &none));
    SHOW(alarms);
    SHOW(raise(SIGALRM));
    SHOW(write(ends[1], "x", 1));
    SHOW(epoll_pwait(epoll, &event, 1, -1, &none));
    SHOW(event.data.u64);
    FD_ZERO(&in);
    FD_SET(ends[0], &in);
    SHOW(pselect(ends[0] + 1, &in, NULL, NULL, NULL, &none));
    SHOW(FD_ISSET(ends[0], &in) != 0);
    SHOW(alarms);
    SHOW(read(ends[0], &in, 1));
    SHOW(epoll_pwait(epoll, &event, 1, -1, &none));
    SHOW(alarms);
    SHOW(raise(SIGALRM));
    SHOW(pselect(ends[0] + 1, &in, NULL, NULL, NULL, &none));
    SHOW(alarms);
    SHOW(syscall(SYS_ppoll, polled, 2, NULL, BAD, _NSIG / 8));
    SHOW(syscall(SYS_ppoll, polled, 2, NULL, &none, 3));
    SHOW(sigprocmask(SIG_SETMASK, &old, NULL));
    alarms = 0;
    close(ends[0]);
    close(ends[1]);
    close(epoll);
}

static void locks(const char *path)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 20};
    int fd = open(path, O_RDWR | O_CREAT, 0600), status;
    SHOW(fcntl(fd, F_SETLK, &lock));
    pid_t child = fork();
    if (!child) {
        lock.l_start = 15;
        int failed = fcntl(fd, F_SETLK, &lock) == -1 && errno == EAGAIN;
        int found = fcntl(fd, F_GETLK, &lock) == 0 && lock.l_pid == getppid() && lock.l_start == 10;
        lock.l_type = F_WRLCK;
        lock.l_start = 100;
        _exit(failed | found << 1 | (fcntl(fd, F_SETLKW, &lock) == 0) << 2);
    }
    waitpid(child, &status, 0);
    SHOW(WEXITSTATUS(status));
    lock.l_type = F_UNLCK;
    SHOW(fcntl(fd, F_SETLK, &lock));
    lock.l_type = 77;
    SHOW(fcntl(fd, F_SETLKW, &lock));
    SHOW(fcntl(fd, F_SETLK, BAD));
    SHOW(fcntl(fd, F_SETLK, NULL));
    SHOW(isatty(fd));
    SHOW(isatty(77));
    close(fd);
    unlink(path);
}

static void advice(void)
{
    char *pages = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    strcpy(pages + 8192, "kept");
    SHOW(madvise(pages, 8192, MADV_DONTNEED));
    SHOW(pages[8192]);
    SHOW(madvise(pages + 8192, 100, MADV_DONTNEED));
    SHOW(pages[8192]);
    SHOW(madvise(pages + 1, 100, MADV_DONTNEED));
    SHOW(madvise(pages, 0, MADV_DONTNEED));
    SHOW(madvise(pages, 4096, 12345));
    munmap(pages + 32768, 4096);
    SHOW(madvise(pages, 65536, MADV_DONTNEED));
    munmap(pages, 65536);
    SHOW(madvise(pages, 65536, MADV_DONTNEED));
}

static void show_option(const char *name, int fd, int level, int option, socklen_t size)
{
    unsigned char value[16];
    memset(value, 0x55, sizeof value);
    int result = getsockopt(fd, level, option, value, &size), number;
    memcpy(&number, value, 4);
    printf("  %s: %s %u %#x %x\n", name, result ? strerrorname_np(errno) : "fine", size,
           size < 4 ? 0 : number, value[4]);
}
#define OPTION(fd, level, option, size) show_option(#option, fd, level, option, size)

static void options(void)
{
    int one = 1, zero = 0, pair[2], tcp = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in nobody = {.sin_family = AF_INET, .sin_port = htons(1)};
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    nobody.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    OPTION(tcp, SOL_SOCKET, SO_ACCEPTCONN, 4);
    OPTION(tcp, SOL_SOCKET, SO_REUSEADDR, 4);
    SHOW(setsockopt(tcp, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one));
    OPTION(tcp, SOL_SOCKET, SO_REUSEADDR, 4);
    OPTION(tcp, SOL_SOCKET, SO_REUSEADDR, 8);
    OPTION(tcp, SOL_SOCKET, SO_REUSEADDR, 0);
    OPTION(tcp, SOL_SOCKET, SO_DOMAIN, 4);
    OPTION(tcp, SOL_SOCKET, SO_LINGER, 8);
    OPTION(tcp, SOL_SOCKET, SO_ERROR, 4);
    OPTION(tcp, IPPROTO_TCP, TCP_NODELAY, 4);
    SHOW(setsockopt(tcp, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one));
    OPTION(tcp, IPPROTO_TCP, TCP_NODELAY, 4);
    OPTION(tcp, IPPROTO_IP, IP_TTL, 4);
    OPTION(tcp, SOL_SOCKET, 12345, 4);
    OPTION(tcp, 12345, 1, 4);
    OPTION(77, SOL_SOCKET, SO_ACCEPTCONN, 4);
    SHOW(setsockopt(tcp, SOL_SOCKET, SO_KEEPALIVE, BAD, sizeof one));
    SHOW(setsockopt(tcp, SOL_SOCKET, SO_KEEPALIVE, &one, 2));
    SHOW(setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &one, sizeof one));
    OPTION(pair[0], SOL_SOCKET, SO_PASSCRED, 4);
    SHOW(setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &zero, sizeof zero));
    fcntl(tcp, F_SETFL, O_NONBLOCK);
    connect(tcp, (void *)&nobody, sizeof nobody);
    struct pollfd end = {tcp, POLLOUT};
    poll(&end, 1, 1000000);
    socklen_t size = sizeof one;
    getsockopt(tcp, SOL_SOCKET, SO_ERROR, &one, &size);
    SHOW(one == ECONNREFUSED);
    OPTION(tcp, SOL_SOCKET, SO_ERROR, 4);
    close(pair[0]);
    close(pair[1]);
    close(tcp);
}

static void names(const char *path)
{
    struct utsname system;
    struct stat s;
    char name[17] = "";
    cpu_set_t set;
    struct timespec times[2] = {{1000000001, 123456789}, {0, UTIME_OMIT}};
    memset(&system, 0x55, sizeof system);
    SHOW(uname(&system));
    SHOW(strlen(system.sysname) && strlen(system.release) && strlen(system.machine));
    SHOW(system.machine[sizeof system.machine - 1]);
    SHOW(uname(BAD));
    SHOW(prctl(PR_SET_NAME, "a name that is too long for it"));
    SHOW(prctl(PR_GET_NAME, name));
    printf("  %s\n", name);
    SHOW(prctl(PR_SET_NAME, "repeated"));
    SHOW(prctl(PR_SET_NAME, BAD));
    SHOW(prctl(PR_GET_KEEPCAPS));
    SHOW(prctl(12345, 1, 2, 3, 4));
    memset(&set, 0x55, sizeof set);
    SHOW(sched_getaffinity(0, sizeof set, &set));
    SHOW(CPU_COUNT(&set) == sysconf(_SC_NPROCESSORS_ONLN));
    SHOW(sched_getaffinity(0, 0, &set));
    SHOW(sched_getaffinity(0, sizeof set, BAD));
    close(open(path, O_CREAT | O_RDWR, 0600));
    SHOW(utimensat(AT_FDCWD, path, times, 0));
    SHOW(stat(path, &s));
    printf("  %ld.%09ld\n", (long)s.st_atim.tv_sec, s.st_atim.tv_nsec);
    times[0].tv_nsec = 1000000000;
    SHOW(utimensat(AT_FDCWD, path, times, 0));
    SHOW(utimensat(AT_FDCWD, "/none", NULL, 0));
    unlink(path);
}

static void mappings(void)
{
    int private = MAP_PRIVATE | MAP_ANONYMOUS, file = memfd_create("file", 0);
    SHOW(ftruncate(file, 5000));
    SHOW(pwrite(file, "text", 4, 4096));
    char *start = mmap(NULL, 10000, PROT_READ | PROT_WRITE, private, -1, 0);
    SHOW(start[0] + start[9999]);
    strcpy(start, "kept");
    SHOW(mprotect(start, 4096, PROT_READ));
    SHOW(pread(file, start, 1, 0));
    SHOW(mprotect(start + 1, 4096, PROT_READ));
    SHOW(mprotect(start, 4096, 0x12340000));
    SHOW(mprotect(start, 4096, PROT_READ | PROT_WRITE));
    SHOW(start[0]);
    SHOW(munmap(start + 4096, 4096));
    SHOW(mprotect(start, 8192, PROT_READ));
    SHOW(write(file, start + 4096, 1));
    SHOW(munmap(start + 4096, 4096));
    SHOW(munmap(start, 0));
    SHOW(munmap(start + 1, 4096));
    SHOW(munmap(start, 12288));
    char *shared = mmap(NULL, 5000, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    char *second = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, file, 4096);
    SHOW(second[0]);
    shared[4096] = 'n';
    SHOW(second[0]);
    SHOW(munmap(shared, 5000));
    SHOW(munmap(second, 4096));
    SHOW(mmap(NULL, 0, PROT_READ, private, -1, 0) != MAP_FAILED);
    SHOW(mmap(NULL, 4096, PROT_READ, 0, -1, 0) != MAP_FAILED);
    SHOW(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, 77, 0) != MAP_FAILED);
    SHOW(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, file, 1) != MAP_FAILED);
    close(file);
    char *old = sbrk(0);
    SHOW(sbrk(10000) == old);
    old[9999] = 1;
    SHOW(sbrk(-10000) == old + 10000);
    SHOW(sbrk(10000) == old);
    SHOW(old[9999]);
    SHOW(brk(old));
    SHOW(brk((void *)4096));
}

static char alternate[65536];

static void show_stack(const char *name)
{
    stack_t found;
    memset(&found, 0x55, sizeof found);
    printf("  %s: ", name);
    if (sigaltstack(NULL, &found))
        printf("%s\n", strerrorname_np(errno));
    else
        printf("%d %d %d\n", found.ss_sp == alternate, found.ss_size == sizeof alternate,
               found.ss_flags);
}

static void on_stack(int signo)
{
    stack_t none = {.ss_flags = SS_DISABLE};
    show_stack("in a handler");
    SHOW(sigaltstack(&none, NULL));
}

static void stacks(void)
{
    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
    stack_t small = {.ss_sp = alternate, .ss_size = 100}, odd = {.ss_flags = 7};
    stack_t none = {.ss_flags = SS_DISABLE};
    struct sigaction action = {.sa_handler = on_stack, .sa_flags = SA_ONSTACK};
    show_stack("before");
    SHOW(sigaltstack(&small, NULL));
    SHOW(sigaltstack(&odd, NULL));
    SHOW(sigaltstack(&stack, NULL));
    show_stack("set");
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    show_stack("after");
    SHOW(sigaltstack(BAD, NULL));
    SHOW(sigaltstack(NULL, BAD));
    SHOW(sigaltstack(&none, &stack));
    SHOW(stack.ss_sp == alternate && stack.ss_flags == 0);
    show_stack("at the end");
    signal(SIGUSR1, SIG_DFL);
}

static void children(void)
{
    static const int signals[] = {SIGUSR1, SIGKILL, SIGPROF, SIGTERM, SIGPWR, 40, 0};
    struct rusage usage;
    int status;
    for (int i = 0; i < 7; i++) {
        pid_t child = fork();
        if (!child) {
            signal(signals[i], SIG_DFL);
            kill(getpid(), signals[i]);
            pause();
        }
        if (!signals[i]) {
            status = 0x1234;
            SHOW(wait4(-1, &status, WNOHANG, &usage));
            SHOW(status);
            kill(child, SIGSTOP);
            SHOW(waitpid(child, &status, WUNTRACED) == child);
            SHOW(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
            kill(child, SIGKILL);
        }
        memset(&usage, 0x55, sizeof usage);
        SHOW(wait4(child, &status, 0, &usage) == child);
        SHOW(WIFSIGNALED(status) && WTERMSIG(status) == (signals[i] ? signals[i] : SIGKILL));
        SHOW(usage.ru_utime.tv_sec + usage.ru_nsignals);
    }
    if (!fork())
        _exit(42);
    SHOW(wait4(-1, &status, 0, NULL) > 0);
    SHOW(status);
    SHOW(wait4(-1, &status, WNOHANG, NULL));
    SHOW(wait4(-1, BAD, WNOHANG, NULL));
    SHOW(wait4(-1, NULL, 0x12345, NULL));
}

int main(int argc, char **argv)
{
    char path[] = "/tmp/pemu-repeated-XXXXXX";
    close(mkstemp(path));
    unlink(path);
    for (int round = 0; round < 3; round++) {
        printf("round\n");
        files(path);
        waiting();
        sockets();
        others();
        interrupted();
        masked_waiting();
        locks(path);
        advice();
        options();
        names(path);
        mappings();
        stacks();
        children();
    }
    return 0;
}
