/* Does its work, in surroundings that its argument asks for. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "work.h"

static void *work_on_thread(void *result) {
    *(unsigned *)result = work();
    return 0;
}

static void *wait_forever(void *nothing) {
    for (;;) pause();
    return nothing;
}

static int work_on_threads(void) {
    pthread_t threads[4];
    unsigned results[4];
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], 0, work_on_thread, &results[i]);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], 0);
    for (int i = 1; i < 4; i++)
        if (results[i] != results[0]) return 1;
    printf("%u\n", results[0]);
    return 0;
}

static int work_in_children(void) {
    unsigned result = work();
    for (int i = 0; i < 3; i++)
        if (fork() == 0) _exit(work() != result);
    int status, failed = 0;
    while (wait(&status) > 0) failed |= status;
    printf("%u\n", result);
    return failed != 0;
}

int main(int argc, char **argv) {
    const char *how = argc > 1 ? argv[1] : "";
    if (!strcmp(how, "threads")) return work_on_threads();
    if (!strcmp(how, "children")) return work_in_children();
    if (!strcmp(how, "descriptors")) {
        int first = open("/dev/null", O_RDONLY), second = open("/dev/null", O_RDONLY);
        printf("%d %d\n", first, second);
    }
    if (!strcmp(how, "umask")) umask(0777);
    if (!strcmp(how, "small-files")) {
        struct rlimit limit = {100, 100};
        if (setrlimit(RLIMIT_FSIZE, &limit)) perror("setrlimit");
    }
    if (!strcmp(how, "chroot") && (chdir(argv[2]) || chroot("."))) perror("chroot");
    printf("%u\n", work());
    fflush(stdout);
    if (!strcmp(how, "execute")) {
        execv(argv[2], argv + 2);
        perror("execv");
    }
    if (!strcmp(how, "execute-elsewhere")) { /* not alone, from another directory, with another home */
        char *environment[] = {argv[3], 0};
        pthread_t thread;
        pthread_create(&thread, 0, wait_forever, 0);
        if (chdir("/")) perror("chdir");
        execve(argv[2], argv + 2, environment);
        perror("execve");
    }
    return 0;
}
