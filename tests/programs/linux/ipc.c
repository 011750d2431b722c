/* System V IPC and POSIX message queues between processes. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

union semun {
    int val;
    struct semid_ds *buf;
    unsigned short *array;
};

static volatile int notified;

static void say(const char *what, long value)
{
    printf("%s: %ld%s%s\n", what, value, value < 0 ? " " : "",
           value < 0 ? strerrorname_np(errno) : "");
}

static void semaphores(void)
{
    int id = semget(IPC_PRIVATE, 3, IPC_CREAT | 0600);
    unsigned short values[3] = {1, 2, 300};
    union semun argument = {.array = values};
    struct semid_ds state;
    say("SETALL", semctl(id, 0, SETALL, argument));
    argument.val = 5;
    say("SETVAL", semctl(id, 1, SETVAL, argument));
    memset(values, 0, sizeof values);
    argument.array = values;
    semctl(id, 0, GETALL, argument);
    printf("%d %d %d\n", values[0], values[1], values[2]);
    argument.buf = &state;
    say("IPC_STAT", semctl(id, 0, IPC_STAT, argument));
    printf("count %d mode %o recent %d\n", (int)state.sem_nsems, state.sem_perm.mode,
           labs((long)state.sem_ctime - (long)time(0)) < 1000);
    pid_t child = fork();
    struct sembuf take = {0, -2, 0}, give = {0, 1, SEM_UNDO}, none = {0, -1, IPC_NOWAIT};
    if (!child) {
        usleep(20000);
        semop(id, &give, 1);
        while (semctl(id, 0, GETVAL)) /* until it is taken: the end of this process undoes it */
            usleep(1000);
        _exit(0);
    }
    say("take", semop(id, &take, 1));
    waitpid(child, 0, 0);
    say("value", semctl(id, 0, GETVAL));
    say("none", semop(id, &none, 1));
    struct timespec limit = {0, 10000000};
    none.sem_flg = 0;
    say("late", semtimedop(id, &none, 1, &limit));
    say("IPC_RMID", semctl(id, 0, IPC_RMID));
    say("gone", semctl(id, 0, GETVAL));
}

static void messages(void)
{
    struct message {
        long type;
        char text[32];
    } message = {3, "three"}, got;
    int id = msgget(IPC_PRIVATE, IPC_CREAT | 0640);
    struct msqid_ds state;
    say("send", msgsnd(id, &message, 6, 0));
    message.type = 2;
    strcpy(message.text, "two");
    msgsnd(id, &message, 4, 0);
    msgctl(id, IPC_STAT, &state);
    printf("queued %d, last by me %d, mode %o\n", (int)state.msg_qnum,
           state.msg_lspid == getpid(), state.msg_perm.mode);
    say("receive", msgrcv(id, &got, sizeof got.text, 2, 0));
    printf("%ld %s\n", got.type, got.text);
    say("receive", msgrcv(id, &got, sizeof got.text, 0, 0));
    printf("%ld %s\n", got.type, got.text);
    say("empty", msgrcv(id, &got, sizeof got.text, 0, IPC_NOWAIT));
    if (!fork()) {
        usleep(20000);
        msgsnd(id, &message, 4, 0);
        _exit(0);
    }
    say("waited", msgrcv(id, &got, sizeof got.text, -5, 0));
    wait(0);
    state.msg_qbytes = 4096;
    say("IPC_SET", msgctl(id, IPC_SET, &state));
    say("IPC_RMID", msgctl(id, IPC_RMID, 0));
}

static void memory(void)
{
    int id = shmget(IPC_PRIVATE, 10000, IPC_CREAT | 0600);
    char *here = shmat(id, 0, 0), *there = shmat(id, 0, SHM_RDONLY);
    struct shmid_ds state;
    printf("attached %d\n", here != (void *)-1 && there != (void *)-1);
    strcpy(here, "shared");
    puts(there);
    if (!fork()) {
        strcpy(here + 5000, "by the child");
        _exit(0);
    }
    wait(0);
    puts(there + 5000);
    shmctl(id, IPC_STAT, &state);
    printf("size %d attached %d\n", (int)state.shm_segsz, (int)state.shm_nattch);
    say("shmdt", shmdt(there));
    say("IPC_RMID", shmctl(id, IPC_RMID, 0));
    puts(here);
    say("shmdt", shmdt(here));
    say("again", shmdt(here));
    say("gone", (long)shmat(id, 0, 0));
}

static void on_signal(int number, siginfo_t *info, void *context)
{
    (void)number, (void)context;
    notified = info->si_value.sival_int;
}

static void on_thread(union sigval value)
{
    notified = value.sival_int;
}

static void queues(void)
{
    char name[32], text[64] = "";
    struct mq_attr attributes = {.mq_maxmsg = 4, .mq_msgsize = 64};
    unsigned priority;
    snprintf(name, sizeof name, "/pemu-%d", getpid());
    mqd_t queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK, 0600, &attributes);
    say("mq_open", queue >= 0 ? 0 : -1);
    say("exists", mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attributes));
    mq_getattr(queue, &attributes);
    printf("flags %d max %ld size %ld\n", attributes.mq_flags == O_NONBLOCK,
           (long)attributes.mq_maxmsg, (long)attributes.mq_msgsize);
    say("empty", mq_receive(queue, text, sizeof text, 0));
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
    sigaction(SIGUSR1, &action, 0);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    event.sigev_value.sival_int = 4711;
    say("mq_notify", mq_notify(queue, &event));
    mq_send(queue, "low", 4, 1);
    mq_send(queue, "high", 5, 7);
    printf("notified %d\n", notified);
    say("mq_receive", mq_receive(queue, text, sizeof text, &priority));
    printf("%s %u\n", text, priority);
    mq_receive(queue, text, sizeof text, 0);
    notified = 0;
    event.sigev_notify = SIGEV_THREAD;
    event.sigev_notify_function = on_thread;
    event.sigev_notify_attributes = 0;
    event.sigev_value.sival_int = 4712;
    say("thread", mq_notify(queue, &event));
    mq_send(queue, "x", 1, 0);
    for (int i = 0; i < 100000 && !notified; i++)
        usleep(1000);
    printf("notified %d\n", notified);
    mq_receive(queue, text, sizeof text, 0);
    attributes.mq_flags = 0;
    mq_setattr(queue, &attributes, 0);
    struct timespec past = {1, 0};
    say("late", mq_timedreceive(queue, text, sizeof text, 0, &past));
    say("mq_unlink", mq_unlink(name));
    mq_close(queue);
}

int main(void)
{
    setvbuf(stdout, 0, _IONBF, 0);
    semaphores();
    messages();
    memory();
    queues();
    return 0;
}
