"""System calls of a guest: declarations, and the dispatcher that makes them.

A call is declared once, by its name; `linux/mips/numbers.py` says which number an ABI gives it:

    @syscall("fchmodat", AtFd, PlainPath, Mode)
    def fchmodat(t: Thread, dirfd: int, path: bytes, mode: int) -> int: ...

    passthrough("fchmod", Fd, Mode)

A Python function gets decoded arguments (`types`), and returns a number >= 0, or minus a host
error number, or raises OSError; None leaves the registers alone. A GuestFault becomes EFAULT. A
passthrough is made by the host with the same arguments, pointers turned into host addresses or
converted copies. Declarations of other modules than the ones used are never imported:
`calls/__init__.py` says which module declares which call.
"""

from __future__ import annotations

import errno
import sys

from pemu.engine.memory.access import GuestFault
from pemu.isa.mips.names import A0, A3, V0
from pemu.linux.abi import Abi
from pemu.linux.calls import module_of
from pemu.linux.hostcalls import NR, address_of
from pemu.linux.mips.errno import TO_GUEST, to_guest
from pemu.linux.mips.numbers import call_names
from pemu.linux.types.base import Argument
from pemu.linux.types.pointers import Conversion

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol, TypeAlias, TypeVar

    from pemu.engine.engine import Engine
    from pemu.linux.abi import Decoder, Registers
    from pemu.linux.native_forms import Forms
    from pemu.linux.process import Thread
    from pemu.linux.target import Target
    from pemu.linux.types.base import ArgType

    Entry: TypeAlias = Callable[[Thread, Registers], int | None]
    F = TypeVar("F", bound=Callable[..., int | None])

    class NativeCalls(Protocol):
        """The calls of one target that generated code makes itself (`nativecalls.py`)."""

        def add(self, number: int, call: Call) -> None:
            """Describe the call with this guest number, if native code can make it."""

        def exclude(self, name: str) -> None:
            """Leave the call of this name to Python from now on."""

        def serve(self, engine: Engine, prefix: str) -> None:
            """Have an engine make the calls; `prefix`: where paths are sought first (-L)."""


MAX_ERRNO = 4095

ERESTARTSYS = 512
"""Restart after a handler with SA_RESTART, or when no handler ran; else EINTR."""
ERESTARTNOINTR = 513
"""Restart always."""
ERESTARTNOHAND = 514
"""Restart only when no handler ran; else EINTR."""
ERESTART_RESTARTBLOCK = 516
"""When no handler ran, go on by `Thread.restart_block` (calls with a time limit); else EINTR."""

ABIS = ("o32", "n32", "n64")


class Restart(Exception):
    """A call was interrupted by a signal before it did anything; `kind` is one of ERESTART*.

    `block` continues a call with a time limit: it is called with the thread when the guest makes
    `restart_syscall`.
    """

    def __init__(self, kind: int = ERESTARTSYS, block: Callable[[Thread], int] | None = None):
        super().__init__(kind)
        self.kind = kind
        self.block = block


class Call:
    """A declared system call."""

    __slots__ = (
        "function",
        "host_name",
        "module",
        "name",
        "_native",
        "returns",
        "special",
        "types",
    )

    def __init__(
        self,
        name: str,
        types: tuple[ArgType, ...],
        function: Callable[..., int | None] | None,
        special: Callable[..., int | None] | None,
        host_name: str,
        native: str | Callable[[Abi], Forms | None] | None,
        returns: str,
    ) -> None:
        self.name = name
        self.module: str = sys._getframe(2).f_globals["__name__"]
        """Where it is declared."""
        self.types = types
        self.function = function
        """None for a call that the host makes."""
        self.special = special
        self.host_name = host_name
        self._native = native
        self.returns = returns
        """How -strace shows a result: "d" decimal, "x" hexadecimal (an address), "o" octal; empty
        for a call that does not return."""

    def native_form(self, abi: Abi) -> Forms | None:
        """How native code makes the call; None: not at all."""
        if callable(self._native):
            return self._native(abi)
        if self._native is None:
            return None
        from pemu.linux.native_forms import Form

        return Form(self._native, *self.types)


