/* What a program sees of files, descriptors, terminals and mappings.
 *
 * Prints only what does not depend on the processor, so that the same source built for the host
 * says what is right.  The first argument is an empty directory to work in. */
#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <termios.h>
#include <unistd.h>
#include <utime.h>

static void say(const char *what, long long result)
{
    if (result == -1)
        printf("%s: %s\n", what, strerror(errno));
    else
        printf("%s: %lld\n", what, result);
}

static void show(const char *what, const struct stat *s)
{
    printf("%s: mode %o size %lld links %d blocks %d mtime %lld.%09ld\n", what, s->st_mode,
           (long long)s->st_size, (int)s->st_nlink, (int)s->st_blocks,
           (long long)s->st_mtim.tv_sec, s->st_mtim.tv_nsec);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void opening(void)
{
    int fd = open("file", O_RDWR | O_CREAT | O_EXCL, 0666);
    say("write", write(fd, "hello, world\n", 13));
    say("exclusive", open("file", O_RDWR | O_CREAT | O_EXCL, 0666));
    say("directory", open("file", O_RDONLY | O_DIRECTORY));
    say("missing", open("missing", O_RDONLY));
    say("not a directory", open("file/x", O_RDONLY));
    say("directory for writing", open(".", O_RDWR));
    int append = open("file", O_WRONLY | O_APPEND | O_CLOEXEC);
    say("access mode", fcntl(append, F_GETFL) & O_ACCMODE);
    say("append set", !!(fcntl(append, F_GETFL) & O_APPEND));
    say("cloexec", fcntl(append, F_GETFD));
    say("append", write(append, "more\n", 5));
    say("seek", lseek(fd, -3, SEEK_END));
    say("seek far", lseek(fd, 0x123456789LL, SEEK_SET));
    say("seek before", lseek(fd, -1, SEEK_SET));
    char buffer[32] = "";
    say("pread", pread(fd, buffer, 5, 7));
    puts(buffer);
    say("pwrite", pwrite(fd, "W", 1, 7));
    struct iovec vector[2] = {{buffer, 3}, {buffer + 10, 20}};
    lseek(fd, 0, SEEK_SET);
    say("readv", readv(fd, vector, 2));
    printf("%.3s %.10s\n", buffer, buffer + 10);
    say("preadv", preadv(fd, vector, 2, 2));
    say("pwritev", pwritev(fd, vector, 1, 0x100000000LL));
    struct stat s;
    fstat(fd, &s);
    say("size", s.st_size);
    say("truncate", ftruncate(fd, 18));
    say("truncate by name", truncate("file", 17));
    say("allocate", posix_fallocate(fd, 0, 20));
    say("advise", posix_fadvise(fd, 0, 100, POSIX_FADV_WILLNEED));
    say("sync range", sync_file_range(fd, 0, 10, SYNC_FILE_RANGE_WRITE));
    say("sync", fsync(fd) | fdatasync(fd) | syncfs(fd));
    say("close", close(append));
    say("close again", close(append));
    say("read closed", read(append, buffer, 1));
    say("bad address", read(fd, (void *)16, 5));
    close(fd);
}

static void naming(void)
{
    char buffer[PATH_MAX];
    struct stat s;
    say("mkdir", mkdir("dir", 0750));
    say("mkdir again", mkdir("dir", 0750));
    say("link", link("file", "dir/link"));
    say("symlink", symlink("../file", "dir/soft"));
    long n = readlink("dir/soft", buffer, sizeof buffer);
    printf("readlink: %.*s\n", (int)n, buffer);
    say("stat through link", stat("dir/soft", &s));
    printf("type %o\n", s.st_mode & S_IFMT);
    lstat("dir/soft", &s);
    printf("type %o\n", s.st_mode & S_IFMT);
    say("rename", rename("dir/link", "dir/renamed"));
    say("rename over nothing", rename("nothing", "dir/renamed"));
    say("exchange", renameat2(AT_FDCWD, "dir/renamed", AT_FDCWD, "file", RENAME_EXCHANGE));
    say("fifo", mkfifo("fifo", 0600));
    say("rmdir full", rmdir("dir"));
    say("unlink dir", unlink("dir") == -1 ? 0 : 1);
    struct dirent **names;
    int count = scandir("dir", &names, NULL, by_name);
    for (int i = 0; i < count; i++)
        printf("entry %s type %d\n", names[i]->d_name, names[i]->d_type);
    DIR *dir = opendir("dir");
    readdir(dir);
    long position = telldir(dir);
    char *second = strdup(readdir(dir)->d_name);
    seekdir(dir, position);
    say("seekdir", strcmp(second, readdir(dir)->d_name));
    closedir(dir);
    say("chdir", chdir("dir"));
    say("getcwd", strcmp(strrchr(getcwd(buffer, sizeof buffer), '/'), "/dir"));
    say("chdir up", chdir(".."));
    say("access", access("file", R_OK | W_OK));
    say("access execute", access("dir/soft", F_OK));
    say("too long", open(memset(calloc(1, 5000), 'x', 4999), O_RDONLY));
}

static void describing(void)
{
    struct stat s;
    struct timespec times[2] = {{1234567890, 123456789}, {987654321, 987654321}};
    say("chmod", chmod("file", 04751));
    say("utimensat", utimensat(AT_FDCWD, "file", times, 0));
    stat("file", &s);
    show("file", &s);
    times[0].tv_nsec = UTIME_OMIT;
    times[1].tv_sec = 5;
    times[1].tv_nsec = 6;
    say("omit", utimensat(AT_FDCWD, "file", times, 0));
    stat("file", &s);
    printf("atime %lld\n", (long long)s.st_atim.tv_sec);
    show("file", &s);
    struct utimbuf old = {100, 200};
    say("utime", utime("file", &old));
    stat("file", &s);
    show("file", &s);
    struct timeval values[2] = {{300, 400}, {500, 600}};
    say("utimes", utimes("file", values));
    stat("file", &s);
    show("file", &s);
    struct statx x;
    say("statx", statx(AT_FDCWD, "file", 0, STATX_ALL, &x));
    printf("statx %o %lld %d %lld\n", x.stx_mode, (long long)x.stx_size, (int)x.stx_nlink,
           (long long)x.stx_mtime.tv_sec);
    say("same inode", x.stx_ino == s.st_ino && s.st_dev == makedev(x.stx_dev_major, x.stx_dev_minor));
    stat("/dev/null", &s);
    printf("null %o %d %d\n", s.st_mode & S_IFMT, major(s.st_rdev), minor(s.st_rdev));
    struct statvfs v;
    say("statvfs", statvfs("/proc", &v));
    struct statfs f;
    say("statfs", statfs("/proc", &f));
    printf("proc %lx %ld %ld\n", (long)f.f_type, (long)f.f_bsize, (long)f.f_namelen);
    say("umask", umask(022));
    say("umask again", umask(022));
    char value[64];
    long size = setxattr("file", "user.name", "value", 5, 0);
    if (size == 0) {
        size = getxattr("file", "user.name", value, sizeof value);
        printf("xattr %.*s\n", (int)size, value);
        say("list", listxattr("file", value, sizeof value));
        say("small", getxattr("file", "user.name", value, 2));
        say("remove", removexattr("file", "user.name"));
        say("gone", getxattr("file", "user.name", value, 2));
    }
}

static void locking(void)
{
    int fd = open("file", O_RDWR), other = open("file", O_RDWR);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0x100000000LL,
                         .l_len = 10};
    say("lock", fcntl(fd, F_SETLK, &lock));
    int child = fork();
    if (child == 0) {
        struct flock test = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
        fcntl(other, F_GETLK, &test);
        printf("found type %d start %lld len %lld pid %d\n", test.l_type, (long long)test.l_start,
               (long long)test.l_len, test.l_pid == getppid());
        test = lock;
        test.l_pid = 0;
        say("lock of another", fcntl(other, F_SETLK, &test));
        fflush(stdout);
        _exit(7);
    }
    int status;
    waitpid(child, &status, 0);
    say("child", WEXITSTATUS(status));
    struct flock own = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    say("ofd lock", fcntl(fd, F_OFD_SETLK, &own));
    own.l_pid = 0;
    say("ofd lock of another", fcntl(other, F_OFD_SETLK, &own));
    say("flock", flock(fd, LOCK_EX));
    say("flock of another", flock(other, LOCK_EX | LOCK_NB));
    struct f_owner_ex owner = {F_OWNER_PID, getpid()};
    say("owner", fcntl(fd, F_SETOWN_EX, &owner));
    memset(&owner, 0, sizeof owner);
    fcntl(fd, F_GETOWN_EX, &owner);
    printf("owner %d %d\n", owner.type, owner.pid == getpid());
    say("signal", fcntl(fd, F_SETSIG, SIGUSR2));
    say("same signal", fcntl(fd, F_GETSIG) == SIGUSR2);
    say("bad command", fcntl(fd, 9999));
    close(fd);
    close(other);
}

