/* What every benchmark program shares: the amount of work as argument, the checksum as output. */
#ifndef BENCH_H
#define BENCH_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* Rounds to run: the first argument, or what takes qemu-mips some seconds. */
static inline unsigned rounds(int argc, char **argv, unsigned otherwise)
{
    return argc > 1 ? (unsigned)strtoul(argv[1], NULL, 0) : otherwise;
}

/* Mix a value into a checksum; the same for either byte order and word size. */
static inline uint32_t mix(uint32_t sum, uint32_t value)
{
    sum ^= value + 0x9e3779b9u + (sum << 6) + (sum >> 2);
    return sum * 2654435761u;
}

/* A small random number generator (xorshift). */
static inline uint32_t next_random(uint32_t *state)
{
    uint32_t x = *state;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return *state = x;
}

static inline int finish(const char *name, uint32_t sum)
{
    printf("%s %08x\n", name, (unsigned)sum);
    return 0;
}

#endif
