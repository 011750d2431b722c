"""A program of another processor that Python runs, watches and changes."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any, TypeVar

from pemu.api.connection import Connection, Interrupted
from pemu.api.errors import BusyError, StartError, TimeLimitError
from pemu.api.views import Memory, Registers, Symbols, unknown
from pemu.linux.mips.signals import NSIG, signal_name
from pemu.linux.programs.elf import target_name
from pemu.linux.target import TARGETS

CAPTURE = -3
"""For `stdout` and `stderr` of a program: what it writes is kept, for `output` and `errors`."""

Word = str | bytes | os.PathLike[str] | os.PathLike[bytes]
Hook = Callable[["Program"], object]
CallHook = Callable[["Program", "Call"], int | None]
F = TypeVar("F", bound=Callable[..., Any])

_HEADER_BYTES = 64
_PIECE = 4096
"""Addresses that one message carries."""


class Call:
    """A system call that a program makes. A hook may change what can be assigned here.

    `name`, `number`; `args`: the words that may be its arguments, unsigned, changed in place by a
    hook before the call; `result`: None before the call, after it a number, or minus an `errno`.
    """

    __slots__ = ("args", "name", "number", "result")

    def __init__(
        self, name: str, number: int, args: Sequence[int], result: int | None = None
    ) -> None:
        self.name = name
        self.number = number
        self.args = list(args)
        self.result = result

    def __repr__(self) -> str:
        args = ", ".join(hex(arg) for arg in self.args)
        return f"<Call {self.name}({args})" + (f" = {self.result}>" if self.result else ">")


class Signal:
    """A signal that is about to take effect.

    `name`, as "SIGSEGV"; `code`: si_code; `address`: of a fault.
    """

    __slots__ = ("address", "code", "name")

    def __init__(self, name: str, code: int, address: int) -> None:
        self.name = name
        self.code = code
        self.address = address


class Program:
    """A Linux program for another processor, loaded and stopped before its first instruction.

        with Program(["./hello", "arg"]) as program:
            program.run()

    It runs in a host process of its own, so that nothing it does to itself (ending, forking,
    signals, closing descriptors, changing its directory) happens to Python.

    `words`: path of the program and its arguments. `target`: "mips", "mipsel", "mips64",
    "mips64el", "mipsn32", "mipsn32el"; found from the file if not given. `prefix`: directory with
    its loader and libraries (-L). `cpu`: the processor model (-cpu). `env`: its environment, else
    Python's. `cwd`: its directory. `argv0`: its argv[0], if not the path. `stdin`: None for
    Python's own, a file or descriptor, or bytes for it to read. `stdout`, `stderr`: None, a file
    or descriptor, or CAPTURE. `options`: further words as on the command line: ["-strace"].

    Raises StartError.
    """

    def __init__(
        self,
        words: Word | Sequence[Word],
        *,
        target: str = "",
        prefix: Word = "",
        cpu: str = "",
        env: Mapping[str, str] | Mapping[bytes, bytes] | None = None,
        cwd: Word | None = None,
        argv0: Word | None = None,
        stdin: IO[Any] | int | bytes | None = None,
        stdout: IO[Any] | int | None = None,
        stderr: IO[Any] | int | None = None,
        options: Sequence[str] = (),
    ) -> None:
        argv = _words(words)
        directory = None if cwd is None else os.fsdecode(cwd)
        line = list(options)
        for name, value in (("-L", prefix), ("-cpu", cpu), ("-0", argv0)):
            if value:
                line += [name, os.fsdecode(value)]
        self.target = target or _target_of(os.path.join(directory or "", argv[0]))
        if self.target not in TARGETS:
            raise StartError(str(unknown("target", self.target, TARGETS)))
        self._output = tempfile.TemporaryFile() if stdout == CAPTURE else None
        self._errors = tempfile.TemporaryFile() if stderr == CAPTURE else None
        self._input = _with(stdin) if isinstance(stdin, bytes) else None
        stdio = (
            _descriptor(self._input or stdin),
            _descriptor(self._output or stdout),
            _descriptor(self._errors or stderr),
        )
        environ = _environ(env)
        self._connection = Connection(self.target, [*line, "--", *argv], environ, directory, stdio)
        thread, shown, names, bits, word, order = self._connection.hello()
        self.thread: int = thread
        """The thread that the program has stopped in, or that a hook is called for."""
        self.registers = Registers(self._connection, names, bits)
        self.registers.select(thread, shown)
        self.memory = Memory(self._connection, word, order)
        self.symbols = Symbols(self._connection)
        self._on_address: dict[int, list[Hook]] = {}
        self._named: list[tuple[str, Hook]] = []
        self._on_block: list[Hook] = []
        self._before: dict[str, list[CallHook]] = {}
        self._after: dict[str, list[CallHook]] = {}
        self._on_signal: dict[str, list[Callable[[Program, Signal], object]]] = {}
        self._calls: frozenset[str] | None = None
        self._until: int | None = None
        self._told: set[int] = set()
        self._stopping = False
        self._failure: BaseException | None = None

    # Running.

    @property
    def returncode(self) -> int | None:
        """None while the program is there, then its exit status, or minus the host's number of the
        signal that has ended it.
        """
        return self._connection.returncode

    @property
    def pid(self) -> int:
        """The program's process number, for itself and for the host."""
        return self._connection.pid

    def run(self, until: int | str | None = None, *, timeout: float | None = None) -> int | None:
        """Run until the program ends, or a hook stops it, or it comes to `until`.

        `until`: a guest-virtual address or a symbol; `timeout`: seconds after which
        TimeLimitError is raised. Returns `returncode`: None if the program can be run on. What a
        hook raises comes out here, as does KeyboardInterrupt, after the program has been stopped.
        """
        address = self.symbols[until] if isinstance(until, str) else until
        if address is not None:
            self._until = address
            self._update()
        try:
            self._go(False, timeout)
        finally:
            if address is not None:
                self._until = None
                if self.returncode is None:
                    self._update()
        return self.returncode

    def step(self, count: int = 1) -> int | None:
        """Run `count` instructions of the present thread; a branch takes its delay slot along.

        Hooks are called as in a run. Returns `returncode`.
        """
        for _ in range(count):
            self._go(True, None)
            if self.returncode is not None or self._stopping:
                break
        return self.returncode

    def stop(self) -> None:
        """Let `run` return: from a hook, before the instruction or call that it is about; or from
        another thread of Python, soon.
        """
        self._stopping = True
        if self._connection.is_running_elsewhere():
            self._connection.post("interrupt")

    def _go(self, step: bool, timeout: float | None) -> None:
        connection = self._connection
        deadline = None if timeout is None else time.monotonic() + timeout
        self._stopping = False
        self._failure = None
        held: list[Any] = []
        late = interrupted = False
        with connection.running():
            connection.post("resume", self.thread, step)
            if self._stopping:
                # By another thread, whose message may have come before this one.
                connection.post("interrupt")
            while True:
                try:
                    event = connection.event(None if self._stopping else deadline)
                except Interrupted:
                    interrupted = self._stopping = True
                    connection.post("interrupt")
                    continue
                except TimeoutError:
                    late = self._stopping = True
                    connection.post("interrupt")
                    continue
                if event is None:
                    connection.ended()
                    break
                if event[1] == "stopped":
                    self._select(event[2], event[3])
                    break
                if self._stopping:
                    held.append(event)  # of another thread, which waits until the next run
                else:
                    self._hook(*event[2:])
            connection.later(held)
            failure, self._failure = self._failure, None
            if failure is not None:
                raise failure
            if interrupted:
                connection.raise_interrupt()
            if late and self.returncode is None:
                raise TimeLimitError(f"the program has not ended within {timeout} s")

    def _select(self, thread: int, shown: tuple[int, tuple[int, ...]]) -> None:
        self.thread = thread
        self.registers.select(thread, shown)

    # Hooks.

    def on_address(self, *places: int | str) -> Callable[[F], F]:
        """Call the decorated function before each execution of the instructions at `places`.

        They are guest-virtual addresses or symbols. The function gets the program.
        """
        addresses = [self.symbols[place] if isinstance(place, str) else place for place in places]

        def add(function: F) -> F:
            self._named += [(place, function) for place in places if isinstance(place, str)]
            for address in addresses:
                self._on_address.setdefault(address, []).append(function)
            self._update()
            return function

        return add

    def on_block(self, function: F) -> F:
        """Call the decorated function at the beginning of each block of instructions that is run.

        A block ends with a branch, jump or system call. The function gets the program, whose
        `registers.pc` is where the block begins.
        """
        self._on_block.append(function)
        self._update()
        return function

    def on_syscall(self, *names: str) -> Callable[[F], F]:
        """Call the decorated function before each of these system calls (without names, of all).

        It gets the program and a `Call`, whose arguments it may change. A number that it returns is
        the call's result, and the call is not made; minus an `errno` is an error.
        """
        return self._add_calls(self._before, names)

    def after_syscall(self, *names: str) -> Callable[[F], F]:
        """Call the decorated function after each of these system calls (without names, of all).

        It gets the program and a `Call` with its result; a number that it returns is the result
        that the program gets. Calls that do not return, as exit_group, are not told of.
        """
        return self._add_calls(self._after, names)

    def on_signal(self, *names: str) -> Callable[[F], F]:
        """Call the decorated function before one of these signals takes effect on the program.

        It gets the program and a `Signal`. If it returns True the program does not get the signal:
        for a fault it must have removed the cause, as the instruction is executed again.
        """

        known = [signal_name(number) for number in range(1, NSIG)]

        def add(function: F) -> F:
            for name in names or ("",):
                if name and name not in known:
                    raise unknown("signal", name, known)
                self._on_signal.setdefault(name, []).append(function)
            self._update()
            return function

        return add

    def remove(self, function: Callable[..., Any]) -> None:
        """Take a hook away from wherever it has been added."""
        tables: tuple[dict[Any, list[Any]], ...] = (
            self._on_address,
            self._before,
            self._after,
            self._on_signal,
        )
        for table in tables:
            for key in list(table):
                table[key] = [hook for hook in table[key] if hook is not function]
                if not table[key]:
                    del table[key]
        self._named = [pair for pair in self._named if pair[1] is not function]
        self._on_block = [hook for hook in self._on_block if hook is not function]
        self._update()

    def _add_calls(
        self, table: dict[str, list[CallHook]], names: tuple[str, ...]
    ) -> Callable[[F], F]:
        def add(function: F) -> F:
            if names and self._calls is None:
                self._calls = frozenset(self._connection.request("calls"))
            for name in names or ("",):
                if name and name not in (self._calls or ()):
                    raise unknown("system call", name, self._calls)
                table.setdefault(name, []).append(function)
            self._update()
            return function

        return add

    def _update(self) -> None:
        """Tell the process what to tell of."""
        addresses = set(self._on_address)
        if self._until is not None:
            addresses.add(self._until)
        more, fewer = list(addresses - self._told), list(self._told - addresses)
        for at in range(0, max(len(more), len(fewer)), _PIECE):
            part = tuple(more[at : at + _PIECE]), tuple(fewer[at : at + _PIECE])
            self._connection.request("addresses", *part)
        self._told = addresses
        self._connection.request(
            "hooks",
            bool(self._on_block),
            None if "" in self._before else tuple(self._before),
            None if "" in self._after else tuple(self._after),
            bool(self._on_signal),
        )

    def _hook(self, kind: str, thread: int, shown: Any, *details: Any) -> None:
        """Answer a thread that waits for the verdict of hooks."""
        self._select(thread, shown)
        verdict = _NO_VERDICT.get(kind)
        try:
            with self._connection.let_interrupt():
                verdict = getattr(self, f"_hook_{kind}")(*details)
        except BaseException as error:
            # It is raised when all threads have stopped.
            self._failure = error
            self._stopping = True
        self._connection.post("answer", thread, self._stopping, verdict)

    def _hook_place(self, block: bool) -> None:
        pc = self.registers.pc
        if block:
            for function in list(self._on_block):
                function(self)
        for function in list(self._on_address.get(pc, ())):
            function(self)
        if pc == self._until:
            self._stopping = True

    def _hook_call(self, name: str, number: int, args: tuple[int, ...]) -> Any:
        call = Call(name, number, args)
        answer = None
        for function in (*self._before.get(name, ()), *self._before.get("", ())):
            answer = function(self, call)
            if answer is not None:
                break
        changes = [
            (index, value)
            for index, (value, old) in enumerate(zip(call.args, args, strict=True))
            if value != old
        ]
        return changes, answer

    def _hook_result(self, name: str, number: int, args: tuple[int, ...], result: int) -> Any:
        call = Call(name, number, args, result)
        for function in (*self._after.get(name, ()), *self._after.get("", ())):
            answer = function(self, call)
            if answer is not None:
                call.result = answer
        return call.result if call.result != result else None

    def _hook_signal(self, name: str, code: int, address: int) -> bool:
        signal = Signal(name, code, address)
        functions = (*self._on_signal.get(name, ()), *self._on_signal.get("", ()))
        verdicts = [function(self, signal) for function in functions]
        return True in verdicts

    def _hook_exec(self, path: str) -> None:
        """Another program has taken the place of this one: find the symbols of hooks again."""
        self._on_address.clear()
        self._told.clear()
        for name, function in self._named:
            address = self.symbols.get(name)
            if address is not None:
                self._on_address.setdefault(address, []).append(function)
        self._until = None
        self._update()

    # What the program has written; its end.

    @property
    def output(self) -> bytes:
        """What has been written to standard output so far, with `stdout=CAPTURE`."""
        return _content(self._output, "stdout")

    @property
    def errors(self) -> bytes:
        """What has been written to standard error so far, with `stderr=CAPTURE`."""
        return _content(self._errors, "stderr")

    @property
    def threads(self) -> tuple[int, ...]:
        """The program's threads, by their numbers."""
        numbers: tuple[int, ...] = self._connection.request("threads")
        return numbers

    def select(self, thread: int) -> None:
        """Let `registers` and `step` mean another thread of the stopped program."""
        if thread not in self.threads:
            raise unknown("thread", str(thread), ())
        self.thread = thread
        self.registers.select(thread)

    def kill(self) -> None:
        """End the program, if it has not ended."""
        self._connection.kill()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    def __repr__(self) -> str:
        state = "stopped" if self.returncode is None else f"ended ({self.returncode})"
        return f"<Program {self.target} {self.pid} {state}>"


