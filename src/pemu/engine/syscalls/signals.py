"""What generated code does itself for system calls about the thread's mask and signals' actions.

The Python side (`linux/signals.py`) says what a guest's signals are by a table of numbers and sets,
keeps the actions in rows that both sides use, and does everything else.
"""

from __future__ import annotations

from pemu.engine.host.x86_64 import INTERRUPTED, OWN_SIGNALS
from pemu.engine.layout import context as c
from pemu.engine.layout import state as s
from pemu.engine.layout.signal_table import (
    ACTION,
    ACTIONS,
    BLOCK,
    BY_PYTHON,
    CAUGHT,
    DEFAULT,
    FLAGS,
    HANDLER,
    IGNORE,
    MASK,
    NO_CHILD_STOP,
    NO_CHILD_WAIT,
    ON_SIGNAL,
    RESTORER,
    SIGNALS,
    UNBLOCK,
    UNBLOCKABLE,
)
from pemu.engine.staging.function import Function

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.staging.flow import Variable
    from pemu.engine.staging.values import Value

_HOST_NO_CHILD_WAIT = 2
CATCHING = 0x1C000004
"""The host's SA_SIGINFO, SA_ONSTACK, SA_RESTORER and SA_RESTART: those of the recording handler."""

_RT_SIGACTION, _RT_SIGPROCMASK = 13, 14
_SETMASK = 2
_EPERM, _ENOMEM, _EINVAL = 1, 12, 22
_ON_STACK, _DISABLE, _DISARM = 1, 2, 1 << 31
_LEAST_STACK = 2048
_SET_BYTES = 8


def functions() -> list[str]:
    """`pemu_change_mask`, `pemu_change_action` and `pemu_change_stack`."""
    return [_change_mask(), _change_action(), _change_stack()]


def _give_up(f: Function, condition: Value) -> None:
    """Emit `return INTERRUPTED` where `condition` holds: Python makes the call."""
    with f.if_(condition, unlikely=True):
        f.do(f"ret i64 {INTERRUPTED}")
        f.place(f.label("dead"))


def _argument(f: Function, index: int) -> Value:
    return f.at("%arguments", 8 * index)


def _syscall(f: Function, number: int, *arguments: Value) -> Value:
    """Emit a host call that a signal cannot slip past."""
    f.entry_lines.append(f"  %call{number} = alloca [6 x i64], align 8")
    for index, argument in enumerate(arguments):
        f.set_at(f"%call{number}", 8 * index, argument)
    function = f.pointer(f.at("%ctx", c.SYSCALL))
    result = f.op(f"call i64 {function}(ptr %state, i64 {number}, ptr %call{number})")
    return f.name(result, 64)


def _host_set(f: Function, low: Value) -> Value:
    """Emit the host's set for the guest's first 64 signals."""
    numbers = f.pointer(f.at("%ctx", c.SIGNALS))
    bits: Variable = f.var(64)
    left: Variable = f.var(64, low)
    with f.while_(lambda: left.value.ne(0)):
        index = left.value.ctz()
        number = f.raw_load(f.offset(numbers, index), 8).zext(64)
        bits.value = bits.value | f.const(1, 64) << ((number - 1) & 63)
        left.value = left.value & (left.value - 1)
    return bits.value & ~OWN_SIGNALS