static void moving(void)
{
    int a[2], b[2];
    char buffer[64] = "";
    pipe(a);
    pipe2(b, O_NONBLOCK | O_CLOEXEC);
    say("empty", read(b[0], buffer, 1));
    say("cloexec", fcntl(b[1], F_GETFD));
    write(a[1], "0123456789", 10);
    int count;
    ioctl(a[0], FIONREAD, &count);
    say("to read", count);
    say("tee", tee(a[0], b[1], 4, 0));
    say("read", read(b[0], buffer, 64));
    int fd = open("copy", O_RDWR | O_CREAT, 0600);
    loff_t offset = 3;
    say("splice", splice(a[0], NULL, fd, &offset, 10, 0));
    say("offset", offset);
    int from = open("file", O_RDONLY);
    off_t place = 7;
    say("sendfile", sendfile(a[1], from, &place, 5));
    say("place", place);
    say("read", read(a[0], buffer, 64));
    printf("%.5s\n", buffer);
    loff_t in = 0, out = 20;
    say("copy_file_range", copy_file_range(from, &in, fd, &out, 5, 0));
    printf("%lld %lld\n", (long long)in, (long long)out);
    struct iovec vector = {"spliced", 7};
    say("vmsplice", vmsplice(a[1], &vector, 1, 0));
    say("read", read(a[0], buffer, 64));
    printf("%.7s\n", buffer);
    say("dup2", dup2(a[0], 200));
    say("dup3 same", dup3(200, 200, 0));
    say("dupfd", fcntl(a[0], F_DUPFD, 300));
    say("pipe size", fcntl(a[0], F_SETPIPE_SZ, 65536));
    say("close_range", close_range(200, 400, 0));
    say("closed", fcntl(300, F_GETFD));
    say("lseek pipe", lseek(a[0], 0, SEEK_SET));
    close(a[0]);
    signal(SIGPIPE, SIG_IGN);
    say("broken pipe", write(a[1], "x", 1));
    int memory = memfd_create("name", MFD_ALLOW_SEALING);
    say("seal", fcntl(memory, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW));
    say("seals", fcntl(memory, F_GET_SEALS));
    say("sealed", write(memory, "x", 1));
}

