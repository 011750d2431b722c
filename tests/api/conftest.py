"""A guest program for tests of the Python API, compiled once for each target."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import need
from tests.linux.cross import COMPILERS

SOURCE = r"""
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int counter = 5;
char text[] = "some text";
unsigned long long wide = 0x1122334455667788ull;

__attribute__((noinline)) int add(int a, int b) { __asm__ volatile(""); return a + b; }

void abort_quietly(void) { _exit(55); }

static void *thread(void *unused)
{
    (void)unused;
    __sync_fetch_and_add(&counter, add(50, 50));
    return 0;
}

static void handler(int number) { (void)number; write(1, "handled\n", 8); }

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "sum")) {
        int sum = 0;
        for (int i = 0; i < 10; i++) sum = add(sum, i);
        printf("%d\n", sum);
    } else if (!strcmp(what, "loop")) {
        for (;;) counter = add(counter, 1);
    } else if (!strcmp(what, "read")) {
        char line[100];
        while (fgets(line, sizeof line, stdin)) printf("[%s]", line);
    } else if (!strcmp(what, "env")) {
        char directory[1000];
        printf("%s %s %s\n", argv[0], getenv("NAME"), getcwd(directory, sizeof directory));
    } else if (!strcmp(what, "fault")) {
        return *(volatile int *)(unsigned long)(argc + 14);
    } else if (!strcmp(what, "open")) {
        printf("%s\n", fopen(argv[2], "r") ? "opened" : strerror(errno));
    } else if (!strcmp(what, "fork")) {
        pid_t child = fork();
        if (!child) _exit(add(3, 4));
        int status;
        waitpid(child, &status, 0);
        printf("child %d\n", WEXITSTATUS(status));
    } else if (!strcmp(what, "threads")) {
        pthread_t made[4];
        for (int i = 0; i < 4; i++) { pthread_create(&made[i], 0, thread, 0); }
        for (int i = 0; i < 4; i++) pthread_join(made[i], 0);
        printf("%d\n", counter);
    } else if (!strcmp(what, "signal")) {
        signal(SIGUSR1, handler);
        raise(SIGUSR1);
        raise(SIGTERM);
    } else if (!strcmp(what, "exec")) {
        execl(argv[0], argv[0], "sum", (char *)0);
    } else if (!strcmp(what, "close")) {
        for (int i = 0; i < 1000; i++) close(i);
        chdir("/");
        return 4;
    } else if (!strcmp(what, "wait")) {
        fputs("waiting\n", stdout); fflush(stdout);
        char c;
        return read(0, &c, 1) == 1 ? c : 77;
    }
    return add(counter, argc);
}
"""


def build(target: str, folder: Path) -> Path:
    """Compile the program for `target`."""
    compiler, options = COMPILERS[target]
    source, output = folder / "guest.c", folder / "guest"
    source.write_text(SOURCE)
    command = [need(compiler), *options, "-O1", "-static", "-w", "-pthread", "-o", str(output)]
    subprocess.run([*command, str(source)], check=True)
    return output


@pytest.fixture(scope="session")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program for mips."""
    return build("mips", tmp_path_factory.mktemp("api"))