_calls: dict[tuple[str, str], Call] = {}


def _declare(call: Call, abis: tuple[str, ...]) -> None:
    for abi in abis:
        other = _calls.setdefault((call.name, abi), call)
        if other is not call:
            raise ValueError(
                f"system call {call.name} is declared for {abi} in {other.module} and {call.module}"
            )


def declared() -> list[Call]:
    """The calls declared so far."""
    return list(_calls.values())


def syscall(
    name: str,
    *types: ArgType,
    abis: tuple[str, ...] = ABIS,
    native: str | Callable[[Abi], Forms | None] | None = None,
    returns: str = "d",
) -> Callable[[F], F]:
    """Declare the system call `name`, made by the decorated function.

    `abis`: where this declaration holds. `native`: the host's call that native code makes with
    these arguments without asking the function, or a function that tells the form of such a call.
    `returns`: see `Call`.
    """

    call = Call(name, types, None, None, name, native, returns)

    def declare(function: F) -> F:
        call.function = function
        _declare(call, abis)
        return function

    return declare


def passthrough(
    name: str,
    *types: ArgType,
    abis: tuple[str, ...] = ABIS,
    host: str = "",
    returns: str = "d",
    special: Callable[..., int | None] | None = None,
) -> None:
    """Declare the system call `name`, made by the host as `host` (the same name unless given).

    Native code makes it without entering Python, on ABIs where its types allow that.
    `special`: the function that makes the call when its first argument is a descriptor that
    `fdtable` calls special, or is no valid descriptor at all.
    """
    _declare(Call(name, types, None, special, host or name, host or name, returns), abis)


class SyscallTable:
    """The system calls of one target, bound to its ABI as they are first used."""

    __slots__ = ("_entries", "abi", "names", "native")

    def __init__(self, target: Target) -> None:
        self.abi = Abi(target.abi, target.word, target.xlen, target.big_endian)
        self.names = call_names(target.abi)
        self._entries: dict[int, Entry] = {}
        self.native: NativeCalls | None = None
        """The calls that native code makes, where it makes any."""

    def call(self, number: int) -> Call | None:
        """The declaration of a guest number; None when there is none."""
        name = self.names.get(number)
        if name is None:
            return None
        module = module_of(name)
        if module is not None:
            __import__(module)
        return _calls.get((name, self.abi.name))

    def entry(self, number: int, shift: int = 0) -> Entry | None:
        """What makes the call: a function of thread and registers.

        `shift` slots before the arguments are taken (one, for a call made through `syscall`).
        """
        key = number << 1 | shift
        entry = self._entries.get(key)
        if entry is None:
            call = self.call(number)
            if call is None:
                return None
            entry = self._entries[key] = self._bind(call, shift)
            if self.native is not None and not shift:
                self.native.add(number, call)
        return entry

    def describe(self) -> None:
        """Tell the native table of all calls that have been made already."""
        for key in list(self._entries):
            call = self.call(key >> 1)
            if self.native is not None and call is not None:
                self.native.add(key >> 1, call)

    def arguments(
        self, types: tuple[ArgType, ...], shift: int = 0, slots: Sequence[int] | None = None
    ) -> list[Argument]:
        """What `types` are as arguments; `slots`: where they are, if not one after the other."""
        slots = slots or self.abi.slots(types, shift)
        getters = [self.abi.getter(slots[i], type.wide) for i, type in enumerate(types)]
        return [Argument(self.abi, i, types, getters, slots) for i in range(len(types))]

    def _bind(self, call: Call, shift: int) -> Entry:
        arguments = self.arguments(call.types, shift)
        if call.function is not None:
            return _call_function(call.function, [a.type.decode(a) for a in arguments])
        decoders = [argument.type.host(argument) for argument in arguments]
        number = NR[call.host_name]
        if not all(type.direct(self.abi) for type in call.types):
            entry = _convert_and_call_host(number, decoders)
        elif any(type.leaves for type in call.types):
            entry = _retrying(_call_host(number, decoders), arguments)
        else:
            entry = _call_host(number, decoders)
        if call.special is None:
            return entry
        exceptional = _call_function(call.special, [a.type.decode(a) for a in arguments])
        return _unless_special(entry, exceptional, arguments[0].type.decode(arguments[0]))