def _change_mask() -> str:
    """`pemu_change_mask(state, arguments)`: how, new set or 0, where the old one goes or 0.

    Sets are 16 bytes in guest numbers. INTERRUPTED: Python has to do it.
    """
    f = Function("internal i64 @pemu_change_mask(ptr %state, ptr %arguments) nounwind")
    f.do(f"%ctx = load ptr, ptr {f.state_field(s.CONTEXT)}, align 8")
    mask = f.state_field(s.SIGNAL_MASK)
    before = [f.at(mask, 0), f.at(mask, 8)]
    new = _argument(f, 1)
    with f.if_(new.ne(0)):
        _give_up(f, f.get(s.SIGNALS_HELD).ne(0))
        how = _argument(f, 0)
        table = f.pointer(f.at("%ctx", c.SIGNALS))
        after = []
        for half in (0, 8):
            given = f.at(f.pointer(new), half)
            changed = how.eq(BLOCK).select(before[half // 8] | given, given)
            changed = how.eq(UNBLOCK).select(before[half // 8] & ~given, changed)
            after.append(changed & ~f.at(table, UNBLOCKABLE + half))
        f.entry_lines.append("  %set = alloca i64, align 8")
        f.raw_store("%set", _host_set(f, after[0]))
        how = f.const(_SETMASK, 64)
        nothing, size = f.const(0, 64), f.const(_SET_BYTES, 64)
        result = _syscall(f, _RT_SIGPROCMASK, how, f.address("%set"), nothing, size)
        _give_up(f, result.ne(0))
        f.set_at(mask, 0, after[0])
        f.set_at(mask, 8, after[1])
    old = _argument(f, 2)
    with f.if_(old.ne(0)):
        f.set_at(f.pointer(old), 0, before[0])
        f.set_at(f.pointer(old), 8, before[1])
    f.do("ret i64 0")
    return f.text


def _change_action() -> str:
    """`pemu_change_action(state, arguments)`: signal, new action or 0, where the old one goes or 0.

    INTERRUPTED: Python has to do it.
    """
    f = Function("internal i64 @pemu_change_action(ptr %state, ptr %arguments) nounwind")
    f.do(f"%ctx = load ptr, ptr {f.state_field(s.CONTEXT)}, align 8")
    table = f.pointer(f.at("%ctx", c.SIGNALS))
    index = _argument(f, 0) - 1
    _give_up(f, index.uge(SIGNALS))
    number = f.raw_load(f.offset(table, index), 8).zext(64)
    new, old = _argument(f, 1), _argument(f, 2)
    bit = f.const(1, 64) << (index & 63)
    word = (index.lshr(6)) << 3

    def member(start: int) -> Value:
        return (f.at(f.offset(table, word), start) & bit).ne(0)

    row = f.pointer(f.at(table, ACTIONS) + index * ACTION)
    with f.if_(new.ne(0)):
        _give_up(f, number.eq(BY_PYTHON) | member(UNBLOCKABLE))
    before = [f.at(row, at) for at in range(0, ACTION, 8)]
    with f.if_(new.ne(0)):
        given = f.pointer(new)
        handler, flags = f.at(given, HANDLER), f.at(given, FLAGS)
        own = (f.const(OWN_SIGNALS, 64).lshr((number - 1) & 63) & 1).ne(0)
        with f.if_(number.ne(0) & ~own):
            kept = flags & NO_CHILD_STOP
            no_wait = (flags & NO_CHILD_WAIT).ne(0)
            kept = kept | no_wait.select(f.const(_HOST_NO_CHILD_WAIT, 64), 0)
            plain = handler.eq(IGNORE) | handler.eq(DEFAULT) & ~member(CAUGHT)
            f.entry_lines.append("  %action = alloca [4 x i64], align 8")
            f.set_at("%action", 0, plain.select(handler, f.at(table, ON_SIGNAL)))
            f.set_at("%action", 8, plain.select(kept, kept | CATCHING))
            f.set_at("%action", 16, plain.select(f.const(0, 64), f.at(table, RESTORER)))
            f.set_at("%action", 24, plain.select(f.const(0, 64), -1))
            nothing, size = f.const(0, 64), f.const(_SET_BYTES, 64)
            action = f.address("%action")
            _give_up(f, _syscall(f, _RT_SIGACTION, number, action, nothing, size).ne(0))
        for half in (0, 8):
            mask = f.at(given, MASK + half) & ~f.at(table, UNBLOCKABLE + half)
            f.set_at(row, MASK + half, mask)
        f.set_at(row, FLAGS, flags)
        f.set_at(row, HANDLER, handler)
    with f.if_(old.ne(0)):
        for at in range(0, ACTION, 8):
            f.set_at(f.pointer(old), at, before[at // 8])
    f.do("ret i64 0")
    return f.text


def _change_stack() -> str:
    """`pemu_change_stack(state, arguments)`: new stack or 0, where the old one goes or 0, sp.

    A stack is three numbers of 64 bits: address, bytes, flags.
    """
    f = Function("internal i64 @pemu_change_stack(ptr %state, ptr %arguments) nounwind")
    stack = f.state_field(s.ALTERNATE_STACK)
    start, size, flags = (f.at(stack, at) for at in (0, 8, 16))
    new, old, sp = (_argument(f, index) for index in range(3))
    inside = start.ult(sp) & sp.ule(start + size)
    in_use = (flags & (_DISABLE | _DISARM)).eq(0) & inside

    def refuse(condition: Value, error: int) -> None:
        with f.if_(condition, unlikely=True):
            f.do(f"ret i64 {-error}")
            f.place(f.label("dead"))

    with f.if_(new.ne(0)):
        refuse(in_use, _EPERM)
        given = f.pointer(new)
        mode = f.at(given, 16) & ~_DISARM
        refuse(mode.ugt(_DISABLE), _EINVAL)
        disabled = mode.eq(_DISABLE)
        refuse(~disabled & f.at(given, 8).ult(_LEAST_STACK), _ENOMEM)
        for at, without in ((0, 0), (8, 0), (16, _DISABLE)):
            f.set_at(stack, at, disabled.select(f.const(without, 64), f.at(given, at)))
    with f.if_(old.ne(0)):
        told = f.pointer(old)
        f.set_at(told, 0, start)
        f.set_at(told, 8, size)
        f.set_at(told, 16, flags & ~_ON_STACK | in_use.zext(64) * _ON_STACK)
    f.do("ret i64 0")
    return f.text
