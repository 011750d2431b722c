/* Generated code: on a page made read-only, on that address again with other code, and on a page
   that is changed while it is run. The argument is what the code returns at first. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "work.h"

typedef unsigned function(void);

static void generate(unsigned *place, unsigned value) {
    place[0] = 0x24020000 | value; /* addiu v0, zero, value */
    place[1] = 0x03e00008;         /* jr ra */
    place[2] = 0;                  /* nop */
    __builtin___clear_cache((char *)place, (char *)(place + 3));
}

static __attribute__((noinline)) unsigned total(void *code) {
    unsigned sum = 0;
    for (int i = 0; i < 5000; i++) sum = sum * 3 + ((function *)code)();
    return sum;
}

int main(int argc, char **argv) {
    unsigned value = argc > 1 ? atoi(argv[1]) : 1;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS;
    void *place = (void *)0x20000000;
    printf("%u\n", work());
    for (int i = 0; i < 3; i++) {
        unsigned *code = mmap(place, 65536, PROT_READ | PROT_WRITE, flags | MAP_FIXED, -1, 0);
        generate(code, value + i);
        mprotect(code, 65536, PROT_READ | PROT_EXEC);
        printf("%u ", total(code));
        munmap(code, 65536);
    }
    unsigned *code = mmap(place, 65536, PROT_READ | PROT_WRITE | PROT_EXEC, flags, -1, 0);
    for (int i = 0; i < 3; i++) {
        generate(code, value + i);
        printf("%u ", total(code));
    }
    printf("\n");
    return 0;
}
