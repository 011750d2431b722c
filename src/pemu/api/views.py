"""Registers, memory and symbols of a program, as `Program` offers them."""

from __future__ import annotations

from pemu.api.errors import MemoryFault, UnknownNameError
from pemu.options.error import nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Literal

    from pemu.api.connection import Connection

_PIECE = 1 << 16
"""Bytes of memory that one message carries."""


def unknown(kind: str, name: str, names: Any) -> UnknownNameError:
    """The error for a name that is none of `names`."""
    match = nearest(name, names)
    hint = f"; did you mean {match!r}?" if match else ""
    return UnknownNameError(f"no {kind} is called {name!r}{hint}")


class Registers:
    """The registers of the thread that the program has stopped in, or that a hook is called for.

    Names are those of the ABI ("a0", "sp"), the numbers ("r4"), "pc", "hi", "lo", "f0" to "f31"
    (the bits), "fcsr" and, where the processor has the DSP extension, "hi1" and so on. Values
    are unsigned. `registers.sp` is the same as `registers["sp"]`.
    """

    __slots__ = ("_bits", "_connection", "_indices", "_known", "_thread")
    _bits: tuple[int, ...]
    _connection: Connection
    _indices: dict[str, int]
    _known: dict[int, int]
    _thread: int

    def __init__(
        self, connection: Connection, indices: dict[str, int], bits: tuple[int, ...]
    ) -> None:
        object.__setattr__(self, "_connection", connection)
        object.__setattr__(self, "_indices", indices)
        object.__setattr__(self, "_bits", bits)
        object.__setattr__(self, "_known", {})
        object.__setattr__(self, "_thread", 0)

    def select(self, thread: int, shown: tuple[int, tuple[int, ...]] | None = None) -> None:
        """Be the registers of `thread`; `shown`: its pc and general registers if known."""
        known: dict[int, int] = {}
        if shown is not None:
            known.update(enumerate(shown[1]))
            known[self._indices["pc"]] = shown[0]
        object.__setattr__(self, "_thread", thread)
        object.__setattr__(self, "_known", known)

    def _index(self, name: str) -> int:
        index = self._indices.get(name)
        if index is None:
            raise unknown("register", name, self._indices)
        return index

    def __getitem__(self, name: str) -> int:
        index = self._index(name)
        if index not in self._known:
            self._known[index] = self._connection.request("register", self._thread, index)
        return self._known[index]

    def __setitem__(self, name: str, value: int) -> None:
        index = self._index(name)
        value &= (1 << self._bits[index]) - 1
        self._connection.request("set_register", self._thread, index, value)
        self._known.pop(index, None)

    def __getattr__(self, name: str) -> int:
        if name not in self._indices:
            raise AttributeError(f"no register is called {name!r}")
        return self[name]

    def __setattr__(self, name: str, value: int) -> None:
        self[name] = value

    def __iter__(self) -> Iterator[str]:
        return iter(self._indices)

    def __len__(self) -> int:
        return len(self._indices)

    def __contains__(self, name: object) -> bool:
        return name in self._indices


class Numbers:
    """Numbers of one width in guest memory, by their address, in the guest's byte order."""

    __slots__ = ("_memory", "_order", "_signed", "_size")

    def __init__(
        self, memory: Memory, size: int, order: Literal["big", "little"], signed: bool
    ) -> None:
        self._memory = memory
        self._size = size
        self._order = order
        self._signed = signed

    def __getitem__(self, address: int) -> int:
        data = self._memory.read(address, self._size)
        return int.from_bytes(data, self._order, signed=self._signed)

    def __setitem__(self, address: int, value: int) -> None:
        value &= (1 << 8 * self._size) - 1
        self._memory.write(address, value.to_bytes(self._size, self._order))


class Mapping:
    """A range of mapped memory: guest-virtual addresses `start` to `end`, "rwx", and its file."""

    __slots__ = ("access", "end", "path", "start")

    def __init__(self, start: int, end: int, access: str, path: str) -> None:
        self.start = start
        self.end = end
        self.access = access
        self.path = path

    def __repr__(self) -> str:
        return f"<Mapping {self.start:#x}-{self.end:#x} {self.access} {self.path}>"


class Memory:
    """Guest memory. `u8`, `u16`, `u32`, `u64`, `i8` to `i64` and `word` (a pointer's width) are
    numbers by address: `memory.u32[0x1000] += 1`. What is not mapped raises MemoryFault.
    """

    def __init__(self, connection: Connection, word: int, order: Literal["big", "little"]) -> None:
        self._connection = connection
        self.u8 = Numbers(self, 1, order, False)
        self.u16 = Numbers(self, 2, order, False)
        self.u32 = Numbers(self, 4, order, False)
        self.u64 = Numbers(self, 8, order, False)
        self.i8 = Numbers(self, 1, order, True)
        self.i16 = Numbers(self, 2, order, True)
        self.i32 = Numbers(self, 4, order, True)
        self.i64 = Numbers(self, 8, order, True)
        self.word = Numbers(self, word, order, False)

    def read(self, address: int, size: int) -> bytes:
        """Read `size` bytes at a guest-virtual address."""
        parts = []
        for at in range(0, size, _PIECE):
            wanted = min(_PIECE, size - at)
            part: bytes = self._connection.request("read", address + at, wanted)
            if len(part) < wanted:
                raise MemoryFault(address, size)
            parts.append(part)
        return b"".join(parts)

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Write bytes at a guest-virtual address, whatever the page's protection."""
        data = bytes(data)
        for at in range(0, len(data), _PIECE):
            self._connection.request("write", address + at, data[at : at + _PIECE])

    def string(self, address: int, limit: int = 1 << 20) -> bytes:
        """Read up to a NUL byte, which is left out; at most `limit` bytes."""
        parts = b""
        while len(parts) < limit:
            at = address + len(parts)
            part: bytes = self._connection.request("read", at, min(4096 - at % 4096, 256))
            end = part.find(b"\0")
            if end >= 0:
                return (parts + part[:end])[:limit]
            parts += part
        return parts[:limit]

    @property
    def mappings(self) -> list[Mapping]:
        """What is mapped now, in order of address."""
        found: list[Mapping] = []
        while True:
            at = found[-1].end if found else 0
            more = self._connection.request("mappings", at)
            if not more:
                return found
            for start, end, protection, path in more:
                access = "".join(x if protection >> i & 1 else "-" for i, x in enumerate("rwx"))
                found.append(Mapping(start, end, access, path))


class Symbols:
    """Addresses of functions and variables by name, from the files that are mapped now."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, name: str) -> int | None:
        """Guest-virtual address of a function or variable; None where nothing defines it."""
        address: int | None = self._connection.request("symbol", name)
        return address

    def __getitem__(self, name: str) -> int:
        address = self.get(name)
        if address is None:
            raise UnknownNameError(f"no mapped file has a function or variable called {name!r}")
        return address

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None

    def at(self, address: int) -> tuple[str, int] | None:
        """Name of the function around an address and the distance from its start, or None."""
        found: tuple[str, int] | None = self._connection.request("place", address)
        return found
