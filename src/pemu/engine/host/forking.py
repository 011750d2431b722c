"""A fork that leaves no half imported module behind."""

from __future__ import annotations

import _imp
import os
from _thread import get_ident
from time import sleep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    _module_locks: dict[str, Any]
else:
    from _frozen_importlib import _module_locks


def fork() -> int:
    """`os.fork` at a time when no other thread imports a module.

    The child would wait for ever for a module that a thread which it has not is importing: Python
    keeps its lock for all modules only while one begins.
    """
    while True:
        _imp.acquire_lock()  # no import begins
        if not _importing():
            break
        _imp.release_lock()
        sleep(0.0001)
    try:
        return os.fork()
    finally:
        _imp.release_lock()


def _importing() -> bool:
    """Whether another thread is importing a module."""
    locks = [reference() for reference in list(_module_locks.values())]
    return any(lock is not None and lock.owner not in (None, get_ident()) for lock in locks)
