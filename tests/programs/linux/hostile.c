/* Makes random system calls with nasty arguments: hostile SEED CHILDREN CALLS-A-CHILD.
 *
 * Each child makes its calls in the current directory, and on descriptors of its own besides standard
 * error, which must be no device; it may die by a signal, but not of an error
 * of the emulator (status 70), nor use up its processor time. Prints what went wrong and where. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __mips__
#define SYS_syscalls_base (SYS_read - (SYS_read == 4003 ? 3 : 0))
#else
#define SYS_syscalls_base 0
#endif
#define INTERNAL_ERROR 70
#define PATIENCE 200 /* tenths of a second for a child; one that waits is killed then */

/* Calls that would end, stop or change more than this child, or wait for ever. */
static const int excluded[] = {
    SYS_exit, SYS_exit_group, SYS_kill, SYS_tkill, SYS_tgkill, SYS_rt_sigqueueinfo,
    SYS_rt_tgsigqueueinfo, SYS_pidfd_send_signal, SYS_reboot, SYS_fork, SYS_clone, SYS_clone3,
    SYS_execve, SYS_execveat, SYS_pause, SYS_rt_sigsuspend, SYS_mount, SYS_umount2, SYS_swapon,
    SYS_swapoff, SYS_sethostname, SYS_setdomainname, SYS_settimeofday, SYS_clock_settime,
    SYS_adjtimex, SYS_clock_adjtime, SYS_chroot, SYS_pivot_root, SYS_init_module,
    SYS_finit_module, SYS_delete_module, SYS_kexec_load, SYS_syslog, SYS_acct, SYS_quotactl,
    SYS_vhangup, SYS_ptrace, SYS_unshare, SYS_setns, SYS_sched_setscheduler, SYS_sched_setattr,
    SYS_sched_setparam, SYS_setpriority, SYS_ioprio_set, SYS_bpf, SYS_perf_event_open,
    SYS_fanotify_init, SYS_fanotify_mark, SYS_sync, SYS_syncfs, SYS_process_vm_writev,
    SYS_process_vm_readv, SYS_process_madvise, SYS_pidfd_getfd, SYS_ioctl, SYS_open_tree,
    SYS_move_mount, SYS_fsopen, SYS_fsconfig, SYS_fsmount, SYS_fspick, SYS_mount_setattr,
    SYS_io_uring_setup, SYS_migrate_pages, SYS_move_pages, SYS_rt_sigreturn, SYS_prlimit64,
    SYS_setrlimit, SYS_msgctl, SYS_semctl, SYS_shmctl, SYS_seccomp, SYS_prctl, SYS_keyctl,
    SYS_capset,
#ifdef SYS_ipc
    SYS_ipc,
#endif
#ifdef SYS_clock_settime64
    SYS_clock_settime64, SYS_clock_adjtime64,
#endif
#ifdef SYS_nice
    SYS_nice, SYS_stime, SYS_umount, SYS_waitpid, SYS_sigreturn, SYS_sigsuspend, SYS_syscall,
#endif
};

static const unsigned long ioctls[] = {0x540d, 0x40087468, 0x467f, 0x667e, 0x6601, 0x6602, 0x667d,
                                       0x8004667e, 0x8946, 0x8912, 0x5413, 0x12345678};

struct shared { volatile int number, step; volatile long arguments[6]; };
static struct shared *now;
static uint32_t state;
static char *mapped, *readable, *edge;
static int descriptors[8];

