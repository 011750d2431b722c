/* Faults, and handlers that change what they interrupted. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define RESULT(what, call) do { int r_ = (call); printf("%s: %d %s\n", what, r_, r_ < 0 ? strerror(errno) : ""); } while (0)

#ifdef __mips__
#define PC(c) ((c)->uc_mcontext.pc)
#define SP(c) ((c)->uc_mcontext.gregs[29])
#define FIRST(c) ((c)->uc_mcontext.gregs[4])
#define POINTER(c) ((c)->uc_mcontext.gregs[8])
#define FUNCTION(c) ((c)->uc_mcontext.gregs[25])
#define STACK_ALIGNED(sp) (((sp) - 64) & -16)
#define LOAD(result, from) __asm__ volatile("move $8, %1\n\t.set noreorder\n\tlw %0, 0($8)\n\tnop\n\t.set reorder" : "=r"(result) : "r"((long)(from)) : "$8", "memory")
#define ILLEGAL __asm__ volatile(".word 0x0000003d")
#define BREAK __asm__ volatile("break 0")
#define DIVIDE(by) __asm__ volatile("teq %0, $0, 7" : : "r"(by))
#else
#define PC(c) ((c)->uc_mcontext.gregs[REG_RIP])
#define SP(c) ((c)->uc_mcontext.gregs[REG_RSP])
#define FIRST(c) ((c)->uc_mcontext.gregs[REG_RDI])
#define POINTER(c) ((c)->uc_mcontext.gregs[REG_RAX])
#define FUNCTION(c) ((c)->uc_mcontext.gregs[REG_R11])
#define STACK_ALIGNED(sp) ((((sp) - 256) & -16) - 8)
#define LOAD(result, from) __asm__ volatile("mov %1, %%rax\n\tmovl (%%rax), %0" : "=r"(result) : "r"((long)(from)) : "rax", "memory")
#define ILLEGAL __asm__ volatile("ud2")
#define BREAK __asm__ volatile("int3")
#define DIVIDE(by) __asm__ volatile("xor %%edx, %%edx\n\tmov $1, %%eax\n\tdivl %0" : : "r"(by) : "rax", "rdx")
#endif

static sigjmp_buf back;
static volatile int value = 1234, depth;
static int calls;

static void install(int signal, void (*handler)(int, siginfo_t *, void *), int flags)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO | flags;
    sigaction(signal, &action, 0);
}

static void landing(int argument)
{
    printf("landed with %d\n", argument);
    siglongjmp(back, 1);
}

/* Goes on elsewhere, with an argument. */
static void divert(int signal, siginfo_t *info, void *context)
{
    ucontext_t *c = context;
    PC(c) = (unsigned long)landing;
    FUNCTION(c) = (unsigned long)landing;
    FIRST(c) = 100 + (signal == SIGFPE ? info->si_code : 0);
    SP(c) = STACK_ALIGNED(SP(c));
}

static void diverted(void)
{
    static const char *names[] = {"load", "illegal instruction", "breakpoint", "division"};
    static const int signals[] = {SIGSEGV, SIGILL, SIGTRAP, SIGFPE};
    int i, unused;
    for (i = 0; i < 4; i++) install(signals[i], divert, 0);
    for (i = 0; i < 4; i++) {
        printf("%s: ", names[i]);
        if (sigsetjmp(back, 1)) continue;
        if (i == 0) LOAD(unused, 8);
        if (i == 1) ILLEGAL;
        if (i == 2) BREAK;
        if (i == 3) DIVIDE(calls);
    }
}

/* Goes on at the same place, the register being good now. */
static void mend(int signal, siginfo_t *info, void *context)
{
    ucontext_t *c = context;
    printf("[%d at %p] ", info->si_code, info->si_addr);
    POINTER(c) = (unsigned long)&value;
}