static void mapping(void)
{
    int fd = open("mapped", O_RDWR | O_CREAT, 0600);
    ftruncate(fd, 3 * 4096);
    char *p = mmap(NULL, 2 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 4096);
    strcpy(p, "mapped");
    say("msync", msync(p, 4096, MS_SYNC));
    char buffer[8] = "";
    pread(fd, buffer, 7, 4096);
    puts(buffer);
    say("mprotect", mprotect(p, 4096, PROT_READ));
    say("read into read-only", pread(fd, p, 1, 0));
    say("munmap", munmap(p, 8192));
    say("write from unmapped", write(fd, p, 1));
    say("bad offset", mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 12) == MAP_FAILED ? errno : 0);
    say("no length", mmap(NULL, 0, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED ? errno : 0);
    p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    strcpy(p, "moves");
    p = mremap(p, 4096, 1 << 20, MREMAP_MAYMOVE);
    puts(p);
    p[(1 << 20) - 1] = 1;
    say("fixed", mmap(p + 4096, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
                     p + 4096);
    say("taken", mmap(p, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
                      0) == MAP_FAILED);
    say("errno", errno == EEXIST);
    say("dontneed", madvise(p, 4096, MADV_DONTNEED));
    say("zero", p[0]);
    unsigned char resident[256];
    say("mincore", mincore(p, 1 << 20, resident));
    say("resident", resident[255] & 1);
    void *end = sbrk(0);
    say("sbrk", sbrk(100000) == end);
    memset(end, 1, 100000);
    say("brk back", brk(end));
}

static void watching(void)
{
    int fd = inotify_init1(IN_NONBLOCK);
    int watch = inotify_add_watch(fd, ".", IN_CREATE | IN_DELETE | IN_MOVE);
    say("watch", watch);
    close(open("seen", O_CREAT | O_WRONLY, 0600));
    rename("seen", "moved");
    unlink("moved");
    char buffer[4096];
    long size = read(fd, buffer, sizeof buffer);
    unsigned cookie = 0;
    for (char *p = buffer; p < buffer + size;) {
        struct inotify_event *event = (void *)p;
        printf("event %d mask %x name %s\n", event->wd, event->mask, event->name);
        if (event->mask & IN_MOVED_FROM)
            cookie = event->cookie;
        if (event->mask & IN_MOVED_TO)
            say("same cookie", cookie == event->cookie);
        p += sizeof *event + event->len;
    }
    say("no more", read(fd, buffer, sizeof buffer));
    say("remove watch", inotify_rm_watch(fd, watch));
    close(fd);
}

static void terminals(void)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    say("grant", grantpt(master) | unlockpt(master));
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    struct termios t;
    say("tcgetattr", tcgetattr(slave, &t));
    printf("speed %d echo %d iexten %d tostop %d intr %d eof %d min %d\n",
           (int)(cfgetospeed(&t) == B38400), !!(t.c_lflag & ECHO), !!(t.c_lflag & IEXTEN),
           !!(t.c_lflag & TOSTOP), t.c_cc[VINTR], t.c_cc[VEOF], t.c_cc[VMIN]);
    cfmakeraw(&t);
    t.c_cc[VMIN] = 3;
    t.c_cc[VTIME] = 2;
    t.c_cc[VSUSP] = 5;
    t.c_lflag |= TOSTOP;
    cfsetspeed(&t, B9600);
    say("tcsetattr", tcsetattr(slave, TCSANOW, &t));
    memset(&t, 0, sizeof t);
    tcgetattr(slave, &t);
    printf("speed %d echo %d iexten %d tostop %d susp %d min %d time %d\n",
           (int)(cfgetospeed(&t) == B9600), !!(t.c_lflag & ECHO), !!(t.c_lflag & IEXTEN),
           !!(t.c_lflag & TOSTOP), t.c_cc[VSUSP], t.c_cc[VMIN], t.c_cc[VTIME]);
    struct winsize w = {10, 20, 30, 40};
    say("set size", ioctl(master, TIOCSWINSZ, &w));
    memset(&w, 0, sizeof w);
    say("get size", ioctl(slave, TIOCGWINSZ, &w));
    printf("%d %d %d %d\n", w.ws_row, w.ws_col, w.ws_xpixel, w.ws_ypixel);
    write(master, "abcde", 5);
    int count = 0;
    struct pollfd p = {slave, POLLIN, 0};
    poll(&p, 1, 1000);
    say("to read", ioctl(slave, FIONREAD, &count) | count);
    say("flush", tcflush(slave, TCIFLUSH));
    ioctl(slave, FIONREAD, &count);
    say("flushed", count);
    say("isatty", isatty(slave));
    say("not a tty", isatty(open("file", O_RDONLY)));
    int on = 1;
    ioctl(slave, FIONBIO, &on);
    char c;
    say("nonblocking", read(slave, &c, 1));
    say("group", tcgetpgrp(slave));
    say("unknown", ioctl(slave, 0x12345, 0));
    int child = fork();
    if (child == 0) {
        setsid();
        say("controlling", ioctl(slave, TIOCSCTTY, 0));
        say("own group", tcgetpgrp(slave) == getpid());
        say("own session", tcgetsid(slave) == getpid());
        fflush(stdout);
        _exit(0);
    }
    waitpid(child, NULL, 0);
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    umask(022);
    if (argc < 2 || chdir(argv[1]) != 0)
        return 2;
    opening();
    naming();
    describing();
    locking();
    moving();
    mapping();
    watching();
    terminals();
    return 0;
}