static uint32_t next(void)
{
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

static int is_excluded(int number)
{
    for (unsigned i = 0; i < sizeof excluded / sizeof *excluded; i++)
        if (excluded[i] == number)
            return 1;
    return 0;
}

static void on_alarm(int signal) {}

static long argument(void)
{
    static const char *const names[] = {"file", "directory/x", "link", "", ".", "none"};
    uint32_t r = next();
    switch (r % 16) {
    case 0: return 0;
    case 1: return -1;
    case 2: return next() % 16;
    case 3: return descriptors[next() % 8];
    case 4: return AT_FDCWD;
    case 5: return (long)(mapped + (next() & 0xfff));
    case 6: return (long)(readable + (next() & 0xff8));
    case 7: return (long)(edge - (next() & 63));
    case 8: return 16;
    case 9: return (long)next();
    case 10: return 1l << (next() % (8 * sizeof(long)));
    case 11: return -(long)(next() & 0xffff);
    case 12: return (long)names[next() % 6];
    case 13: return 0x7fffffff - (next() & 0x1fff);
    case 14: return (long)(mapped + 8 * (next() & 0x7f));
    default: return (long)((uint64_t)next() << 32 | next());
    }
}

static void refill(void)
{
    for (int i = 0; i < 2048; i++)
        ((uint32_t *)mapped)[i] = next() & 1 ? next() % 100 : next() & 2 ? next() : 0;
    /* No string in there begins a path elsewhere. */
    for (int i = 0; i < 8192; i++)
        if (mapped[i] == '/')
            mapped[i] = '_';
}

static void run_child(int calls)
{
    struct itimerval tick = {{0, 20000}, {0, 20000}};
    struct rlimit processor = {10, 12}, file = {1 << 20, 1 << 20}, locked = {65536, 65536};
    struct sigaction handler = {.sa_handler = on_alarm};
    sigset_t none;
    sigemptyset(&none);
    setrlimit(RLIMIT_CPU, &processor);
    setrlimit(RLIMIT_FSIZE, &file);
    setrlimit(RLIMIT_MEMLOCK, &locked);
    signal(SIGXFSZ, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    mapped = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(mapped + 8192, 4096);
    edge = mapped + 8192;
    readable = mapped + 12288;
    mprotect(readable, 4096, PROT_READ);
    pipe(descriptors);
    socketpair(AF_UNIX, SOCK_STREAM, 0, descriptors + 2);
    descriptors[4] = open("file", O_RDWR | O_CREAT, 0600);
    descriptors[5] = syscall(SYS_memfd_create, "memory", 0);
    /* Who runs this may have given it a device. */
    dup2(descriptors[5], 0);
    dup2(descriptors[5], 1);
    descriptors[6] = open(".", O_RDONLY | O_DIRECTORY);
    descriptors[7] = eventfd(3, 0);
    for (int step = 0; step < calls; step++) {
        long a[6];
        int number = SYS_syscalls_base + next() % 450;
        if (is_excluded(number))
            continue;
        if (step % 8 == 0)
            refill();
        for (int i = 0; i < 6; i++)
            now->arguments[i] = a[i] = argument();
        if (next() % 16 == 0) {
            number = SYS_ioctl;
            a[1] = ioctls[next() % (sizeof ioctls / sizeof *ioctls)];
        }
        now->number = number;
        now->step = step;
        sigaction(SIGALRM, &handler, NULL);
        sigprocmask(SIG_SETMASK, &none, NULL);
        setitimer(ITIMER_REAL, &tick, NULL);
        syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    }
    _exit(0);
}

int main(int argc, char **argv)
{
    int children = atoi(argv[2]), calls = atoi(argv[3]), bad = 0;
    now = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    mkdir("directory", 0700);
    symlink("file", "link");
    for (int i = 0; i < children; i++) {
        pid_t child;
        int status = 0, waited = 0;
        state = 2654435761u * (strtoul(argv[1], NULL, 0) + i + 1) | 1;
        child = fork();
        if (!child) {
            setpgid(0, 0);
            run_child(calls);
        }
        while (waitpid(child, &status, WNOHANG) == 0) {
            if (++waited > PATIENCE)
                kill(child, SIGKILL);
            usleep(waited < 10 ? 10000 : 100000);
        }
        if ((WIFEXITED(status) && WEXITSTATUS(status) == INTERNAL_ERROR)
            || (WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU)) {
            bad++;
            printf("seed %lu: status %x in call %d, step %d (%lx, %lx, %lx, %lx, %lx, %lx)\n",
                   strtoul(argv[1], NULL, 0) + i, status, now->number - SYS_syscalls_base,
                   now->step, now->arguments[0], now->arguments[1], now->arguments[2],
                   now->arguments[3], now->arguments[4], now->arguments[5]);
            fflush(stdout);
        } else if (waited > PATIENCE)
            printf("seed %lu: waited in call %d\n", strtoul(argv[1], NULL, 0) + i,
                   now->number - SYS_syscalls_base);
    }
    return bad > 0;
}
