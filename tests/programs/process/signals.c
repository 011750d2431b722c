/* Signals as a program sees them: order, masks, payloads, stacks, restarts. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

static volatile int count, depth, deepest;
static char trail[256];

/* What a call gave, errno being read after it. */
#define REPORT(what, call) do { int r_ = (call); printf("%s: %d %s\n", what, r_, r_ < 0 ? strerror(errno) : ""); } while (0)

/* As much as there is room for: of a timer's signals there are more where all takes longer. */
static void note(const char *text) { strncat(trail, text, sizeof trail - 1 - strlen(trail)); }
static void show(const char *what) { printf("%s: %s\n", what, trail); trail[0] = 0; }

static void install(int signal, void (*handler)(int, siginfo_t *, void *), int flags, int masked)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO | flags;
    sigemptyset(&action.sa_mask);
    if (masked) sigaddset(&action.sa_mask, masked);
    sigaction(signal, &action, 0);
}

static void simple(int signal, siginfo_t *info, void *context) { count++; note(signal == SIGUSR1 ? "1" : "2"); }

static void counting(int signal, siginfo_t *info, void *context)
{
    depth++;
    if (depth > deepest) deepest = depth;
    note("(");
    if (count-- > 0) raise(SIGUSR1);
    note(")");
    depth--;
}

static void payload(int signal, siginfo_t *info, void *context)
{
    char text[64];
    sprintf(text, " %d:%d:%d", signal - SIGRTMIN, info->si_value.sival_int, info->si_code == SI_QUEUE);
    note(text);
}

static void ordering(void)
{
    sigset_t set, old;
    int i;
    for (i = 0; i < 3; i++) install(SIGRTMIN + i, payload, 0, 0);
    sigemptyset(&set);
    for (i = 0; i < 3; i++) sigaddset(&set, SIGRTMIN + i);
    sigprocmask(SIG_BLOCK, &set, &old);
    for (i = 0; i < 6; i++) {
        union sigval value;
        value.sival_int = i;
        sigqueue(getpid(), SIGRTMIN + (i & 1), value);
    }
    siginfo_t info;
    struct timespec none = {0, 0};
    int got = sigtimedwait(&set, &info, &none);
    printf("waited for: %d %d\n", got - SIGRTMIN, info.si_value.sival_int);
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, SIGRTMIN);
    sigprocmask(SIG_UNBLOCK, &one, 0);
    show("first queue");
    sigprocmask(SIG_SETMASK, &old, 0);
    show("second queue");
    REPORT("nothing waits", sigtimedwait(&set, &info, &none));
    struct timespec bad = {-1, 0};
    REPORT("bad time", sigtimedwait(&set, &info, &bad));
}

static void masks(void)
{
    sigset_t set, empty, pending;
    sigemptyset(&empty);
    install(SIGUSR1, counting, SA_NODEFER, 0);
    count = 3;
    raise(SIGUSR1);
    show("nodefer");
    install(SIGUSR1, counting, 0, 0);
    count = 3;
    raise(SIGUSR1);
    show("deferred");
    install(SIGUSR1, simple, SA_RESETHAND, 0);
    raise(SIGUSR1);
    struct sigaction now;
    sigaction(SIGUSR1, 0, &now);
    printf("reset: %d\n", now.sa_handler == SIG_DFL);
    install(SIGUSR1, simple, 0, 0);
    install(SIGUSR2, simple, 0, 0);
    trail[0] = 0;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, 0);
    raise(SIGUSR1);
    raise(SIGUSR1);
    sigpending(&pending);
    printf("pending: %d %d\n", sigismember(&pending, SIGUSR1), sigismember(&pending, SIGUSR2));
    REPORT("suspend", sigsuspend(&empty));
    show("suspended");
    sigprocmask(SIG_BLOCK, 0, &pending);
    printf("mask after: %d %d\n", sigismember(&pending, SIGUSR1), sigismember(&pending, SIGUSR2));
    raise(SIGUSR1);
    struct timespec long_time = {10, 0};
    REPORT("ppoll", ppoll(0, 0, &long_time, &empty));
    show("polled");
    raise(SIGUSR1);
    REPORT("pselect", pselect(0, 0, 0, 0, &long_time, &empty));
    show("selected");
    sigprocmask(SIG_BLOCK, 0, &pending);
    printf("mask after: %d %d\n", sigismember(&pending, SIGUSR1), sigismember(&pending, SIGUSR2));
    sigprocmask(SIG_UNBLOCK, &set, 0);
}

