"""System calls that generated code makes itself, by the table of `call_table`.

An argument that the table cannot describe, a special descriptor, memory that a signal or a
write-protected page keeps the kernel from: all that is left to Python (EXIT_SYSCALL), which makes
the call from its beginning.

Calls with a time limit are tried without waiting: only when nothing has happened yet, Python
waits, as it knows how to go on after a signal.
"""

from __future__ import annotations

from pemu.engine.host.x86_64 import INTERRUPTED
from pemu.engine.layout import call_table as k
from pemu.engine.layout import context as c
from pemu.engine.layout import state as s
from pemu.engine.layout.exits import EXIT_SYSCALL
from pemu.engine.staging.function import Function, handler
from pemu.engine.syscalls import mappings as native_memory
from pemu.engine.syscalls import signals as native_signals
from pemu.engine.syscalls.arguments import Arguments
from pemu.engine.syscalls.convert import (
    ARGUMENTS,
    COPIES,
    COUNTS,
    FRAME_BYTES,
    RETRY,
    SCRATCH,
    STACK,
    WORDS,
    convert,
    emit_copy,
    translated,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.staging.architecture import Architecture
    from pemu.engine.staging.flow import Variable
    from pemu.engine.staging.values import Value

EFAULT, EINTR = 14, 4
_GETCWD, _CHDIR, _FCHDIR = 79, 80, 81
_PATH_MAX = 4096


def functions(arch: Architecture) -> list[str]:
    """`pemu_native_call`: make the system call the guest asks for here, or leave for Python."""
    if arch.system_call is None:
        f = handler("pemu_native_call", "hidden ")
        f.leave(EXIT_SYSCALL)
        return [f.text]
    inside = [*native_signals.functions(), *native_memory.functions()]
    inside += [
        _change_directory("change_directory", _CHDIR),
        _change_directory("change_to_descriptor", _FCHDIR),
    ]
    own = [convert(arch), Arguments(arch).emit(), _results(arch), _read_clock()]
    return [*own, *inside, _NativeCall(arch).text()]


def _results(arch: Architecture) -> str:
    """`pemu_call_results(state, memory, entry, frame, result)`: what follows a call's success."""
    f = Function(
        "internal i64 @pemu_call_results(ptr %state, ptr %mem, ptr %call, ptr %frame, "
        "i64 %result) nounwind"
    )
    f.do(f"%ctx = load ptr, ptr {f.state_field(s.CONTEXT)}, align 8")
    base = f.address("%mem")
    final = f.var(64, f.name("%result", 64))
    count = f.at("%call", k.COUNT, 8).zext(64)
    index = f.var(64)

    def guest_address(slot: Value) -> Value:
        word = f.raw_load(f.offset("%frame", slot.zext(64) << 3), 64)
        return word & 0xFFFFFFFF if arch.address_bits == 32 else word

    with f.while_(lambda: index.value.ult(count)):
        argument = f.offset(f.offset("%call", index.value << 4), k.ARGUMENTS)
        mine = f.offset("%frame", index.value << 3)
        kind = f.at(argument, k.KIND, 8)
        host = f.at(mine, ARGUMENTS)
        by_result = kind.eq(k.RESULTING)
        leaves = kind.eq(k.LEAVING) | kind.eq(k.BOTH) | kind.eq(k.FILLED_MESSAGE) | by_result
        leaves = leaves | kind.eq(k.FOUND) & f.name("%result", 64).ne(0)
        with f.if_(leaves & host.ne(0)):
            moves = f.pointer(f.at(argument, k.PROGRAM))
            copy = f.at(mine, COPIES)
            divisor = f.at(moves, k.DIVISOR, 16).zext(64)
            done = (f.name("%result", 64) + divisor - 1).udiv(divisor)
            many = by_result.select(done, f.at(mine, COUNTS))
            pointers = f"ptr {moves}, ptr {f.pointer(copy)}, ptr {f.pointer(host)}"
            f.op(f"call i64 @pemu_convert(ptr %ctx, {pointers}, i64 {many.ir}, i64 1)")
            size = many * f.at(moves, k.GUEST_BYTES, 16).zext(64)
            place = base + guest_address(f.at(argument, k.SLOT, 8))
            with f.if_(emit_copy(f, place, copy, size).ne(0), unlikely=True):
                final.value = -EFAULT
        with f.if_(kind.eq(k.PATCHED)):
            patch = f.pointer(f.at(argument, k.PROGRAM))
            place = base + guest_address(f.at(argument, k.SLOT, 8)) + f.at(patch, 0, 32).zext(64)
            source = f.address(f.offset(patch, k.PATCH_HEADER))
            left = emit_copy(f, place, source, f.at(patch, 4, 32).zext(64))
            with f.if_(left.ne(0), unlikely=True):
                final.value = -EFAULT
        index.value = index.value + 1
    what = f.at("%call", k.RESULT, 8)
    with f.if_(what.eq(k.RESULT_BITS)):
        table = f.pointer(f.at("%call", k.RESULT_PROGRAM))
        final.value = translated(f, table, f.name("%result", 64).trunc(32))
    with f.if_(what.eq(k.RESULT_STORED)):
        stored = f.name("%result", 64)
        f.set_at("%frame", STACK, stored.bswap() if arch.big_endian else stored)
        place = base + guest_address(f.at("%call", k.RESULT_SLOT, 8))
        source = f.address(f.offset("%frame", STACK))
        left = emit_copy(f, place, source, f.const(8, 64))
        final.value = left.eq(0).select(f.const(0, 64), f.const(-EFAULT, 64))
    f.do(f"ret i64 {final.value.ir}")
    return f.text


def _read_clock() -> str:
    """`pemu_read_clock(state, arguments)`: clock and where its time goes, by the C library.

    INTERRUPTED where that fails: Python finds out why.
    """
    f = Function("internal i64 @pemu_read_clock(ptr %state, ptr %arguments) nounwind")
    f.do(f"%ctx = load ptr, ptr {f.state_field(s.CONTEXT)}, align 8")
    clock, place = f.at("%arguments", 0).trunc(32), f.pointer(f.at("%arguments", 8))
    function = f.pointer(f.at("%ctx", c.CLOCK))
    failed = f.name(f.op(f"call i32 {function}(i32 {clock.ir}, ptr {place})"), 32).ne(0)
    result = failed.select(f.const(INTERRUPTED, 64), 0)
    f.do(f"ret i64 {result.ir}")
    return f.text


def _change_directory(name: str, number: int) -> str:
    """`pemu_change_...(state, arguments)`: the host's call, and a look where it has led.

    Paths that begin at the root or in /proc may lead to files in /proc that Python shows.
    """
    f = Function(f"internal i64 @pemu_{name}(ptr %state, ptr %arguments) nounwind")
    f.do(f"%ctx = load ptr, ptr {f.state_field(s.CONTEXT)}, align 8")
    f.entry_lines.append(f"  %path = alloca [{_PATH_MAX} x i8], align 8")
    f.entry_lines.append("  %query = alloca [6 x i64], align 8")
    function = f.pointer(f.at("%ctx", c.SYSCALL))
    result = f.name(f.op(f"call i64 {function}(ptr %state, i64 {number}, ptr %arguments)"), 64)
    with f.if_(result.eq(0)):
        f.set_at("%query", 0, f.address("%path"))
        f.set_at("%query", 8, f.const(_PATH_MAX, 64))
        found = f.name(f.op(f"call i64 {function}(ptr %state, i64 {_GETCWD}, ptr %query)"), 64)
        start = f.at("%path", 0)
        after = start.lshr(40) & 0xFF
        in_proc = (start & 0xFFFFFFFFFF).eq(int.from_bytes(b"/proc", "little"))
        in_proc = in_proc & (after.eq(0) | after.eq(ord("/")))
        is_root = (start & 0xFFFF).eq(ord("/"))
        # Who cannot tell leaves it to Python.
        special = found.uge(-4095) | in_proc | is_root
        flags = f.pointer(f.at("%ctx", c.DESCRIPTOR_FLAGS))
        f.raw_store(f.offset(flags, k.DESCRIPTORS), special.zext(8))
    f.do(f"ret i64 {result.ir}")
    return f.text


class _NativeCall:
    """Emits `pemu_native_call`: where a guest's system call instruction leads to.

    What it cannot do leaves native code with reason SYSCALL, and nothing has happened.
    """

    def __init__(self, arch: Architecture) -> None:
        assert arch.system_call is not None
        self._arch = arch
        self._call = arch.system_call
        self._general = arch.layout.by_name[arch.general]
        self._f = handler("pemu_native_call", "hidden ")

    def text(self) -> str:
        """The function."""
        f = self._f
        f.do(f"%ctx = load ptr, ptr {f.state_field(s.CONTEXT)}, align 8")
        index = self._read(self._call.number) - f.at("%ctx", c.CALL_BASE)
        self._out(index.uge(f.at("%ctx", c.CALL_COUNT)))
        found = f.var(64, f.at("%ctx", c.CALLS) + index * k.ENTRY)
        flags = f.at(f.pointer(found.value), k.FLAGS, 8)
        self._out(flags.eq(0))
        f.entry_lines.append(f"  %frame = alloca [{FRAME_BYTES} x i8], align 16")
        for slot, number in enumerate(self._call.arguments[:8]):
            f.set_at("%frame", WORDS + 8 * slot, self._read(number))
        self._choose(found, flags)
        f.do(f"%found = inttoptr i64 {found.value.ir} to ptr")
        if self._call.stack is not None:
            self._take_from_stack(self._call.stack)
        known = "ptr %state, ptr %mem, ptr %found, ptr %frame"
        self._out(f.name(f.op(f"call i64 @pemu_call_arguments({known})"), 64).eq(0))
        result = self._make()
        self._leave_unless_done(result)
        self._give(self._converted(result, known))
        f.tail("@pemu_dispatch")
        return f.text

    # Registers.

    def _register(self, index: int) -> str:
        return self._f.offset("%state", self._general.offset + index * self._general.stride)

    def _read(self, index: int) -> Value:
        width, align = self._general.width, self._general.stride
        return self._f.raw_load(self._register(index), width, align=align).zext(64)

    def _out(self, condition: Value) -> None:
        """Leave the call to Python where a condition holds."""
        f = self._f
        with f.if_(condition, unlikely=True):
            f.leave(EXIT_SYSCALL)
            f.place(f.label("dead"))

    # Steps.

    def _choose(self, found: Variable, flags: Value) -> None:
        """Where an argument decides what the call is: follow the table's rows."""
        f = self._f
        chooses = f.var(8, flags & k.CHOOSES)
        with f.while_(lambda: chooses.value.ne(0)):
            chooser = f.pointer(found.value)
            slot_at = f.offset("%frame", f.at(chooser, k.RESULT_SLOT, 8).zext(64) << 3)
            choice = f.raw_load(slot_at, 32).zext(64)
            row = f.var(64, f.at(chooser, k.ARGUMENTS))
            left = f.var(64, f.at(chooser, k.COUNT, 8).zext(64))
            found.value = f.at(chooser, k.RESULT_PROGRAM)
            with f.while_(lambda: left.value.ne(0)):
                with f.if_(f.at(f.pointer(row.value), 0).eq(choice)):
                    found.value = f.at(f.pointer(row.value), 8)
                row.value = row.value + 16
                left.value = left.value - 1
            self._out(found.value.eq(0))
            chooses.value = f.at(f.pointer(found.value), k.FLAGS, 8) & k.CHOOSES

    def _take_from_stack(self, stack: int) -> None:
        """Copy the arguments for which there are no registers."""
        f, call = self._f, self._call
        words = f.at("%found", k.STACK_WORDS, 8).zext(64)
        with f.if_(words.ne(0)):
            start = (self._read(stack) + call.stack_offset) & 0xFFFFFFFF
            place = f.address("%mem") + start
            # The frame holds the words as 64 bits each: they come into the scratch area first.
            raw = f.offset("%frame", SCRATCH)
            left_over = emit_copy(f, f.address(raw), place, words << 2)
            self._out(left_over.ne(0))
            for position in range(4):
                word = f.at(raw, 4 * position, 32)
                word = word.bswap() if self._arch.big_endian else word
                slot = len(call.arguments) + position
                f.set_at("%frame", WORDS + 8 * slot, word.zext(64))

    def _make(self) -> Value:
        """Make the call, or what stands for it in native code; its result."""
        f = self._f
        host_number = f.at("%found", k.HOST_NUMBER, 16).zext(64)
        arguments = f.offset("%frame", ARGUMENTS)
        done = f.var(64)
        with f.if_(host_number.uge(k.FIRST_INSIDE)) as arm:
            end = f.label("inside")
            labels = {name: f.label("own") for name in k.INSIDE}
            listed = " ".join(f"i64 {k.INSIDE[name]}, label %{labels[name]}" for name in labels)
            f.do(f"switch i64 {host_number.ir}, label %{end} [ {listed} ]")
            for name, label in labels.items():
                f.place(label)
                own = f.op(f"call i64 @pemu_{name}(ptr %state, ptr {arguments})")
                done.value = f.name(own, 64)
                f.do(f"br label %{end}")
            f.place(end)
        with arm.otherwise():
            function = f.pointer(f.at("%ctx", c.SYSCALL))
            given = f"ptr %state, i64 {host_number.ir}, ptr {arguments}"
            done.value = f.name(f.op(f"call i64 {function}({given})"), 64)
        return done.value

    def _leave_unless_done(self, result: Value) -> None:
        f = self._f
        with f.if_(result.eq(-EINTR), unlikely=True):
            f.put(s.CALL_BEGUN, 1)
        # EFAULT and EINTR may be Pemu's own doing (tracked pages, signals): Python sorts them out.
        self._out(result.eq(INTERRUPTED) | result.eq(-EFAULT) | result.eq(-EINTR))
        self._out(result.eq(0) & f.at("%frame", RETRY).ne(0))
        self._out((f.at("%found", k.FLAGS, 8) & k.FAILURES).ne(0) & result.ult(-4095))
        self._out((f.at("%found", k.FLAGS, 8) & k.SUCCESSES).ne(0) & result.uge(-4095))

    def _converted(self, result: Value, known: str) -> Variable:
        """What the guest gets, where `pemu_call_results` has something to do after success."""
        f = self._f
        final = f.var(64, result)
        converts = (f.at("%found", k.FLAGS, 8) & k.CONVERTS).ne(0)
        with f.if_(converts & result.ult(-4095)):
            after = f.op(f"call i64 @pemu_call_results({known}, i64 {result.ir})")
            final.value = f.name(after, 64)
        return final

    def _give(self, final: Variable) -> None:
        """Put result, or error number, and the error flag into the guest's registers."""
        f, width = self._f, self._general.width
        failed = final.value.uge(-4095)
        with f.if_(failed, unlikely=True):
            table = f.pointer(f.at("%ctx", c.ERRNO_MAP))
            final.value = f.raw_load(f.offset(table, (-final.value) << 1), 16).zext(64)
        align = self._general.stride
        f.raw_store(self._register(self._call.result), final.value.trunc(width), align=align)
        f.raw_store(self._register(self._call.error), failed.zext(width), align=align)