static void mended(void)
{
    int got;
    install(SIGSEGV, mend, 0);
    LOAD(got, 16);
    printf("loaded %d\n", got);
    char *page = mmap(0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    install(SIGSEGV, divert, 0);
    if (!sigsetjmp(back, 1)) page[0] = 1;
    munmap(page, 4096);
}

/* A handler of a fault that faults itself. */
static void nest(int signal, siginfo_t *info, void *context)
{
    ucontext_t *c = context;
    int got, here = ++depth;
    if (here < 4) LOAD(got, here * 8);
    printf("(%d %d) ", here, here < 4 ? got : 0);
    depth--;
    POINTER(c) = (unsigned long)&value;
}

static void nested(void)
{
    int got;
    install(SIGSEGV, nest, SA_NODEFER);
    LOAD(got, 8);
    printf("nested: %d, depth %d\n", got, depth);
}

static void ends(const char *what, void (*body)(void))
{
    int status;
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        close(2);
        body();
        _exit(0);
    }
    waitpid(child, &status, 0);
    printf("%s: %s %d\n", what, WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "exit", WEXITSTATUS(status));
}

static void blocked(void)
{
    sigset_t set;
    int got;
    install(SIGSEGV, mend, 0);
    sigemptyset(&set);
    sigaddset(&set, SIGSEGV);
    sigprocmask(SIG_BLOCK, &set, 0);
    LOAD(got, 8);
}

static void ignored(void)
{
    int got;
    signal(SIGSEGV, SIG_IGN);
    LOAD(got, 8);
}

static void ignored_breakpoint(void)
{
    signal(SIGTRAP, SIG_IGN);
    BREAK;
}

static void deferred(void)
{
    int got;
    install(SIGSEGV, nest, 0);
    LOAD(got, 8);
}

static char *guarded(size_t size)
{
    char *stack = mmap(0, size + 65536, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(stack + 65536, size, PROT_READ | PROT_WRITE);
    return stack + 65536;
}

static void recurse(int signal, siginfo_t *info, void *context)
{
    volatile char room[1024];
    room[0] = 1;
    raise(SIGUSR1);
}

static void overflow(void)
{
    stack_t stack = {.ss_sp = guarded(65536), .ss_size = 65536};
    sigaltstack(&stack, 0);
    install(SIGUSR1, recurse, SA_ONSTACK | SA_NODEFER);
    raise(SIGUSR1);
}

static void no_room(void)
{
    char *stack = guarded(4096);
    install(SIGUSR1, recurse, SA_ONSTACK);
    stack_t other = {.ss_sp = stack - 60000, .ss_size = 8192};
    sigaltstack(&other, 0);
    raise(SIGUSR1);
}

static void on_stack(int signal, siginfo_t *info, void *context)
{
    stack_t now, *saved = &((ucontext_t *)context)->uc_stack;
    char here;
    sigaltstack(0, &now);
    int inside = &here >= (char *)saved->ss_sp && &here < (char *)saved->ss_sp + saved->ss_size;
    printf("[on it %d, flags %x, size %zu, saved %x %zu]", inside, now.ss_flags, now.ss_size, saved->ss_flags, saved->ss_size);
    stack_t none = {.ss_flags = SS_DISABLE};
    int result = sigaltstack(&none, 0);
    printf("[disable %d %s]", result, result ? strerror(errno) : "");
    if (calls++ == 0) raise(SIGUSR2);
}

static void alternate(void)
{
    static const int flags[] = {0, SS_ONSTACK, (int)(1U << 31), SS_DISABLE, 4};
    unsigned i;
    install(SIGUSR1, on_stack, SA_ONSTACK);
    install(SIGUSR2, on_stack, SA_ONSTACK);
    for (i = 0; i < sizeof flags / sizeof *flags; i++) {
        stack_t stack = {.ss_sp = guarded(65536), .ss_size = 65536, .ss_flags = flags[i]}, now;
        calls = 0;
        int result = sigaltstack(&stack, 0);
        sigaltstack(0, &now);
        printf("flags %x: %d, now %x %zu ", flags[i], result, now.ss_flags, now.ss_size);
        raise(SIGUSR1);
        sigaltstack(0, &now);
        printf(" after %x %zu\n", now.ss_flags, now.ss_size);
    }
}

static volatile int children;
static void on_child(int signal, siginfo_t *info, void *context) { children++; }

static void pause_briefly(void)
{
    struct timespec moment = {0, 10000000};
    while (nanosleep(&moment, &moment) && errno == EINTR);
}

static void families(void)
{
    int status;
    install(SIGCHLD, on_child, SA_NOCLDWAIT);
    if (!fork()) _exit(3);
    while (!children) pause_briefly();
    RESULT("no zombies", wait(&status));
    printf("told %d\n", children);
    signal(SIGCHLD, SIG_IGN);
    if (!fork()) _exit(3);
    RESULT("ignored", wait(&status));
    children = 0;
    install(SIGCHLD, on_child, SA_NOCLDSTOP);
    pid_t child = fork();
    if (!child) {
        for (;;) pause();
    }
    kill(child, SIGSTOP);
    waitpid(child, &status, WUNTRACED);
    printf("stopped: told %d\n", children);
    kill(child, SIGKILL);
    while (!children) pause_briefly();
    waitpid(child, &status, 0);
    printf("killed: told %d\n", children);
    signal(SIGCHLD, SIG_DFL);
}

static volatile siginfo_t last;
static void keep(int signal, siginfo_t *info, void *context) { last = *info; }

static void *receiver(void *unused)
{
    sigset_t set;
    siginfo_t info;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 4);
    sigwaitinfo(&set, &info);
    printf("queued to a thread: %d %d\n", info.si_code == SI_QUEUE, info.si_value.sival_int);
    return 0;
}