/* Signals whose numbers faults have may be sent, masked and ignored like any other. */
static void sent_faults(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
    unsigned i;
    for (i = 0; i < 5; i++) {
        sigset_t set, pending;
        int one = signals[i];
        install(one, simple, 0, 0);
        sigemptyset(&set);
        sigaddset(&set, one);
        sigprocmask(SIG_BLOCK, &set, 0);
        kill(getpid(), one);
        sigpending(&pending);
        printf("%s pending %d, trail '%s'", strsignal(one), sigismember(&pending, one), trail);
        sigprocmask(SIG_UNBLOCK, &set, 0);
        printf(", then '%s'", trail);
        trail[0] = 0;
        sigprocmask(SIG_BLOCK, &set, 0);
        kill(getpid(), one);
        printf(", waited %d", sigwaitinfo(&set, 0) == one);
        signal(one, SIG_IGN);
        kill(getpid(), one);
        sigprocmask(SIG_UNBLOCK, &set, 0);
        kill(getpid(), one);
        printf(", ignored '%s'\n", trail);
        signal(one, SIG_DFL);
    }
}

static sigjmp_buf back;
static char *page;

static void repair(int signal, siginfo_t *info, void *context)
{
    char text[64];
    sprintf(text, "[%s %d at +%ld]", strsignal(signal), info->si_code, (long)((char *)info->si_addr - page));
    note(text);
    mprotect(page, 4096, PROT_READ | PROT_WRITE);
}

static void jump(int signal, siginfo_t *info, void *context)
{
    int here;
    char text[64];
    stack_t stack;
    sigaltstack(0, &stack);
    int inside = (char *)&here >= (char *)stack.ss_sp && (char *)&here < (char *)stack.ss_sp + stack.ss_size;
    sprintf(text, "[%s %d, alternate %d %d]", strsignal(signal), info->si_code, inside, stack.ss_flags);
    note(text);
    siglongjmp(back, 1);
}

static int overflow(int n)
{
    volatile char room[4096];
    room[0] = n;
    return overflow(n + 1) + room[0];
}

static void faults(void)
{
    install(SIGSEGV, repair, 0, 0);
    page = mmap(0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    page[5] = 7;
    printf("repaired %d ", page[5]);
    mprotect(page, 4096, PROT_READ);
    page[100] = 9;
    printf("and %d ", page[100]);
    show("faults");
    stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536, .ss_flags = 0};
    sigaltstack(&stack, 0);
    install(SIGSEGV, jump, SA_ONSTACK, 0);
    if (!sigsetjmp(back, 1)) overflow(0);
    show("overflow");
    if (!sigsetjmp(back, 1)) *(volatile int *)8 = 1;
    show("null");
    if (!sigsetjmp(back, 1)) ((void (*)(void))16)();
    show("call of null");
    install(SIGBUS, jump, 0, 0);
    FILE *file = tmpfile();
    char *mapped = mmap(0, 8192, PROT_READ, MAP_SHARED, fileno(file), 0);
    if (!sigsetjmp(back, 1)) depth += mapped[4096];
    show("past the end of a file");
    stack_t small = {.ss_sp = malloc(65536), .ss_size = 100, .ss_flags = 0};
    REPORT("small stack", sigaltstack(&small, 0));
}

