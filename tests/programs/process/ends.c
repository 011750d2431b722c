/* Processes that a thread ends or stops by a signal's default, while the first thread is busy. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS 2 /* the first thread waits; it computes */

static int number;

static void *work(void *unused)
{
    if (number == SIGSEGV) *(volatile int *)16 = 1;
    else raise(number);
    _exit(3);
}

static void show(int round, int status)
{
    if (WIFSTOPPED(status)) printf("%d: stopped by %s\n", round, strsignal(WSTOPSIG(status)));
    else if (WIFSIGNALED(status)) printf("%d: killed by %s\n", round, strsignal(WTERMSIG(status)));
    else printf("%d: exit %d\n", round, WEXITSTATUS(status));
}

int main(void)
{
    const int numbers[] = {SIGABRT, SIGSEGV, SIGTERM, SIGTSTP};
    for (int i = 0; i < ROUNDS * 4; i++) {
        number = numbers[i % 4];
        fflush(stdout);
        pid_t child = fork();
        if (!child) {
            pthread_t thread;
            setpgid(0, 0); /* not an orphaned group, which would not stop */
            close(2);
            pthread_create(&thread, 0, work, 0);
            for (;;) if (i < 4) pause();
        }
        int status;
        waitpid(child, &status, WUNTRACED);
        show(i, status);
        if (WIFSTOPPED(status)) {
            kill(child, SIGCONT);
            waitpid(child, &status, 0);
            show(i, status);
        }
    }
    return 0;
}
