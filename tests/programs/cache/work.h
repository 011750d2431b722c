/* Code that is worth storing: enough of it, and run often enough to be compiled. */
#ifndef SEED
#define SEED 1
#endif
#define STEP(n)                                                                                   \
    static __attribute__((noinline)) unsigned step##n(unsigned x) {                               \
        for (int i = 0; i < 2; i++) {                                                             \
            x ^= x << (3 + n);                                                                    \
            x += 7919 * n + SEED;                                                                 \
            if (x & (1 << n)) x = x * 3 + 1;                                                      \
            else x ^= x >> (2 + n);                                                               \
        }                                                                                         \
        return x;                                                                                 \
    }
STEP(1) STEP(2) STEP(3) STEP(4) STEP(5) STEP(6) STEP(7) STEP(8)

static unsigned work(void) {
    unsigned x = 1;
    for (int i = 0; i < 3000; i++)
        x = step8(step7(step6(step5(step4(step3(step2(step1(x))))))));
    return x;
}
