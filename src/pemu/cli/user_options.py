"""The options of user mode, which are qemu-user's and `-jit`; they set `UserOptions`.

One table, `OPTIONS`, says what there is; -h, parsing, the environment variables and the command
that runs a guest's execve() under Pemu again all derive from it.
"""

from __future__ import annotations

import os

from pemu.log import LogFile, LogItems, Ranges
from pemu.options.command import Option
from pemu.options.error import HelpRequest, OptionError, quoted
from pemu.options.types import Bool, Int, Size, Text, ValueType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pemu.options.keyval import Group


class PathText(ValueType):
    """A path of the host, made absolute, so that it holds after the guest changes directory."""

    __slots__ = ()

    def parse(self, text: str) -> str:
        if not text:
            raise OptionError(f"'' is empty; give a {self.name}")
        return os.path.abspath(text)


class LogPath(LogFile):
    """The template of a log file, made absolute."""

    __slots__ = ()

    def parse(self, text: str) -> str:
        return os.path.abspath(super().parse(text))


class PageSize(Int):
    """A page size in bytes."""

    __slots__ = ()

    def parse(self, text: str) -> int:
        value = super().parse(text)
        if value & (value - 1):
            raise OptionError(f"{quoted(text)} is not a power of two; give 4096 or a multiple")
        return max(value, 4096)


class Cpu(ValueType):
    """The name of a processor model."""

    __slots__ = ()

    def parse(self, text: str) -> str:
        if text in ("help", "?"):
            raise CpuHelp
        return text


class CpuHelp(Exception):
    """`-cpu help` was given; which models there are depends on the target."""


class SetVariables(ValueType):
    """`var=value[,var=value...]`, a comma inside a value written twice."""

    __slots__ = ()

    def parse(self, text: str) -> list[str]:
        from pemu.options.keyval import split_words

        words = split_words(text)
        for word in words or [text]:
            if word.find("=") <= 0:
                raise OptionError(f"{quoted(word)} sets no variable; write var=value")
        return words


class UnsetVariables(ValueType):
    """`var[,var...]`."""

    __slots__ = ()

    def parse(self, text: str) -> list[str]:
        names = text.split(",")
        for name in names:
            if not name or "=" in name:
                raise OptionError(f"{quoted(name)} is no variable's name; write var[,var...]")
        return names


class Lazy(ValueType):
    """A comma list whose schema is made only when the option is used."""

    __slots__ = ("make",)

    def __init__(self, name: str, make: Callable[[], Group]) -> None:
        super().__init__(name)
        self.make = make

    def parse(self, text: str) -> Any:
        return self.make().parse(text)

    def format(self, value: Any) -> str:
        return self.make().format(value)


class Trace(Lazy):
    """The value of -trace, which answers `help` with the events there are."""

    __slots__ = ()

    def parse(self, text: str) -> Any:
        if text in ("help", "?"):
            from pemu.log import events_help

            raise HelpRequest(events_help())
        return super().parse(text)


def jit_group() -> Group:
    """The keys of -jit. A key that is absent is None: several -jit add up."""
    from pemu.options.keyval import Group, Key
    from pemu.options.types import Enum

    return Group(
        "-jit",
        (
            Key(
                "mode",
                Enum(("auto", "tier0", "tier1")),
                "compile hot code (auto), nothing (tier0) or everything at once (tier1)",
            ),
            Key("cache", Bool(), "keep generated code on disk for the next run"),
            Key("cache-dir", PathText("path"), "directory of the code cache"),
            Key("cache-size", Size(minimum=1 << 20), "limit of the code cache"),
        ),
        implied="mode",
    )


def trace_group() -> Group:
    """The keys of -trace."""
    from pemu.options.keyval import Group, Key

    return Group(
        "-trace",
        (
            Key("enable", Text("pattern", empty=False), "events by name; *, ? and a leading -"),
            Key("events", PathText("file"), "a file with one pattern a line"),
            Key("file", PathText("file"), "where trace and log lines go, as -D"),
        ),
        implied="enable",
    )


def _env(name: str) -> tuple[str, str]:
    return (f"PEMU_{name}", f"QEMU_{name}")


