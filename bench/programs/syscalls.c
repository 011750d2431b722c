/* System calls in loops: short ones, small reads and writes, clocks. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

int main(int argc, char **argv)
{
    uint32_t sum = 1;
    int zero = open("/dev/zero", O_RDONLY), null = open("/dev/null", O_WRONLY), ends[2];
    char buffer[512];
    if (zero < 0 || null < 0 || pipe(ends))
        return 1;
    for (unsigned round = rounds(argc, argv, 1500000); round; round--) {
        struct timespec now;
        struct stat status;
        sum = mix(sum, syscall(SYS_getppid) > 0);
        sum = mix(sum, (uint32_t)read(zero, buffer, sizeof buffer));
        sum = mix(sum, (uint32_t)write(null, buffer, 100));
        sum = mix(sum, (uint32_t)write(ends[1], buffer, 10) + (uint32_t)read(ends[0], buffer, 10));
        sum = mix(sum, (uint32_t)lseek(zero, 0, SEEK_CUR));
        sum = mix(sum, (uint32_t)syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now));
        sum = mix(sum, (uint32_t)fstat(null, &status) + (uint32_t)S_ISCHR(status.st_mode));
    }
    return finish("syscalls", sum);
}
