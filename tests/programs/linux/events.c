/* Timers, event descriptors, interrupted calls: what happens, not when. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t count;
static volatile int last_value, last_code;

static void say(const char *what, long value)
{
    printf("%s: %ld%s%s\n", what, value, value < 0 ? " " : "",
           value < 0 ? strerrorname_np(errno) : "");
}

static void handler(int number, siginfo_t *info, void *context)
{
    (void)number, (void)context;
    count++;
    last_value = info->si_value.sival_int;
    last_code = info->si_code;
}

static void handle(int number, int flags)
{
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags};
    sigaction(number, &action, 0);
}

static void after(int milliseconds)
{
    struct itimerval timer = {{0, 0}, {milliseconds / 1000, milliseconds % 1000 * 1000}};
    setitimer(ITIMER_REAL, &timer, 0);
}

/* Again and again: one that comes before the call waits must not be the only one. */
static void soon(void)
{
    struct itimerval timer = {{0, 20000}, {0, 20000}};
    setitimer(ITIMER_REAL, &timer, 0);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void interrupted(void)
{
    struct timespec request = {1000, 0}, left = {0, 0};
    handle(SIGALRM, 0);
    soon();
    say("nanosleep", nanosleep(&request, &left));
    printf("left %d\n", left.tv_sec >= 500 && left.tv_sec < 1000);
    soon();
    say("clock_nanosleep", -clock_nanosleep(CLOCK_REALTIME, 0, &request, 0) == -EINTR);
    struct pollfd none = {-1, 0, 0};
    soon();
    say("poll", poll(&none, 1, 1000000));
    struct timeval limit = {1000, 0};
    soon();
    say("select", select(0, 0, 0, 0, &limit));
    printf("left %d\n", limit.tv_sec >= 500 && limit.tv_sec < 1000);
    int ep = epoll_create1(0), pair[2];
    struct epoll_event event;
    soon();
    say("epoll_wait", epoll_wait(ep, &event, 1, 1000000));
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    char byte;
    soon();
    say("recv", recv(pair[0], &byte, 1, 0));
    after(0);
    handle(SIGALRM, SA_RESTART);
    if (!fork()) {
        usleep(60000);
        write(pair[1], "x", 1);
        _exit(0);
    }
    int before = count;
    after(20);
    say("restarted", recv(pair[0], &byte, 1, 0));
    while (count == before) /* on a busy machine the child may have been first */
        usleep(1000);
    printf("signals %d\n", count - before);
    wait(0);
    soon();
    say("select is not restarted", select(0, 0, 0, 0, &limit));
    signal(SIGALRM, SIG_IGN);
    after(10);
    request.tv_sec = 0;
    request.tv_nsec = 40000000;
    double start = now();
    say("ignored", nanosleep(&request, 0));
    printf("slept %d\n", now() - start >= 0.04);
    pid_t child = fork();
    if (!child) {
        double began = now();
        request.tv_nsec = 100000000;
        int result = nanosleep(&request, 0);
        _exit(result == 0 && now() - began >= 0.1 ? 7 : 8);
    }
    int status;
    usleep(30000);
    kill(child, SIGSTOP);
    waitpid(child, &status, WUNTRACED);
    kill(child, SIGCONT);
    waitpid(child, &status, 0);
    printf("stopped and continued %d\n", WEXITSTATUS(status));
}

static void masks(void)
{
    sigset_t blocked, open;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    sigprocmask(SIG_BLOCK, &blocked, &open);
    handle(SIGUSR1, 0);
    count = 0;
    raise(SIGUSR1);
    printf("blocked %d\n", count);
    struct timespec limit = {1000, 0};
    say("ppoll", ppoll(0, 0, &limit, &open));
    printf("delivered %d\n", count);
    raise(SIGUSR1);
    say("pselect", pselect(0, 0, 0, 0, &limit, &open));
    raise(SIGUSR1);
    struct epoll_event event;
    say("epoll_pwait", epoll_pwait(epoll_create1(0), &event, 1, 1000000, &open));
    printf("delivered %d\n", count);
    sigset_t present;
    sigprocmask(SIG_BLOCK, 0, &present);
    printf("still blocked %d\n", sigismember(&present, SIGUSR1));
    raise(SIGUSR1);
    limit.tv_sec = 0;
    say("not waiting", ppoll(0, 0, &limit, &blocked));
    sigprocmask(SIG_SETMASK, &open, 0);
    printf("delivered %d\n", count);
}

static void descriptors(void)
{
    uint64_t number = 0;
    int fd = eventfd(3, EFD_CLOEXEC);
    read(fd, &number, sizeof number);
    printf("eventfd %llu\n", (unsigned long long)number);
    number = 0x100000001ULL;
    write(fd, &number, sizeof number);
    number = 0;
    read(fd, &number, sizeof number);
    printf("eventfd %llx\n", (unsigned long long)number);
    struct itimerspec timer = {{0, 1000000}, {0, 1000000}}, left;
    fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    say("early", read(fd, &number, sizeof number));
    timerfd_settime(fd, 0, &timer, 0);
    usleep(5000);
    say("read", read(fd, &number, sizeof number));
    printf("expired %d\n", number >= 4);
    timerfd_gettime(fd, &left);
    printf("interval %ld\n", (long)left.it_interval.tv_nsec);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGRTMIN + 3);
    sigprocmask(SIG_BLOCK, &set, 0);
    fd = signalfd(-1, &set, SFD_NONBLOCK);
    struct signalfd_siginfo info;
    say("none", read(fd, &info, sizeof info));
    kill(getpid(), SIGUSR2);
    read(fd, &info, sizeof info);
    printf("signal %d from %d\n", info.ssi_signo == SIGUSR2, (int)info.ssi_pid == getpid());
    union sigval value = {.sival_int = 77};
    sigqueue(getpid(), SIGRTMIN + 3, value);
    read(fd, &info, sizeof info);
    printf("queued %d %d %d\n", (int)info.ssi_signo == SIGRTMIN + 3, info.ssi_int,
           info.ssi_code == SI_QUEUE);
    pid_t child = fork();
    if (!child)
        _exit(9);
    struct pollfd one = {fd, POLLIN, 0};
    say("poll", poll(&one, 1, 1000000));
    read(fd, &info, sizeof info);
    printf("child %d %d %d\n", info.ssi_signo == SIGCHLD, (int)info.ssi_pid == child,
           info.ssi_status);
    wait(0);
}

