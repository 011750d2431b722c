"""The arguments of a native system call: guest words to host values (`syscalls.call`)."""

from __future__ import annotations

from pemu.engine.host.x86_64 import INTERRUPTED
from pemu.engine.layout import call_table as k
from pemu.engine.layout import context as c
from pemu.engine.layout import state as s
from pemu.engine.layout.pages import CODE, MAPPED, TRACK, WRITE
from pemu.engine.staging.function import Function
from pemu.engine.syscalls.convert import (
    ARGUMENTS,
    COPIES,
    COUNTS,
    RETRY,
    SCRATCH,
    STACK,
    USED,
    ZEROS,
    emit_copy,
    give_up,
    translated,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.staging.architecture import Architecture
    from pemu.engine.staging.flow import Variable
    from pemu.engine.staging.values import Value

_LSTAT, _STAT_BYTES = 6, 144
_DEV, _SYS = int.from_bytes(b"/dev", "little"), int.from_bytes(b"/sys", "little")

# Fields of the host's `struct msghdr`: byte offsets.
_MSG_NAME, _MSG_NAMELEN, _MSG_IOV, _MSG_IOVLEN, _MSG_CONTROL = 0, 8, 16, 24, 32


class Arguments:
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
        f.set_at("%frame", RETRY, f.const(0, 64))
        f.set_at("%frame", USED, f.const(0, 64))
        f.set_at("%frame", ZEROS, f.const(0, 64))
        f.set_at("%frame", ZEROS + 8, f.const(0, 64))
        with f.if_(f.at("%call", k.RESULT, 8).eq(k.RESULT_STORED)):
            place = self.guest_address(self.word(f.at("%call", k.RESULT_SLOT, 8)))
            give_up(f, place.uge(self.limit - 8))
            self._writable(place, f.const(8, 64))
        with f.while_(lambda: index.value.ult(count)):
            position = f.offset("%call", index.value << 4)
            argument = f.offset(position, k.ARGUMENTS)
            word = self.word(f.at(argument, k.SLOT, 8))
            value = f.var(64, word)
            self.one(argument, index.value, word, value)
            f.set_at(f.offset("%frame", index.value << 3), ARGUMENTS, value.value)
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
            k.UNITS: self.units,
            k.ONE_OF: self.one_of,
            k.SIZED: self.sized,
            k.PATCHED: self.written,
            k.REGISTER: self.register,
            k.FOUND: self.leaving,
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
            give_up(f, low.uge(k.DESCRIPTORS))
            special = f.pointer(f.at("%ctx", c.DESCRIPTOR_FLAGS))
            give_up(f, f.raw_load(f.offset(special, low.zext(64)), 8).ne(0))

    def null(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        give_up(self.f, self.guest_address(word).ne(0))
        value.value = 0

    def _within(self, word: Value, size: Value) -> Value:
        """The host address of guest memory that lies inside the guest's space; 0 for NULL."""
        guest = self.guest_address(word)
        give_up(self.f, guest.uge(self.limit) | size.ugt(self.limit - guest))
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
        give_up(f, size.ugt(k.WRITTEN_MAX))
        flags = f.pointer(f.at("%ctx", c.PAGE_FLAGS))
        page = f.var(64, guest.lshr(12))
        last = (guest + size.umax(1) - 1).lshr(12)
        with f.while_(lambda: page.value.ule(last)):
            tracked = f.raw_load(f.offset(flags, page.value), 8) & TRACK
            give_up(f, tracked.ne(0))
            page.value = page.value + 1

    def written(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        size = self._how_many(argument)
        value.value = self._within(word, size)
        self._untracked(self.guest_address(word), size)

    def plain_path(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        value.value = self._within(word, self.f.const(1, 64))

    def path(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        """Leave paths to Python that lead into /proc; look others up under the prefix."""
        f = self.f
        place = self._within(word, f.const(1, 64))
        start = f.offset("%frame", STACK)
        f.raw_store(start, f.const(0, 64))
        with f.if_(place.ne(0)):
            emit_copy(f, f.address(start), place, f.const(5, 64))
        first = f.raw_load(start, 64)
        give_up(f, first.eq(int.from_bytes(b"/proc", "little")))
        relative = (first & 0xFF).ne(ord("/")) & (first & 0xFF).ne(0)
        special = f.pointer(f.at("%ctx", c.DESCRIPTOR_FLAGS))
        give_up(f, relative & f.raw_load(f.offset(special, k.DESCRIPTORS), 8).ne(0))
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
        emit_copy(f, joined, prefix + 8, length)
        end = f.var(64, joined + length)
        size = f.const(k.PATH_ROOM - 1, 64)
        copied = end.value + size - emit_copy(f, end.value, place, size)
        with f.while_(lambda: f.raw_load(f.pointer(end.value), 8).ne(0)):
            end.value = end.value + 1
        give_up(f, end.value.uge(copied))
        arguments, status = self._room(f.const(48, 64)), self._room(f.const(_STAT_BYTES, 64))
        f.set_at(f.pointer(arguments), 0, joined)
        f.set_at(f.pointer(arguments), 8, status)
        function = f.pointer(f.at("%ctx", c.SYSCALL))
        call = f"ptr %state, i64 {_LSTAT}, ptr {f.pointer(arguments)}"
        result = f.name(f.op(f"call i64 {function}({call})"), 64)
        give_up(f, result.eq(INTERRUPTED))
        return result.eq(0).select(joined, place)

    def bits(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        f = self.f
        table = f.pointer(f.at(argument, k.PROGRAM))
        given = word.trunc(32)
        give_up(f, (given & ~f.at(table, 0, 32)).ne(0))
        value.value = translated(f, table, given)

    def numbers(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        value.value = word.trunc(32).sext(64)
        self._looked_up(argument, word, value)

    def one_of(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        give_up(self.f, self._looked_up(argument, word, value).eq(0))

    def _looked_up(self, argument: str, word: Value, value: Variable) -> Value:
        """Put what a table of numbers says into `value`; yields how many rows fit."""
        f = self.f
        table = f.pointer(f.at(argument, k.PROGRAM))
        given = word.trunc(32)
        found = f.var(64)
        at = f.var(64, f.address(f.offset(table, k.TABLE_HEADER)))
        left = f.var(64, f.at(table, 4, 32).zext(64))
        with f.while_(lambda: left.value.ne(0)):
            row = f.pointer(at.value)
            with f.if_(f.at(row, 0, 32).eq(given)):
                value.value = f.at(row, 4, 32).sext(64)
                found.value = found.value + 1
            at.value = at.value + k.NUMBERS_ROW
            left.value = left.value - 1
        return found.value

    def _room(self, size: Value) -> Value:
        """The host address of `size` new zeroed bytes of the scratch area, in words of 8."""
        f = self.f
        used = f.at("%frame", USED)
        size = (size + 7) & -8
        give_up(f, size.ugt(f.const(k.SCRATCH, 64) - used))
        f.set_at("%frame", USED, used + size)
        start = f.offset(f.offset("%frame", used), SCRATCH)
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
            give_up(f, many.ugt(k.SCRATCH))
            divisor = f.at(moves, k.DIVISOR, 16).zext(64)
            many = (many + divisor - 1).udiv(divisor)
            size = many * f.at(moves, k.GUEST_BYTES, 16).zext(64)
            place = self._within(word, size)
            copy = self._room(size)
            host = self._room(many * f.at(moves, k.HOST_BYTES, 16).zext(64))
            mine = f.offset("%frame", index << 3)
            f.set_at(mine, COPIES, copy)
            f.set_at(mine, COUNTS, many)
            if ways & k.FIELD_ENTERS:
                give_up(f, emit_copy(f, copy, place, size).ne(0))
                arguments = f"ptr {moves}, ptr {f.pointer(copy)}, ptr {f.pointer(host)}"
                fine = f.op(f"call i64 @pemu_convert(ptr %ctx, {arguments}, i64 {many.ir}, i64 0)")
                give_up(f, f.name(fine, 64).eq(0))
            if ways & k.FIELD_LEAVES:
                self._writable(guest, size)
            value.value = host

    def _writable(self, guest: Value, size: Value) -> None:
        """Leave the call to Python unless the guest's first and last page can be written."""
        f = self.f
        flags = f.pointer(f.at("%ctx", c.PAGE_FLAGS))
        for address in (guest, guest + size.umax(1) - 1):
            page = f.raw_load(f.offset(flags, address.lshr(12)), 8)
            give_up(f, (page & (WRITE | TRACK)).ne(WRITE))

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
        give_up(f, many.ugt(k.VECTORS_MAX) | self.guest_address(word).eq(0))
        self.entering(argument, index, word, value)
        self._place_vectors(value.value, many, written)

    def _place_vectors(self, start: Value, many: Value, written: bool) -> None:
        """Turn guest addresses in host vectors into host addresses."""
        f = self.f
        at, left = f.var(64, start), f.var(64, many)
        with f.while_(lambda: left.value.ne(0)):
            vector = f.pointer(at.value)
            start, length = f.at(vector, 0), f.at(vector, 8)
            give_up(f, start.uge(self.limit) | length.ugt(self.limit - start))
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
        give_up(f, host.eq(0))
        message = f.pointer(host)
        give_up(f, f.at(message, _MSG_CONTROL).ne(0))
        name = f.at(message, _MSG_NAME)
        with f.if_(name.ne(0)):
            give_up(f, (f.at(argument, k.SIZE, 32) & k.MESSAGE_NAMES).eq(0))
            size = f.at(message, _MSG_NAMELEN, 32).zext(64)
            give_up(f, name.uge(self.limit) | size.ugt(self.limit - name))
            if written:
                self._untracked(name, size)
            f.set_at(message, _MSG_NAME, name + self.base)
        many = f.at(message, _MSG_IOVLEN)
        give_up(f, many.ugt(k.VECTORS_MAX))
        moves = f.pointer(f.at(argument, k.PROGRAM))
        fields = f.at(moves, k.FIELDS, 16).zext(64)
        vectors = f.offset(moves, (fields << 3) + k.HEADER)
        guest_vectors = f.at(message, _MSG_IOV)
        size = many * f.at(vectors, k.GUEST_BYTES, 16).zext(64)
        copy, place = self._room(size), self._room(many << 4)
        give_up(f, guest_vectors.uge(self.limit))
        give_up(f, emit_copy(f, copy, guest_vectors + self.base, size).ne(0))
        pointers = f"ptr {vectors}, ptr {f.pointer(copy)}, ptr {f.pointer(place)}"
        f.op(f"call i64 @pemu_convert(ptr %ctx, {pointers}, i64 {many.ir}, i64 0)")
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
            f.set_at("%frame", RETRY, f.const(1, 64))

    def exactly(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        give_up(self.f, word.trunc(32).ne(self.f.at(argument, k.SIZE, 32)))
        value.value = self.f.at(argument, k.PROGRAM)

    def waiting(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        f = self.f
        value.value = 0
        with f.if_(self.guest_address(word).ne(0)):
            size = f.at(argument, k.SIZE, 32).zext(64)
            give_up(f, emit_copy(f, self._room(size), self._within(word, size), size).ne(0))
            f.set_at("%frame", RETRY, f.const(1, 64))
            limit = f.at(argument, k.PROGRAM)
            now = f.address(f.offset("%frame", ZEROS))
            now = (limit & k.TIME_POINTER).ne(0).select(now, 0)
            f.set_at(f.offset("%frame", (limit & (k.TIME_POINTER - 1)) << 3), ARGUMENTS, now)

    def pages(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        f = self.f
        size = self._how_many(argument)
        guest = self.guest_address(word)
        value.value = self._within(word, size)
        give_up(f, (guest & 0xFFF).ne(0) | size.eq(0) | size.ugt(k.PAGES_MAX))
        flags = f.pointer(f.at("%ctx", c.PAGE_FLAGS))
        page = f.var(64, guest.lshr(12))
        last = (guest + size - 1).lshr(12)
        with f.while_(lambda: page.value.ule(last)):
            found = f.raw_load(f.offset(flags, page.value), 8)
            give_up(f, (found & (MAPPED | CODE | TRACK)).ne(MAPPED))
            page.value = page.value + 1

    def room(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        value.value = self._room(self.f.at(argument, k.SIZE, 32).zext(64))

    def sized(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        f = self.f
        room = self._room(f.const(4, 64))
        size = f.const(4, 64)
        give_up(f, emit_copy(f, room, self._within(word, size), size).ne(0))
        given = f.at(f.pointer(room), 0, 32)
        given = given.bswap() if self.arch.big_endian else given
        give_up(f, given.ne(f.at(argument, k.SIZE, 32)))
        f.set_at(f.pointer(room), 0, given)
        value.value = room

    def register(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        f = self.f
        general = self.arch.layout.by_name[self.arch.general]
        at = f.at(argument, k.SIZE, 32).zext(64) * general.stride + general.offset
        value.value = f.raw_load(f.offset("%state", at), general.width).zext(64)

    def units(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        value.value = word * self.f.at(argument, k.SIZE, 32).zext(64)

    def interval(self, argument: str, index: Value, word: Value, value: Variable) -> None:
        f = self.f
        self._structures(argument, index, word, value, k.FIELD_ENTERS, f.const(1, 64))
        with f.if_(value.value.ne(0)):
            limit = f.pointer(value.value)
            whole, part = f.at(limit, 0), f.at(limit, 8)
            give_up(f, whole.slt(0) | part.uge(f.at(argument, k.SIZE, 32).zext(64)))
            f.set_at("%frame", RETRY, whole | part)
            value.value = f.address(f.offset("%frame", ZEROS))
