/* 64-bit integers: generators, multiplication with remainder, hashes, shifts; a few loads. */
#include "bench.h"

static uint64_t rotate(uint64_t x, int n)
{
    return x << n | x >> (64 - n);
}

static uint64_t state[4] = {1, 2, 3, 4};

/* xoshiro256's step (Blackman and Vigna). */
static uint64_t generate(void)
{
    uint64_t result = rotate(state[1] * 5, 7) * 9, t = state[1] << 17;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= t;
    state[3] = rotate(state[3], 45);
    return result;
}

static uint64_t hash(const uint64_t *data, unsigned count)
{
    uint64_t h = 0xcbf29ce484222325u;
    while (count--) {
        h = (h ^ *data++) * 0x100000001b3u;
        h ^= h >> 29;
    }
    return h;
}

static uint64_t modular_power(uint64_t base, uint32_t exponent, uint64_t modulus)
{
    uint64_t result = 1;
    for (base %= modulus; exponent; exponent >>= 1) {
        if (exponent & 1)
            result = result * base % modulus;
        base = base * base % modulus;
    }
    return result;
}

static unsigned bits(uint64_t x)
{
    x -= x >> 1 & 0x5555555555555555u;
    x = (x & 0x3333333333333333u) + (x >> 2 & 0x3333333333333333u);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu;
    return (unsigned)(x * 0x0101010101010101u >> 56);
}

int main(int argc, char **argv)
{
    static uint64_t data[512];
    uint32_t sum = 1;
    for (unsigned round = rounds(argc, argv, 500000); round; round--) {
        for (int i = 0; i < 512; i++)
            data[i] = generate();
        uint64_t h = hash(data, 512);
        for (int i = 0; i < 512; i++)
            h += rotate(data[i], i & 63) ^ bits(data[i]);
        h += modular_power(h, (uint32_t)data[0], 4294967291u);
        h += (uint64_t)((int64_t)data[1] >> (data[2] & 63));
        sum = mix(mix(sum, (uint32_t)h), (uint32_t)(h >> 32));
    }
    return finish("wide", sum);
}
