"""System calls that generated code makes itself, by the table of `call_table`.

An argument that the table cannot describe, a special descriptor, memory that a signal or a
write-protected page keeps the kernel from: all that is left to Python (EXIT_SYSCALL), which makes
the call from its beginning.

Calls with a time limit are tried without waiting: only when nothing has happened yet, Python
waits, as it knows how to go on after a signal.
"""

from __future__ import annotations

from pemu.engine import call_table as k
from pemu.engine import context as c
from pemu.engine import native_signals
from pemu.engine import state as s
from pemu.engine.exits import EXIT_SYSCALL
from pemu.engine.host_x86_64 import INTERRUPTED
from pemu.engine.memory import CODE, MAPPED, TRACK, WRITE
from pemu.engine.runtime import Function, handler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.architecture import Architecture
    from pemu.engine.builder import Variable
    from pemu.engine.values import Value

DESCRIPTORS = 1 << 16
"""File descriptors that the table of special ones covers."""

EFAULT, EINTR = 14, 4

_LSTAT, _STAT_BYTES = 6, 144
_DEV, _SYS = int.from_bytes(b"/dev", "little"), int.from_bytes(b"/sys", "little")

# What one call keeps on the host's stack: byte offsets.
_WORDS = 0  # eight slots of the guest's, 64 bits each
_ARGUMENTS = 64  # six arguments of the host's
_COPIES = 112  # for each: host address of the guest's form of a converted structure
_COUNTS = 160  # for each: structures
_RETRY = 208  # not 0 if a result of 0 is to be left to Python
_USED = 216  # bytes used of the scratch area
_STACK = 224  # stack words as they come
_ZEROS = 240  # 16 bytes of zeros: a time that has passed
_SCRATCH = 256
_FRAME_BYTES = _SCRATCH + k.SCRATCH

# Fields of the host's `struct msghdr`: byte offsets.
_MSG_NAME, _MSG_NAMELEN, _MSG_IOV, _MSG_IOVLEN, _MSG_CONTROL = 0, 8, 16, 24, 32


def functions(arch: Architecture) -> list[str]:
    """`pemu_native_call`: make the system call the guest asks for here, or leave for Python."""
    if arch.system_call is None:
        f = handler("pemu_native_call", "hidden ")
        f.leave(EXIT_SYSCALL)
        return [f.text]
    inside = native_signals.functions()
    own = [_convert(arch), _arguments(arch), _results(arch), _read_clock()]
    return [*own, *inside, _call(arch)]


def _copy(f: Function, target: Value, source: Value, size: Value) -> Value:
    """Emit a copy that survives missing pages; yields how many bytes were left."""
    function = f.pointer(f.at("%ctx", c.COPY))
    pointers = f"ptr {f.pointer(target)}, ptr {f.pointer(source)}"
    return f.name(f.op(f"call i64 {function}({pointers}, i64 {size.ir})"), 64)


def _give_up(f: Function, condition: Value) -> None:
    """Emit `return 0` where `condition` holds."""
    with f.if_(condition, unlikely=True):
        f.do("ret i64 0")
        f.place(f.label("dead"))