static void origins(void)
{
    int ends[2];
    pthread_t id;
    sigset_t set;
    install(SIGUSR1, keep, 0);
    kill(getpid(), SIGUSR1);
    printf("kill: %d %d %d\n", last.si_code == SI_USER, last.si_pid == getpid(), last.si_uid == getuid());
    raise(SIGUSR1);
    printf("raise: %d %d\n", last.si_code == SI_TKILL, last.si_pid == getpid());
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 77};
    struct itimerspec soon = {.it_value.tv_nsec = 1000000};
    memset(&last, 0, sizeof last);
    timer_create(CLOCK_MONOTONIC, &event, &timer);
    timer_settime(timer, 0, &soon, 0);
    while (!last.si_signo) pause_briefly();
    printf("timer: %d %d %d\n", last.si_code == SI_TIMER, last.si_value.sival_int, last.si_overrun);
    timer_delete(timer);
    install(SIGCHLD, keep, 0);
    pid_t child = fork();
    if (!child) _exit(9);
    while (last.si_signo != SIGCHLD) pause_briefly();
    waitpid(child, 0, 0);
    printf("child: %d %d %d\n", last.si_code == CLD_EXITED, last.si_pid == child, last.si_status);
    child = fork();
    if (!child) signal(SIGUSR2, SIG_DFL), raise(SIGUSR2), _exit(0);
    while (last.si_pid != child) pause_briefly();
    waitpid(child, 0, 0);
    printf("child: %d\n", last.si_code);
    signal(SIGCHLD, SIG_DFL);
    pipe(ends);
    install(SIGRTMIN + 3, keep, 0);
    fcntl(ends[0], F_SETOWN, getpid());
    fcntl(ends[0], F_SETSIG, SIGRTMIN + 3);
    fcntl(ends[0], F_SETFL, O_ASYNC | O_NONBLOCK);
    write(ends[1], "x", 1);
    while (last.si_signo != SIGRTMIN + 3) pause_briefly();
    printf("pipe: %d %d %d\n", last.si_code == POLL_IN, last.si_fd == ends[0], last.si_signo == SIGRTMIN + 3);
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 4);
    sigprocmask(SIG_BLOCK, &set, 0);
    pthread_create(&id, 0, receiver, 0);
    union sigval payload = {.sival_int = -5};
    pthread_sigqueue(id, SIGRTMIN + 4, payload);
    pthread_join(id, 0);
    RESULT("no signal", kill(getpid(), 1000));
    RESULT("negative", kill(getpid(), -1));
    RESULT("nobody", kill(0x3fffffff, 0));
    siginfo_t forged = {.si_code = SI_USER};
    RESULT("forged", syscall(SYS_rt_sigqueueinfo, getppid(), SIGUSR1, &forged));
}

int main(void)
{
    setvbuf(stdout, 0, _IOLBF, 0);
    diverted();
    mended();
    nested();
    ends("blocked", blocked);
    ends("ignored", ignored);
    ends("ignored breakpoint", ignored_breakpoint);
    ends("deferred", deferred);
    ends("overflow", overflow);
    ends("no room", no_room);
    alternate();
    families();
    origins();
    return 0;
}
