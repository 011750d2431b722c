"""System calls about mappings that generated code makes itself.

They go by the page flags and what `pages` says that Python shares. A page with translated code, a
wish for a certain place, a size beyond what it looks through: all that is left to Python
(`memory.process.AddressSpace`), which keeps native code from beginning a change while it makes one.
"""

from __future__ import annotations

from pemu.engine.host.x86_64 import INTERRUPTED
from pemu.engine.layout import call_table as k
from pemu.engine.layout import context as c
from pemu.engine.layout import pages
from pemu.engine.layout import state as s
from pemu.engine.layout.pages import CODE, EXEC, MAPPED, READ, TRACK, WRITE
from pemu.engine.staging.function import Function

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pemu.engine.staging.values import Value

_MMAP, _MPROTECT = 9, 10
_MAP_FIXED, _MAP_NORESERVE = 0x10, 0x4000
_RESERVE = 0x32  # private, anonymous, fixed
_PAGES = _RESERVE | _MAP_NORESERVE
_KINDS = 0x23
"""MAP_SHARED, MAP_PRIVATE, MAP_SHARED_VALIDATE, MAP_ANONYMOUS."""
_WITHOUT_EFFECT = 0x25900
"""MAP_GROWSDOWN, MAP_DENYWRITE, MAP_EXECUTABLE, MAP_NORESERVE, MAP_STACK."""
_EINVAL = 22
_SEARCHED = 1 << 14
"""Pages that are looked through for a free range."""


def functions() -> list[str]:
    """`pemu_map`, `pemu_unmap`, `pemu_protect` and `pemu_break`, each (state, arguments).

    INTERRUPTED: Python has to do it.
    """
    emitted = {"map": _map, "unmap": _unmap, "protect": _protect, "break": _break}
    return [text for name, emit in emitted.items() for text in _locked(name, emit)]


def _locked(name: str, emit: Callable[[_Change], None]) -> list[str]:
    """A function that makes a change, and the one that keeps others from changes meanwhile."""
    inner = _Change(name)
    emit(inner)
    f = Function(f"internal i64 @pemu_{name}(ptr %state, ptr %arguments) nounwind")
    f.do(f"%ctx = load ptr, ptr {f.state_field(s.CONTEXT)}, align 8")
    result = f.var(64, INTERRUPTED)
    f.do("call void @pemu_lock(ptr %ctx)")
    with f.if_(f.at(f.pointer(f.at("%ctx", c.MAPPINGS)), pages.BUSY).eq(0)):
        done = f.op(f"call i64 @pemu_{name}_locked(ptr %state, ptr %ctx, ptr %arguments)")
        result.value = f.name(done, 64)
    f.do("call void @pemu_unlock(ptr %ctx)")
    f.do(f"ret i64 {result.value.ir}")
    return [inner.f.text, f.text]


class _Change:
    """Emits a function that changes mappings. Addresses are the guest's unless said otherwise."""

    def __init__(self, name: str) -> None:
        self.f = f = Function(
            f"internal i64 @pemu_{name}_locked(ptr %state, ptr %ctx, ptr %arguments) nounwind"
        )
        f.do(f"%shared = inttoptr i64 {f.at('%ctx', c.MAPPINGS).ir} to ptr")
        f.do(f"%flags = inttoptr i64 {f.at('%ctx', c.PAGE_FLAGS).ir} to ptr")
        f.entry_lines.append("  %call = alloca [6 x i64], align 8")

    def argument(self, index: int) -> Value:
        return self.f.at("%arguments", 8 * index)

    def shared(self, field: int) -> Value:
        return self.f.at("%shared", field)

    def end_if(self, condition: Value, result: Value | int = INTERRUPTED) -> None:
        """Emit `return result` where `condition` holds."""
        with self.f.if_(condition, unlikely=True):
            self.give(result)
            self.f.place(self.f.label("dead"))

    def give(self, result: Value | int) -> None:
        self.f.do(f"ret i64 {result if isinstance(result, int) else result.ir}")

    def rounded(self, length: Value) -> Value:
        """A length or address rounded up to whole pages of the guest."""
        size = self.shared(pages.PAGE_SIZE)
        return (length + size - 1) & -size

    def require(self, start: Value, end: Value, mask: int, wanted: int) -> None:
        """Leave the call to Python unless the flags in `mask` are `wanted` for the whole range."""
        f = self.f
        self.end_if((end - start).ugt(k.PAGES_MAX))
        page = f.var(64, start.lshr(12))
        with f.while_(lambda: page.value.ult(end.lshr(12))):
            self.end_if((f.raw_load(f.offset("%flags", page.value), 8) & mask).ne(wanted))
            page.value = page.value + 1

    def set_flags(self, start: Value, end: Value, value: Value | int) -> None:
        f = self.f
        page = f.var(64, start.lshr(12))
        stored = f.const(value, 8) if isinstance(value, int) else value.trunc(8)
        with f.while_(lambda: page.value.ult(end.lshr(12))):
            # Volatile: LLVM would make it a call of memset, which nobody provides.
            f.raw_store(f.offset("%flags", page.value), stored, volatile=True)
            page.value = page.value + 1

    def host(self, number: int, start: Value, size: Value, *more: Value | int) -> Value:
        """Emit a host call on guest memory; returns from the function if that fails."""
        f = self.f
        place = f.get(s.MEMORY_BASE) + start
        for index, argument in enumerate((place, size, *more)):
            value = f.const(argument, 64) if isinstance(argument, int) else argument
            f.set_at("%call", 8 * index, value)
        function = f.pointer(f.at("%ctx", c.SYSCALL))
        result = f.name(f.op(f"call i64 {function}(ptr %state, i64 {number}, ptr %call)"), 64)
        self.end_if(result.uge(-4095), result)
        return result

    def reserve(self, start: Value, end: Value) -> None:
        """Emit the unmapping of a range without translated code."""
        f = self.f
        self.require(start, end, CODE | TRACK, 0)
        self.host(_MMAP, start, end - start, 0, _RESERVE, -1, 0)
        self.set_flags(start, end, 0)
        with f.if_(end.ugt(self.shared(pages.SEARCH_END))):
            f.set_at("%shared", pages.SEARCH_END, end.umin(self.shared(pages.MAP_TOP)))


