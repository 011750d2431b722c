"""User mode: `pemu-mips` and its kin, which run one Linux program of another processor."""

from __future__ import annotations

import os
import sys

from pemu.cli import outcome
from pemu.cli.user_options import CHILD_OPTIONS, OPTIONS, CpuHelp
from pemu.linux.options import UserOptions
from pemu.log import Log
from pemu.options.command import Command
from pemu.options.error import OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from pemu.options.command import Parsed

COMMAND = Command(OPTIONS)

# The host's dynamic loader and C library read these variables in every process. Where a guest
# gives them to execve() their paths are the guest's: they travel under another name.
_HOST_VARIABLES = (b"LD_", b"GLIBC_TUNABLES=", b"GCONV_PATH=", b"LOCPATH=", b"MALLOC_")
_HIDDEN = b"PEMU_HIDDEN_"

_SIGINT, _SIGPIPE, _SIGXFSZ = 2, 13, 25
_PYTHON_IGNORES = 1 << (_SIGPIPE - 1) | 1 << (_SIGXFSZ - 1)  # from Python's start on


def entry(target: str) -> NoReturn:
    """Be the console command `pemu-<target>`."""
    outcome.leave(main(target))


def main(target: str, words: Sequence[str] | None = None) -> int:
    """Run the command line `words` (without the command's name) and return the exit status.

    `target` is a name of `pemu.linux.target.TARGETS`. Without `words`, those of this process.
    """
    given = sys.argv[1:] if words is None else words
    return outcome.run(f"pemu-{target}", lambda: _start(target, given))


def child(target: str) -> NoReturn:
    """Go on in a process that a guest's execve() has made by `command`."""
    outcome.leave(outcome.run(f"pemu-{target}", lambda: _go_on(target, sys.argv[1:], child=True)))


def controlled(target: str) -> NoReturn:
    """Go on in a process that `pemu.api` has made by `launch`."""
    outcome.leave(outcome.run(f"pemu-{target}", lambda: _go_on(target, sys.argv[1:], child=False)))


def launch(
    target: str, words: Sequence[str], environ: list[bytes], control: int
) -> tuple[list[str], list[bytes]]:
    """The command and environment by which `pemu.api` runs the command line `words`.

    `environ`: the guest's environment; `control`: descriptor of the socket by which the program is
    controlled. Raises OptionError.
    """
    try:
        parsed = COMMAND.parse(words, dict(os.environ))
    except CpuHelp:
        raise OptionError(f"-cpu help is for command lines: pemu-{target} -cpu help") from None
    if parsed.final:
        raise OptionError(f"-{parsed.final.name} runs no program")
    options, argv = _options(target, parsed)
    if options.gdb:
        raise OptionError("-g gives gdb the control that pemu.Program has; leave it out")
    options.control = control
    if options.cpu:
        from pemu.cli.user_help import check_cpu

        check_cpu(target, options.cpu)
    start = command(target, options, "controlled")
    shown = [options.program, *(os.fsdecode(word) for word in argv)]
    return [*start, *shown], host_environ(_changed(environ, parsed))


def command(target: str, options: UserOptions, entry: str = "child") -> list[str]:
    """What to execute to run a program for `target` under `options`, by this module's `entry`.

    To be followed by the program's path and the whole argv of the guest, argv[0] first, and given
    `host_environ` of the guest's environment. It depends on neither the current directory nor the
    environment: Python starts isolated, without `site`, which is also the fastest way.
    """
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    code = f"import sys;sys.path[:0]=[{package!r}]"
    for place in sys.path:
        if place != package and os.path.isdir(os.path.join(place, "llvmlite")):
            code += f";sys.path+=[{os.path.abspath(place)!r}]"
            break
    code += f";from pemu.cli.user import {entry};{entry}({target!r})"
    python = os.path.realpath(sys.executable or "/proc/self/exe")
    words = Command(OPTIONS + CHILD_OPTIONS).words(options, UserOptions())
    return [python, "-I", "-S", "-X", "utf8", "-c", code, *words, "--"]


def host_environ(environ: Sequence[bytes]) -> list[bytes]:
    """The environment for `command`'s process, from which that one makes `environ` again."""
    return [
        _HIDDEN + entry if entry.startswith((*_HOST_VARIABLES, _HIDDEN)) else entry
        for entry in environ
    ]


def _child_command(target: str, options: UserOptions) -> list[str]:
    """What a guest's execve() of a program for `target` executes."""
    options.ignored = _ignored() & _PYTHON_IGNORES
    return command(target, options)


def _ignored() -> int:
    """The host signals that are ignored now, however they came to be; bit n-1 for signal n."""
    try:
        with open("/proc/self/status", "rb", buffering=0) as file:
            return int(file.readall().split(b"\nSigIgn:", 1)[1].split(None, 1)[0], 16)
    except (OSError, IndexError):
        return 0  # without /proc, as if none was


def _restore_signals(options: UserOptions) -> None:
    """Undo what Python's start has done to signals: ignore only those that were ignored before.

    Python tells nobody what it found for those that it ignores itself. So a process that the user
    starts takes the default, and one that goes on after execve() is told by the process before.
    """
    options.ignored |= _ignored() & ~_PYTHON_IGNORES
    import _signal  # type: ignore[import-not-found]  # `signal` alone would cost 2 ms

    for number in (_SIGPIPE, _SIGXFSZ):
        if not options.ignored >> (number - 1) & 1:
            _signal.signal(number, _signal.SIG_DFL)
    if _signal.getsignal(_SIGINT) is _signal.default_int_handler:
        _signal.signal(_SIGINT, _signal.SIG_DFL)