def _call_function(function: Callable[..., int | None], decoders: list[Decoder]) -> Entry:
    """Call a Python function; one closure a number of arguments, for speed."""
    if not decoders:
        return lambda t, r: function(t)
    a, *rest = decoders
    if not rest:
        return lambda t, r: function(t, a(t, r))
    b, *rest = rest
    if not rest:
        return lambda t, r: function(t, a(t, r), b(t, r))
    c, *rest = rest
    if not rest:
        return lambda t, r: function(t, a(t, r), b(t, r), c(t, r))
    d, *rest = rest
    if not rest:
        return lambda t, r: function(t, a(t, r), b(t, r), c(t, r), d(t, r))
    return lambda t, r: function(t, *[decode(t, r) for decode in decoders])


def _call_host(number: int, decoders: list[Decoder]) -> Entry:
    """Make a host call whose arguments are plain numbers."""
    if not decoders:
        return lambda t, r: t.host_syscall(number)
    a, *rest = decoders
    if not rest:
        return lambda t, r: t.host_syscall(number, a(t, r))
    b, *rest = rest
    if not rest:
        return lambda t, r: t.host_syscall(number, a(t, r), b(t, r))
    c, *rest = rest
    if not rest:
        return lambda t, r: t.host_syscall(number, a(t, r), b(t, r), c(t, r))
    return lambda t, r: t.host_syscall(number, *[decode(t, r) for decode in decoders])


def _unless_special(entry: Entry, exceptional: Entry, descriptor: Decoder) -> Entry:
    """`entry` for ordinary descriptors, else `exceptional`."""
    from pemu.linux.fdtable import SIZE, SPECIAL

    def call(t: Thread, regs: Registers) -> int | None:
        fd = descriptor(t, regs)
        if 0 <= fd < SIZE and not SPECIAL[fd]:
            return entry(t, regs)
        return exceptional(t, regs)

    return call


def _retrying(entry: Entry, arguments: list[Argument]) -> Entry:
    """Try once more when a buffer's page got write-protected while the call was waiting."""
    buffers = [
        (argument.type.decode(argument), argument.type.extent(argument))
        for argument in arguments
        if argument.type.leaves
    ]

    def call(t: Thread, regs: Registers) -> int | None:
        result = entry(t, regs)
        if result == -errno.EFAULT:
            found = [
                t.mem.untrack_range(start(t, regs), length(t, regs))
                for start, length in buffers
                if start(t, regs)
            ]
            if any(found):
                return entry(t, regs)
        return result

    return call


def _convert_and_call_host(number: int, decoders: list[Decoder]) -> Entry:
    """Make a host call some of whose arguments are paths or converted structures."""

    def call(t: Thread, regs: Registers) -> int:
        values = [decode(t, regs) for decode in decoders]
        arguments = []
        for value in values:
            if type(value) is int:
                arguments.append(value)
            elif type(value) is bytes:
                arguments.append(address_of(value))
            elif value is None:
                arguments.append(0)
            else:
                arguments.append(value.address)
        result = t.host_syscall(number, *arguments)
        if result >= 0:
            for value in values:
                if type(value) is Conversion and value.finish is not None:
                    value.finish(result)
        return result

    return call


_tables: dict[str, SyscallTable] = {}


def table_for(target: Target) -> SyscallTable:
    """The system calls of `target`; one table for all its processes and threads."""
    table = _tables.get(target.name)
    if table is None:
        table = _tables[target.name] = SyscallTable(target)
    return table