def _host_protection(prot: Value) -> Value:
    """Generated code is not in guest memory: the host lets it read what it executes."""
    readable = (prot & EXEC).ne(0).select(prot | READ, prot)
    return readable & (READ | WRITE)


def _map(m: _Change) -> None:
    """Address, length, protection, flags, descriptor, offset in bytes."""
    f = m.f
    address, length, prot, flags = (m.argument(index) for index in range(4))
    # A file's last page in a larger page of the guest is Python's business.
    m.end_if(address.ne(0) | m.shared(pages.PAGE_SIZE).ne(pages.PAGE))
    m.end_if((length - 1).uge(k.PAGES_MAX) | (prot & ~7).ne(0))
    m.end_if((flags & ~(_KINDS | _WITHOUT_EFFECT)).ne(0))
    size = m.rounded(length)
    first = m.shared(pages.MAP_MINIMUM).lshr(12)
    last = m.shared(pages.SEARCH_END).lshr(12)
    page, left, free = f.var(64, last), f.var(64, f.const(_SEARCHED, 64)), f.var(64)
    with f.while_(lambda: free.value.ult(size.lshr(12))):
        m.end_if(page.value.ule(first) | left.value.eq(0))
        page.value = page.value - 1
        left.value = left.value - 1
        used = f.raw_load(f.offset("%flags", page.value), 8).ne(0)
        free.value = used.select(f.const(0, 64), free.value + 1)
    start = page.value << 12
    end = start + size
    kept = flags & _KINDS | (_MAP_FIXED | _MAP_NORESERVE)
    m.host(_MMAP, start, size, _host_protection(prot), kept, m.argument(4), m.argument(5))
    m.set_flags(start, end, prot | MAPPED)
    with f.if_(end.eq(last << 12)):
        f.set_at("%shared", pages.SEARCH_END, start)
    m.give(start)


def _unmap(m: _Change) -> None:
    """Address, length."""
    address, length = m.argument(0), m.argument(1)
    limit = m.shared(pages.LIMIT)
    aligned = (address & (m.shared(pages.PAGE_SIZE) - 1)).eq(0)
    inside = address.ult(limit) & (length - 1).ult(limit - address)
    m.end_if(~(aligned & inside), -_EINVAL)
    m.reserve(address, address + m.rounded(length))
    m.give(0)


def _protect(m: _Change) -> None:
    """Address, length, protection."""
    address, length, prot = m.argument(0), m.argument(1), m.argument(2)
    limit = m.shared(pages.LIMIT)
    aligned = (address & (m.shared(pages.PAGE_SIZE) - 1)).eq(0)
    inside = address.ult(limit) & (length - 1).ult(limit - address)
    m.end_if(~(aligned & inside) | (prot & ~7).ne(0))
    end = address + m.rounded(length)
    m.require(address, end, MAPPED | CODE | TRACK, MAPPED)
    m.host(_MPROTECT, address, end - address, _host_protection(prot))
    m.set_flags(address, end, prot | MAPPED)
    m.give(0)


def _break(m: _Change) -> None:
    """The end that the heap is to have; the result is the one it has then."""
    f = m.f
    address, present = m.argument(0), m.shared(pages.BREAK)
    m.end_if(address.ult(m.shared(pages.BREAK_START)), present)
    m.end_if(address.ugt(m.shared(pages.LIMIT)), present)
    old, new = m.rounded(present), m.rounded(address)
    with f.if_(new.ugt(old)):
        m.end_if(new.ugt(m.shared(pages.LIMIT)), present)
        m.require(old, new, 0xFF, 0)
        m.host(_MMAP, old, new - old, READ | WRITE, _PAGES, -1, 0)
        m.set_flags(old, new, READ | WRITE | MAPPED)
    with f.if_(new.ult(old)):
        m.reserve(new, old)
    f.set_at("%shared", pages.BREAK, address)
    m.give(address)
