"""Accesses of a processor to devices that native code makes itself (`pemu.machine.native`).

When an access is found for the first time, and its device has a native function for it, the device
is *bound*: its cells get the addresses of what its methods use. A device is bound if everything
behind its lines is, up to the processor; otherwise Python makes its accesses, as before.

Native code takes the machine's lock as Python does. What somebody else holds at that time is left
to Python, which waits.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from pemu.engine.layout.native_devices import ENTRIES, ENTRY_BYTES, place_of
from pemu.engine.layout.tlb_table import DEVICE_SHIFT
from pemu.machine.declare import Declaring, Input
from pemu.machine.irq import Line, ProcessorInput, Sink
from pemu.machine.native import CELL, Cells, is_native
from pemu.machine.region import Mmio

if TYPE_CHECKING:
    from pemu.engine.machinecpu import MachineCpu
    from pemu.machine.machine import Machine

_FIELDS = ENTRY_BYTES // CELL


def _semaphore(lock: object) -> int:
    """Where CPython before 3.14 has the address of the semaphore of a lock that may be nested."""
    address: int = ctypes.c_uint64.from_address(id(lock) + object.__basicsize__).value
    return address


@cache
def _semaphores_known() -> bool:
    """Whether this Python's locks are what `_semaphore` takes them for."""
    if sys.implementation.name != "cpython" or sys.version_info >= (3, 14):
        return False
    lock = threading.RLock()
    if lock.__class__.__module__ != "_thread":
        return False  # written in Python
    value = ctypes.c_int(-1)
    seen = []
    for change in (lock.acquire, lock.release):
        change()
        ctypes.CDLL(None).sem_getvalue(ctypes.c_void_p(_semaphore(lock)), ctypes.byref(value))
        seen.append(value.value)
    return seen == [0, 1]


class NativeAccess:
    """The accesses of `cpu` to devices of `machine` that need no Python."""

    def __init__(self, machine: Machine, cpu: MachineCpu) -> None:
        self._machine = machine
        self._engine = cpu.engine
        self._tables = Cells(2 * ENTRIES * _FIELDS)
        self._modules: dict[type[Declaring], dict[str, int]] = {}
        self._bound: dict[Declaring, bool] = {}
        self._usable = _semaphores_known()
        if self._usable:
            cpu.set_native_devices(self._tables.address, _semaphore(machine.lock))

    def forget(self) -> None:
        """Other devices may be seen now. While the cpu stands, or on its thread."""
        ctypes.memset(self._tables.address, 0, CELL * len(self._tables.view))

    def find(self, key: int, *, stores: bool) -> None:
        """Have native code make an access from now on, if it can: `key` as `set_devices` has it."""
        address, size = key >> DEVICE_SHIFT, key & (1 << DEVICE_SHIFT) - 1
        one = self._machine.memory.find(address)
        if not self._usable or one is None or not isinstance(one.region, Mmio):
            return
        order = self._machine.memory.order
        found = one.region.native(address - one.start + one.offset, size, order, stores)
        if found is None or address + size > one.end:
            return
        device, name, number = found
        if not self._bind(device):
            return
        function = self._module(type(device)).get(name)
        at = _FIELDS * (place_of(key) + (ENTRIES if stores else 0))
        if function and not self._tables.view[at]:
            for index, value in enumerate((key, function, device.cells.address, number)):
                self._tables.view[at + index] = value

    # Binding

    def _bind(self, device: Declaring) -> bool:
        """Tell native code of what the methods of `device` use; whether that can be."""
        if device not in self._bound:
            self._bound[device] = True  # where a line leads back to it
            if device.native_layout:
                self._module(type(device))
                self._bound[device] = self._fill(device)
            else:
                self._bound[device] = False
            device.bound = self._bound[device]
        return self._bound[device]

    def _fill(self, device: Declaring) -> bool:
        cells = device.cells.view
        for name, place in device.native_layout.items():
            value = getattr(device, name)
            if place.kind == "property":
                cells[place.first] = int(value)
            elif place.kind == "line":
                lines = value if isinstance(value, list) else [value]
                if not all(self._bind_line(line) for line in lines):
                    return False
                for index, line in enumerate(lines):
                    cells[place.first + index] = line.cells.address
            elif place.kind == "other" and callable(value):
                owner = getattr(value, "__self__", None)
                if owner is None or not is_native(value) or not self._bind(owner):
                    return False
                cells[place.first] = self._module(type(owner))[f"call_{value.__name__}"]
                cells[place.first + 1] = owner.cells.address
            elif place.kind == "other":
                cells[place.first] = int(value is not None)
        return True

    def _bind_line(self, line: object) -> bool:
        if not isinstance(line, Line):
            return False
        if line.bound is None:
            end = self._end(line.sinks)
            line.bound = end is not None
            if end is not None:
                for index, value in enumerate(end):
                    line.cells.view[1 + index] = value
        return line.bound

    def _end(self, sinks: list[Sink]) -> tuple[int, int, int] | None:
        """What native code calls at a change: the function and its first two arguments."""
        functions = next(iter(self._modules.values()))
        if not sinks:
            return functions["line_nothing"], 0, 0
        sink = sinks[0]
        if len(sinks) > 1:
            return None
        if isinstance(sink, ProcessorInput):
            return functions["line_processor"], sink.cells.address, 0
        if isinstance(sink, Input):
            if not self._bind(sink.device):
                return None
            function = self._module(type(sink.device))[f"sink_{sink.name}"]
            return function, sink.device.cells.address, sink.number
        line = getattr(sink, "__self__", None)
        if isinstance(line, Line) and self._bind_line(line):
            return functions["line_set"], line.cells.address, 0
        return None

    def _module(self, cls: type[Declaring]) -> dict[str, int]:
        """The native functions of a class, by name; made when they are first needed."""
        if cls not in self._modules:
            self._modules[cls] = self._engine.load_module(
                f"device {cls.__qualname__} {_sources(cls)}", lambda: _compile(cls)
            )
        return self._modules[cls]


def _sources(cls: type[Declaring]) -> str:
    """Identify the sources that the functions of a class are made of."""
    names = sorted({base.__module__ for base in cls.__mro__})
    files = [getattr(sys.modules.get(name), "__file__", None) for name in names]
    package = Path(__file__).parent
    paths = [package / "nativecode.py", *(Path(file) for file in files if file)]
    digest = sha256()
    for path in paths:
        if path.suffix == ".py":
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _compile(cls: type[Declaring]) -> tuple[bytes, dict[str, int]]:
    from pemu.engine.code.llvm import compile_ir
    from pemu.machine.nativecode import translate

    blob = compile_ir(translate(cls))
    return blob.code, blob.symbols