OPTIONS = (
    Option("h", help="print this help", final=True, aliases=("help",)),
    Option(
        "g",
        Text("port", empty=False),
        "port",
        "wait for gdb on TCP port or socket path 'port'",
        dest="gdb",
        env=_env("GDB"),
    ),
    Option(
        "L",
        PathText("path"),
        "path",
        "look for the guest's loader and libraries under 'path'",
        dest="prefix",
        env=_env("LD_PREFIX"),
    ),
    Option(
        "s",
        Size(minimum=1),
        "size",
        "make the main stack 'size' bytes long",
        dest="stack_size",
        env=_env("STACK_SIZE"),
    ),
    Option(
        "cpu",
        Cpu("model"),
        "model",
        "be the processor 'model' (-cpu help lists them)",
        dest="cpu",
        env=_env("CPU"),
    ),
    Option(
        "E",
        SetVariables("var=value"),
        "var=value",
        "set variables in the guest's environment (see below)",
        env=_env("SET_ENV"),
    ),
    Option(
        "U",
        UnsetVariables("var"),
        "var",
        "take variables out of the guest's environment (see below)",
        env=_env("UNSET_ENV"),
    ),
    Option(
        "0",
        Text("argv0"),
        "argv0",
        "let the guest see 'argv0' as its argv[0]",
        dest="argv0",
        env=_env("ARGV0"),
    ),
    Option(
        "r",
        Text("uname"),
        "uname",
        "let uname say that the kernel's release is 'uname'",
        dest="uname",
        env=_env("UNAME"),
    ),
    Option(
        "B",
        Int(name="address"),
        "address",
        "put the guest's address 0 at host address 'address'",
        dest="guest_base",
        env=_env("GUEST_BASE"),
    ),
    Option(
        "R",
        Size(),
        "size",
        "keep all guest addresses below 'size'",
        dest="reserved_va",
        env=_env("RESERVED_VA"),
    ),
    Option(
        "d",
        LogItems(),
        "item[,...]",
        "log the given items (-d help lists them)",
        dest="log_items",
        env=_env("LOG"),
    ),
    Option(
        "dfilter",
        Ranges(),
        "range[,...]",
        "log only code at these guest-virtual addresses (start..end, start+size, start-size)",
        dest="log_ranges",
        env=_env("DFILTER"),
    ),
    Option(
        "D",
        LogPath(),
        "logfile",
        "log to 'logfile', %d in it being the process number (default stderr)",
        dest="log_file",
        env=_env("LOG_FILENAME"),
    ),
    Option(
        "p",
        PageSize(minimum=1, maximum=1 << 24, name="pagesize"),
        "pagesize",
        "behave as on a host with pages of 'pagesize' bytes",
        dest="page_size",
        env=_env("PAGESIZE"),
    ),
    Option(
        "singlestep",
        help="translate one instruction at a time",
        dest="singlestep",
        env=_env("SINGLESTEP"),
    ),
    Option("strace", help="log system calls", dest="strace", env=_env("STRACE")),
    Option(
        "seed",
        Int(name="number"),
        "number",
        "make the guest's random numbers depend on 'number' alone",
        dest="seed",
        env=_env("RAND_SEED"),
    ),
    Option(
        "trace",
        Trace("pattern", trace_group),
        "pattern",
        "log events: [enable=]pattern[,events=file][,file=file] (-trace help lists them)",
        dest="trace",
        env=_env("TRACE"),
        repeat=True,
    ),
    Option(
        "jit",
        Lazy("key=value", jit_group),
        "key=value[,...]",
        "how code is generated and cached (-jit help lists the keys)",
        dest="jit",
        env=("PEMU_JIT",),
        repeat=True,
    ),
    Option("version", help="print the version", final=True, env=_env("VERSION")),
)

# What else a process hands on to one that it makes by `user.command`.
CHILD_OPTIONS = (
    Option("ignored", Int(), "signals", dest="ignored"),
    Option("control", Int(), "descriptor", dest="control"),
    Option("called", Text(), "path", dest="called"),
)
