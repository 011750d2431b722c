/* Calls whose lines in a log of system calls are compared with what strace writes natively. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
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
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static void handler(int signal) {}

static void files(void)
{
    char buffer[200];
    struct iovec vector[2] = {{buffer, 5}, {buffer + 5, 3}};
    int fd, ends[2];
    openat(AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    fd = openat(AT_FDCWD, "traced", O_RDWR | O_CREAT | O_TRUNC, 0640);
    openat(AT_FDCWD, "/none\n\t\"\\\1\x80z7", O_RDONLY);
    write(fd, "hello\n\0\1\0019\377", 11);
    memset(buffer, 'a', 200);
    write(fd, buffer, 100);
    pread(fd, buffer, 50, 3);
    read(-1, buffer, 1);
    read(fd, (void *)1, 1);
    writev(fd, vector, 2);
    fcntl(fd, F_SETFL, O_APPEND | O_NONBLOCK);
    fcntl(fd, F_GETFD);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    fcntl(fd, F_DUPFD, 50);
    ftruncate(fd, 50);
    fchmod(fd, 0600);
    fsync(fd);
    pipe2(ends, O_CLOEXEC);
    access("/none", R_OK | W_OK);
    mkdir("/none/x", 0755);
    unlink("/none/x");
    rename("/none/a", "/none/b");
    symlink("a", "/none/c");
    readlink("/none", buffer, 10);
    syscall(SYS_getcwd, buffer, 1);
    syscall(SYS_statx, AT_FDCWD, "/none", AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, buffer);
    ioctl(fd, TCGETS, buffer);
    getxattr("/none", "user.x", buffer, 10);
    unlink("traced");
}

static void waiting(void)
{
    int ends[2], epoll;
    pipe2(ends, 0);
    struct pollfd polled[2] = {{ends[0], POLLIN}, {ends[1], POLLOUT | POLLIN}};
    struct epoll_event event = {EPOLLIN | EPOLLET, {.u64 = 0x500000005}};
    poll(polled, 2, 0);
    poll(polled, 1, 10);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event);
    write(ends[1], "x", 1);
    epoll_wait(epoll, &event, 4, -1);
    eventfd(3, EFD_NONBLOCK);
    timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
}

static void sockets(void)
{
    char buffer[100] = "message";
    int internet = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDP), one = 1, pair[2];
    int local = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_in address = {AF_INET, htons(0), {htonl(INADDR_LOOPBACK)}};
    struct sockaddr_un name = {AF_UNIX, "/none/socket"};
    struct iovec vector = {buffer, 5};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    socklen_t size = sizeof one;
    bind(internet, (void *)&address, sizeof address);
    setsockopt(internet, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    getsockopt(internet, SOL_SOCKET, SO_REUSEADDR, &one, &size);
    setsockopt(internet, SOL_SOCKET, 12345, &one, sizeof one);
    connect(local, (void *)&name, sizeof name);
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    sendto(pair[0], "hi", 2, MSG_NOSIGNAL, NULL, 0);
    recvfrom(pair[1], buffer, 10, MSG_DONTWAIT, NULL, NULL);
    sendmsg(pair[0], &message, 0);
    recvmsg(pair[1], &message, 0);
    shutdown(pair[0], SHUT_RDWR);
}

static void signals(void)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    sigset_t set;
    sigaddset(&action.sa_mask, SIGUSR2);
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGUSR1, NULL, &action);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    sigprocmask(SIG_UNBLOCK, &set, &set);
    kill(getpid(), SIGUSR1);
}

static void others(useconds_t wait)
{
    struct timespec soon = {0, 1000};
    struct rlimit limit;
    int status;
    mprotect((void *)1, 4096, PROT_NONE);
    munmap((void *)1, 4096);
    madvise((void *)0x10000, 4096, MADV_DONTNEED);
    syscall(SYS_prlimit64, 0, RLIMIT_CORE, NULL, &limit);
    umask(022);
    getuid();
    setpgid(0, 0);
    sched_yield();
    wait4(-1, &status, WNOHANG, NULL);
    if (!fork()) {
        usleep(wait); /* the parent waits by then */
        _exit(3);
    }
    wait4(-1, &status, 0, NULL);
}

int main(int argc, char **argv)
{
    files();
    waiting();
    sockets();
    signals();
    others(argc > 1 ? 1000 * atoi(argv[1]) : 0);
    raise(SIGTERM);
}
