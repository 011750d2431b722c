/* Looks absolute paths up several times: under Pemu Python does it first, native code then.
 * Prints what each round found; every round must find the same. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static void look(const char *path)
{
    struct stat status;
    char target[100] = "", content[20] = "";
    int found = stat(path, &status), fd = open(path, O_RDONLY);
    if (fd >= 0 && S_ISREG(status.st_mode))
        content[read(fd, content, 9)] = 0;
    close(fd);
    if (readlink(path, target, 99) < 0)
        strcpy(target, strerrorname_np(errno));
    printf("%.40s: %d %d %s %s %d\n", path, found, fd >= 0, content, target, access(path, R_OK));
}

int main(void)
{
    char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *edge = strcpy(pages + 4096 - sizeof "/inside/file", "/inside/file"), *far = malloc(5000);
    munmap(pages + 4096, 4096);
    memset(far, '/', 5000);
    strcpy(far + 3000, "inside/file");
    for (int round = 0; round < 3; round++) {
        printf("round\n");
        look("/inside/file");
        look("/inside/link");
        look("/inside/dangling");
        look("/inside/none");
        look("/dev/null");
        look("/dev");
        look("/device");
        look("/sys");
        look("/tmp");
        look("relative");
        look(edge);
        look(far);
        memcpy(pages + 4096 - 8, "/inside/", 8);
        printf("%d %d\n", access(pages + 4096 - 8, R_OK), errno == EFAULT);
        strcpy(pages + 4096 - sizeof "/inside/file", "/inside/file");
    }
    return 0;
}
