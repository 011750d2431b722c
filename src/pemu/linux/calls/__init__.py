"""The system calls, one module a kind.  Which module declares which call stands here.

A module is imported when one of its calls is first made.  `tests/linux/test_syscall_index.py`
checks that each list holds just the names that its module declares.
"""

from __future__ import annotations

_INDEX = {
    "native": """
        close dup fchdir fchmod fdatasync flock fsync ftruncate getegid geteuid getgid getpgid
        getpgrp getpid getppid getrandom getsid gettid getuid lseek pread64 pwrite64 read
        sched_yield umask write
    """,
}
"""Names of calls by module; "native" holds the calls that native code makes by itself."""

_modules: dict[str, str] = {}


def module_of(name: str) -> str | None:
    """The full name of the module that declares the call `name`."""
    if not _modules:
        for module, names in _INDEX.items():
            for call in names.split():
                _modules[call] = f"pemu.linux.calls.{module}"
    return _modules.get(name)


def native_calls() -> list[str]:
    """The names of the calls that native code may make."""
    return _INDEX["native"].split()


def modules() -> dict[str, list[str]]:
    """The names of the calls by module."""
    return {module: names.split() for module, names in _INDEX.items()}
