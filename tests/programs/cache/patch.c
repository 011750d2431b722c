/* Code of the program is changed while it runs: a page is made writable, written to, and made
   read-only again. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "work.h"

#define SIZE 64

__attribute__((noinline, aligned(65536))) unsigned answer(unsigned x) { return x * 3 + 1; }
__attribute__((noinline, aligned(65536))) unsigned other(unsigned x) { return x * 5 + 2; }

static __attribute__((noinline)) unsigned total(void) {
    unsigned sum = 0;
    for (int i = 0; i < 5000; i++) sum += answer(sum) ^ i;
    return sum;
}

static void patch(const void *code) {
    mprotect(answer, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
    memcpy(answer, code, SIZE);
    mprotect(answer, 4096, PROT_READ | PROT_EXEC);
    __builtin___clear_cache((char *)answer, (char *)answer + SIZE);
}

int main(void) {
    unsigned char original[SIZE];
    memcpy(original, answer, SIZE);
    printf("%u\n", work());
    for (int i = 0; i < 3; i++) {
        printf("%u ", total());
        patch(other);
        printf("%u ", total());
        patch(original);
        printf("%u\n", total());
    }
    return 0;
}
