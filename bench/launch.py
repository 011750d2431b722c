"""Run one command and write how long it took and the most memory it had.

    python -I -S launch.py RESULT COMMAND...

writes "seconds cpu-seconds peak-KiB status" to the file RESULT. A process of its own, and a small
one: what Linux reports as a child's peak memory includes that of the process that started it.
"""

import os
import sys
import time


def run(result: str, command: list[str]) -> None:
    start = time.monotonic()
    pid = os.posix_spawnp(command[0], command, os.environ)
    _, status, usage = os.wait4(pid, 0)
    wall = time.monotonic() - start
    with open(result, "w", encoding="ascii") as file:
        file.write(
            f"{wall:.6f} {usage.ru_utime + usage.ru_stime:.6f} {usage.ru_maxrss} "
            f"{os.waitstatus_to_exitcode(status)}\n"
        )


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2:])
