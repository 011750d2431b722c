/* The signal calls of o32 that are older than real-time signals. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
struct old { unsigned flags; void (*handler)(int, int, void *); unsigned mask[4]; };
static int calls, masked;
static void handler(int signal, int code, void *context)
{
    unsigned now;
    syscall(4126, 1, 0, &now);
    masked = now >> (SIGUSR2 - 1) & 1;
    calls++;
}
#define REPORT(what, call) do { long r_ = (call); printf("%s: %ld %s\n", what, r_, r_ == -1 ? strerror(errno) : ""); } while (0)
int main(void)
{
    struct old action = {0, handler, {1u << (SIGUSR2 - 1)}}, before;
    unsigned set = 1u << (SIGUSR1 - 1), other, none = 0;
    memset(&before, 0x55, sizeof before);
    REPORT("sigaction", syscall(4067, SIGUSR1, &action, &before));
    printf("before: %x %d\n", before.flags, before.handler == (void *)SIG_DFL);
    kill(getpid(), SIGUSR1);
    printf("called %d, masked %d\n", calls, masked);
    REPORT("sigprocmask", syscall(4126, 1, &set, &other));
    kill(getpid(), SIGUSR1);
    REPORT("sigpending", syscall(4073, &other));
    printf("pending %d, called %d\n", other >> (SIGUSR1 - 1) & 1, calls);
    REPORT("sigsuspend", syscall(4072, &none));
    printf("called %d\n", calls);
    printf("sgetmask %d\n", (int)(syscall(4068) >> (SIGUSR1 - 1) & 1));
    printf("ssetmask %d\n", (int)(syscall(4069, 0) >> (SIGUSR1 - 1) & 1));
    printf("signal %d\n", syscall(4048, SIGUSR1, handler) == (long)handler);
    kill(getpid(), SIGUSR1);
    syscall(4067, SIGUSR1, 0, &before);
    printf("called %d, once %d\n", calls, before.handler == (void *)SIG_DFL);
    REPORT("bad signal", syscall(4067, 200, &action, 0));
    REPORT("uncatchable", syscall(4067, SIGKILL, &action, 0));
    REPORT("bad address", syscall(4126, 1, 16, 0));
    REPORT("bad how", syscall(4126, 9, &none, 0));
    return 0;
}
