/* Processes made by vfork: the parent waits for each, also where most descriptors are beyond the limit. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void run(const char *what, char **argv)
{
    int status;
    fflush(stdout);
    pid_t child = vfork();
    if (!child) {
        execv(argv[0], argv);
        _exit(3);
    }
    if (child < 0) {
        printf("%s: %s\n", what, strerror(errno));
        return;
    }
    waitpid(child, &status, 0);
    printf("%s: %d\n", what, WEXITSTATUS(status));
}

int main(int argc, char **argv)
{
    char *again[] = {argv[0], "said", NULL}, *nothing[] = {"/nonexistent", NULL};
    char *wait_long[] = {argv[0], "wait", NULL};
    struct rlimit limit;
    int status, ends[2];

    if (argc > 1 && !strcmp(argv[1], "said"))
        return puts("said") < 0;
    if (argc > 1) { /* until the parent has gone on */
        struct pollfd end = {60, POLLIN, 0};
        return poll(&end, 1, 100000) == 1 ? 4 : 3;
    }
    run("program", again);
    run("no program", nothing);

    double before = now();
    pid_t child = vfork();
    if (!child) {
        usleep(400000);
        _exit(5);
    }
    printf("waited: %d\n", now() - before >= 0.4);
    waitpid(child, &status, 0);

    /* Its own child goes on when it ends itself, and its parent goes on then. */
    fflush(stdout);
    if (pipe(ends))
        return 1;
    before = now();
    child = vfork();
    if (!child) {
        if (!fork()) { /* until the parent has gone on */
            struct pollfd end = {ends[0], POLLIN, 0};
            close(ends[1]);
            _exit(poll(&end, 1, 100000));
        }
        _exit(6);
    }
    printf("waited for the grandchild: %d\n", now() - before >= 100);
    close(ends[0]);
    close(ends[1]);
    waitpid(child, &status, 0);
    printf("status: %d\n", WEXITSTATUS(status));

    if (pipe(ends) || dup2(ends[0], 60) < 0)
        return 1;
    child = vfork();
    if (!child) {
        close(ends[1]);
        execv(wait_long[0], wait_long);
        _exit(3);
    }
    write(ends[1], "x", 1);
    waitpid(child, &status, 0);
    printf("program whose start was waited for, but not its end: %d\n", WEXITSTATUS(status));
    close(ends[0]);
    close(ends[1]);
    close(60);

    while (open("/dev/null", O_RDONLY | O_CLOEXEC) < 60)
        ;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = 20;
    setrlimit(RLIMIT_NOFILE, &limit);
    printf("open: %d\n", open("/dev/null", O_RDONLY));
    for (int fd = 3; fd < 10; fd++)
        close(fd);
    run("below the limit", again);
    limit.rlim_cur = 70;
    setrlimit(RLIMIT_NOFILE, &limit);
    printf("open: %d\n", open("/dev/null", O_RDONLY));
    return 0;
}
