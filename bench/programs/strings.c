/* Text and bytes: words in a hash table, a matcher, CRC-32, SHA-256, a small compressor. */
#include <string.h>

#include "bench.h"

#define TEXT 100000
static char text[TEXT + 1];
static uint8_t packed[2 * TEXT];

static void write_text(uint32_t *random)
{
    static const char *const syllables[] = {"ka", "lo", "mi", "ner", "os", "pra", "quin", "ru"};
    size_t at = 0;
    while (at < TEXT - 16) {
        unsigned count = 1 + next_random(random) % 3;
        while (count--) {
            const char *syllable = syllables[next_random(random) >> 29];
            size_t length = strlen(syllable);
            memcpy(text + at, syllable, length);
            at += length;
        }
        text[at++] = ' ';
    }
    memset(text + at, '.', TEXT - at);
    text[TEXT] = 0;
}

#define BUCKETS 1024
struct word {
    struct word *next;
    uint32_t count;
    char name[24];
};
static struct word *buckets[BUCKETS];
static struct word pool[4096];

static uint32_t count_words(void)
{
    uint32_t used = 0, sum = 0;
    memset(buckets, 0, sizeof buckets);
    for (const char *at = text; *at;) {
        char name[24];
        size_t length = strcspn(at, " .");
        if (length > sizeof name - 1)
            length = sizeof name - 1;
        memcpy(name, at, length);
        name[length] = 0;
        at += length;
        at += strspn(at, " .");
        uint32_t hash = 2166136261u;
        for (const char *c = name; *c; c++)
            hash = (hash ^ (uint8_t)*c) * 16777619u;
        struct word **bucket = &buckets[hash % BUCKETS], *word = *bucket;
        while (word && strcmp(word->name, name))
            word = word->next;
        if (!word) {
            word = &pool[used++];
            word->next = *bucket;
            word->count = 0;
            strcpy(word->name, name);
            *bucket = word;
        }
        sum += ++word->count;
    }
    return mix(sum, used);
}

static uint32_t matches(const char *pattern)
{
    uint32_t found = 0;
    for (const char *at = text; (at = strstr(at, pattern)); at++)
        found++;
    return found;
}

static uint32_t crc32(const uint8_t *data, size_t length)
{
    static uint32_t table[256];
    uint32_t crc = ~0u;
    if (!table[1]) {
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t value = i;
            for (int bit = 0; bit < 8; bit++)
                value = value & 1 ? value >> 1 ^ 0xedb88320u : value >> 1;
            table[i] = value;
        }
    }
    while (length--)
        crc = crc >> 8 ^ table[(crc ^ *data++) & 255];
    return ~crc;
}

static uint32_t rotate(uint32_t x, int n)
{
    return x >> n | x << (32 - n);
}

/* SHA-256's compression function (FIPS 180-4) with other constants. */
static uint32_t constants[64];

static void compress_block(uint32_t state[8], const uint8_t *data)
{
    uint32_t w[64], s[8];
    for (int i = 0; i < 16; i++, data += 4)
        w[i] = (uint32_t)data[0] << 24 | data[1] << 16 | data[2] << 8 | data[3];
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        a = rotate(a, 7) ^ rotate(a, 18) ^ a >> 3;
        b = rotate(b, 17) ^ rotate(b, 19) ^ b >> 10;
        w[i] = w[i - 16] + a + w[i - 7] + b;
    }
    memcpy(s, state, sizeof s);
    for (int i = 0; i < 64; i++) {
        uint32_t e = s[4], a = s[0];
        uint32_t t1 = s[7] + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) +
                      ((e & s[5]) ^ (~e & s[6])) + constants[i] + w[i];
        uint32_t t2 = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) +
                      ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 7 * sizeof s[0]);
        s[4] += t1;
        s[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++)
        state[i] += s[i];
}

/* Repeats of what stood within the last 64 KiB become (distance, length). */
static size_t pack(void)
{
    static uint32_t last[4096];
    size_t at = 0, out = 0;
    memset(last, 0, sizeof last);
    while (at < TEXT - 4) {
        const uint8_t *here = (const uint8_t *)text + at;
        uint32_t key = here[0] | here[1] << 8 | (uint32_t)here[2] << 16;
        uint32_t slot = key * 2654435761u >> 20, from = last[slot];
        last[slot] = (uint32_t)at + 1;
        size_t length = 0;
        if (from && at + 1 - from < 65536)
            while (length < 255 && at + length < TEXT && text[from - 1 + length] == text[at + length])
                length++;
        if (length >= 4) {
            size_t distance = at + 1 - from;
            packed[out++] = (uint8_t)(0x80 | distance >> 16);
            packed[out++] = (uint8_t)(distance >> 8);
            packed[out++] = (uint8_t)distance;
            packed[out++] = (uint8_t)length;
            at += length;
        } else {
            packed[out++] = here[0];
            at++;
        }
    }
    return out;
}

int main(int argc, char **argv)
{
    uint32_t sum = 1, random = 4711;
    for (int i = 0; i < 64; i++)
        constants[i] = next_random(&random);
    for (unsigned round = rounds(argc, argv, 380); round; round--) {
        uint32_t state[8] = {1, 2, 3, 4, 5, 6, 7, 8};
        write_text(&random);
        sum = mix(sum, count_words());
        sum = mix(sum, matches("kalo") + matches("quinru "));
        sum = mix(sum, crc32((const uint8_t *)text, TEXT));
        for (size_t at = 0; at + 64 <= TEXT; at += 64)
            compress_block(state, (const uint8_t *)text + at);
        sum = mix(sum, state[0] ^ state[7]);
        size_t length = pack();
        sum = mix(sum, crc32(packed, length));
    }
    return finish("strings", sum);
}
