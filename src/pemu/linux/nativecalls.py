"""The table of system calls that generated code makes itself (see `runtime.native_call`)."""

from __future__ import annotations

from pemu.engine import context as c
from pemu.engine.runtime import DESCRIPTOR, NULL, POINTER, SIGNED, SWAPPED, UNSIGNED
from pemu.linux.fdtable import SPECIAL_ADDRESS
from pemu.linux.mips.errno import to_guest
from pemu.linux.syscall import native_table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.architecture import Architecture
    from pemu.engine.engine import Engine
    from pemu.linux.target import Target

_KINDS = {"i": SIGNED, "u": UNSIGNED, "f": DESCRIPTOR, "n": NULL}
_NO_ARGUMENT = 255


def _entry(host: int, kinds: tuple[str, ...]) -> bytes:
    codes, sources, sizes = bytearray(6), bytearray([_NO_ARGUMENT] * 6), [0] * 6
    for index, kind in enumerate(kinds):
        if not kind.startswith("p:"):
            codes[index] = _KINDS[kind]
            continue
        _, size, use = kind.split(":")
        codes[index] = SWAPPED if use == "swapped" else POINTER
        if size.startswith("a"):
            sources[index] = int(size[1:])
        else:
            sizes[index] = int(size)
    packed = b"".join(size.to_bytes(2, "little") for size in sizes)
    entry = host.to_bytes(2, "little") + bytes([len(kinds), 1]) + codes + sources + packed
    return entry.ljust(c.CALL_ENTRY, b"\0")


def install(target: Target, engine: Engine, arch: Architecture) -> None:
    """Give the engine the target's table and error numbers."""
    rows = native_table(target)
    if not rows:
        return
    base = min(number for number, _, _ in rows)
    count = max(number for number, _, _ in rows) - base + 1
    table = bytearray(count * c.CALL_ENTRY)
    for number, host, kinds in rows:
        at = (number - base) * c.CALL_ENTRY
        table[at : at + c.CALL_ENTRY] = _entry(host, kinds)
    errors = b"".join(to_guest(number).to_bytes(2, "little") for number in range(4096))
    engine.set_native_calls(base, bytes(table), errors, SPECIAL_ADDRESS)
