"""`pemu-cache`: what the code cache on disk holds, and how to be rid of it."""

from __future__ import annotations

import os
import sys
import time

from pemu.cli import outcome
from pemu.cli.user_options import PathText, jit_group
from pemu.engine.code.cache import (
    DEFAULT_LIMIT,
    KINDS,
    TIER0,
    CodeCache,
    Entry,
    default_directory,
    entries,
    open_entry,
    read_tier0,
)
from pemu.engine.code.regioncache import SEPARATOR
from pemu.engine.code.regionstore import RegionStore
from pemu.options.command import Command, Option
from pemu.options.error import OptionError, unknown
from pemu.options.types import Int

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

    from pemu.options.command import Parsed

OPTIONS = (
    Option("h", help="print this help", final=True, aliases=("help",)),
    Option("cache-dir", PathText("path"), "path", "another cache than the one that is used"),
    Option("older-than", Int(), "days", "clear: only what was not used for so many days"),
    Option("remove", help="verify: remove what is damaged"),
    Option("version", help="print the version", final=True),
)

_DAY = 86400


def entry() -> NoReturn:
    """Be the console command `pemu-cache`."""
    outcome.leave(main(sys.argv[1:]))


def main(words: Sequence[str]) -> int:
    """Run the command line `words` (without the command's name) and return the exit status."""
    return outcome.run("pemu-cache", lambda: _run(words))


def _run(words: Sequence[str]) -> int:
    parsed = Command(OPTIONS, mixed=True).parse(words)
    if parsed.final:
        return outcome.show(_usage() if parsed.final.name == "h" else _version())
    if not parsed.rest:
        raise OptionError("no command was given; -h lists them")
    name, *more = parsed.rest
    if name not in _COMMANDS:
        raise unknown(f"unknown command '{name}'", name, _COMMANDS, "-h lists the commands")
    if more:
        raise OptionError(f"'{more[0]}' is too much; write pemu-cache {name}")
    given = {option.name: value for option, value in parsed.given}
    for option, command in (("older-than", "clear"), ("remove", "verify")):
        if option in given and name != command:
            raise OptionError(f"-{option} belongs to the command {command}, not to {name}")
    return _COMMANDS[name](_cache(parsed), given)


def _usage() -> str:
    commands = [(name, (run.__doc__ or "").rstrip(".")) for name, run in _COMMANDS.items()]
    options = [(f"-{option.name} {option.metavar}", option.help) for option in OPTIONS]
    width = max(len(left) for left, _ in commands + options)
    lists = [
        "".join(f"  {left:<{width}}  {text}\n" for left, text in rows)
        for rows in (commands, options)
    ]
    return (
        "usage: pemu-cache [options] command\n"
        "Shows, checks and empties the code cache, in which Pemu keeps what it has compiled\n\n"
        f"Commands:\n{lists[0]}\nOptions:\n{lists[1]}"
    )


def _version() -> str:
    from pemu.version import VERSION

    return f"pemu-cache version {VERSION}"


def _cache(parsed: Parsed) -> CodeCache:
    """The cache that a program run from here would use, unless -cache-dir names another."""
    given = {}
    if text := os.environ.get("PEMU_JIT"):
        try:
            given = jit_group().parse(text)
        except OptionError as error:
            raise error.within("PEMU_JIT") from None
    for option, value in parsed.given:
        if option.name == "cache-dir":
            given["cache-dir"] = value
    directory = given.get("cache-dir") or default_directory(dict(os.environ))
    if not directory:
        raise OptionError("there is no cache as HOME is no directory; name one with -cache-dir")
    try:
        return CodeCache(directory, given.get("cache-size") or DEFAULT_LIMIT)
    except OSError as error:
        raise OptionError(f"{directory}: {error.strerror}") from error


