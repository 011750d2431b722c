"""Registers: declared once with offset, width, reset value and masks; a bank answers accesses.

    class Uart(Device):
        scratch = Register(7)                                  # 8 bits, read and write
        status = Register(5, reset=0x60, writable=0)           # read only
        causes = Register(8, 32, clears=0xFF, writable=0)      # write 1 to clear
        divisors = Registers(0x20, 4, bits=16)                 # four of 16 bits

        @scratch.on_write
        def _scratch_written(self, written: int, old: int) -> None: ...

        @status.on_read
        def _read_status(self) -> int: ...

`self.scratch` is the register's value, an int. `RegisterBank(self, "uart", size)` is the region.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from pemu.machine.declare import Declared, Declaring, T
from pemu.machine.region import Load, Mmio, Order, Store

if TYPE_CHECKING:
    from pemu.machine.device import Device

Get = Callable[[], int]
Put = Callable[[int, int], None]
"""put(value, lanes): write `value`; `lanes` has ones in the bytes that the access covers."""


class Shared(TypedDict, total=False):
    """What may be said of registers and of arrays of them; `BaseRegister` tells what it means."""

    reset: int
    writable: int | None
    clears: int
    bank: str
    help: str
    kept: bool


class BaseRegister(Declared[T]):
    """What single registers and arrays of them share.

    offset: bytes from the bank's start. bits: width, 8, 16, 32 or 64. reset: the value after reset.
    writable: bits that writes change; None for all. clears: bits that writing 1 clears.
    bank: which of the device's banks it is in. kept: reset leaves the value as it is.
    """

    def __init__(
        self,
        offset: int,
        bits: int = 8,
        *,
        reset: int = 0,
        writable: int | None = None,
        clears: int = 0,
        bank: str = "",
        help: str = "",
        kept: bool = False,
    ) -> None:
        super().__init__(help)
        if bits not in (8, 16, 32, 64):
            raise ValueError(f"a register of {bits} bits")
        self.offset = offset
        self.bits = bits
        self.mask = (1 << bits) - 1
        self.initial = reset
        self.writable = (self.mask if writable is None else writable) & ~clears
        self.clears = clears
        self.bank = bank
        self.kept = kept
        self._read: Callable[..., int] | None = None
        self._write: Callable[..., object] | None = None
        if reset & ~self.mask or self.writable & ~self.mask or clears & ~self.mask:
            raise ValueError(f"register at {offset:#x}: a value of more than {bits} bits")

    @abstractmethod
    def places(self) -> list[int]:
        """The offset of each register that this declares."""

    @abstractmethod
    def bind(self, device: Declaring, index: int) -> tuple[Get, Put]:
        """How register `index` of this declaration is read and written in `device`."""

    def label(self, index: int) -> str:
        """How logs call it."""
        return self.name.upper()

    def check(self, saved: Any) -> int:
        """A saved value; raises ValueError."""
        if not isinstance(saved, int) or saved & ~self.mask:
            raise ValueError(f"{self.name}: {saved!r} is no number of {self.bits} bits")
        return saved

    def _method(
        self, device: Declaring, method: Callable[..., Any] | None
    ) -> Callable[..., Any] | None:
        """The callback of `device`, whose class may have overridden the one declared."""
        return getattr(device, method.__name__) if method else None


class Register(BaseRegister[int]):
    """One register; see the module."""

    cells = 1

    def on_read(self, method: Callable[[Any], int]) -> Callable[[Any], int]:
        """Decorator: reads return what `method(self)` does."""
        self._read = method
        return method

    def on_write(self, method: Callable[[Any, int, int], Any]) -> Callable[[Any, int, int], Any]:
        """Decorator: after a write, `method(self, written, old)` is called.

        The attribute has the new value already, by the masks; `written` is what the guest wrote,
        zero in bytes that the access does not cover, `old` the value before.
        """
        self._write = method
        return method

    def places(self) -> list[int]:
        return [self.offset]

    def create(self, device: Declaring) -> int:
        return self.initial

    def reset(self, device: Declaring) -> None:
        if not self.kept:
            setattr(device, self.name, self.initial)

    def save(self, device: Declaring) -> int:
        value: int = getattr(device, self.name)
        return value

    def load(self, device: Declaring, saved: Any) -> None:
        setattr(device, self.name, self.check(saved))

    def bind(self, device: Declaring, index: int) -> tuple[Get, Put]:
        values: Any
        name: Any
        values, name = device.__dict__, self.name
        if self.name in device.native_layout:
            values, name = device.cells.view, device.native_layout[self.name].first
        writable, clears = self.writable, self.clears
        written_to = self._method(device, self._write)

        def get() -> int:
            value: int = values[name]
            return value

        def put(value: int, lanes: int) -> None:
            old = values[name]
            mask = writable & lanes
            values[name] = old & ~mask & ~(value & clears) | value & mask
            if written_to:
                written_to(value, old)

        return self._method(device, self._read) or get, put


class Registers(BaseRegister[list[int]]):
    """`count` equal registers, `stride` bytes apart (0: next to each other); a list of values."""

    def __init__(
        self,
        offset: int,
        count: int,
        *,
        bits: int = 8,
        stride: int = 0,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(offset, bits, **shared)
        self.count = count
        self.stride = stride or bits // 8

    def on_read(self, method: Callable[[Any, int], int]) -> Callable[[Any, int], int]:
        """Decorator: reads return what `method(self, index)` does."""
        self._read = method
        return method

    def on_write(
        self, method: Callable[[Any, int, int, int], Any]
    ) -> Callable[[Any, int, int, int], Any]:
        """Decorator: after a write, `method(self, index, written, old)` is called."""
        self._write = method
        return method

    def places(self) -> list[int]:
        return [self.offset + index * self.stride for index in range(self.count)]

    def label(self, index: int) -> str:
        return f"{self.name.upper()}[{index}]"

    def create(self, device: Declaring) -> list[int]:
        return [self.initial] * self.count

    def reset(self, device: Declaring) -> None:
        if not self.kept:
            device.__dict__[self.name][:] = [self.initial] * self.count

    def save(self, device: Declaring) -> list[int]:
        return list(device.__dict__[self.name])

    def load(self, device: Declaring, saved: Any) -> None:
        if not isinstance(saved, list) or len(saved) != self.count:
            raise ValueError(f"{self.name}: not {self.count} registers")
        device.__dict__[self.name][:] = [self.check(value) for value in saved]

    def bind(self, device: Declaring, index: int) -> tuple[Get, Put]:
        values, name = device.__dict__, self.name
        writable, clears = self.writable, self.clears
        read, written_to = self._method(device, self._read), self._method(device, self._write)

        def get() -> int:
            value: int = read(index) if read else values[name][index]
            return value

        def put(value: int, lanes: int) -> None:
            old = values[name][index]
            mask = writable & lanes
            values[name][index] = old & ~mask & ~(value & clears) | value & mask
            if written_to:
                written_to(index, value, old)

        return get, put


class _Slot:
    """A register in its bank: where it is and how it is read and written."""

    __slots__ = ("get", "label", "mask", "name", "offset", "put", "size")

    def __init__(self, label: str, offset: int, size: int, get: Get, put: Put) -> None:
        self.name = ""  # of its declaration, if that is of a single register
        self.label = label
        self.offset = offset
        self.size = size
        self.mask = (1 << 8 * size) - 1
        self.get = get
        self.put = put


class RegisterBank(Mmio):
    """The registers of `device` that are declared with `bank`, as a region of `size` bytes.

    Accesses narrower than a register reach the bytes that they name; wider ones several registers.
    Where no register is, reads are 0 and writes are lost; `-d unimp` tells.
    order: byte order of the registers; None for the processor's. span: the size in bytes of the
        widest access that is passed on in one; 0 for that of the widest register.
    """

    def __init__(
        self,
        device: Device,
        name: str,
        size: int,
        bank: str = "",
        *,
        order: Order | None = "little",
        span: int = 0,
    ) -> None:
        declared = [
            one
            for one in device.declarations.values()
            if isinstance(one, BaseRegister) and one.bank == bank
        ]
        widest = max((one.bits // 8 for one in declared), default=1)
        super().__init__(
            name, size, self._bank_read, self._bank_write, device, maximum=span or widest
        )
        self.order = order or device.machine.order
        self.device = device
        self._slots: dict[int, _Slot] = {}
        self._covering: dict[int, _Slot] = {}
        for one in declared:
            for index, offset in enumerate(one.places()):
                self.define(one.label(index), offset, one.bits // 8, *one.bind(device, index))
                if isinstance(one, Register):
                    self._slots[offset].name = one.name
        self._traced = device.machine.log.traced("device_register")
        if self._traced:
            self.read, self.write = self._traced_read, self._traced_write

    def define(self, label: str, offset: int, size: int, get: Get, put: Put) -> None:
        """Add a register that no class declares, of `size` bytes, read and written by functions."""
        slot = _Slot(label, offset, size, get, put)
        if offset + size > self.size:
            raise ValueError(f"{self.name}: register {label} does not fit")
        for at in range(offset, offset + size):
            if at in self._covering:
                raise ValueError(f"{self.name}: {label} overlaps {self._covering[at].label}")
            self._covering[at] = slot
        self._slots[offset] = slot

    def has(self, offset: int) -> bool:
        """Whether a register is at `offset`."""
        return offset in self._covering

    def label(self, offset: int) -> str:
        """The name of the register at `offset`."""
        slot = self._covering.get(offset)
        return slot.label if slot else f"{offset:#x}"

    def native(
        self, offset: int, size: int, order: Order, stores: bool
    ) -> tuple[Declaring, str, int] | None:
        slot = self._whole(offset, size)
        if slot is None or not slot.name:
            return None
        swapped = "_swapped" if size > 1 and self.order != order else ""
        return self.device, f"{'store' if stores else 'load'}_{slot.name}{swapped}", 0

    def device_load(self, offset: int, size: int) -> Load:
        slot = self._whole(offset, size)
        return slot.get if slot else super().device_load(offset, size)

    def device_store(self, offset: int, size: int) -> Store:
        slot = self._whole(offset, size)
        if slot is None:
            return super().device_store(offset, size)
        put, mask = slot.put, slot.mask
        return lambda value: put(value, mask)

    def _whole(self, offset: int, size: int) -> _Slot | None:
        """The register that is just there, where accesses to it go no other way."""
        slot = self._slots.get(offset)
        return slot if slot and slot.size == size and not self._traced else None

    def _bank_read(self, offset: int, size: int) -> int:
        slot = self._slots.get(offset)
        if slot is not None and slot.size == size:
            return slot.get()
        little = self.order == "little"
        result = 0
        at = offset
        while at < offset + size:
            slot = self._covering.get(at)
            if slot is None:
                self._missing(at, "read")
                at += 1
                continue
            low = at - slot.offset
            count = min(slot.size - low, offset + size - at)
            shift = low if little else slot.size - low - count
            value = slot.get() >> 8 * shift & (1 << 8 * count) - 1
            into = at - offset if little else offset + size - at - count
            result |= value << 8 * into
            at += count
        return result

    def _bank_write(self, offset: int, value: int, size: int) -> None:
        slot = self._slots.get(offset)
        if slot is not None and slot.size == size:
            slot.put(value, slot.mask)
            return
        little = self.order == "little"
        at = offset
        while at < offset + size:
            slot = self._covering.get(at)
            if slot is None:
                self._missing(at, "write")
                at += 1
                continue
            low = at - slot.offset
            count = min(slot.size - low, offset + size - at)
            lanes = (1 << 8 * count) - 1
            shift = low if little else slot.size - low - count
            out_of = at - offset if little else offset + size - at - count
            slot.put((value >> 8 * out_of & lanes) << 8 * shift, lanes << 8 * shift)
            at += count

    def _missing(self, offset: int, what: str) -> None:
        log = self.device.machine.log
        if log.enabled("unimp"):
            log.write(f"{self.name}: {what} at {offset:#x}, where no register is")

    def _traced_read(self, offset: int, size: int) -> int:
        value = self._bank_read(offset, size)
        self._trace(offset, value, size, "->")
        return value

    def _traced_write(self, offset: int, value: int, size: int) -> None:
        self._trace(offset, value, size, "<-")
        self._bank_write(offset, value, size)

    def _trace(self, offset: int, value: int, size: int, arrow: str) -> None:
        text = f"{self.name} {self.label(offset)} +{offset:#x} {arrow} {value:#0{2 * size + 2}x}"
        self.device.machine.log.write(f"device_register {text}")
