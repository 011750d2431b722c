/* Makes calls that Pemu has not, one of them at a place with a name. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char place[];

#define REPORT(what, call) do { long r_ = (call); printf("%s: %ld %d\n", what, r_, r_ == -1 ? errno : 0); } while (0)

static int child(void *unused) { return 7; }

int main(void)
{
    static char stack[65536];
    int status = 0;
    REPORT("ptrace", ptrace(PTRACE_TRACEME, 0, 0, 0));
    REPORT("seccomp", syscall(SYS_seccomp, 0, 0, 0));
    REPORT("io_uring", syscall(SYS_io_uring_setup, 1, 0));
    REPORT("unknown", syscall(NUMBER, 0));
    register long number __asm__("$2") = SYS_bpf;
    __asm__ volatile("\n\t.globl place\nplace:\n\tsyscall" : "+r"(number) : : "$7", "memory", "$4", "$5", "$6", "$8", "$9", "$10", "$11", "$12", "$13", "$14", "$15", "$24", "$25", "hi", "lo");
    printf("bpf: %ld at %p\n", number, place);
    REPORT("name space", clone(child, stack + sizeof stack, CLONE_NEWUSER | SIGCHLD, 0));
    REPORT("silent child", clone(child, stack + sizeof stack, 0, 0));
    long pid = clone(child, stack + sizeof stack, SIGCHLD, 0);
    waitpid(pid, &status, 0);
    printf("child: %d %d\n", pid > 0, WEXITSTATUS(status));
    return 0;
}
