/* What becomes of NaNs: each operation on pairs of NaNs and numbers, with FCSR after it. PAIRS: also
   on paired singles. */
#include <stdint.h>
#include <stdio.h>

static const uint64_t doubles[] = {
    0x3ff8000000000000, 0x7ff0000000000000, 0x7ff7ffffffffffff, 0xfff7ffffffffffff,
    0x7ff0000000000001, 0xfff000001fffffff, 0x7ff4000012345678, 0x7ff8000000000000,
    0xffffffffffffffff, 0x7ff8000000000001,
};
static const uint32_t singles[] = {
    0x3fc00000, 0x7f800000, 0x7fbfffff, 0xffbfffff, 0x7f800001,
    0xff923456, 0x7fa00000, 0x7fc00000, 0xffffffff, 0x7fc00001,
};
enum { COUNT = sizeof singles / sizeof singles[0] };

#define REPORT(name, format, result)                                                               \
    printf(name " %d %d: " format " %08x\n", i, j, result, (unsigned)status)

/* One instruction on $f2, $f4 and $f6, with its result in $f0. */
#define DOUBLE(name, operands)                                                                     \
    {                                                                                              \
        uint64_t result;                                                                           \
        __asm__ volatile("ctc1 $0, $31\n ldc1 $f2, %2\n ldc1 $f4, %3\n ldc1 $f6, %2\n"             \
                         "lwc1 $f8, %4\n" name " " operands "\n sdc1 $f0, %0\n cfc1 %1, $31"       \
                         : "=m"(result), "=r"(status)                                              \
                         : "m"(doubles[i]), "m"(doubles[j]), "m"(singles[i])                       \
                         : "$f0", "$f2", "$f4", "$f6", "$f8");                                     \
        REPORT(name, "%016llx", (unsigned long long)result);                                       \
    }
#define SINGLE(name, operands)                                                                     \
    {                                                                                              \
        uint32_t result;                                                                           \
        __asm__ volatile("ctc1 $0, $31\n lwc1 $f2, %2\n lwc1 $f4, %3\n lwc1 $f6, %2\n"             \
                         "ldc1 $f8, %4\n" name " " operands "\n swc1 $f0, %0\n cfc1 %1, $31"       \
                         : "=m"(result), "=r"(status)                                              \
                         : "m"(singles[i]), "m"(singles[j]), "m"(doubles[i])                       \
                         : "$f0", "$f2", "$f4", "$f6", "$f8");                                     \
        REPORT(name, "%08x", (unsigned)result);                                                    \
    }
#define BOTH(name, operands) DOUBLE(name ".d", operands) SINGLE(name ".s", operands)
#ifdef PAIRS
#define PAIR(name, operands) DOUBLE(name ".ps", operands)
#else
#define PAIR(name, operands)
#endif
#define COMPARE(name)                                                                              \
    DOUBLE("mov.d $f0, $f2\n c." name ".d", "$f2, $f4")                                            \
    SINGLE("mov.s $f0, $f2\n c." name ".s", "$f2, $f4")

int main(void)
{
    for (int i = 0; i < COUNT; i++)
        for (int j = 0; j < COUNT; j++) {
            uint32_t status;
            BOTH("add", "$f0, $f2, $f4") PAIR("add", "$f0, $f2, $f4")
            BOTH("sub", "$f0, $f2, $f4") PAIR("sub", "$f0, $f2, $f4")
            BOTH("mul", "$f0, $f2, $f4") PAIR("mul", "$f0, $f2, $f4")
            BOTH("div", "$f0, $f2, $f4")
            BOTH("madd", "$f0, $f2, $f4, $f6") PAIR("madd", "$f0, $f2, $f4, $f6")
            BOTH("nmsub", "$f0, $f2, $f4, $f6") PAIR("nmsub", "$f0, $f2, $f4, $f6")
            COMPARE("eq") COMPARE("un") COMPARE("seq") COMPARE("ngt")
            if (j)
                continue;
            BOTH("sqrt", "$f0, $f2") BOTH("recip", "$f0, $f2") BOTH("rsqrt", "$f0, $f2")
            BOTH("abs", "$f0, $f2") BOTH("neg", "$f0, $f2") PAIR("neg", "$f0, $f2")
            DOUBLE("cvt.d.s", "$f0, $f8") SINGLE("cvt.s.d", "$f0, $f8")
            SINGLE("cvt.w.d", "$f0, $f8") SINGLE("trunc.w.s", "$f0, $f2")
        }
    return 0;
}