static void expired(union sigval value)
{
    last_value = value.sival_int;
    count++;
}

static void timers(void)
{
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 1};
    struct itimerspec spec = {{0, 0}, {0, 10000000}}, left;
    event.sigev_value.sival_int = 1234;
    handle(SIGRTMIN + 1, 0);
    count = 0;
    say("timer_create", timer_create(CLOCK_MONOTONIC, &event, &timer));
    say("timer_settime", timer_settime(timer, 0, &spec, 0));
    while (!count)
        pause();
    printf("value %d code %d\n", last_value, last_code == SI_TIMER);
    timer_gettime(timer, &left);
    printf("left %ld\n", (long)left.it_value.tv_nsec);
    say("timer_delete", timer_delete(timer));
    say("timer_delete", timer_delete(timer));
    event.sigev_notify = SIGEV_THREAD;
    event.sigev_notify_function = expired;
    event.sigev_notify_attributes = 0;
    event.sigev_value.sival_int = 55;
    count = 0;
    say("thread", timer_create(CLOCK_REALTIME, &event, &timer));
    timer_settime(timer, 0, &spec, 0);
    while (!count)
        usleep(1000);
    printf("value %d\n", last_value);
    timer_delete(timer);
    handle(SIGVTALRM, 0);
    struct itimerval virtual = {{0, 0}, {0, 10000}}, was;
    count = 0;
    setitimer(ITIMER_VIRTUAL, &virtual, 0);
    while (!count)
        ;
    getitimer(ITIMER_VIRTUAL, &was);
    printf("virtual %ld\n", (long)was.it_value.tv_usec);
    handle(SIGALRM, 0);
    printf("alarm %u", alarm(1000));
    printf(" %d\n", alarm(0) >= 500);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 5000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    say("until", clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &until, 0));
}

static void inherited(char *self)
{
    char number[16];
    int fd = eventfd(0x1234, 0);
    snprintf(number, sizeof number, "%d", fd);
    execl(self, self, number, (char *)0);
}

int main(int argc, char **argv)
{
    setvbuf(stdout, 0, _IONBF, 0);
    if (argc > 1) {
        uint64_t number = 0;
        say("inherited", read(atoi(argv[1]), &number, sizeof number));
        printf("eventfd %llx\n", (unsigned long long)number);
        return 0;
    }
    interrupted();
    masks();
    descriptors();
    timers();
    fflush(stdout);
    inherited(argv[0]);
    return 1;
}
