"""What the parts of a native system call share: its frame, copies, structures, tables of bits.

See `syscalls.call`; `call_table` describes the tables.
"""

from __future__ import annotations

from pemu.engine.layout import call_table as k
from pemu.engine.layout import context as c
from pemu.engine.layout.signal_table import SIGNALS
from pemu.engine.staging.function import Function

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.staging.architecture import Architecture
    from pemu.engine.staging.values import Value

# What one call keeps on the host's stack: byte offsets.
WORDS = 0  # eight slots of the guest's, 64 bits each
ARGUMENTS = 64  # six arguments of the host's
COPIES = 112  # for each: host address of the guest's form of a converted structure
COUNTS = 160  # for each: structures
RETRY = 208  # not 0 if a result of 0 is to be left to Python
USED = 216  # bytes used of the scratch area
STACK = 224  # stack words as they come
ZEROS = 240  # 16 bytes of zeros: a time that has passed
SCRATCH = 256
FRAME_BYTES = SCRATCH + k.SCRATCH

_CONTINUED = 0xFFFF


def emit_copy(f: Function, target: Value, source: Value, size: Value) -> Value:
    """Emit a copy that survives missing pages; yields how many bytes were left."""
    function = f.pointer(f.at("%ctx", c.COPY))
    pointers = f"ptr {f.pointer(target)}, ptr {f.pointer(source)}"
    return f.name(f.op(f"call i64 {function}({pointers}, i64 {size.ir})"), 64)


def give_up(f: Function, condition: Value) -> None:
    """Emit `return 0` where `condition` holds."""
    with f.if_(condition, unlikely=True):
        f.do("ret i64 0")
        f.place(f.label("dead"))


def _guest_status(f: Function, status: Value) -> Value:
    """Emit the guest's form of what wait(2) tells of a process: signals have other numbers."""
    result = f.var(64, status)
    stopped = (status & 0xFF).eq(0x7F)
    host = stopped.select(status.lshr(8) & 0xFF, status & 0x7F)
    with f.if_(host.ne(0) & status.ne(_CONTINUED)):
        numbers = f.pointer(f.at("%ctx", c.SIGNALS))
        guest, index = f.var(64, host), f.var(64)
        with f.while_(lambda: index.value.ult(SIGNALS)):
            same = f.raw_load(f.offset(numbers, index.value), 8).zext(64).eq(host)
            index.value = index.value + 1
            guest.value = same.select(index.value, guest.value)
        ended = status & ~0x7F | guest.value
        result.value = stopped.select(status & ~0xFF00 | guest.value << 8, ended)
    return result.value


def convert(arch: Architecture) -> str:
    """`pemu_convert(context, moves, guest, host, count, leaving)`: 0 if a field has refused bits.

    `leaving`: 1 turns the host's form into the guest's, 0 the other way round.
    """
    f = Function(
        "internal i64 @pemu_convert(ptr %ctx, ptr %moves, ptr %guest, ptr %host, i64 %count, "
        "i64 %leaving) nounwind"
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
                give_up(f, checked & (value.value & refused).ne(0))
                with f.if_(leaving & (how & k.FIELD_ERROR).ne(0)):
                    errors = f.pointer(f.at("%ctx", c.ERRNO_MAP))
                    number = value.value.umin(4095)
                    value.value = f.raw_load(f.offset(errors, number << 1), 16).zext(64)
                with f.if_(leaving & (how & k.FIELD_STATUS).ne(0)):
                    value.value = _guest_status(f, value.value & 0xFFFFFFFF)
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


def translated(f: Function, table: str, given: Value) -> Value:
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
