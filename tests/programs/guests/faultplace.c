/* Which address a fault tells: of aligned and unaligned accesses, and those of parts of words,
   around a hole in memory, a page that cannot be written, and the end of what programs have.
   The expected output is that of Linux 6.1 on a Malta board of QEMU. */
#include <signal.h>
#include <stdio.h>
#include <stdint.h>
#include <setjmp.h>
#include <sys/mman.h>
static sigjmp_buf env; static volatile uintptr_t where; static volatile int code, sig;
static void handler(int s, siginfo_t *i, void *c){ where=(uintptr_t)i->si_addr; code=i->si_code; sig=s; siglongjmp(env,1);}
#define T(op) static void do_##op(char *p){ unsigned long r=0; __asm__ volatile(".set push\n.set noreorder\n.set noat\n" #op " %0,0(%1)\n.set pop" : "+r"(r) : "r"(p):"memory"); }
T(lwl) T(lwr) T(swl) T(swr) T(lw) T(sw) T(lh) T(sh) T(lb) T(ll)
#if __mips64
T(ldl) T(ldr) T(sdl) T(sdr) T(ld) T(sd)
#endif
static void run(const char *n, void(*f)(char*), char *base){
  for(int d=-9; d<10; d++){ where=1; code=sig=0;
    if(!sigsetjmp(env,1)) f(base+d);
    printf("%s %d: %d %d %ld\n", n, d, sig, code, where==1? -999L : (long)((intptr_t)where-(intptr_t)base)); }
}
int main(){
  struct sigaction a={0}; a.sa_sigaction=handler; a.sa_flags=SA_SIGINFO|SA_NODEFER; sigaction(SIGSEGV,&a,0); sigaction(SIGBUS,&a,0);
  char *p=mmap((void*)0x10000000,0x30000,PROT_READ|PROT_WRITE,MAP_PRIVATE|MAP_ANONYMOUS|MAP_FIXED,-1,0);
  char *hole=p+0x10000; munmap(hole,0x10000);
  char *end=hole+0x10000;
  #define R(op) run(#op " hole",do_##op,hole); run(#op " end",do_##op,end);
  R(lwl) R(lwr) R(swl) R(swr) R(lw) R(lh) R(lb) R(sw) R(sh) R(ll)
#if __mips64
  R(ldl) R(ldr) R(sdl) R(sdr) R(ld) R(sd)
#endif
  mprotect(end,0x10000,PROT_READ);
  run("swl ro",do_swl,end); run("swr ro",do_swr,end); run("sw ro",do_sw,end);
#if __mips64
  run("sdl ro",do_sdl,end); run("sdr ro",do_sdr,end);
#endif
  run("sw kernel",do_sw,(char*)0x7ffffff8); 
  return 0;}
