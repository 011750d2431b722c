/* A handler reads and changes the registers of what it interrupted. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>
static void handler(int signal, siginfo_t *info, void *context)
{
    ucontext_t *c = context;
    unsigned long long *f = (void *)&c->uc_mcontext.fpregs;
    printf("hi %x lo %x s0 %x\n", (int)c->uc_mcontext.mdhi, (int)c->uc_mcontext.mdlo, (int)c->uc_mcontext.gregs[16]);
    printf("f20 %016llx %016llx\n", f[20], f[21]);
    printf("fcsr %08x zero %llx\n", (unsigned)c->uc_mcontext.fpc_csr, (long long)c->uc_mcontext.gregs[0]);
    c->uc_mcontext.mdhi = 0x33;
    c->uc_mcontext.mdlo = 0x44;
    c->uc_mcontext.gregs[0] = 99;
    c->uc_mcontext.gregs[16] = 0x55;
    f[20] = PAIRED ? 0x9abcdef0 : 0x400c00009abcdef0;
    f[21] = 0x400c0000;
    c->uc_mcontext.fpc_csr = 3;
}
int main(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGUSR1, &action, 0);
    long self = getpid();
    register long number __asm__("$2") = SYS_kill;
    register long pid __asm__("$4") = self;
    register long which __asm__("$5") = SIGUSR1;
    register long kept __asm__("$16") = 0x66;
    long hi, lo, zero, csr;
    unsigned long long in = 0x3ff8000012345678, out;
    __asm__ volatile(
        "ctc1 $0, $31\n\tldc1 $f20, %6\n\tli $8, 0x11\n\tmthi $8\n\tli $8, 0x22\n\tmtlo $8\n\t"
        "syscall\n\tmfhi %0\n\tmflo %1\n\tmove %2, $0\n\tcfc1 %3, $31\n\tsdc1 $f20, %4"
        : "=&r"(hi), "=&r"(lo), "=&r"(zero), "=&r"(csr), "=m"(out), "+r"(kept)
        : "m"(in), "r"(number), "r"(pid), "r"(which)
        : "$8", "$7", "$f20", "memory", "hi", "lo");
    printf("after: hi %lx lo %lx zero %ld csr %lx s0 %lx f20 %llx\n", hi, lo, zero, csr, kept, out);
    return 0;
}
