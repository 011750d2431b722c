/* Changes masks and actions several times: the first time Pemu's Python makes a call, then its
 * native code does. Prints what each round found; every round must find the same. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define BAD ((void *)16)
#define SHOW(call) show(#call, (long)(call))
#define SIGSETS (_NSIG / 8)

static volatile sig_atomic_t count;
static volatile int received[2];

static void handler(int signal) { count += signal == SIGUSR1; }
static void other(int signal, siginfo_t *info, void *context) { count += 100; }
static void queued(int signal, siginfo_t *info, void *context)
{
    received[signal - SIGRTMIN]++;
}

static void show(const char *name, long result)
{
    if (result == -1)
        printf("  %s: %s\n", name, strerrorname_np(errno));
    else
        printf("  %s: %ld\n", name, result);
}

static void show_action(int signal)
{
    struct sigaction a;
    memset(&a, 0xff, sizeof a);
    SHOW(sigaction(signal, NULL, &a));
    printf("  handler %s flags %x masked %d %d %d\n",
           a.sa_handler == SIG_DFL     ? "default"
           : a.sa_handler == SIG_IGN   ? "ignore"
           : a.sa_handler == handler   ? "handler"
           : a.sa_sigaction == other   ? "other"
                                       : "unknown",
           (unsigned)(a.sa_flags & (SA_RESTART | SA_RESETHAND)) >> 28, sigismember(&a.sa_mask, SIGUSR2),
           sigismember(&a.sa_mask, SIGRTMIN + 3), sigismember(&a.sa_mask, SIGKILL));
}

static void actions(void)
{
    struct sigaction a = {.sa_handler = handler, .sa_flags = SA_RESTART}, b;
    sigaddset(&a.sa_mask, SIGUSR2);
    sigaddset(&a.sa_mask, SIGRTMIN + 3);
    sigaddset(&a.sa_mask, SIGKILL);
    SHOW(sigaction(SIGUSR1, &a, &b));
    show_action(SIGUSR1);
    SHOW(raise(SIGUSR1));
    a.sa_sigaction = other;
    a.sa_flags = SA_SIGINFO | SA_RESETHAND;
    SHOW(sigaction(SIGUSR1, &a, &b));
    SHOW(b.sa_handler == handler);
    show_action(SIGUSR1);
    SHOW(raise(SIGUSR1));
    show_action(SIGUSR1);
    SHOW(count);
    count = 0;
    SHOW(signal(SIGTERM, SIG_IGN) == SIG_DFL);
    SHOW(raise(SIGTERM));
    SHOW(signal(SIGTERM, SIG_DFL) == SIG_IGN);
    SHOW(signal(SIGSEGV, SIG_IGN) == SIG_DFL);
    SHOW(signal(SIGSEGV, SIG_DFL) == SIG_IGN);
    SHOW(signal(SIGQUIT, SIG_IGN) == SIG_DFL);
    SHOW(raise(SIGQUIT));
    SHOW(signal(SIGQUIT, SIG_DFL) == SIG_IGN);
    SHOW(sigaction(SIGKILL, &a, NULL));
    SHOW(sigaction(SIGSTOP, NULL, &b));
    SHOW(syscall(SYS_rt_sigaction, 0, NULL, NULL, SIGSETS));
    SHOW(syscall(SYS_rt_sigaction, -1, NULL, NULL, SIGSETS));
    SHOW(syscall(SYS_rt_sigaction, SIGUSR1, NULL, NULL, SIGSETS - 1));
    SHOW(syscall(SYS_rt_sigaction, SIGUSR1, NULL, NULL, SIGSETS));
    SHOW(syscall(SYS_rt_sigaction, SIGUSR1, BAD, NULL, SIGSETS));
    SHOW(syscall(SYS_rt_sigaction, SIGUSR1, NULL, BAD, SIGSETS));
    SHOW(syscall(SYS_rt_sigaction, SIGUSR1, NULL, (void *)-8L, SIGSETS));
}

static void masks(void)
{
    sigset_t set, old;
    sigfillset(&set);
    signal(SIGUSR1, handler);
    SHOW(sigprocmask(SIG_BLOCK, &set, &old));
    SHOW(sigismember(&old, SIGUSR1));
    SHOW(raise(SIGUSR1));
    SHOW(count);
    SHOW(sigpending(&set));
    SHOW(sigismember(&set, SIGUSR1));
    SHOW(sigprocmask(SIG_BLOCK, NULL, &set));
    SHOW(sigismember(&set, SIGUSR1));
    SHOW(sigismember(&set, SIGSEGV));
    SHOW(sigismember(&set, SIGKILL));
    SHOW(sigismember(&set, SIGRTMAX));
    sigemptyset(&set);
    sigaddset(&set, SIGRTMAX);
    sigaddset(&set, SIGSEGV);
    SHOW(sigprocmask(SIG_UNBLOCK, &set, NULL));
    SHOW(sigprocmask(12345, NULL, &set));
    SHOW(sigismember(&set, SIGRTMAX));
    SHOW(sigismember(&set, SIGSEGV));
    SHOW(sigprocmask(SIG_SETMASK, &old, &set));
    SHOW(sigismember(&set, SIGUSR1));
    SHOW(count);
    count = 0;
    SHOW(sigprocmask(12345, &set, &old));
    SHOW(syscall(SYS_rt_sigprocmask, SIG_BLOCK, BAD, NULL, SIGSETS));
    SHOW(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, BAD, SIGSETS));
    SHOW(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &set, NULL, SIGSETS + 1));
    SHOW(sigprocmask(SIG_SETMASK, NULL, &set));
    SHOW(sigismember(&set, SIGUSR1));
}

/* A masked SIGSEGV that a process sends itself is kept until it is let through. */
static void held(void)
{
    sigset_t set, old;
    struct sigaction a = {.sa_sigaction = other, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &a, NULL);
    sigemptyset(&set);
    sigaddset(&set, SIGSEGV);
    SHOW(sigprocmask(SIG_BLOCK, &set, &old));
    SHOW(kill(getpid(), SIGSEGV));
    SHOW(count);
    SHOW(sigprocmask(SIG_BLOCK, &set, NULL));
    SHOW(count);
    SHOW(sigprocmask(SIG_SETMASK, &old, NULL));
    SHOW(count);
    count = 0;
    signal(SIGSEGV, SIG_DFL);
}

/* No queued signal gets lost while the mask and actions change all the time. */
static void storm(int number)
{
    struct sigaction a = {.sa_sigaction = queued, .sa_flags = SA_SIGINFO};
    sigset_t set, old;
    union sigval value = {0};
    pid_t parent = getpid(), child;
    int status;
    sigaction(SIGRTMIN, &a, NULL);
    sigaction(SIGRTMIN + 1, &a, NULL);
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    received[0] = received[1] = 0;
    child = fork();
    if (!child) {
        for (int i = 0; i < number; i++)
            while (sigqueue(parent, SIGRTMIN + (i & 1), value))
                usleep(100);
        _exit(0);
    }
    do {
        for (int i = 0; i < 50; i++) {
            sigprocmask(SIG_BLOCK, &set, &old);
            sigaction(SIGRTMIN, &a, NULL);
            getppid();
            sigprocmask(SIG_SETMASK, &old, NULL);
        }
    } while (waitpid(child, &status, WNOHANG) != child);
    SHOW(status);
    SHOW(received[0]);
    SHOW(received[1]);
}

int main(void)
{
    for (int round = 0; round < 3; round++) {
        printf("round %d\n", round);
        actions();
        masks();
        held();
    }
    storm(1000);
    return 0;
}
