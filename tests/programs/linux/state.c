/* Limits, identity, scheduling, names: the state of processes and of the system. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/times.h>
#include <sys/timex.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>
#include <grp.h>
#include <linux/capability.h>

static void say(const char *what, long value)
{
    printf("%s: %ld%s%s\n", what, value, value < 0 ? " " : "",
           value < 0 ? strerrorname_np(errno) : "");
}

static void show(const char *what, rlim_t limit)
{
    if (limit == RLIM_INFINITY)
        printf("%s unlimited\n", what);
    else
        printf("%s %llu\n", what, (unsigned long long)limit);
}

static void limits(void)
{
    int all[] = {RLIMIT_CPU, RLIMIT_FSIZE, RLIMIT_DATA, RLIMIT_CORE, RLIMIT_RSS, RLIMIT_NOFILE,
                 RLIMIT_AS, RLIMIT_NPROC, RLIMIT_MEMLOCK, RLIMIT_STACK, RLIMIT_MSGQUEUE};
    struct rlimit limit;
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
        getrlimit(all[i], &limit);
        show("soft", limit.rlim_cur);
        show("hard", limit.rlim_max);
    }
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = 100;
    say("setrlimit", setrlimit(RLIMIT_NOFILE, &limit));
    getrlimit(RLIMIT_NOFILE, &limit);
    show("files", limit.rlim_cur);
    say("too many", dup2(0, 100));
    limit.rlim_cur = 1 << 28;
    limit.rlim_max = RLIM_INFINITY;
    say("address space", setrlimit(RLIMIT_AS, &limit));
    getrlimit(RLIMIT_AS, &limit);
    show("address space", limit.rlim_cur);
    say("unknown", getrlimit(99, &limit));
    struct rusage usage;
    say("getrusage", getrusage(RUSAGE_SELF, &usage));
    printf("memory %d\n", usage.ru_maxrss > 100);
}

static void system_state(void)
{
    struct utsname name;
    struct sysinfo info;
    struct timex timex = {0};
    struct tms times_used;
    uname(&name);
    printf("%s %s\n", name.sysname, name.nodename);
    say("sysinfo", sysinfo(&info));
    printf("memory %llu\n",
           (unsigned long long)info.totalram * info.mem_unit / 1048576);
    printf("clock %d\n", adjtimex(&timex) >= 0 && timex.tick > 9000);
    printf("times %d\n", times(&times_used) != (clock_t)-1);
    say("personality", personality(0xffffffff));
    struct timespec resolution;
    clock_getres(CLOCK_MONOTONIC, &resolution);
    printf("resolution %ld\n", (long)resolution.tv_nsec);
    say("no such clock", clock_gettime(99, &resolution));
    printf("time %d\n", labs((long)time(0) - 1700000000) < 1000000000);
}

static void scheduling(void)
{
    cpu_set_t set;
    struct sched_param param = {0};
    struct timespec slice;
    CPU_ZERO(&set);
    say("affinity", sched_getaffinity(0, sizeof set, &set));
    printf("processors %d online %ld\n", CPU_COUNT(&set), sysconf(_SC_NPROCESSORS_ONLN));
    int first = 0;
    while (!CPU_ISSET(first, &set))
        first++;
    CPU_ZERO(&set);
    CPU_SET(first, &set);
    say("set", sched_setaffinity(0, sizeof set, &set));
    CPU_ZERO(&set);
    sched_getaffinity(0, sizeof set, &set);
    printf("one %d on it %d\n", CPU_COUNT(&set), sched_getcpu() == first);
    say("policy", sched_getscheduler(0));
    say("batch", sched_setscheduler(0, SCHED_BATCH, &param));
    say("policy", sched_getscheduler(0));
    say("wrong", sched_setscheduler(0, 77, &param));
    say("slice", sched_rr_get_interval(0, &slice));
    say("priority", getpriority(PRIO_PROCESS, 0));
    say("nice", nice(3));
    say("priority", getpriority(PRIO_PROCESS, 0));
    say("range", sched_get_priority_max(SCHED_FIFO));
    say("yield", sched_yield());
}

static void *thread_identity(void *barrier)
{
    pthread_barrier_wait(barrier);
    pthread_barrier_wait(barrier);
    return (void *)(long)geteuid();
}

static void identity(void)
{
    gid_t groups[] = {7, 70000}, back[8];
    uid_t a, b, c;
    int status;
    char name[16] = "";
    say("name", prctl(PR_SET_NAME, "a rather long name"));
    prctl(PR_GET_NAME, name);
    puts(name);
    say("dumpable", prctl(PR_GET_DUMPABLE));
    say("no new privileges", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    say("death signal", prctl(PR_SET_PDEATHSIG, SIGUSR2));
    int signal_number = 0;
    prctl(PR_GET_PDEATHSIG, &signal_number);
    printf("death signal %d\n", signal_number == SIGUSR2);
    say("unknown", prctl(4444, 0, 0, 0, 0));
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    say("capget", syscall(SYS_capget, &header, data));
    printf("capabilities %x %x\n", data[0].permitted, data[1].permitted);
    printf("parents %d\n", getpgrp() == getpgid(0) && getsid(0) > 0);
    if (geteuid())
        return;
    pid_t child = fork();
    if (!child) {
        pthread_t thread;
        pthread_barrier_t barrier;
        void *seen;
        setgroups(2, groups);
        printf("groups %d", getgroups(8, back));
        printf(" %u %u\n", back[0], back[1]);
        pthread_barrier_init(&barrier, 0, 2);
        pthread_create(&thread, 0, thread_identity, &barrier);
        pthread_barrier_wait(&barrier);
        say("setresgid", setresgid(5, 6, 7));
        say("setresuid", setresuid(1001, 70001, 0));
        pthread_barrier_wait(&barrier);
        getresuid(&a, &b, &c);
        printf("users %u %u %u\n", a, b, c);
        getresgid(&a, &b, &c);
        printf("groups %u %u %u\n", a, b, c);
        pthread_join(thread, &seen);
        printf("other thread %ld\n", (long)seen);
        say("seteuid", seteuid(1001));
        say("setuid", setuid(1001));
        say("back", setresuid(70002, -1, -1));
        printf("session %d\n", setsid() == getpid());
        _exit(4);
    }
    waitpid(child, &status, 0);
    printf("child %d\n", WEXITSTATUS(status));
}

int main(void)
{
    setvbuf(stdout, 0, _IONBF, 0);
    limits();
    system_state();
    identity();
    scheduling();
    return 0;
}
