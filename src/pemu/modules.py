"""Modules that are imported when they are needed, by name."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType


def load(name: str) -> ModuleType:
    """Import the module `name`: as importlib's import_module, which imports `warnings` first."""
    __import__(name)
    return sys.modules[name]
