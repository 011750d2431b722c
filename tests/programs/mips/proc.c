/* Prints the files in /proc that its arguments name, %d standing for its own number. "=DIRECTORY"
   changes to a directory, "@DIRECTORY" lets the names that follow begin there. */
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
    int directory = AT_FDCWD;
    int self = getpid(), by_child = argv[1][0] == 'c';
    if (by_child && fork()) return !wait(0);
    for (int i = 1 + by_child; i < argc; i++) {
        char path[256];
        snprintf(path, sizeof path, argv[i], self, self);
        if (path[0] == '=' && !chdir(path + 1)) continue;
        if (path[0] == '@') {
            directory = openat(directory, path + 1, O_RDONLY | O_DIRECTORY);
            continue;
        }
        int fd = openat(directory, path, O_RDONLY);
        ssize_t got = fd < 0 ? readlinkat(directory, path, text, sizeof text)
                             : read(fd, text, sizeof text);
        if (got > 0) write(1, text, got);
    }
    return 0;
}
