/* Threads that map, protect and unmap memory at the same time, beside one that moves the break and
   one that forks: each finds its own memory as it left it. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS 4
#define ROUNDS 400
#define KEPT 16

static int file;
static int failures;

static void expect(int condition, const char *what)
{
    if (!condition && __sync_fetch_and_add(&failures, 1) < 5)
        printf("failed: %s\n", what);
}

static void *maps(void *argument)
{
    unsigned seed = (unsigned)(size_t)argument;
    struct { unsigned char *start; size_t size; unsigned char mark; } kept[KEPT] = {{0}};
    for (int round = 0; round < ROUNDS; round++) {
        int slot = rand_r(&seed) % KEPT;
        if (kept[slot].start) {
            unsigned char *start = kept[slot].start;
            size_t size = kept[slot].size;
            expect(start[0] == kept[slot].mark && start[size - 1] == kept[slot].mark, "content");
            if (rand_r(&seed) % 2) {
                expect(!mprotect(start, size, PROT_READ), "mprotect");
                expect(start[size / 2] == kept[slot].mark, "content that cannot be written");
            }
            if (rand_r(&seed) % 4 == 0) {
                start = mremap(start, size, 2 * size, MREMAP_MAYMOVE);
                expect(start != MAP_FAILED && start[0] == kept[slot].mark, "mremap");
                size *= 2;
            }
            expect(!munmap(start, size), "munmap");
            kept[slot].start = NULL;
        } else {
            size_t size = 4096 * (1 + rand_r(&seed) % 20);
            int private = MAP_PRIVATE | MAP_ANONYMOUS;
            unsigned char *start = mmap(NULL, size, PROT_READ | PROT_WRITE, private, -1, 0);
            expect(start != MAP_FAILED, "mmap");
            expect(!start[0] && !start[size / 2] && !start[size - 1], "zeros");
            kept[slot].start = start;
            kept[slot].size = size;
            kept[slot].mark = 1 + rand_r(&seed) % 255;
            memset(start, kept[slot].mark, size);
        }
        char *text = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, file, 0);
        expect(text != MAP_FAILED && !memcmp(text, "content", 7), "file");
        munmap(text, 4096);
    }
    return NULL;
}

static void *moves_break(void *argument)
{
    for (int round = 0; round < ROUNDS; round++) {
        char *start = sbrk(10000);
        expect(start != (char *)-1 && !start[0] && !start[9999], "zeros of the heap");
        memset(start, 1, 10000);
        expect(sbrk(-10000) == start + 10000, "sbrk");
    }
    return argument;
}

static void *forks(void *argument)
{
    for (int round = 0; round < 10; round++) {
        pid_t child = fork();
        if (!child) {
            char *start = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (start == MAP_FAILED)
                _exit(1);
            memset(start, 1, 65536);
            _exit(munmap(start, 65536) ? 2 : 0);
        }
        int status;
        waitpid(child, &status, 0);
        expect(!status, "child");
    }
    return argument;
}


int main(void)
{
    pthread_t threads[THREADS + 2];
    file = memfd_create("file", 0);
    if (write(file, "content", 7) != 7)
        return 1;
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, maps, (void *)(size_t)(i + 1));
    pthread_create(&threads[THREADS], NULL, moves_break, NULL);
    pthread_create(&threads[THREADS + 1], NULL, forks, NULL);
    for (int i = 0; i < THREADS + 2; i++)
        pthread_join(threads[i], NULL);
    printf("%d failures\n", failures);
    return 0;
}