def _convert(arch: Architecture) -> str:
    """`pemu_convert(moves, guest, host, count, leaving)`: 0 if a field has bits it must not have.

    `leaving`: 1 turns the host's form into the guest's, 0 the other way round.
    """
    f = Function(
        "internal i64 @pemu_convert(ptr %moves, ptr %guest, ptr %host, i64 %count, i64 %leaving) "
        "nounwind"
    )
    leaving = f.name("%leaving", 64).ne(0)
    guest, host = f.var(64, f.address("%guest")), f.var(64, f.address("%host"))
    left = f.var(64, f.name("%count", 64))
    way = leaving.select(f.const(k.FIELD_LEAVES, 8), k.FIELD_ENTERS)
    with f.while_(lambda: left.value.ne(0)):
        field = f.var(64, f.address(f.offset("%moves", k.HEADER)))
        fields = f.var(64, f.at("%moves", k.FIELDS, 16).zext(64))
        with f.while_(lambda: fields.value.ne(0)):
            here = f.pointer(field.value)
            how = f.at(here, k.HOW, 8)
            with f.if_((how & way).ne(0)):
                in_guest = guest.value + f.at(here, k.GUEST_AT, 16).zext(64)
                in_host = host.value + f.at(here, k.HOST_AT, 16).zext(64)
                widths = f.at(here, k.GUEST_WIDTH, 8), f.at(here, k.HOST_WIDTH, 8)
                is_number = (how & k.FIELD_BYTES).eq(0)
                value = f.var(64)
                source = f.pointer(leaving.select(in_host, in_guest))
                width = leaving.select(widths[1], widths[0])
                is_signed = (how & k.FIELD_SIGNED).ne(0)
                swapped = is_number & leaving.eq(0)
                for size in (1, 2, 4, 8):
                    with f.if_(width.eq(size)):
                        part = f.raw_load(source, 8 * size)
                        if arch.big_endian and size > 1:
                            part = swapped.select(part.bswap(), part)
                        value.value = is_signed.select(part.sext(64), part.zext(64))
                checked = (how & k.FIELD_CHECKED).ne(0)
                refused = f.at("%moves", k.REFUSED, 32).zext(64)
                _give_up(f, checked & (value.value & refused).ne(0))
                target = f.pointer(leaving.select(in_guest, in_host))
                width = leaving.select(widths[0], widths[1])
                swapped = is_number & leaving
                for size in (1, 2, 4, 8):
                    with f.if_(width.eq(size)):
                        part = value.value.trunc(8 * size)
                        if arch.big_endian and size > 1:
                            part = swapped.select(part.bswap(), part)
                        f.raw_store(target, part)
            field.value = field.value + k.FIELD
            fields.value = fields.value - 1
        guest.value = guest.value + f.at("%moves", k.GUEST_BYTES, 16).zext(64)
        host.value = host.value + f.at("%moves", k.HOST_BYTES, 16).zext(64)
        left.value = left.value - 1
    f.do("ret i64 1")
    return f.text


