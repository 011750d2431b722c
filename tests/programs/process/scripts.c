/* Programs that are executed through #! lines, and arguments of every size. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/scripts-XXXXXX", self[4096];

/* Paths differ from run to run: only their last parts are shown, and not this program's own. */
static const char *shown(const char *text)
{
    const char *slash = strrchr(text, '/');
    const char *own = strrchr(self, '/') + 1;
    if (slash) text = slash + 1;
    return strcmp(text, own) ? text : "SELF";
}

static int executed(int argc, char **argv)
{
    char name[32] = "";
    int i, fd = open("/proc/self/comm", O_RDONLY);
    read(fd, name, sizeof name - 1);
    name[strcspn(name, "\n")] = 0;
    for (i = 0; i < argc; i++) {
        if (strlen(argv[i]) > 100) printf(" [%zu bytes]", strlen(argv[i]));
        else printf(" [%s]", shown(argv[i]));
        if (i > 6) return printf(" ... %d\n", argc);
    }
    printf(" as %s\n", shown(name));
    return 0;
}

static void write_file(const char *name, const char *text, int mode)
{
    FILE *file = fopen(name, "w");
    fputs(text, file);
    fclose(file);
    chmod(name, mode);
}

static void run(const char *what, const char *path, char **argv, char **environ)
{
    printf("%s:", what);
    fflush(stdout);
    if (!fork()) {
        execve(path, argv, environ);
        printf(" %s\n", strerror(errno));
        exit(1);
    }
    wait(0);
}

static void *idle(void *unused) { for (;;) pause(); }

/* The same where other threads have to end first. */
static void run_beside_threads(const char *path)
{
    pthread_t id;
    printf("beside threads:");
    fflush(stdout);
    if (!fork()) {
        pthread_create(&id, 0, idle, 0);
        execve(path, (char *[]){"zero", "one", 0}, (char *[]){"EXECUTED=1", 0});
        exit(1);
    }
    wait(0);
}

static void script(const char *name, const char *line)
{
    char *argv[] = {"zero", "one", 0}, *environ[] = {"EXECUTED=1", 0};
    char text[5000];
    sprintf(text, line, self);
    write_file(name, text, 0755);
    run(name, name, argv, environ);
}

static void chain(int length)
{
    char name[32], text[64];
    char *argv[] = {"zero", 0}, *environ[] = {"EXECUTED=1", 0};
    for (int i = 0; i < length; i++) {
        sprintf(name, "./link%d", i);
        sprintf(text, "#!./link%d\n", i + 1);
        write_file(name, text, 0755);
    }
    sprintf(name, "./link%d", length);
    char last[5000];
    sprintf(last, "#!%s\n", self);
    write_file(name, last, 0755);
    sprintf(text, "%d links", length);
    run(text, "./link0", argv, environ);
}

static void sizes(void)
{
    static const int lengths[] = {1000, 100000, 131071, 131072, 200000};
    char *environ[] = {"EXECUTED=1", 0};
    for (unsigned i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        char *text = calloc(lengths[i] + 1, 1), label[32];
        memset(text, 'x', lengths[i]);
        sprintf(label, "%d bytes", lengths[i]);
        run(label, self, (char *[]){"a", text, 0}, environ);
    }
    static const int counts[] = {10, 10000, 1000000};
    for (int i = 0; i < 3; i++) {
        char **argv = calloc(counts[i] + 1, sizeof *argv), label[32];
        for (int n = 0; n < counts[i]; n++) argv[n] = "ten bytes";
        sprintf(label, "%d strings", counts[i]);
        run(label, self, argv, environ);
    }
    run("nothing", self, (char *[]){0}, environ);
}

int main(int argc, char **argv)
{
    self[readlink("/proc/self/exe", self, sizeof self - 1)] = 0;
    if (getenv("EXECUTED")) return executed(argc, argv);
    setvbuf(stdout, 0, _IOLBF, 0);
    mkdtemp(folder);
    chdir(folder);
    script("./plain", "#!%s\n");
    run_beside_threads("./plain");
    script("./argument", "#! %s  two words \n");
    script("./tabs", "#!\t%s\tone\t two\t\n");
    script("./endless", "#!%s");
    script("./nobody", "#!\nexit 1\n");
    script("./missing", "#!/nonexistent/interpreter\n");
    script("./directory", "#!/tmp\n");
    script("./itself", "#!./itself\n");
    script("./text", "echo no program\n");
    write_file("./plaintext", "nothing", 0644);
    script("./forbidden", "#!./plaintext\n");
    write_file("./unexecutable", "#!/bin/sh\n", 0644);
    char *words[] = {"zero", 0}, *environ[] = {"EXECUTED=1", 0};
    run("unexecutable", "./unexecutable", words, environ);
    run("folder", folder, words, environ);
    mkfifo("pipe", 0755);
    run("pipe", "./pipe", words, environ);
    run("no file", "./nonexistent", words, environ);
    for (int length = 3; length < 7; length++) chain(length);
    sizes();
    int fd = open(self, O_RDONLY);
    printf("descriptor:");
    fflush(stdout);
    if (!fork()) {
        fexecve(fd, words, environ);
        exit(printf(" %s\n", strerror(errno)));
    }
    wait(0);
    symlink(self, "soft");
    long result = syscall(SYS_execveat, AT_FDCWD, "soft", words, environ, AT_SYMLINK_NOFOLLOW);
    printf("not followed: %ld %s\n", result, strerror(errno));
    result = syscall(SYS_execveat, AT_FDCWD, self, words, environ, 1);
    printf("bad flags: %ld %s\n", result, strerror(errno));
    char command[64];
    sprintf(command, "rm -r %s", folder);
    return system(command);
}
