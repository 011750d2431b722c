/* What is left of a process when it executes another program: itself, once more. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int used = 1;

static void handler(int signal)
{
    (void)signal;
}

static void arrange(const char *self)
{
    char number[16], shared[16], timed[16];
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};
    sigset_t mask;
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2};
    struct itimerval late = {.it_value.tv_sec = 1000};

    used = 2;
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGSEGV, &action, NULL);
    signal(SIGHUP, SIG_IGN);
    sigaltstack(&stack, NULL);
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    sigaddset(&mask, SIGWINCH);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    raise(SIGUSR1);
    timer_create(CLOCK_MONOTONIC, &event, &timer);
    setitimer(ITIMER_REAL, &late, NULL);
    dup2(1, 50);
    fcntl(50, F_SETFD, FD_CLOEXEC);
    dup2(1, 51);
    dup2(eventfd(7, EFD_CLOEXEC), 52);
    umask(027);
    prctl(PR_SET_NAME, "other");
    int segment = shmget(IPC_PRIVATE, 4096, 0600);
    shmat(segment, NULL, 0);
    mmap((void *)0x30000000, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    snprintf(number, sizeof number, "%d", (int)getpid());
    snprintf(shared, sizeof shared, "%d", segment);
    snprintf(timed, sizeof timed, "%d", (int)(long)timer);
    execle(self, "a name", number, shared, timed, "an argument", NULL,
           (char *[]){"ONE=1", "TWO=two", NULL});
    perror("execle");
    exit(1);
}

static void check(int argc, char **argv, char **environ)
{
    struct sigaction action;
    stack_t stack;
    sigset_t mask;
    struct itimerval left;
    struct shmid_ds segment;
    unsigned long long count = 0;
    char name[16];

    for (int i = 0; i < argc; i++)
        if (i < 1 || i > 3)
            printf("argument %s\n", argv[i]);
    for (char **entry = environ; *entry; entry++)
        printf("environment %s\n", *entry);
    printf("same process %d, fresh data %d\n", atoi(argv[1]) == getpid(), used);
    printf("thread is leader %d\n", syscall(SYS_gettid) == getpid());
    sigaction(SIGUSR1, NULL, &action);
    printf("handler reset %d\n", action.sa_handler == SIG_DFL && !action.sa_flags);
    sigaction(SIGSEGV, NULL, &action);
    printf("fault handler reset %d\n", action.sa_handler == SIG_DFL);
    sigaction(SIGHUP, NULL, &action);
    printf("ignored %d\n", action.sa_handler == SIG_IGN);
    sigaltstack(NULL, &stack);
    printf("no signal stack %d\n", stack.ss_flags == SS_DISABLE);
    sigprocmask(SIG_BLOCK, NULL, &mask);
    printf("blocked %d %d %d\n", sigismember(&mask, SIGUSR1), sigismember(&mask, SIGWINCH),
           sigismember(&mask, SIGTERM));
    sigpending(&mask);
    printf("pending %d\n", sigismember(&mask, SIGUSR1));
    printf("timer is gone %d\n", syscall(SYS_timer_delete, atoi(argv[3])) < 0 && errno == EINVAL);
    getitimer(ITIMER_REAL, &left);
    printf("alarm left %d\n", left.it_value.tv_sec > 900);
    printf("descriptors %d %d\n", fcntl(50, F_GETFD) < 0, fcntl(51, F_GETFD));
    read(52, &count, 8);
    printf("counter %llu\n", count);
    printf("umask %o\n", (int)umask(0));
    prctl(PR_GET_NAME, name);
    printf("name reset %d\n", !!strcmp(name, "other"));
    shmctl(atoi(argv[2]), IPC_STAT, &segment);
    printf("attached %d\n", (int)segment.shm_nattch);
    shmctl(atoi(argv[2]), IPC_RMID, NULL);
    printf("mapping gone %d\n", msync((void *)0x30000000, 4096, MS_ASYNC) < 0);
    fflush(stdout);
    signal(SIGUSR1, handler);
    sigemptyset(&mask);
    printf("interrupted %d\n", sigsuspend(&mask) < 0 && errno == EINTR);
}

static void fails(const char *path)
{
    errno = 0;
    execl(path, path, NULL);
    printf("%s: %s\n", path, strerrorname_np(errno));
}

static void failures(void)
{
    FILE *file;

    fails("/nonexistent/program");
    fails("/");
    fails("/etc/passwd");
    chdir("/tmp");
    char name[] = "execute-XXXXXX";
    int fd = mkstemp(name);
    fchmod(fd, 0755);
    close(fd);
    errno = 0;
    execl(name, name, NULL);
    printf("empty: %s\n", strerrorname_np(errno));
    file = fopen(name, "w");
    fputs("no program\n", file);
    fclose(file);
    execl(name, name, NULL);
    printf("text: %s\n", strerrorname_np(errno));
    file = fopen(name, "w");
    fputs("#!/nonexistent/interpreter\n", file);
    fclose(file);
    execl(name, name, NULL);
    printf("no interpreter: %s\n", strerrorname_np(errno));
    unlink(name);
}

static void *runs(void *self)
{
    execl(self, "from a thread", "-", NULL);
    return NULL;
}

int main(int argc, char **argv, char **environ)
{
    pthread_t thread;
    char self[4096] = "";
    int status;

    if (argc == 2 && !strcmp(argv[1], "-")) {
        printf("%s, leader %d\n", argv[0], syscall(SYS_gettid) == getpid());
        return 7;
    }
    if (argc > 2) {
        check(argc, argv, environ);
        return 0;
    }
    readlink("/proc/self/exe", self, sizeof self - 1);
    failures();
    fflush(stdout);
    if (!vfork()) {
        execl(self, "from vfork", "-", NULL);
        _exit(1);
    }
    wait(&status);
    printf("vfork %x\n", status);
    fflush(stdout);
    if (!fork()) {
        pthread_create(&thread, NULL, runs, self);
        pause();
    }
    wait(&status);
    printf("thread %x\n", status);
    fflush(stdout);
    arrange(self);
}
