/* What a debugger must be told of, by the first argument. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

volatile int handled, shared, own[3];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void on_signal(int number)
{
    handled++;
}

void work(int number)
{
    own[number]++;
    pthread_mutex_lock(&mutex);
    shared++;
    pthread_mutex_unlock(&mutex);
}

static void *worker(void *argument)
{
    for (int i = 0; i < 50; i++)
        work((int)(long)argument);
    return argument;
}

int in_child(int value)
{
    return value + 1;
}

static void say(const char *text)
{
    puts(text);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    pthread_t threads[3];
    int status = 0, ends[2];
    char byte;

    if (!strcmp(what, "signal")) {
        signal(SIGUSR1, on_signal);
        raise(SIGUSR1);
        printf("handled %d\n", handled);
    } else if (!strcmp(what, "fault")) {
        *(volatile int *)16 = 1;
    } else if (!strcmp(what, "spin")) {
        say("ready");
        for (;;)
            shared++;
    } else if (!strcmp(what, "wait") && pipe(ends) == 0) {
        say("ready");
        read(ends[0], &byte, 1);
    } else if (!strcmp(what, "threads")) {
        for (long i = 0; i < 3; i++)
            pthread_create(&threads[i], 0, worker, (void *)i);
        for (int i = 0; i < 3; i++)
            pthread_join(threads[i], 0);
        printf("shared %d\n", shared);
    } else if (!strcmp(what, "leave")) {
        for (long i = 0; i < 3; i++)
            pthread_create(&threads[i], 0, worker, (void *)i);
        _exit(5);
    } else if (!strcmp(what, "fork")) {
        pid_t child = fork();
        if (child == 0)
            _exit(in_child(4));
        waitpid(child, &status, 0);
        printf("child %d\n", WEXITSTATUS(status));
    } else if (!strcmp(what, "exec")) {
        execl(argv[2], argv[2], (char *)0);
    }
    return 3;
}
