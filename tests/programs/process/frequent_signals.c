/* A timer that interrupts all the time: calls that need not wait are never cut short by it. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

static void handler(int number)
{
    (void)number;
}

int main(void)
{
    struct sigaction action;
    struct itimerval each = {{0, 1000}, {0, 1000}}, never = {{0, 0}, {0, 0}};
    int ends[2], cut = 0, waits = 0;
    char byte;

    memset(&action, 0, sizeof action);
    action.sa_handler = handler; /* without SA_RESTART */
    sigaction(SIGALRM, &action, 0);
    if (pipe(ends))
        return 1;
    setitimer(ITIMER_REAL, &each, 0);
    for (int round = 0; round < 20000; round++)
        cut += write(ends[1], "x", 1) != 1 || read(ends[0], &byte, 1) != 1;
    for (int round = 0; round < 20; round++)
        waits += read(ends[0], &byte, 1) < 0 && errno == EINTR;
    setitimer(ITIMER_REAL, &never, 0);
    printf("calls cut short: %d\nwaits ended by a signal: %d\n", cut, waits);
    return 0;
}
