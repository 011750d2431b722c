"""-chroot, -runas and -sandbox: what a machine gives up before it runs.

What cannot be read any more afterwards is read before. The code cache stays in use where the user
stays the same.
"""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING, Any, NamedTuple

from pemu import latemodules
from pemu.options.error import OptionError, quoted
from pemu.options.keyval import Group, Key
from pemu.options.types import Bool, Enum, ValueType

if TYPE_CHECKING:
    from pemu.engine.code.cache import CodeCache

PACKAGES = ("block", "chardev", "devices", "engine", "isa", "machine", "monitor", "options")
"""Where what runs machines is."""

LATE = ("difflib", "encodings.idna", "html", "json", "pkgutil", "traceback", "urllib.request")
"""Modules of Python's own that Pemu imports within functions, or that these import."""


class User(NamedTuple):
    """Whom to become. `name`: '' where only numbers were given."""

    uid: int
    gid: int
    name: str


class RunAs(ValueType):
    """The value of -runas: a user's name, or uid:gid."""

    def parse(self, text: str) -> User:
        uid, _, gid = text.partition(":")
        try:
            entry = pwd.getpwnam(text)
        except (KeyError, ValueError):
            if not (_is_id(uid) and _is_id(gid)):
                raise OptionError(
                    f"there is no user {quoted(text)}; give a user's name or uid:gid in numbers"
                ) from None
            return User(int(uid), int(gid), "")
        return User(entry.pw_uid, entry.pw_gid, text)

    def format(self, value: User) -> str:
        return value.name or f"{value.uid}:{value.gid}"


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10 and int(text) < (1 << 32) - 1


def sandbox_group() -> Group:
    """The keys of -sandbox."""
    allowed = Enum(("allow", "deny"))
    return Group(
        "-sandbox",
        (
            Key("enable", Bool(), "whether there is one", default=False),
            Key("obsolete", allowed, "system calls that nobody uses now", default="deny"),
            Key(
                "elevateprivileges",
                Enum(("allow", "deny", "children")),
                "changing user and group; 'children' keeps programs that are started from it",
                default="allow",
            ),
            Key("spawn", allowed, "making processes, starting programs", default="allow"),
            Key("resourcecontrol", allowed, "changing priorities and affinity", default="allow"),
        ),
        implied="enable",
    )


def give_up(root: str, user: User | None, sandbox: dict[str, Any], cache: CodeCache | None) -> None:
    """Change the root directory and the user, and refuse system calls. Raises OptionError."""
    if sandbox.get("enable"):
        from pemu.cli import sandbox as filters
    if root or (user and latemodules.hidden_from_others()):
        latemodules.load(LATE, latemodules.own(PACKAGES))
        if cache is not None:
            cache.hold(os.dup)
    if root:
        _change_root(root)
    if user:
        _become(user)
    if sandbox.get("enable"):
        filters.enter(sandbox)


def _change_root(path: str) -> None:
    try:
        os.chroot(path)
        os.chdir("/")
    except OSError as error:
        raise OptionError(
            f"-chroot: {quoted(path)} cannot become the root directory ({error.strerror})"
        ) from None


def _become(user: User) -> None:
    try:
        os.setgid(user.gid)
        if user.name:
            os.initgroups(user.name, user.gid)
        else:
            os.setgroups([user.gid])
        os.setuid(user.uid)
    except OSError as error:
        raise OptionError(
            f"-runas: cannot become user {user.uid}, group {user.gid} ({error.strerror}); "
            "only root can"
        ) from None