def dispatch(t: Thread) -> None:
    """Make the system call that the guest thread asks for, and write its result to v0 and a3.

    A call that a signal interrupted leaves v0 and a3 as they are and `t.restart` nonzero: whoever
    delivers the signal calls `settle_restart`.
    """
    regs = t.cpu.gpr
    number = regs[V0]
    tracer = t.process.tracer
    if tracer is not None:
        result = tracer.call(t, number)
    else:
        table = _tables.get(t.target.name) or table_for(t.target)
        entry = table.entry(number)
        if entry is None:
            entry = missing(t, table, number)
        result = run(t, entry, regs)
    if result is None:
        return
    if 0 <= result or result < -MAX_ERRNO:
        regs[V0] = result & _MASK[regs.itemsize]
        regs[A3] = 0
    else:
        set_error(t, -result)


_MASK = {4: 0xFFFFFFFF, 8: 0xFFFFFFFFFFFFFFFF}


def set_error(t: Thread, host_errno: int) -> None:
    """Write a host error number as the result of a call."""
    regs = t.cpu.gpr
    regs[V0] = TO_GUEST[host_errno] if host_errno < 134 else to_guest(host_errno)
    regs[A3] = 1


def run(t: Thread, entry: Entry, regs: Registers) -> int | None:
    """Make a call; minus a host error number for one that failed, None where no result is due."""
    try:
        result = entry(t, regs)
    except OSError as error:
        result = -(error.errno or errno.EIO)
    except GuestFault:
        result = -errno.EFAULT
    except Restart as restart:
        t.restart = restart.kind
        t.restart_block = restart.block
        return None
    if result == -ERESTARTSYS:
        # A signal that came before the call is delivered before it.
        begun = t.waited or t.cpu.take_call_begun()
        t.restart = ERESTARTSYS if begun and may_be_interrupted(t) else ERESTARTNOINTR
        return None
    return result


def may_be_interrupted(t: Thread) -> bool:
    """Whether the call that the registers ask for may end with EINTR once it has begun."""
    from pemu.linux.interruptible import interruptible

    regs = t.cpu.gpr
    names = table_for(t.target).names
    name = names.get(regs[V0])
    return interruptible(names.get(regs[A0]) if name == "syscall" else name)


def settle_restart(t: Thread, handler_ran: bool, sa_restart: bool = False) -> None:
    """Decide what becomes of an interrupted call, before a handler's frame is built.

    `handler_ran`: a handler is about to run, or none will; `sa_restart`: it was installed with
    SA_RESTART. The call is made again (its registers are as they were: pc goes back to the
    instruction), or ends with EINTR.
    """
    kind = t.restart
    if not kind:
        return
    t.restart = 0
    if kind == ERESTARTNOINTR or not handler_ran or (kind == ERESTARTSYS and sa_restart):
        if kind == ERESTART_RESTARTBLOCK:
            names = table_for(t.target).names
            t.cpu.gpr[V0] = next(n for n, name in names.items() if name == "restart_syscall")
        t.cpu.pc -= 4
        return
    set_error(t, errno.EINTR)


def missing(t: Thread, table: SyscallTable, number: int) -> Entry:
    """What stands for a call that is not there: it logs itself under -d unimp; ENOSYS."""
    log = t.process.log
    if log.enabled("unimp"):
        name = table.names.get(number, "unknown")
        pc = (t.cpu.pc - 4) & _MASK[t.cpu.gpr.itemsize]
        log.write(f"Unsupported system call: {name} (number {number}) at pc 0x{pc:08x}\n")
    return _no_such_call


def _no_such_call(t: Thread, regs: Registers) -> int:
    return -errno.ENOSYS


@syscall("restart_syscall")
def restart_syscall(t: Thread) -> int:
    block = t.restart_block
    t.restart_block = None
    if block is None:
        return -errno.EINTR
    return block(t)


@syscall("syscall", abis=("o32",))
def indirect(t: Thread) -> int | None:
    """Make the call whose number is in a0, its arguments one slot further on."""
    regs = t.cpu.gpr
    table = table_for(t.target)
    number = regs[A0]
    if table.names.get(number) == "syscall":
        return -errno.EINVAL
    entry = table.entry(number, 1) or missing(t, table, number)
    return entry(t, regs)
