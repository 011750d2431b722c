"""Native functions for the guest accesses that the soft TLB does not serve."""

from __future__ import annotations

from pemu.engine.layout import context as c
from pemu.engine.layout import native_devices, tlb_table
from pemu.engine.layout import state as s
from pemu.engine.layout.exits import EXIT_TRACK, EXIT_WATCH
from pemu.engine.layout.pages import CODE, PAGE, VOLATILE
from pemu.engine.staging.architecture import (
    ACCESS_LOAD,
    ACCESS_LOOK,
    ACCESS_STORE,
    PAGE_FAULT,
    PAGE_FAULT_SHIFT,
)
from pemu.engine.staging.function import Function
from pemu.engine.system.softtlb import (
    DEVICE,
    HOLDS_CODE,
    RAM,
    WRITABLE,
    call_python,
    is_watched,
    mmu_mode,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pemu.engine.staging.architecture import Architecture, System
    from pemu.engine.staging.values import Value


def functions(arch: Architecture, system: System) -> tuple[Function, ...]:
    """Return all of an architecture's."""
    return (
        _raise_from_access(),
        _device_access(system, "load", c.DEVICE_LOAD),
        _device_access(system, "store", c.DEVICE_STORE, ", i64 %value"),
        _slow_load(arch, system),
        _slow_store(system),
        _slow_pointer(system),
        _from_region("load"),
        _from_region("store", ", i64 %value"),
        _from_region("pointer"),
        _flush_line(),
    )


def _raise_from_access() -> Function:
    """`pemu_raise_from_access(state, code, argument)`: enter an exception and go on there."""
    f = Function(
        "internal void @pemu_raise_from_access(ptr %state, i32 %code, i64 %argument) "
        "nounwind noinline noreturn"
    )
    f.do("call void @pemu_enter_exception(ptr %state, i32 %code, i64 %argument)")
    f.do("call void @pemu_unwind(ptr %state)")
    f.do("unreachable")
    return f


def _raise(f: Function, condition: Value, code: Value | int, argument: Value) -> None:
    """Emit: raise an exception where `condition` holds."""
    operand = code.ir if not isinstance(code, int) else str(code)
    with f.if_(condition, unlikely=True):
        arguments = f"ptr %state, i32 {operand}, i64 {argument.ir}"
        f.do(f"call void @pemu_raise_from_access({arguments})")
        f.do("unreachable")
        f.place(f.label("dead"))


def _device_access(system: System, what: str, field: int, more: str = "") -> Function:
    """`pemu_device_<what>(state, key, ..., address)`: have Python make an access."""
    f = Function(
        f"internal i64 @pemu_device_{what}(ptr %state, i64 %key{more}, i64 %address) "
        "nounwind noinline"
    )
    value = "%value" if more else "0"
    with f.if_(f.at(f.context(), c.NATIVE_DEVICES).ne(0)):
        _native_access(f, native_devices.ENTRIES if more else 0, value)
    function = f.pointer(f.at(f.context(), field))
    result = f.name(call_python(f, "i64", function, f"i64 %key{more}"), 64)
    failed = f.get(s.BUS_ERROR).ne(0)
    f.put(s.BUS_ERROR, 0)
    _raise(f, failed, system.bus_error[0], f.name("%address", 64))
    f.do(f"ret i64 {result.ir}")
    return f


def _native_access(f: Function, first: int, value: str) -> None:
    """Emit: return what a device's native function yields, if there is one and nobody has the lock.

    Its entry is looked for from entry number `first` on.
    """
    ctx = f.context()
    key = f.name("%key", 64)
    index = (key * native_devices.FACTOR).lshr(64 - native_devices.PLACE_BITS)
    place = f.at(ctx, c.NATIVE_DEVICES) + (index + first) * native_devices.ENTRY_BYTES
    entry = f.pointer(place)
    with f.if_(f.at(entry, native_devices.KEY).eq(key)):
        lock = f.at(ctx, c.DEVICE_LOCK).ir
        take, post = f.pointer(f.at(ctx, c.LOCK_TRY)), f.pointer(f.at(ctx, c.LOCK_POST))
        with f.if_(f.name(f.op(f"call i32 {take}(i64 {lock})"), 32).eq(0)):
            function = f.pointer(f.at(entry, native_devices.FUNCTION))
            cells = f.at(entry, native_devices.FIRST).ir
            arguments = f"i64 {cells}, i64 {value}, i64 {f.at(entry, native_devices.THIRD).ir}"
            result = f.name(f.op(f"call i64 {function}({arguments})"), 64)
            f.op(f"call i32 {post}(i64 {lock})")
            with f.if_(result.ne(native_devices.IN_PYTHON)):
                f.do(f"ret i64 {result.ir}")
                f.place(f.label("dead"))


def _access(name: str, more: str = "") -> Function:
    """What prepares an access yields what is added to the guest's address for a host address."""
    return Function(
        f"hidden preserve_mostcc i64 @{name}(ptr %state, i64 %address, i64 %what{more}) "
        "nounwind noinline"
    )


def _size(f: Function) -> Value:
    """Bytes of an access; above them stands how far beyond it the address is that faults tell."""
    return f.name("%what", 64) & tlb_table.SIZE_MASK


def _filled(f: Function, system: System, access: int) -> Value:
    """Emit the tests of an access and its entry; yields what `pemu_fill` says."""
    address = f.name("%address", 64)
    misaligned = (address & (_size(f) - 1)).ne(0)
    _raise(f, misaligned, system.misaligned[access], address)
    found = f.name(f.op(f"call i64 @pemu_fill(ptr %state, i64 {address.ir}, i32 {access})"), 64)
    beyond = f.name("%what", 64).lshr(tlb_table.BEYOND_SHIFT)
    code = found.lshr(PAGE_FAULT_SHIFT).trunc(32)
    _raise(f, (found & PAGE_FAULT).ne(0), code, address + beyond)
    with f.if_(f.at(f.context(), c.WATCHING).ne(0), unlikely=True):
        with f.if_(is_watched(f, address, _size(f), 1 << access)):
            f.put(s.EXIT_CODE, access)
            f.put(s.EXIT_ADDRESS, address)
            _leave_before_access(f, EXIT_WATCH)
    return found


def _leave_before_access(f: Function, reason: int) -> None:
    """Emit: leave for Python; the access is made when its instruction is run again."""
    f.put(s.EXIT_REASON, reason)
    f.do("call void @pemu_fault_landing(ptr %state)")
    f.do("unreachable")
    f.place(f.label("dead"))


def _return_memory(f: Function, found: Value) -> None:
    """Emit: the access goes to the page of memory that has been found."""
    address = f.name("%address", 64)
    f.do(f"ret i64 {((found & -PAGE) - (address & -PAGE)).ir}")


def _return_device_data(f: Function) -> None:
    """Emit: a device has made the access; what is still to be made goes to DEVICE_DATA."""
    data = f.address(f.state_field(s.DEVICE_DATA))
    f.do(f"ret i64 {(data - f.name('%address', 64)).ir}")
    f.place(f.label("dead"))


def _device(f: Function, found: Value, what: str, more: str = "") -> Value:
    """Emit a device's access; yields its result."""
    physical = (found & -PAGE) | (f.name("%address", 64) & (PAGE - 1))
    key = (physical << tlb_table.DEVICE_SHIFT) | _size(f)
    arguments = f"ptr %state, i64 {key.ir}{more}, i64 %address"
    return f.name(f.op(f"call i64 @pemu_device_{what}({arguments})"), 64)


def _by_size(f: Function, body: Callable[[int], None]) -> None:
    """Emit `body(bits)` for the size that the access has."""
    size = _size(f)
    for count in (1, 2, 4, 8):
        with f.if_(size.eq(count)):
            body(8 * count)


def _slow_load(arch: Architecture, system: System) -> Function:
    """`pemu_slow_load(state, address, what)`."""
    f = _access("pemu_slow_load")
    found = _filled(f, system, ACCESS_LOAD)
    with f.if_((found & DEVICE).ne(0)):
        result = _device(f, found, "load")

        def keep(bits: int) -> None:
            value = result.trunc(bits)
            field = f.state_field(s.DEVICE_DATA)
            f.raw_store(field, value.bswap() if arch.big_endian else value)

        _by_size(f, keep)
        _return_device_data(f)
    _return_memory(f, found)
    return f


def _notice_change(f: Function, found: Value) -> None:
    """Emit: leave for Python where a page with translated code is to change."""
    with f.if_((found & HOLDS_CODE).ne(0), unlikely=True):
        page = (found & -PAGE) - f.at(f.context(), c.RAM_BASE)
        f.put(s.EXIT_ADDRESS, page)
        _leave_before_access(f, EXIT_TRACK)


def _slow_store(system: System) -> Function:
    """`pemu_slow_store(state, address, what, value)`, the value in the host's byte order."""
    f = _access("pemu_slow_store", ", i64 %value")
    found = _filled(f, system, ACCESS_STORE)
    with f.if_((found & (DEVICE | WRITABLE)).ne(WRITABLE)):
        physical = f.var(64, found)
        with f.if_((found & RAM).ne(0)):
            # Read-only memory: the device behind it may want to know.
            mode = mmu_mode(f).trunc(32).ir
            again = f"ptr %state, i64 %address, i32 {ACCESS_STORE}, i32 {mode}"
            physical.value = f.name(f.op(f"call i64 @pemu_translate_address({again})"), 64)
        _device(f, physical.value, "store", ", i64 %value")
        _return_device_data(f)
    _notice_change(f, found)
    _return_memory(f, found)
    return f


def _slow_pointer(system: System) -> Function:
    """`pemu_slow_pointer(state, address, what)`: for memory that may be read and written.

    There is no atomic access to a device: it is a bus error.
    """
    f = _access("pemu_slow_pointer")
    found = _filled(f, system, ACCESS_STORE)
    atomic = (found & (DEVICE | WRITABLE)).eq(WRITABLE)
    _raise(f, ~atomic, system.bus_error[0], f.name("%address", 64))
    _notice_change(f, found)
    _return_memory(f, found)
    return f


def _from_region(what: str, more: str = "") -> Function:
    """`pemu_region_<what>(state, address, what, ..., pc)`: the same from a compiled region.

    It says beside the size which instruction makes the access (`tlb_table.IN_SLOT`, FLOATS).
    """
    f = Function(
        f"hidden preserve_mostcc i64 @pemu_region_{what}(ptr %state, i64 %address, i64 %what"
        f"{more}, i64 %pc) nounwind noinline"
    )
    flags = f.name("%what", 64)
    base = (flags & tlb_table.FLOATS).ne(0).select(f.get(s.CODE_BASE), 0)
    f.put(s.PC, f.name("%pc", 64) + base)
    f.put(s.IN_SLOT, (flags & tlb_table.IN_SLOT).ne(0).zext(32))
    told = flags & tlb_table.WHAT_MASK
    arguments = f"ptr %state, i64 %address, i64 {told.ir}{more}"
    result = f.op(f"call preserve_mostcc i64 @pemu_slow_{what}({arguments})")
    f.do(f"ret i64 {result}")
    return f


def _flush_line() -> Function:
    """`pemu_flush_line(state, address)`: 1 if the guest's cache instruction must drop code.

    Changes of code are noticed by themselves, except on pages where they are too frequent; of
    those only what has been translated since the last time is dropped.
    """
    f = Function(
        "hidden preserve_mostcc i1 @pemu_flush_line(ptr %state, i64 %address) nounwind noinline"
    )
    arguments = f"ptr %state, i64 %address, i32 {ACCESS_LOOK}"
    found = f.name(f.op(f"call i64 @pemu_fill({arguments})"), 64)
    with f.if_((found & RAM).eq(0)):
        f.do("ret i1 false")
        f.place(f.label("dead"))
    ctx = f.context()
    inside = f.name("%address", 64) & (PAGE - 1)
    place = (found & -PAGE) - f.at(ctx, c.RAM_BASE) + inside
    f.put(s.EXIT_ADDRESS, place)
    flag = f.raw_load(f.offset(f.pointer(f.at(ctx, c.PAGE_FLAGS)), place.lshr(12)), 8)
    noticed_here = (flag & (CODE | VOLATILE)).eq(CODE | VOLATILE)
    f.do(f"ret i1 {noticed_here.ir}")
    return f
