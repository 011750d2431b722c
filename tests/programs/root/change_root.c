/* A program that keeps a compiler busy moves into namespaces of its own and changes its root
   directory, which then holds nothing but this program; it executes itself there. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned work(unsigned seed, unsigned rounds)
{
    unsigned sum = seed;
    for (unsigned i = 0; i < rounds; i++)
        sum = (sum ^ i) * 2654435761u + (sum >> 13);
    return sum;
}

static unsigned more_work(unsigned seed, unsigned rounds)
{
    unsigned sum = seed;
    for (unsigned i = 0; i < rounds; i++)
        sum = (sum + i * 7) ^ (sum << 5) ^ (sum >> 3);
    return sum;
}

static void say(const char *what, int result)
{
    printf("%s: %s\n", what, result < 0 ? strerror(errno) : "done");
    fflush(stdout);
}

static int put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);
    if (fd < 0)
        return -1;
    int written = write(fd, text, strlen(text));
    close(fd);
    return written;
}

static int copy(const char *from, const char *to)
{
    static char buffer[65536];
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_EXCL, 0755);
    if (in < 0 || out < 0)
        return -1;
    for (int count; (count = read(in, buffer, sizeof buffer)) > 0;)
        if (write(out, buffer, count) != count)
            return -1;
    close(in);
    return close(out);
}

static void *in_thread(void *argument)
{
    *(unsigned *)argument = work(3, 2000000);
    return NULL;
}

static void on_signal(int signo)
{
    (void)signo;
    write(1, "signal\n", 7);
}

static int inside(char **argv)
{
    pthread_t thread;
    unsigned result = 0;
    int ends[2], status;

    printf("%s %s\n", argv[0], getenv("COLOUR"));
    say("/etc/passwd", open("/etc/passwd", O_RDONLY));
    say("/prog", open("/prog", O_RDONLY));
    say("thread", -pthread_create(&thread, NULL, in_thread, &result));
    pthread_join(thread, NULL);
    printf("%u %u\n", result, more_work(4, 3000000));
    signal(SIGUSR1, on_signal);
    raise(SIGUSR1);
    say("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    fflush(stdout);
    if (!fork()) {
        dup2(ends[0], 1);
        execl("/prog", "prog", "small", NULL);
        _exit(9);
    }
    wait(&status);
    char line[64] = "";
    read(ends[1], line, sizeof line - 1);
    printf("%s%x\n", line, status);
    signal(SIGUSR1, SIG_DFL);
    fflush(stdout);
    raise(SIGUSR1);
    return 1;
}

/* The first process of a PID namespace, which ends with it. */
static int first(const char *self, const char *directory)
{
    int status;

    printf("%d %u\n", (int)getpid(), work(2, 2000000));
    say("chdir", chdir(directory));
    say("copy", copy(self, "prog"));
    say("chroot", chroot("."));
    setenv("COLOUR", "green", 1);
    fflush(stdout);
    if (!fork()) {
        execl("/prog", "the program", "inside", NULL);
        _exit(8);
    }
    wait(&status);
    printf("%d\n", WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1);
    return 5;
}

int main(int argc, char **argv)
{
    char map[64];
    int status;

    if (argc > 1 && !strcmp(argv[1], "small"))
        return puts("small") < 0;
    if (argc > 1 && !strcmp(argv[1], "inside"))
        return inside(argv);
    uid_t uid = getuid();
    gid_t gid = getgid();
    printf("%u\n", work(1, 20000000));
    say("user namespace", unshare(CLONE_NEWUSER));
    snprintf(map, sizeof map, "0 %u 1", (unsigned)uid);
    say("uid_map", put("/proc/self/uid_map", map));
    put("/proc/self/setgroups", "deny");
    snprintf(map, sizeof map, "0 %u 1", (unsigned)gid);
    say("gid_map", put("/proc/self/gid_map", map));
    printf("%u %u\n", (unsigned)getuid(), (unsigned)getgid());
    say("PID namespace", unshare(CLONE_NEWPID));
    printf("%u\n", more_work(2, 20000000));
    fflush(stdout);
    pid_t child = fork();
    if (!child)
        return first(argv[0], argv[1]);
    wait(&status);
    say("fork", child);
    printf("%x\n", status);
    return 0;
}
