"""Modules that are imported where they are needed, imported while that can be done.

After a change of the root directory, or of the user, Pemu's files and Python's are out of reach.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_ROOT = os.path.dirname(os.path.abspath(__file__))


def own(packages: Iterable[str]) -> list[str]:
    """The paths of the modules in some of Pemu's folders, from Pemu's directory on."""
    return [
        os.path.relpath(os.path.join(folder, file), _ROOT)
        for package in packages
        for folder, _, files in os.walk(os.path.join(_ROOT, package))
        for file in sorted(files)
        if file.endswith(".py")
    ]


def load(late: Iterable[str], paths: Iterable[str]) -> None:
    """Import modules: by their names, and Pemu's own by their paths."""
    from importlib import import_module

    for name in late:
        import_module(name)
    for path in paths:
        module = path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        import_module(f"pemu.{module}")


def hidden_from_others() -> bool:
    """Whether only the present user can read some of Pemu's and Python's modules."""
    for path in (_ROOT, *sys.path):
        while path and os.path.isdir(path):
            if not os.stat(path).st_mode & 1:
                return True
            path = os.path.dirname(path) if path != "/" else ""
    return False