static void restarts(void)
{
    int ends[2];
    char byte;
    /* Again and again: the first may come before the call that it is to interrupt. */
    struct itimerval soon = {{0, 200000}, {0, 50000}}, never = {{0, 0}, {0, 0}};
    pipe(ends);
    install(SIGALRM, simple, 0, 0);
    setitimer(ITIMER_REAL, &soon, 0);
    REPORT("read", read(ends[0], &byte, 1));
    setitimer(ITIMER_REAL, &never, 0);
    install(SIGALRM, simple, SA_RESTART, 0);
    if (!fork()) {
        struct timespec pause = {0, 200000000};
        nanosleep(&pause, 0);
        write(ends[1], "x", 1);
        _exit(3);
    }
    setitimer(ITIMER_REAL, &soon, 0);
    ssize_t done = read(ends[0], &byte, 1);
    printf("restarted read: %zd %c\n", done, byte);
    int status;
    setitimer(ITIMER_REAL, &soon, 0);
    pid_t child = wait(&status);
    printf("wait: %d %d\n", child > 0, WEXITSTATUS(status));
    struct timespec longest = {1000, 0}, left = {0, 0};
    setitimer(ITIMER_REAL, &soon, 0);
    int result = nanosleep(&longest, &left);
    setitimer(ITIMER_REAL, &never, 0);
    printf("sleep: %d %s, some left %d\n", result, strerror(errno), left.tv_sec > 500);
    trail[0] = 0;
    /* A stop and its end let the sleep go on, which is longer where it was over too early. */
    struct timespec nap = {0, 300000000}, tenth = {0, 100000000};
    pid_t sleeper;
    int stopped, continued = 0;
    do {
        sleeper = fork();
        if (!sleeper)
            _exit(nanosleep(&nap, &left) ? errno : 0);
        nanosleep(&tenth, 0);
        kill(sleeper, SIGSTOP);
        waitpid(sleeper, &status, WUNTRACED);
        stopped = WIFSTOPPED(status) ? WSTOPSIG(status) : 0;
        if (stopped) {
            kill(sleeper, SIGCONT);
            waitpid(sleeper, &status, WCONTINUED);
            continued = WIFCONTINUED(status);
        }
        nap.tv_sec = 2 * nap.tv_sec + 1;
    } while (!continued && nap.tv_sec < 100);
    printf("stopped by %s\n", strsignal(stopped));
    printf("continued %d\n", continued);
    waitpid(sleeper, &status, 0);
    printf("slept on: %d\n", WEXITSTATUS(status));
}

static void ends(void)
{
    const int signals[] = {SIGTERM, SIGKILL, SIGABRT, SIGALRM, SIGUSR2, SIGSEGV, SIGRTMIN};
    unsigned i;
    fflush(stdout);
    for (i = 0; i < sizeof signals / sizeof *signals; i++) {
        siginfo_t info;
        pid_t child = fork();
        if (!child) {
            signal(signals[i], SIG_DFL);
            close(2);
            raise(signals[i]);
            _exit(1);
        }
        waitid(P_PID, child, &info, WEXITED);
        printf("killed by %s: %d\n", strsignal(info.si_status), info.si_code == CLD_KILLED || info.si_code == CLD_DUMPED);
    }
}

static void *thread(void *unused)
{
    sigset_t set;
    int signal;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigwait(&set, &signal);
    note(signal == SIGUSR1 ? "thread got it" : "?");
    return 0;
}

static void threads(void)
{
    pthread_t id;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, 0);
    pthread_create(&id, 0, thread, 0);
    pthread_kill(id, SIGUSR1);
    pthread_join(id, 0);
    show("directed");
    sigprocmask(SIG_UNBLOCK, &set, 0);
}

int main(void)
{
    setvbuf(stdout, 0, _IOLBF, 0);
    ordering();
    masks();
    sent_faults();
    faults();
    restarts();
    ends();
    threads();
    return 0;
}
