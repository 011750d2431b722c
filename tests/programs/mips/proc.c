/* Prints the files in /proc that its arguments name, %d standing for its own number. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void handler(int signal) {}

int main(int argc, char **argv)
{
    static char text[1 << 16];
    sigset_t set;
    signal(SIGUSR1, handler);
    signal(SIGUSR2, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, 100);
    sigprocmask(SIG_BLOCK, &set, 0);
    raise(SIGHUP);
    free(malloc(1000));
    setvbuf(stdout, 0, _IONBF, 0);
    int self = getpid(), by_child = argv[1][0] == 'c';
    if (by_child && fork()) return !wait(0);
    for (int i = 1 + by_child; i < argc; i++) {
        char path[256];
        snprintf(path, sizeof path, argv[i], self, self);
        int fd = open(path, O_RDONLY);
        ssize_t got = fd < 0 ? readlink(path, text, sizeof text) : read(fd, text, sizeof text);
        if (got > 0) write(1, text, got);
    }
    return 0;
}