_NO_VERDICT: dict[str, Any] = {"call": ((), None)}
"""What is answered for hooks that have failed, where None would not do."""


def _words(words: Word | Sequence[Word]) -> list[str]:
    """The program's path and its arguments as text. Raises StartError."""
    if isinstance(words, str | bytes | os.PathLike):
        words = [words]
    if not words:
        raise StartError("no program was given; give its path as the first of the words")
    return [os.fsdecode(word) for word in words]


def _target_of(path: str) -> str:
    """The target that a program is for, from its ELF header. Raises StartError."""
    try:
        with open(path, "rb") as file:
            header = file.read(_HEADER_BYTES)
    except OSError as error:
        raise StartError(f"{path}: {error.strerror}") from None
    name = target_name(header)
    if not name:
        known = ", ".join(TARGETS)
        raise StartError(f"{path}: not a program for any of the targets {known}")
    return name


def _environ(env: Mapping[str, str] | Mapping[bytes, bytes] | None) -> list[bytes]:
    source: Mapping[Any, Any] = os.environb if env is None else env
    return [os.fsencode(name) + b"=" + os.fsencode(value) for name, value in source.items()]


def _with(content: bytes) -> IO[bytes]:
    """A file that holds `content`, to be read from its start."""
    file = tempfile.TemporaryFile()
    file.write(content)
    file.seek(0)
    return file


def _descriptor(file: Any) -> int | None:
    return file if file is None or isinstance(file, int) else file.fileno()


def _content(file: IO[bytes] | None, name: str) -> bytes:
    if file is None:
        raise BusyError(f"give {name}=pemu.CAPTURE to keep what the program writes")
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0)