class _Folder:
    """The open directory of a cache; one that does not exist holds nothing."""

    def __init__(self, cache: CodeCache) -> None:
        self.cache = cache
        self.entries: list[Entry] = []
        try:
            self._fd = cache.open_directory()
            self.entries = entries(self._fd)
        except FileNotFoundError:
            pass
        except PermissionError as error:
            raise OptionError(
                f"{cache.directory} is not used as a cache: {error.strerror}; only its owner may "
                f"have access (chmod 700)"
            ) from error
        except OSError as error:
            raise OptionError(f"{cache.directory}: {error.strerror}") from error

    def remove(self, unwanted: Sequence[Entry]) -> str:
        """Remove entries and tell what has been removed."""
        removed = []
        for one in unwanted:
            try:
                os.unlink(one.name, dir_fd=self._fd)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise OptionError(f"{self.cache.directory}: {error.strerror}") from error
            removed.append(one)
        return f"removed {_amount(removed)}"

    def content(self, one: Entry, *, check: bool = False) -> str:
        """What an entry is for; raises ValueError if it is damaged.

        Code is only looked at if `check` is set.
        """
        try:
            fd = open_entry(self._fd, one.name)
        except OSError as error:
            raise ValueError(f"{error.strerror}") from error
        try:
            if one.kind == TIER0:
                name = read_tier0(fd).name
                return self._told(one, name, name)
            store = RegionStore(fd)
        finally:
            os.close(fd)
        try:
            if check:
                store.check()
            arch, program, _ = store.identity.split(SEPARATOR)
            if not program.isprintable():
                program = repr(program)
            return self._told(one, store.identity, f"{program} ({arch})")
        finally:
            store.close()

    def _told(self, one: Entry, identity: str, text: str) -> str:
        if self.cache.key(one.kind, identity) != one.name:
            text += ", by another version of Pemu or for another host"
        return text


def _amount(some: Sequence[Entry]) -> str:
    plural = "entry" if len(some) == 1 else "entries"
    return f"{len(some)} {plural}, {_size(sum(one.size for one in some))}"


def _size(size: int) -> str:
    """A number of bytes in the unit that leaves few digits."""
    for unit in ("bytes", "KiB", "MiB"):
        if size < 10240:
            return f"{size} {unit}"
        size = (size + 512) // 1024
    return f"{size} GiB"


def _list(cache: CodeCache, given: dict[str, object]) -> int:
    """list the entries: kind, size, when last used, what for."""
    folder = _Folder(cache)
    rows = [("KIND", "SIZE", "LAST USED", "FOR")]
    for one in reversed(folder.entries):
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.used))
        try:
            text = "unfinished" if one.unfinished else folder.content(one)
        except ValueError as error:
            text = f"damaged: {error}"
        rows.append((one.kind, _size(one.size), used, text))
    return outcome.show(
        "".join(f"{kind:<7}  {size:>10}  {used:<16}  {text}\n" for kind, size, used, text in rows)
    )


def _info(cache: CodeCache, given: dict[str, object]) -> int:
    """tell directory, entries, bytes and limit."""
    found = _Folder(cache).entries
    lines = [f"directory: {cache.directory}", f"entries: {_amount(found)}"]
    for kind in KINDS:
        lines.append(f"{kind}: {_amount([one for one in found if one.kind == kind])}")
    return outcome.show("\n".join([*lines, f"limit: {_size(cache.limit)}"]))


def _clear(cache: CodeCache, given: dict[str, object]) -> int:
    """remove all entries, or the long unused ones."""
    folder = _Folder(cache)
    days = given.get("older-than")
    unwanted = folder.entries
    if isinstance(days, int):
        unwanted = [one for one in unwanted if one.used < time.time() - days * _DAY]
    return outcome.show(folder.remove(unwanted))


def _verify(cache: CodeCache, given: dict[str, object]) -> int:
    """check every entry and name the damaged ones."""
    folder = _Folder(cache)
    damaged = []
    for one in folder.entries:
        if one.unfinished:
            continue
        try:
            folder.content(one, check=True)
        except ValueError as error:
            outcome.show(f"{one.name}: {error}")
            damaged.append(one)
    outcome.show(f"{_amount(folder.entries)}; damaged: {len(damaged)}")
    if "remove" in given:
        return outcome.show(folder.remove(damaged))
    return 1 if damaged else 0


def _dir(cache: CodeCache, given: dict[str, object]) -> int:
    """print the directory."""
    return outcome.show(cache.directory)


_COMMANDS: dict[str, Callable[[CodeCache, dict[str, object]], int]] = {
    "list": _list,
    "info": _info,
    "clear": _clear,
    "verify": _verify,
    "dir": _dir,
}
