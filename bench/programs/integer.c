/* Integer mix: multiplication, division, shifts, bit fields, unpredictable branches; no memory. */
#include "bench.h"

static uint32_t gcd(uint32_t a, uint32_t b)
{
    while (b) {
        uint32_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static uint32_t collatz(uint32_t n)
{
    uint32_t steps = 0;
    while (n != 1 && steps < 1000) {
        n = n & 1 ? 3 * n + 1 : n >> 1;
        steps++;
    }
    return steps;
}

static uint32_t bits(uint32_t x)
{
    uint32_t count = 0;
    while (x) {
        x &= x - 1;
        count++;
    }
    return count;
}

static uint32_t modular_power(uint32_t base, uint32_t exponent, uint32_t modulus)
{
    uint32_t result = 1;
    base %= modulus;
    while (exponent) {
        if (exponent & 1)
            result = result * base % modulus;
        base = base * base % modulus;
        exponent >>= 1;
    }
    return result;
}

static uint32_t square_root(uint32_t n)
{
    uint32_t root = 0, bit = 1u << 30;
    while (bit > n)
        bit >>= 2;
    for (; bit; bit >>= 2) {
        if (n >= root + bit) {
            n -= root + bit;
            root = (root >> 1) + bit;
        } else {
            root >>= 1;
        }
    }
    return root;
}

int main(int argc, char **argv)
{
    uint32_t sum = 1, random = 12345;
    for (unsigned round = rounds(argc, argv, 10000000); round; round--) {
        uint32_t x = next_random(&random), y = next_random(&random);
        sum = mix(sum, gcd(x, y & 0xffff));
        sum = mix(sum, collatz((x & 0xffff) + 1));
        sum = mix(sum, bits(x ^ y));
        sum = mix(sum, modular_power(x, y & 0xfff, 65521));
        sum = mix(sum, square_root(x));
        sum = mix(sum, (uint32_t)((int32_t)x / ((int32_t)(y & 1023) - 2000)));
        sum = mix(sum, (uint32_t)(((uint64_t)x * y) >> 32));
    }
    return finish("integer", sum);
}
