/* Job control on a terminal of its own, as a shell does it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static volatile int continued, stopping, hung_up;
static int terminal;

static void on_continue(int signal) { continued++; }
static void on_hangup(int signal) { hung_up++; }

/* As editors do: put things in order, then stop by the signal's default. */
static void on_stop(int number)
{
    sigset_t set;
    stopping++;
    sigemptyset(&set);
    sigaddset(&set, SIGTSTP);
    signal(SIGTSTP, SIG_DFL);
    raise(SIGTSTP);
    sigprocmask(SIG_UNBLOCK, &set, 0);
    sigprocmask(SIG_BLOCK, &set, 0);
    signal(SIGTSTP, on_stop);
}

static void wait_for(pid_t child, const char *what)
{
    int status;
    waitpid(child, &status, WUNTRACED);
    if (WIFSTOPPED(status)) printf("%s: stopped by %s\n", what, strsignal(WSTOPSIG(status)));
    else if (WIFSIGNALED(status)) printf("%s: killed by %s\n", what, strsignal(WTERMSIG(status)));
    else printf("%s: exit %d\n", what, WEXITSTATUS(status));
}

/* A job of one process, in a group of its own. */
static pid_t job(int (*body)(void))
{
    pid_t child = fork();
    setpgid(child, child);
    if (!child) {
        signal(SIGTTOU, SIG_DFL);
        _exit(body());
    }
    return child;
}

static int reads(void)
{
    char line[16];
    signal(SIGCONT, on_continue);
    int got = read(terminal, line, sizeof line);
    return got == 3 && continued ? 10 : got < 0 ? 11 : 12;
}

static int writes(void) { return write(terminal, "x", 1) == 1 ? 20 : 21; }

static int writes_deaf(void)
{
    signal(SIGTTOU, SIG_IGN);
    return writes();
}

static int takes_terminal(void) { return tcsetpgrp(terminal, getpgrp()) ? 40 : 41; }

static void *spin(void *unused)
{
    for (;;) pause();
    return 0;
}

static int stops_threads(void)
{
    pthread_t id;
    pthread_create(&id, 0, spin, 0);
    signal(SIGTSTP, on_stop);
    raise(SIGTSTP);
    return 30 + stopping;
}

static int is_interrupted(void)
{
    signal(SIGTTOU, SIG_IGN);
    tcsetpgrp(terminal, getpgrp());
    for (;;) pause();
}

static void wakes(int signal, const char *what, int (*body)(void))
{
    pid_t child = job(body);
    wait_for(child, what);
    kill(-child, signal);
    wait_for(child, what);
}

/* A group whose last link to the session ends: its stopped members are hung up and continued. */
static void orphans(void)
{
    int ends[2], both[3];
    pipe(ends);
    pid_t link = fork();
    if (!link) {
        pid_t orphan = fork();
        if (!orphan) {
            int result[3];
            char byte;
            setpgid(0, 0);
            signal(SIGTTIN, SIG_DFL);
            signal(SIGHUP, on_hangup);
            signal(SIGCONT, on_continue);
            raise(SIGTSTP);
            result[0] = hung_up;
            result[1] = continued;
            /* Nobody could continue it: it is not stopped, but refused. */
            result[2] = read(terminal, &byte, 1) < 0 ? errno == EIO : -1;
            raise(SIGTSTP);
            write(ends[1], result, sizeof result);
            _exit(0);
        }
        setpgid(orphan, orphan);
        waitpid(orphan, 0, WUNTRACED);
        _exit(0);
    }
    waitpid(link, 0, 0);
    read(ends[0], both, sizeof both);
    printf("orphan: %d hangup, %d continued, refused %d\n", both[0], both[1], both[2]);
}

static int shell(const char *name)
{
    terminal = open(name, O_RDWR);
    printf("controlling: %d\n", ioctl(terminal, TIOCSCTTY, 0));
    printf("session: %d, foreground: %d\n", tcgetsid(terminal) == getpid(), tcgetpgrp(terminal) == getpgrp());
    signal(SIGTTOU, SIG_IGN);

    /* A job in the background that reads is stopped; in the foreground it goes on. */
    pid_t reader = job(reads);
    wait_for(reader, "background reader");
    tcsetpgrp(terminal, reader);
    kill(-reader, SIGCONT);
    kill(getppid(), SIGUSR1);
    wait_for(reader, "foreground reader");
    tcsetpgrp(terminal, getpgrp());

    struct termios modes;
    tcgetattr(terminal, &modes);
    modes.c_lflag |= TOSTOP;
    tcsetattr(terminal, TCSANOW, &modes);
    wakes(SIGKILL, "background writer", writes);
    wait_for(job(writes_deaf), "writer that ignores it");
    wakes(SIGKILL, "thief of the terminal", takes_terminal);
    wakes(SIGCONT, "threads", stops_threads);
    orphans();

    /* The terminal's keys reach the foreground job alone. */
    pid_t victim = job(is_interrupted);
    while (tcgetpgrp(terminal) != victim) usleep(1000);
    kill(getppid(), SIGUSR2);
    wait_for(victim, "suspended job");
    tcsetpgrp(terminal, getpgrp());
    kill(-victim, SIGCONT);
    tcsetpgrp(terminal, victim);
    kill(getppid(), SIGUSR1);
    wait_for(victim, "interrupted job");
    return 0;
}

int main(void)
{
    sigset_t wanted;
    int master = posix_openpt(O_RDWR | O_NOCTTY), signal, i;
    static const char *keys[] = {"ab\n", "\032", "\003"};
    setvbuf(stdout, 0, _IOLBF, 0);
    grantpt(master);
    unlockpt(master);
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGUSR1);
    sigaddset(&wanted, SIGUSR2);
    sigprocmask(SIG_BLOCK, &wanted, 0);
    pid_t child = fork();
    if (!child) {
        sigprocmask(SIG_UNBLOCK, &wanted, 0);
        setsid();
        exit(shell(ptsname(master)));
    }
    for (i = 0; i < 3; i++) {
        sigwait(&wanted, &signal);
        write(master, keys[i], strlen(keys[i]));
    }
    wait_for(child, "shell");
    return 0;
}
