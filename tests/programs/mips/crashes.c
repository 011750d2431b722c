/* Ends in a way that its argument names. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FUNCTION __attribute__((noinline))

FUNCTION int leaf(int *p) { return *p + 1; }

FUNCTION int middle(int *p, int n)
{
    int a[20];
    for (int i = 0; i < 20; i++) a[i] = leaf(p) + n;
    return a[n];
}

FUNCTION int outer(int n) { return middle((int *)4, n) * 2; }

void *thread(void *unused) { return (void *)(long)(outer(3) + 1); }
void handler(int signal) { printf("%d", outer(2)); }
int compare(const void *a, const void *b) { return outer(1) - 5; }

FUNCTION int deep(int n)
{
    volatile char room[256];
    room[0] = n;
    return n > 100000000 ? 0 : deep(n + 1) + room[0];
}

FUNCTION void smash(void)
{
    char room[16];
    volatile int n = 200;
    memset(room, 0x41, n);
    printf("%s", room);
}

int main(int argc, char **argv)
{
    pthread_t id;
    int numbers[] = {3, 2, 1};
    switch (argv[1][0]) {
    case 'l': return outer(1);
    case 't':
        pthread_create(&id, 0, thread, 0);
        pthread_join(id, 0);
        return 0;
    case 'h':
        signal(SIGUSR1, handler);
        raise(SIGUSR1);
        return 0;
    case 'q':
        qsort(numbers, 3, sizeof numbers[0], compare);
        return numbers[0];
    case 'd': return deep(0);
    case 's': smash(); return 0;
    case 'a': abort();
    }
}
