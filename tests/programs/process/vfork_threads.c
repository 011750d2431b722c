/* A thread that makes children by vfork, which end at once, beside one whose children last: the
   first waits for its own alone. */
#include <pthread.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILDREN 12

static int ends[2];

static void *make_lasting(void *unused)
{
    for (int i = 0; i < CHILDREN; i++) {
        if (!fork()) {
            char byte;
            close(ends[1]);
            _exit(read(ends[0], &byte, 1) != 0);
        }
    }
    return 0;
}

int main(void)
{
    pthread_t thread;
    int status, good = 0;
    pipe(ends);
    pthread_create(&thread, 0, make_lasting, 0);
    for (int i = 0; i < CHILDREN; i++) {
        pid_t child = vfork();
        if (!child) _exit(i);
        good += waitpid(child, &status, 0) == child && WEXITSTATUS(status) == i;
    }
    printf("vforked: %d\n", good);
    pthread_join(thread, 0);
    close(ends[1]);
    for (good = 0; wait(&status) > 0;) good += !status;
    printf("lasting: %d\n", good);
    return 0;
}
