/* Runs the instruction words that it reads and writes one letter for what came of each: '.' for
   nothing, else the signal. Built for an early level of the instruction set, without library and
   FPU, so that it runs on every model.

   In words $8 is the address of the way out; $9 points to data, which the words may change. */

typedef unsigned int word;
typedef unsigned long address;

#ifdef __mips64
#define STORE "sd"
#define LOAD "ld"
#define SIZE "8"
enum {
    SYS_read = 5000,
    SYS_write = 5001,
    SYS_mprotect = 5010,
    SYS_sigaction = 5013,
    SYS_exit = 5058,
    SYS_cacheflush = 5197
};
#else
#define STORE "sw"
#define LOAD "lw"
#define SIZE "4"
enum {
    SYS_exit = 4001,
    SYS_read = 4003,
    SYS_write = 4004,
    SYS_mprotect = 4125,
    SYS_cacheflush = 4147,
    SYS_sigaction = 4194
};
#endif

enum { SIGILL = 4, SIGTRAP = 5, SIGFPE = 8, SIGBUS = 10, SIGSEGV = 11, SA_NODEFER = 0x40000000 };

struct action {
    word flags;
    void (*handler)(int);
    word mask[4];
};

word code[1024] __attribute__((aligned(4096)));
word data[1024] __attribute__((aligned(4096)));
address saved[16]; /* what calls preserve */

static long call(long number, long a, long b, long c, long d)
{
    register long v0 __asm__("$2") = number;
    register long a0 __asm__("$4") = a;
    register long a1 __asm__("$5") = b;
    register long a2 __asm__("$6") = c;
    register long a3 __asm__("$7") = d;
    __asm__ volatile("syscall"
                     : "+r"(v0), "+r"(a3)
                     : "r"(a0), "r"(a1), "r"(a2)
                     : "$1", "$3", "$8", "$9", "$10", "$11", "$12", "$13", "$14", "$15", "$24",
                       "$25", "memory");
    return v0;
}

int run(word *code, word *data, word *out);
void escape(int signal) __attribute__((noreturn));

__asm__(".text\n.set noreorder\n.set noat\n"
        ".globl run\nrun:\n"
        "lui $2, %hi(saved)\n addiu $2, $2, %lo(saved)\n" STORE " $16, 0($2)\n" STORE
        " $17, 1*" SIZE "($2)\n" STORE " $18, 2*" SIZE "($2)\n" STORE " $19, 3*" SIZE "($2)\n" STORE
        " $20, 4*" SIZE "($2)\n" STORE " $21, 5*" SIZE "($2)\n" STORE " $22, 6*" SIZE "($2)\n" STORE
        " $23, 7*" SIZE "($2)\n" STORE " $28, 8*" SIZE "($2)\n" STORE " $29, 9*" SIZE "($2)\n" STORE
        " $30, 10*" SIZE "($2)\n" STORE " $31, 11*" SIZE "($2)\n"
        "move $25, $4\n move $9, $5\n move $8, $6\n"
        "li $10, 4\n li $11, 3\n jr $25\n nop\n"
        ".globl out\nout:\n lui $4, 0\n"
        ".globl escape\nescape:\n move $3, $4\n"
        "lui $2, %hi(saved)\n addiu $2, $2, %lo(saved)\n" LOAD " $16, 0($2)\n" LOAD
        " $17, 1*" SIZE "($2)\n" LOAD " $18, 2*" SIZE "($2)\n" LOAD " $19, 3*" SIZE "($2)\n" LOAD
        " $20, 4*" SIZE "($2)\n" LOAD " $21, 5*" SIZE "($2)\n" LOAD " $22, 6*" SIZE "($2)\n" LOAD
        " $23, 7*" SIZE "($2)\n" LOAD " $28, 8*" SIZE "($2)\n" LOAD " $29, 9*" SIZE "($2)\n" LOAD
        " $30, 10*" SIZE "($2)\n" LOAD " $31, 11*" SIZE "($2)\n nop\n jr $31\n move $2, $3\n"
        ".set at\n.set reorder\n");
extern word out[];

static void catch(int signal)
{
    static struct action action;
    action.flags = SA_NODEFER;
    action.handler = (void (*)(int))escape;
    call(SYS_sigaction, signal, (long)&action, 0, 16);
}

void __attribute__((used)) start(void)
{
    char letter;
    word i;
    call(SYS_mprotect, (long)code, sizeof code, 7, 0);
    catch(SIGILL), catch(SIGTRAP), catch(SIGFPE), catch(SIGBUS), catch(SIGSEGV);
    code[16] = 0x01000008; /* jr $8 */
    while (call(SYS_read, 0, (long)code, sizeof(word), 0) == sizeof(word)) {
        for (i = 1; i < 16; i++)
            code[i] = 0;
        call(SYS_cacheflush, (long)code, 17 * sizeof(word), 3, 0);
        switch (run(code, data, out)) {
        case 0: letter = '.'; break;
        case SIGILL: letter = 'i'; break;
        case SIGTRAP: letter = 't'; break;
        case SIGFPE: letter = 'f'; break;
        case SIGBUS: letter = 'b'; break;
        default: letter = 's'; break;
        }
        call(SYS_write, 1, (long)&letter, 1, 0);
    }
    call(SYS_exit, 0, 0, 0, 0);
}

__asm__(".globl __start\n.set noreorder\n__start:\n"
#ifdef __mips64
        " daddiu $29, $29, -64\n"
#else
        " addiu $29, $29, -64\n"
#endif
        " jal start\n nop\n.set reorder\n");