def _start(target: str, words: Sequence[str]) -> int:
    environ = _environ()
    variables = {}
    for entry in environ:
        if entry.startswith((b"PEMU_", b"QEMU_")):
            name, _, value = entry.partition(b"=")
            variables[os.fsdecode(name)] = os.fsdecode(value)
    parsed = _parse(COMMAND, target, words, variables)
    if parsed is None:
        return 1  # as QEMU answers -cpu help
    if parsed.final:
        if parsed.final.name == "version":
            return outcome.show(_version(target))
        from pemu.cli.user_help import usage

        return outcome.show(usage(target, default_prefix(target)))
    options, argv = _options(target, parsed)
    return _run(target, options, argv, _changed(environ, parsed))


def _options(target: str, parsed: Parsed) -> tuple[UserOptions, list[bytes]]:
    """The options that a command line has set, and the guest's argv. Raises OptionError."""
    if not parsed.rest:
        raise OptionError(f"no program to run was given; write pemu-{target} <program>")
    options = UserOptions()
    parsed.assign(options)
    options.program = parsed.rest[0]
    if not options.prefix:
        options.prefix = default_prefix(target)
    if not os.path.isdir(options.prefix):
        options.prefix = ""  # as QEMU does; a program that needs it says so when it is loaded
    argv = [os.fsencode(word) for word in parsed.rest]
    if options.argv0 is not None:
        argv[0] = os.fsencode(options.argv0)
    return options, argv


def _go_on(target: str, words: Sequence[str], *, child: bool) -> int:
    """Run the program that the words of `command` and what follows them name."""
    parsed = _parse(Command(OPTIONS + CHILD_OPTIONS), target, words, {})
    assert parsed is not None
    options = UserOptions()
    parsed.assign(options)
    options.child = child
    options.program, *argv = parsed.rest
    environ = [entry.removeprefix(_HIDDEN) for entry in _environ()]
    try:
        return _run(target, options, [os.fsencode(word) for word in argv], environ)
    except OptionError as error:
        if options.control < 0:
            raise
        from pemu.linux.debugging.control import refuse

        refuse(options.control, str(error))
        return 1


def _parse(
    schema: Command, target: str, words: Sequence[str], variables: dict[str, str]
) -> Parsed | None:
    """What `words` and `variables` give; None if they asked for the models, which are shown."""
    try:
        return schema.parse(words, variables)
    except CpuHelp:
        from pemu.cli.user_help import cpu_models

        outcome.show(cpu_models(target))
        return None


def _run(target: str, options: UserOptions, argv: list[bytes], environ: list[bytes]) -> int:
    for given in options.jit:
        for key, value in given.items():
            if value is not None:
                name = "jit_mode" if key == "mode" else key.replace("-", "_")
                setattr(options, name, value)
    if options.cpu and not options.child and options.control < 0:
        from pemu.cli.user_help import check_cpu

        check_cpu(target, options.cpu)
    options.log = _log(target, options)

    options.child_command = lambda: _child_command(target, options)
    options.child_environ = host_environ

    _restore_signals(options)
    from pemu.linux.main import run_user

    return run_user(target, options, argv, environ)


def _log(target: str, options: UserOptions) -> Log:
    """The log that -d, -D, -strace and -trace ask for."""
    items = [*options.log_items, "strace"] if options.strace else options.log_items
    if not items and not options.trace:
        return Log()
    from pemu.cli.tracelog import open_log

    return open_log(
        f"pemu-{target}",
        items,
        options.log_file,
        options.trace,
        append=options.child,
        ranges=options.log_ranges,
    )


def _environ() -> list[bytes]:
    """The environment exactly as execve() set it, in order: "NAME=value" entries.

    os.environ is not that: Python adds LC_CTYPE in the C locale, and keeps one entry a name.
    """
    try:
        with open("/proc/self/environ", "rb", buffering=0) as file:
            return [entry for entry in file.readall().split(b"\0") if entry]
    except OSError:
        return [name + b"=" + value for name, value in os.environb.items()]


def _changed(environ: list[bytes], parsed: Parsed) -> list[bytes]:
    """`environ` with the changes of -E and -U made in the order in which they were given."""
    for option, words in parsed.given:
        if option.name not in ("E", "U"):
            continue
        for word in words:
            change = os.fsencode(word)
            name = change.partition(b"=")[0] + b"="
            environ = [entry for entry in environ if not entry.startswith(name)]
            if option.name == "E":
                environ.append(change)
    return environ


def default_prefix(target: str) -> str:
    """Where Debian's QEMU looks for a target's loader and libraries when -L is not given."""
    return f"/etc/qemu-binfmt/{target}"


def _version(target: str) -> str:
    from pemu.version import VERSION

    return f"pemu-{target} version {VERSION}"


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        outcome.leave(
            outcome.fail("pemu.cli.user", "no target was given; write a name such as mips")
        )
    outcome.leave(main(sys.argv[1], sys.argv[2:]))