class _Arguments:
    """Emits `pemu_call_arguments(state, memory, entry, frame)`: 0 leaves the call to Python."""

    def __init__(self, arch: Architecture) -> None:
        self.arch = arch
        self.f = f = Function(
            "internal i64 @pemu_call_arguments(ptr %state, ptr %mem, ptr %call, ptr %frame) "
            "nounwind"
        )
        f.do(f"%ctx = load ptr, ptr {f.state_field(s.CONTEXT)}, align 8")
        self.base = f.address("%mem")
        self.limit = f.at("%ctx", c.MEMORY_LIMIT)

    def word(self, slot: Value) -> Value:
        """The guest's word in a slot, as wide as its registers."""
        return self.f.raw_load(self.f.offset("%frame", slot.zext(64) << 3), 64)

    def guest_address(self, word: Value) -> Value:
        return word & 0xFFFFFFFF if self.arch.address_bits == 32 else word

    def signed(self, word: Value) -> Value:
        return word.trunc(32).sext(64) if self.arch.xlen == 32 else word

    def emit(self) -> str:
        """The function's text."""
        f = self.f
        count = f.at("%call", k.COUNT, 8).zext(64)
        index = f.var(64)
        f.set_at("%frame", _RETRY, f.const(0, 64))
        f.set_at("%frame", _USED, f.const(0, 64))
        f.set_at("%frame", _ZEROS, f.const(0, 64))
        f.set_at("%frame", _ZEROS + 8, f.const(0, 64))
        with f.if_(f.at("%call", k.RESULT, 8).eq(k.RESULT_STORED)):
            place = self.guest_address(self.word(f.at("%call", k.RESULT_SLOT, 8)))
            _give_up(f, place.uge(self.limit - 8))
            self._writable(place, f.const(8, 64))
        with f.while_(lambda: index.value.ult(count)):
            position = f.offset("%call", index.value << 4)
            argument = f.offset(position, k.ARGUMENTS)
            word = self.word(f.at(argument, k.SLOT, 8))
            value = f.var(64, word)
            self.one(argument, index.value, word, value)
            f.set_at(f.offset("%frame", index.value << 3), _ARGUMENTS, value.value)
            index.value = index.value + 1
        f.do("ret i64 1")
        return f.text

    def one(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        """Emit a switch over the kinds; UNSIGNED, the default, keeps the word as it is."""
        f = self.f
        cases = {
            k.SIGNED: self.number,
            k.WIDE: self.wide,
            k.CONSTANT: self.constant,
            k.DESCRIPTOR: self.descriptor,
            k.NULL: self.null,
            k.POINTER: self.pointer,
            k.WRITTEN: self.written,
            k.PATH: self.path,
            k.PLAIN_PATH: self.plain_path,
            k.BITS: self.bits,
            k.NUMBERS: self.numbers,
            k.ENTERING: self.entering,
            k.LEAVING: self.leaving,
            k.BOTH: self.both,
            k.RESULTING: self.resulting,
            k.VECTORS: self.vectors,
            k.WRITTEN_VECTORS: self.written_vectors,
            k.MESSAGE: self.message,
            k.FILLED_MESSAGE: self.filled_message,
            k.LIMITED: self.limited,
            k.SWAPPED: self.swapped,
            k.MILLISECONDS: self.milliseconds,
            k.INTERVAL: self.interval,
            k.EXACTLY: self.exactly,
            k.WAITING: self.waiting,
            k.PAGES: self.pages,
            k.ROOM: self.room,
        }
        labels = {kind: f.label("kind") for kind in cases}
        end = f.label("stored")
        listed = " ".join(f"i8 {kind}, label %{label}" for kind, label in labels.items())
        f.do(f"switch i8 {f.at(argument, k.KIND, 8).ir}, label %{end} [ {listed} ]")
        for kind, emit in cases.items():
            f.place(labels[kind])
            emit(argument, index, word, value)
            f.do(f"br label %{end}")
        f.place(end)

    # One method a kind: (argument's place in the table, its index, its word, the result).

    def number(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        value.value = self.signed(word)

    def wide(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        high = self.word(self.f.at(argument, k.OTHER, 8))
        value.value = high << 32 | word & 0xFFFFFFFF

    def constant(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        value.value = self.f.at(argument, k.PROGRAM)

    def descriptor(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        f = self.f
        low = word.trunc(32)
        value.value = low.sext(64)
        with f.if_(low.sge(0)):
            _give_up(f, low.uge(DESCRIPTORS))
            special = f.pointer(f.at("%ctx", c.DESCRIPTOR_FLAGS))
            _give_up(f, f.raw_load(f.offset(special, low.zext(64)), 8).ne(0))

    def null(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        _give_up(self.f, self.guest_address(word).ne(0))
        value.value = 0

    def _within(self, word: Value, size: Value) -> Value:
        """The host address of guest memory that lies inside the guest's space; 0 for NULL."""
        guest = self.guest_address(word)
        _give_up(self.f, guest.uge(self.limit) | size.ugt(self.limit - guest))
        return guest.eq(0).select(self.f.const(0, 64), self.base + guest)

    def _how_many(self, argument: str) -> Value:
        """SIZE, or the word in the slot OTHER."""
        f = self.f
        other = f.at(argument, k.OTHER, 8)
        size = f.var(64, f.at(argument, k.SIZE, 32).zext(64))
        with f.if_(other.ne(k.NONE)):
            size.value = self.word(other)
        return size.value

    def pointer(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        value.value = self._within(word, self._how_many(argument))

    def _untracked(self, guest: Value, size: Value) -> None:
        """Leave the call to Python if a page of the range holds code and is write-protected."""
        f = self.f
        _give_up(f, size.ugt(k.WRITTEN_MAX))
        flags = f.pointer(f.at("%ctx", c.PAGE_FLAGS))
        page = f.var(64, guest.lshr(12))
        last = (guest + size.umax(1) - 1).lshr(12)
        with f.while_(lambda: page.value.ule(last)):
            tracked = f.raw_load(f.offset(flags, page.value), 8) & TRACK
            _give_up(f, tracked.ne(0))
            page.value = page.value + 1

    def written(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        size = self._how_many(argument)
        value.value = self._within(word, size)
        self._untracked(self.guest_address(word), size)

    def plain_path(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        value.value = self._within(word, self.f.const(1, 64))

    def path(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        """Leave paths to Python that begin with "/proc"; look others up under the prefix."""
        f = self.f
        place = self._within(word, f.const(1, 64))
        start = f.offset("%frame", _STACK)
        f.raw_store(start, f.const(0, 64))
        with f.if_(place.ne(0)):
            _copy(f, f.address(start), place, f.const(5, 64))
        first = f.raw_load(start, 64)
        _give_up(f, first.eq(int.from_bytes(b"/proc", "little")))
        value.value = place
        prefix = f.at("%ctx", c.PATH_PREFIX)
        name, after = first & 0xFFFFFFFF, first.lshr(32)
        of_kernel = (name.eq(_DEV) | name.eq(_SYS)) & (after.eq(0) | after.eq(ord("/")))
        with f.if_((first & 0xFF).eq(ord("/")) & prefix.ne(0) & ~of_kernel):
            value.value = self._under_prefix(place, prefix)

    def _under_prefix(self, place: Value, prefix: Value) -> Value:
        """The host address of the path under the prefix where a file is there, else `place`."""
        f = self.f
        length = f.at(f.pointer(prefix), 0)
        joined = self._room(length + k.PATH_ROOM)
        _copy(f, joined, prefix + 8, length)
        end = f.var(64, joined + length)
        size = f.const(k.PATH_ROOM - 1, 64)
        copied = end.value + size - _copy(f, end.value, place, size)
        with f.while_(lambda: f.raw_load(f.pointer(end.value), 8).ne(0)):
            end.value = end.value + 1
        _give_up(f, end.value.uge(copied))
        arguments, status = self._room(f.const(48, 64)), self._room(f.const(_STAT_BYTES, 64))
        f.set_at(f.pointer(arguments), 0, joined)
        f.set_at(f.pointer(arguments), 8, status)
        function = f.pointer(f.at("%ctx", c.SYSCALL))
        call = f"ptr %state, i64 {_LSTAT}, ptr {f.pointer(arguments)}"
        result = f.name(f.op(f"call i64 {function}({call})"), 64)
        _give_up(f, result.eq(INTERRUPTED))
        return result.eq(0).select(joined, place)

    def bits(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        f = self.f
        table = f.pointer(f.at(argument, k.PROGRAM))
        given = word.trunc(32)
        _give_up(f, (given & ~f.at(table, 0, 32)).ne(0))
        value.value = _translated(f, table, given)

    def numbers(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        f = self.f
        table = f.pointer(f.at(argument, k.PROGRAM))
        given = word.trunc(32)
        value.value = given.sext(64)
        at = f.var(64, f.address(f.offset(table, k.TABLE_HEADER)))
        left = f.var(64, f.at(table, 4, 32).zext(64))
        with f.while_(lambda: left.value.ne(0)):
            row = f.pointer(at.value)
            with f.if_(f.at(row, 0, 32).eq(given)):
                value.value = f.at(row, 4, 32).sext(64)
            at.value = at.value + k.NUMBERS_ROW
            left.value = left.value - 1

    def _room(self, size: Value) -> Value:
        """The host address of `size` new zeroed bytes of the scratch area, in words of 8."""
        f = self.f
        used = f.at("%frame", _USED)
        size = (size + 7) & -8
        _give_up(f, size.ugt(f.const(k.SCRATCH, 64) - used))
        f.set_at("%frame", _USED, used + size)
        start = f.offset(f.offset("%frame", used), _SCRATCH)
        at = f.var(64, f.address(start))
        end = f.address(start) + size
        with f.while_(lambda: at.value.ult(end)):
            # Volatile: LLVM would make it a call of memset, which nobody provides.
            f.raw_store(f.pointer(at.value), f.const(0, 64), volatile=True, align=8)
            at.value = at.value + 8
        return f.address(start)

    def _structures(
        self, argument: str, index: Value, word: Value, value: Variable, ways: int, many: Value
    ) -> None:
        f = self.f
        guest = self.guest_address(word)
        value.value = 0
        with f.if_(guest.ne(0)):
            moves = f.pointer(f.at(argument, k.PROGRAM))
            _give_up(f, many.ugt(k.SCRATCH))
            divisor = f.at(moves, k.DIVISOR, 16).zext(64)
            many = (many + divisor - 1).udiv(divisor)
            size = many * f.at(moves, k.GUEST_BYTES, 16).zext(64)
            place = self._within(word, size)
            copy = self._room(size)
            host = self._room(many * f.at(moves, k.HOST_BYTES, 16).zext(64))
            mine = f.offset("%frame", index << 3)
            f.set_at(mine, _COPIES, copy)
            f.set_at(mine, _COUNTS, many)
            if ways & k.FIELD_ENTERS:
                _give_up(f, _copy(f, copy, place, size).ne(0))
                arguments = f"ptr {moves}, ptr {f.pointer(copy)}, ptr {f.pointer(host)}"
                fine = f.op(f"call i64 @pemu_convert({arguments}, i64 {many.ir}, i64 0)")
                _give_up(f, f.name(fine, 64).eq(0))
            if ways & k.FIELD_LEAVES:
                self._writable(guest, size)
            value.value = host

    def _writable(self, guest: Value, size: Value) -> None:
        """Leave the call to Python unless the guest's first and last page can be written."""
        f = self.f
        flags = f.pointer(f.at("%ctx", c.PAGE_FLAGS))
        for address in (guest, guest + size.umax(1) - 1):
            page = f.raw_load(f.offset(flags, address.lshr(12)), 8)
            _give_up(f, (page & (WRITE | TRACK)).ne(WRITE))

    def entering(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        many = self._how_many(argument)
        self._structures(argument, index, word, value, k.FIELD_ENTERS, many)

    def leaving(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        many = self._how_many(argument)
        self._structures(argument, index, word, value, k.FIELD_LEAVES, many)

    def both(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        ways = k.FIELD_ENTERS | k.FIELD_LEAVES
        self._structures(argument, index, word, value, ways, self._how_many(argument))

    def resulting(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        most = self.f.at(argument, k.SIZE, 32).zext(64)
        many = self._how_many(argument).umin(most)
        self._structures(argument, index, word, value, k.FIELD_LEAVES, many)

    def vectors(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        self._vectors(argument, index, word, value, False)

    def written_vectors(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        self._vectors(argument, index, word, value, True)

    def _vectors(
        self, argument: str, index: Value, word: Value, value: Variable, written: bool
    ) -> None:
        """The structures are converted as others; then their addresses are."""
        f = self.f
        many = self._how_many(argument)
        _give_up(f, many.ugt(k.VECTORS_MAX) | self.guest_address(word).eq(0))
        self.entering(argument, index, word, value)
        self._place_vectors(value.value, many, written)

    def _place_vectors(self, start: Value, many: Value, written: bool) -> None:
        """Turn guest addresses in host vectors into host addresses."""
        f = self.f
        at, left = f.var(64, start), f.var(64, many)
        with f.while_(lambda: left.value.ne(0)):
            vector = f.pointer(at.value)
            start, length = f.at(vector, 0), f.at(vector, 8)
            _give_up(f, start.uge(self.limit) | length.ugt(self.limit - start))
            if written:
                self._untracked(start, length)
            f.set_at(vector, 0, start + self.base)
            at.value = at.value + 16
            left.value = left.value - 1

    def message(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        one = self.f.const(1, 64)
        self._structures(argument, index, word, value, k.FIELD_ENTERS, one)
        self._message(argument, value.value, False)

    def filled_message(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        ways = k.FIELD_ENTERS | k.FIELD_LEAVES
        self._structures(argument, index, word, value, ways, self.f.const(1, 64))
        self._message(argument, value.value, True)

    def _message(self, argument: str, host: Value, written: bool) -> None:
        """Turn the addresses in a host `struct msghdr` into the host's; no control messages."""
        f = self.f
        _give_up(f, host.eq(0))
        message = f.pointer(host)
        _give_up(f, f.at(message, _MSG_CONTROL).ne(0))
        name = f.at(message, _MSG_NAME)
        with f.if_(name.ne(0)):
            _give_up(f, (f.at(argument, k.SIZE, 32) & k.MESSAGE_NAMES).eq(0))
            size = f.at(message, _MSG_NAMELEN, 32).zext(64)
            _give_up(f, name.uge(self.limit) | size.ugt(self.limit - name))
            if written:
                self._untracked(name, size)
            f.set_at(message, _MSG_NAME, name + self.base)
        many = f.at(message, _MSG_IOVLEN)
        _give_up(f, many.ugt(k.VECTORS_MAX))
        moves = f.pointer(f.at(argument, k.PROGRAM))
        fields = f.at(moves, k.FIELDS, 16).zext(64)
        vectors = f.offset(moves, (fields << 3) + k.HEADER)
        guest_vectors = f.at(message, _MSG_IOV)
        size = many * f.at(vectors, k.GUEST_BYTES, 16).zext(64)
        copy, place = self._room(size), self._room(many << 4)
        _give_up(f, guest_vectors.uge(self.limit))
        _give_up(f, _copy(f, copy, guest_vectors + self.base, size).ne(0))
        pointers = f"ptr {vectors}, ptr {f.pointer(copy)}, ptr {f.pointer(place)}"
        f.op(f"call i64 @pemu_convert({pointers}, i64 {many.ir}, i64 0)")
        self._place_vectors(place, many, written)
        f.set_at(message, _MSG_IOV, place)

    def limited(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        most = self.f.at(argument, k.SIZE, 32).zext(64)
        value.value = word.trunc(32).sext(64).smin(most)

    def swapped(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        low = word.trunc(32)
        value.value = (low.bswap() if self.arch.big_endian else low).zext(64)

    def milliseconds(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        f = self.f
        value.value = word.trunc(32).sext(64)
        with f.if_(value.value.sgt(0)):
            value.value = 0
            f.set_at("%frame", _RETRY, f.const(1, 64))

    def exactly(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        _give_up(self.f, word.trunc(32).ne(self.f.at(argument, k.SIZE, 32)))
        value.value = self.f.at(argument, k.PROGRAM)

    def waiting(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        f = self.f
        value.value = 0
        with f.if_(self.guest_address(word).ne(0)):
            size = f.at(argument, k.SIZE, 32).zext(64)
            _give_up(f, _copy(f, self._room(size), self._within(word, size), size).ne(0))
            f.set_at("%frame", _RETRY, f.const(1, 64))
            limit = f.at(argument, k.PROGRAM)
            now = f.address(f.offset("%frame", _ZEROS))
            now = (limit & k.TIME_POINTER).ne(0).select(now, 0)
            f.set_at(f.offset("%frame", (limit & (k.TIME_POINTER - 1)) << 3), _ARGUMENTS, now)

    def pages(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        f = self.f
        size = self._how_many(argument)
        guest = self.guest_address(word)
        value.value = self._within(word, size)
        _give_up(f, (guest & 0xFFF).ne(0) | size.eq(0) | size.ugt(k.PAGES_MAX))
        flags = f.pointer(f.at("%ctx", c.PAGE_FLAGS))
        page = f.var(64, guest.lshr(12))
        last = (guest + size - 1).lshr(12)
        with f.while_(lambda: page.value.ule(last)):
            found = f.raw_load(f.offset(flags, page.value), 8)
            _give_up(f, (found & (MAPPED | CODE | TRACK)).ne(MAPPED))
            page.value = page.value + 1

    def room(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        value.value = self._room(self.f.at(argument, k.SIZE, 32).zext(64))

    def interval(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        f = self.f
        self._structures(argument, index, word, value, k.FIELD_ENTERS, f.const(1, 64))
        with f.if_(value.value.ne(0)):
            limit = f.pointer(value.value)
            whole, part = f.at(limit, 0), f.at(limit, 8)
            _give_up(f, whole.slt(0) | part.uge(f.at(argument, k.SIZE, 32).zext(64)))
            f.set_at("%frame", _RETRY, whole | part)
            value.value = f.address(f.offset("%frame", _ZEROS))


def _translated(f: Function, table: str, given: Value) -> Value:
    """Emit the translation of 32 bits by a table of bits."""
    result = f.var(64)
    at = f.var(64, f.address(f.offset(table, k.TABLE_HEADER)))
    left = f.var(64, f.at(table, 4, 32).zext(64))
    with f.while_(lambda: left.value.ne(0)):
        row = f.pointer(at.value)
        with f.if_((given & f.at(row, 0, 32)).eq(f.at(row, 4, 32))):
            result.value = result.value | f.at(row, 8, 32).zext(64)
        at.value = at.value + k.BITS_ROW
        left.value = left.value - 1
    return result.value


def _arguments(arch: Architecture) -> str:
    return _Arguments(arch).emit()


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
        host = f.at(mine, _ARGUMENTS)
        by_result = kind.eq(k.RESULTING)
        leaves = kind.eq(k.LEAVING) | kind.eq(k.BOTH) | kind.eq(k.FILLED_MESSAGE) | by_result
        with f.if_(leaves & host.ne(0)):
            moves = f.pointer(f.at(argument, k.PROGRAM))
            copy = f.at(mine, _COPIES)
            many = by_result.select(f.name("%result", 64), f.at(mine, _COUNTS))
            pointers = f"ptr {moves}, ptr {f.pointer(copy)}, ptr {f.pointer(host)}"
            f.op(f"call i64 @pemu_convert({pointers}, i64 {many.ir}, i64 1)")
            size = many * f.at(moves, k.GUEST_BYTES, 16).zext(64)
            place = base + guest_address(f.at(argument, k.SLOT, 8))
            with f.if_(_copy(f, place, copy, size).ne(0), unlikely=True):
                final.value = -EFAULT
        index.value = index.value + 1
    what = f.at("%call", k.RESULT, 8)
    with f.if_(what.eq(k.RESULT_BITS)):
        table = f.pointer(f.at("%call", k.RESULT_PROGRAM))
        final.value = _translated(f, table, f.name("%result", 64).trunc(32))
    with f.if_(what.eq(k.RESULT_STORED)):
        stored = f.name("%result", 64)
        f.set_at("%frame", _STACK, stored.bswap() if arch.big_endian else stored)
        place = base + guest_address(f.at("%call", k.RESULT_SLOT, 8))
        source = f.address(f.offset("%frame", _STACK))
        left = _copy(f, place, source, f.const(8, 64))
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


def _call(arch: Architecture) -> str:
    call = arch.system_call
    assert call is not None
    f = handler("pemu_native_call", "hidden ")
    general = arch.layout.by_name[arch.general]

    def register(index: int) -> str:
        return f.offset("%state", general.offset + index * general.stride)

    def read(index: int) -> Value:
        return f.raw_load(register(index), general.width, align=general.stride).zext(64)

    def out(condition: Value) -> None:
        with f.if_(condition, unlikely=True):
            f.leave(EXIT_SYSCALL)
            f.place(f.label("dead"))

    f.do(f"%ctx = load ptr, ptr {f.state_field(s.CONTEXT)}, align 8")
    index = read(call.number) - f.at("%ctx", c.CALL_BASE)
    out(index.uge(f.at("%ctx", c.CALL_COUNT)))
    found = f.var(64, f.at("%ctx", c.CALLS) + index * k.ENTRY)
    flags = f.at(f.pointer(found.value), k.FLAGS, 8)
    out(flags.eq(0))
    f.entry_lines.append(f"  %frame = alloca [{_FRAME_BYTES} x i8], align 16")
    for slot, number in enumerate(call.arguments[:8]):
        f.set_at("%frame", _WORDS + 8 * slot, read(number))
    with f.if_((flags & k.CHOOSES).ne(0)):
        chooser = f.pointer(found.value)
        slot_at = f.offset("%frame", f.at(chooser, k.RESULT_SLOT, 8).zext(64) << 3)
        choice = f.raw_load(slot_at, 32).zext(64)
        row = f.var(64, f.at(chooser, k.ARGUMENTS))
        left = f.var(64, f.at(chooser, k.COUNT, 8).zext(64))
        found.value = 0
        with f.while_(lambda: left.value.ne(0)):
            with f.if_(f.at(f.pointer(row.value), 0).eq(choice)):
                found.value = f.at(f.pointer(row.value), 8)
            row.value = row.value + 16
            left.value = left.value - 1
        out(found.value.eq(0))
    f.do(f"%found = inttoptr i64 {found.value.ir} to ptr")
    entry = "%found"
    if call.stack is not None:
        words = f.at(entry, k.STACK_WORDS, 8).zext(64)
        with f.if_(words.ne(0)):
            start = (read(call.stack) + call.stack_offset) & 0xFFFFFFFF
            place = f.address("%mem") + start
            # The frame holds the words as 64 bits each: they come into the scratch area first.
            raw = f.offset("%frame", _SCRATCH)
            left_over = _copy(f, f.address(raw), place, words << 2)
            out(left_over.ne(0))
            for position in range(4):
                word = f.at(raw, 4 * position, 32)
                word = word.bswap() if arch.big_endian else word
                slot = len(call.arguments) + position
                f.set_at("%frame", _WORDS + 8 * slot, word.zext(64))
    known = f"ptr %state, ptr %mem, ptr {entry}, ptr %frame"
    out(f.name(f.op(f"call i64 @pemu_call_arguments({known})"), 64).eq(0))
    host_number = f.at(entry, k.HOST_NUMBER, 16).zext(64)
    arguments = f.offset("%frame", _ARGUMENTS)
    done = f.var(64)
    with f.if_(host_number.uge(k.CHANGE_MASK), unlikely=True) as arm:
        with f.if_(host_number.eq(k.CHANGE_MASK)) as other:
            given = f"ptr %state, ptr {arguments}"
            done.value = f.name(f.op(f"call i64 @pemu_change_mask({given})"), 64)
        with other.otherwise():
            with f.if_(host_number.eq(k.CHANGE_ACTION)) as last:
                done.value = f.name(f.op(f"call i64 @pemu_change_action({given})"), 64)
            with last.otherwise():
                done.value = f.name(f.op(f"call i64 @pemu_read_clock({given})"), 64)
    with arm.otherwise():
        function = f.pointer(f.at("%ctx", c.SYSCALL))
        given = f"ptr %state, i64 {host_number.ir}, ptr {arguments}"
        done.value = f.name(f.op(f"call i64 {function}({given})"), 64)
    result = done.value
    # EFAULT and EINTR may be Pemu's own doing (tracked pages, signals): Python sorts them out.
    out(result.eq(INTERRUPTED) | result.eq(-EFAULT) | result.eq(-EINTR))
    out(result.eq(0) & f.at("%frame", _RETRY).ne(0))
    out((f.at(entry, k.FLAGS, 8) & k.FAILURES).ne(0) & result.ult(-4095))
    final = f.var(64, result)
    converts = (f.at(entry, k.FLAGS, 8) & k.CONVERTS).ne(0)
    with f.if_(converts & result.ult(-4095)):
        after = f.op(f"call i64 @pemu_call_results({known}, i64 {result.ir})")
        final.value = f.name(after, 64)
    failed = final.value.uge(-4095)
    with f.if_(failed, unlikely=True):
        table = f.pointer(f.at("%ctx", c.ERRNO_MAP))
        final.value = f.raw_load(f.offset(table, (-final.value) << 1), 16).zext(64)
    f.raw_store(register(call.result), final.value.trunc(general.width), align=general.stride)
    f.raw_store(register(call.error), failed.zext(general.width), align=general.stride)
    f.tail("@pemu_dispatch")
    return f.text
