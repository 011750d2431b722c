"""What guest-physical memory is made of: regions in regions, with priorities and aliases.

A region with a size stands in at most one other region, at an address. Where regions overlap, the
one of higher priority is seen, then the one added later; what a container does not fill shows what
lies under it. `pemu.machine.memory.AddressSpace` makes a flat list of a tree of regions and makes
it anew when the tree changes; `with transaction():` makes one change of many.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol

from pemu.machine.memory_backend import MemoryBackend
from pemu.machine.native import is_native
from pemu.options.error import OptionError

if TYPE_CHECKING:
    from pemu.machine.declare import Declaring

Order = Literal["little", "big"]
Read = Callable[[int, int], int]
"""read(offset, size): the value of `size` bytes at `offset` of a region."""
Write = Callable[[int, int, int], object]
"""write(offset, value, size)."""
Load = Callable[[], int]
"""What reads at one place in one size: the value, of which more than the size does not count."""
Store = Callable[[int], object]
"""What writes a value, which has no more than the size, at one place."""

MASKS = tuple((1 << 8 * size) - 1 for size in range(9))
"""All ones, by size in bytes."""

_PAGE = 4096


class BusError(Exception):
    """An access that the bus refuses; the processor takes a bus error exception for it.

    A device may raise it from its own read or write. DMA reads zeros and writes nothing instead.
    """


class Space(Protocol):
    """What shows a tree of regions: `pemu.machine.memory.AddressSpace`."""

    def rebuild(self) -> None:
        """Look at the tree again, which has changed."""


class transaction:
    """`with transaction():` many changes of regions, for which spaces are made anew once."""

    _depth = 0
    _changed: dict[Space, None] = {}

    def __enter__(self) -> None:
        transaction._depth += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        transaction._depth -= 1
        if not transaction._depth:
            changed, transaction._changed = transaction._changed, {}
            for space in changed:
                space.rebuild()


class Region:
    """A container: a part of the address space that holds other regions.

    `name` is what `info mtree` shows. `size`: bytes, at most 2**64. `owner`: the device that it
    belongs to, or None.
    """

    kind = "i/o"
    terminal = False

    def __init__(self, name: str, size: int, owner: object = None) -> None:
        if not 0 < size <= 1 << 64:
            raise ValueError(f"region {name}: a size of {size} bytes")
        self.name = name
        self.size = size
        self.owner = owner
        self.parent: Region | None = None
        self.address = 0
        self.priority = 0
        self.children: list[Region] = []
        self.aliases: list[Alias] = []
        self.spaces: list[Space] = []
        self._enabled = True
        self._readonly = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self.address:#x}+{self.size:#x}>"

    def add(self, child: Region, address: int, priority: int = 0) -> None:
        """Put `child` at `address` of this region; a higher `priority` hides lower ones."""
        if child.parent is not None:
            raise ValueError(f"region {child.name} stands in {child.parent.name} already")
        child.parent = self
        child.address = address
        child.priority = priority
        place = 0
        while place < len(self.children) and self.children[place].priority > priority:
            place += 1
        self.children.insert(place, child)
        child.changed()

    def remove(self, child: Region) -> None:
        """Take `child` out of this region."""
        with transaction():
            child.changed()
            self.children.remove(child)
            child.parent = None

    def remove_owned(self, owners: Collection[object]) -> None:
        """Take what belongs to one of `owners` out of this region and those in it."""
        for child in list(self.children):
            if child.owner in owners:
                self.remove(child)
            else:
                child.remove_owned(owners)

    def move(self, address: int) -> None:
        """Put this region elsewhere in the one that it stands in."""
        self._change("address", address)

    def resize(self, size: int) -> None:
        """Change the size, of containers, aliases and MMIO."""
        self._change("size", size)

    @property
    def enabled(self) -> bool:
        """Whether the region is seen at all."""
        return self._enabled

    @enabled.setter
    def enabled(self, enabled: bool) -> None:
        if enabled != self._enabled:
            with transaction():
                self._enabled = True
                self.changed()
                self._enabled = enabled

    @property
    def readonly(self) -> bool:
        """Whether RAM that is seen through this region cannot be written."""
        return self._readonly

    @readonly.setter
    def readonly(self, readonly: bool) -> None:
        self._change("_readonly", readonly)

    def _change(self, name: str, value: object) -> None:
        """Give an attribute that decides what is seen another value."""
        if getattr(self, name) != value:
            setattr(self, name, value)
            self.changed()

    def changed(self) -> None:
        """Have the spaces in which this region may be seen made anew."""
        with transaction():
            self._mark(transaction._changed)

    def _mark(self, spaces: dict[Space, None]) -> None:
        if not self._enabled:
            return
        for space in self.spaces:
            spaces[space] = None
        for alias in self.aliases:
            alias._mark(spaces)
        if self.parent is not None:
            self.parent._mark(spaces)


class Alias(Region):
    """A window of `size` bytes through which `target` is seen from its `offset` on."""

    def __init__(
        self, name: str, target: Region, offset: int = 0, size: int = 0, owner: object = None
    ) -> None:
        super().__init__(name, size or target.size - offset, owner)
        self.target = target
        self.offset = offset
        target.aliases.append(self)

    def aim(self, target: Region, offset: int) -> None:
        """Show `target` from `offset` on instead."""
        with transaction():
            self.target.aliases.remove(self)
            self.target = target
            self.offset = offset
            target.aliases.append(self)
            self.changed()

    def drop(self) -> None:
        """Forget the target, for an alias that is not used any more."""
        self.target.aliases.remove(self)


class Terminal(Region, ABC):
    """What answers accesses itself. Not used as such."""

    terminal = True

    @abstractmethod
    def bus(self, order: Order) -> tuple[Read, Write]:
        """Read and write as a bus of byte order `order` sees them; sizes are 1, 2, 4 and 8."""

    @abstractmethod
    def read_bytes(self, offset: int, length: int, order: Order) -> bytes:
        """The bytes at `offset`; `order` is that of the processor, for registers without own."""

    @abstractmethod
    def write_bytes(self, offset: int, data: bytes, order: Order) -> None:
        """Write `data` at `offset`."""


class Ram(Terminal):
    """RAM, or with `readonly` a ROM, in host memory that can be mapped a second time.

    memory: the host memory, as `mmap.mmap`; host: its address; fd: the descriptor of the memory.
    written: called with (offset, length) after something else than the processor's native code has
        written to it; the engine drops the code translated from there.
    backend: where on the host it is.
    Making one raises OptionError where the host has not that much.
    """

    kind = "ram"

    def __init__(
        self,
        name: str,
        size: int,
        owner: object = None,
        *,
        readonly: bool = False,
        backend: MemoryBackend | None = None,
    ) -> None:
        super().__init__(name, size, owner)
        self._readonly = readonly
        whole = -(-size // _PAGE) * _PAGE
        self.fd = (backend or MemoryBackend()).allocate(name, whole)
        try:
            self.memory = mmap.mmap(self.fd, whole)
        except (OSError, OverflowError) as error:
            os.close(self.fd)
            raise OptionError(
                f"cannot set up guest memory {name} of {size} bytes ({error}); give less with -m"
            ) from None
        weakref.finalize(self, os.close, self.fd)
        self.host = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        self.written: Callable[[int, int], object] | None = None

    def bus(self, order: Order) -> tuple[Read, Write]:
        memory = self.memory

        def read(offset: int, size: int) -> int:
            return int.from_bytes(memory[offset : offset + size], order)

        def write(offset: int, value: int, size: int) -> None:
            memory[offset : offset + size] = (value & MASKS[size]).to_bytes(size, order)
            if self.written:
                self.written(offset, size)

        return read, write

    def read_bytes(self, offset: int, length: int, order: Order = "little") -> bytes:
        return self.memory[offset : offset + length]

    def write_bytes(self, offset: int, data: bytes, order: Order = "little") -> None:
        """Write `data`, also to a ROM: the space keeps the guest from that."""
        if offset < 0 or offset + len(data) > self.size:
            raise ValueError(f"region {self.name}: {len(data)} bytes at {offset:#x} do not fit")
        self.memory[offset : offset + len(data)] = data
        if self.written:
            self.written(offset, len(data))


class Mmio(Terminal):
    """Registers: accesses become calls of `read(offset, size)` and `write(offset, value, size)`.

    minimum, maximum: the sizes in bytes (powers of two, at most 8) that the functions take, always
        aligned. The processor's wider and unaligned accesses are split; of narrower reads the rest
        is dropped, and narrower writes have zeros in the other bytes.
    order: byte order of the registers; None for the processor's own.
    """

    def __init__(
        self,
        name: str,
        size: int,
        read: Read,
        write: Write,
        owner: object = None,
        *,
        minimum: int = 1,
        maximum: int = 4,
        order: Order | None = "little",
    ) -> None:
        super().__init__(name, size, owner)
        self.read = read
        self.write = write
        self.minimum = minimum
        self.maximum = maximum
        self.order: Order | None = order

    def bus(self, order: Order) -> tuple[Read, Write]:
        device_read, device_write = self.read, self.write
        minimum, maximum = self.minimum, self.maximum
        swapped = self.order is not None and self.order != order

        def read(offset: int, size: int) -> int:
            if minimum <= size <= maximum and not offset & (size - 1):
                value = device_read(offset, size) & MASKS[size]
                if swapped and size > 1:
                    return int.from_bytes(value.to_bytes(size, "little"), "big")
                return value
            return int.from_bytes(self.read_bytes(offset, size, order), order)

        def write(offset: int, value: int, size: int) -> None:
            value &= MASKS[size]
            if minimum <= size <= maximum and not offset & (size - 1):
                if swapped and size > 1:
                    value = int.from_bytes(value.to_bytes(size, "little"), "big")
                device_write(offset, value, size)
            else:
                self.write_bytes(offset, value.to_bytes(size, order), order)

        return read, write

    def load(self, offset: int, size: int, order: Order) -> Load:
        """What reads `size` bytes at `offset` as a bus of byte order `order` does."""
        if not self._takes(offset, size):
            return partial(self.bus(order)[0], offset, size)
        load = self.device_load(offset, size)
        if size == 1 or self.order in (None, order):
            return load
        mask = MASKS[size]
        return lambda: int.from_bytes((load() & mask).to_bytes(size, "little"), "big")

    def store(self, offset: int, size: int, order: Order) -> Store:
        """What writes `size` bytes at `offset` as a bus of byte order `order` does."""
        if not self._takes(offset, size):
            write = self.bus(order)[1]
            return lambda value: write(offset, value, size)
        store = self.device_store(offset, size)
        if size == 1 or self.order in (None, order):
            return store
        return lambda value: store(int.from_bytes(value.to_bytes(size, "little"), "big"))

    def _takes(self, offset: int, size: int) -> bool:
        """Whether the device takes an access as it is."""
        return self.minimum <= size <= self.maximum and not offset & (size - 1)

    def native(
        self, offset: int, size: int, order: Order, stores: bool
    ) -> tuple[Declaring, str, int] | None:
        """What makes an access without Python, if anything does (`pemu.machine.nativecode`).

        The device, the function's name, and its third argument.
        """
        method = self.write if stores else self.read
        swapped = size > 1 and self.order not in (None, order)
        if swapped or not self._takes(offset, size) or not is_native(method):
            return None
        device: Declaring = method.__self__  # type: ignore[union-attr]
        return device, f"mmio_{method.__name__}", offset << 4 | size

    def device_load(self, offset: int, size: int) -> Load:
        """What reads at `offset` in the device's own byte order."""
        return partial(self.read, offset, size)

    def device_store(self, offset: int, size: int) -> Store:
        """What writes at `offset` in the device's own byte order."""
        write = self.write
        return lambda value: write(offset, value, size)

    def read_bytes(self, offset: int, length: int, order: Order) -> bytes:
        order = self.order or order
        data = bytearray()
        at = offset
        while at < offset + length:
            size, start = self._piece(at, offset + length - at)
            value = self.read(start, size) & MASKS[size]
            data += value.to_bytes(size, order)[at - start : offset + length - start]
            at = start + size
        return bytes(data)

    def write_bytes(self, offset: int, data: bytes, order: Order) -> None:
        order = self.order or order
        at = 0
        while at < len(data):
            size, start = self._piece(offset + at, len(data) - at)
            skip = offset + at - start
            piece = (bytes(skip) + data[at : at + size - skip]).ljust(size, b"\0")
            self.write(start, int.from_bytes(piece, order), size)
            at += size - skip

    def _piece(self, offset: int, length: int) -> tuple[int, int]:
        """Size and offset of the access that begins or contains `offset`, of `length` to go."""
        size = self.maximum
        while size > self.minimum and (offset & (size - 1) or size > length):
            size >>= 1
        return size, offset & -size


class RomDevice(Ram):
    """Memory that is read as RAM is, while `direct` is set, and written by a function.

    For flash chips: `write(offset, value, size)` gets the writes, and while `direct` is not set
    `read(offset, size)` the reads. Sizes and byte order as for `Mmio`.
    """

    kind = "romd"

    def __init__(
        self,
        name: str,
        size: int,
        read: Read,
        write: Write,
        owner: object = None,
        *,
        minimum: int = 1,
        maximum: int = 4,
        order: Order | None = None,
    ) -> None:
        super().__init__(name, size, owner)
        self.registers = Mmio(
            name, size, read, write, owner, minimum=minimum, maximum=maximum, order=order
        )
        self._direct = True

    @property
    def direct(self) -> bool:
        """Whether reads see the memory."""
        return self._direct

    @direct.setter
    def direct(self, direct: bool) -> None:
        self._change("_direct", direct)

    def bus(self, order: Order) -> tuple[Read, Write]:
        read, write = self.registers.bus(order)
        return (super().bus(order)[0] if self._direct else read), write
