/* Signals for a process whose first thread has ended: another thread takes them. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_t first;
static volatile int last;

static void keep(int number) { last = number; }

static void *take(void *unused)
{
    const int numbers[] = {SIGUSR1, SIGALRM, SIGTERM};
    pthread_join(first, 0);
    for (int i = 0; i < 3; i++) {
        signal(numbers[i], keep);
        kill(getpid(), numbers[i]);
        while (last != numbers[i]) usleep(1000);
        printf("%s\n", strsignal(last));
    }
    exit(0);
}

int main(void)
{
    pthread_t thread;
    first = pthread_self();
    pthread_create(&thread, 0, take, 0);
    pthread_exit(0);
}
