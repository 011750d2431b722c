/* Memory: a sieve, three ways to sort, and walks through a linked list. */
#include <string.h>

#include "bench.h"

#define SIEVE 2000000
#define COUNT 200000

static uint8_t composite[SIEVE];
static uint32_t keys[COUNT], work[COUNT], next[COUNT];

static uint32_t sieve(void)
{
    uint32_t primes = 0;
    memset(composite, 0, sizeof composite);
    for (uint32_t n = 2; n < SIEVE; n++) {
        if (composite[n])
            continue;
        primes++;
        for (uint32_t multiple = 2 * n; multiple < SIEVE; multiple += n)
            composite[multiple] = 1;
    }
    return primes;
}

static void quick_sort(uint32_t *array, int low, int high)
{
    while (low < high) {
        uint32_t pivot = array[low + (high - low) / 2];
        int i = low, j = high;
        while (i <= j) {
            while (array[i] < pivot)
                i++;
            while (array[j] > pivot)
                j--;
            if (i <= j) {
                uint32_t swapped = array[i];
                array[i++] = array[j];
                array[j--] = swapped;
            }
        }
        if (j - low < high - i) {
            quick_sort(array, low, j);
            low = i;
        } else {
            quick_sort(array, i, high);
            high = j;
        }
    }
}

static void sift(uint32_t *heap, uint32_t root, uint32_t size)
{
    for (;;) {
        uint32_t child = 2 * root + 1;
        if (child >= size)
            return;
        if (child + 1 < size && heap[child] < heap[child + 1])
            child++;
        if (heap[root] >= heap[child])
            return;
        uint32_t swapped = heap[root];
        heap[root] = heap[child];
        heap[child] = swapped;
        root = child;
    }
}

static void heap_sort(uint32_t *array, uint32_t size)
{
    for (uint32_t root = size / 2; root-- > 0;)
        sift(array, root, size);
    while (size > 1) {
        uint32_t last = array[--size];
        array[size] = array[0];
        array[0] = last;
        sift(array, 0, size);
    }
}

static void radix_sort(uint32_t *from, uint32_t *to, uint32_t size)
{
    for (unsigned shift = 0; shift < 32; shift += 8) {
        uint32_t place[257] = {0};
        for (uint32_t i = 0; i < size; i++)
            place[(from[i] >> shift & 255) + 1]++;
        for (unsigned i = 0; i < 256; i++)
            place[i + 1] += place[i];
        for (uint32_t i = 0; i < size; i++)
            to[place[from[i] >> shift & 255]++] = from[i];
        uint32_t *swapped = from;
        from = to;
        to = swapped;
    }
}

static uint32_t walk(uint32_t steps)
{
    uint32_t at = 0;
    while (steps--)
        at = next[at];
    return at;
}

int main(int argc, char **argv)
{
    uint32_t sum = 1, random = 54321;
    for (uint32_t i = 0; i < COUNT; i++)
        next[i] = (i * 7919 + 104729) % COUNT;
    for (unsigned round = rounds(argc, argv, 70); round; round--) {
        sum = mix(sum, sieve());
        for (int how = 0; how < 3; how++) {
            for (uint32_t i = 0; i < COUNT; i++)
                keys[i] = next_random(&random);
            if (how == 0)
                quick_sort(keys, 0, COUNT - 1);
            else if (how == 1)
                heap_sort(keys, COUNT);
            else
                radix_sort(keys, work, COUNT);
            for (uint32_t i = 0; i < COUNT; i += 1000)
                sum = mix(sum, keys[i]);
        }
        sum = mix(sum, walk(2000000));
    }
    return finish("memory", sum);
}
