"""The way from a processor's access to the function of the device that answers it.

Native code calls Python for each access, and kernels poll: so which function it is gets found once
for an address, and is called directly from then on.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from pemu.engine.layout.tlb_table import DEVICE_SHIFT
from pemu.machine.nativeaccess import NativeAccess
from pemu.machine.region import BusError, Load, Store

if TYPE_CHECKING:
    from pemu.engine.machinecpu import MachineCpu
    from pemu.machine.machine import Machine

SpecialDevice = Callable[[int, "int | None"], int]
"""(guest-physical address, value to store or None): the value that is loaded."""

MOST = 4096
"""Accesses that are remembered: more than drivers make to registers, not to memory of devices."""

F = TypeVar("F")


class _Found(dict[int, F], Generic[F]):
    """Functions by the key of `MachineCpu.set_devices`; `find(address, size)` has missing ones."""

    __slots__ = ("_find",)

    def __init__(self, find: Callable[[int, int], F]) -> None:
        super().__init__()
        self._find = find

    def __missing__(self, key: int) -> F:
        if len(self) >= MOST:
            self.clear()
        size = key & (1 << DEVICE_SHIFT) - 1
        found = self[key] = self._find(key >> DEVICE_SHIFT, size)
        return found


class DeviceAccess:
    """Makes the accesses of `cpu` to devices of `machine`, under its lock.

    special: tells what answers at an address before the machine's memory is asked.
    """

    def __init__(
        self, machine: Machine, cpu: MachineCpu, special: Callable[[int], SpecialDevice | None]
    ) -> None:
        self._memory = machine.memory
        self._special = special
        self._native = NativeAccess(machine, cpu)
        self._loads: _Found[Load] = _Found(self._find_load)
        self._stores: _Found[Store] = _Found(self._find_store)
        self._memory.listen(self._forget)
        lock, loads, stores = machine.lock, self._loads, self._stores

        def load(key: int) -> int:
            try:
                with lock:
                    return loads[key]()
            except BusError:
                cpu.bus_error()
            except BaseException as error:
                cpu.fail(error)
            return 0

        def store(key: int, value: int) -> int:
            try:
                with lock:
                    stores[key](value)
            except BusError:
                cpu.bus_error()
            except BaseException as error:
                cpu.fail(error)
            return 0

        cpu.set_devices(load, store)

    def _forget(self) -> None:
        """Other devices may be seen now. While the cpu stands, or on its thread."""
        self._loads.clear()
        self._stores.clear()
        self._native.forget()

    def _find_load(self, address: int, size: int) -> Load:
        special = self._special(address)
        if special:
            return partial(special, address, None)
        self._native.find(address << DEVICE_SHIFT | size, stores=False)
        return self._memory.load(address, size)

    def _find_store(self, address: int, size: int) -> Store:
        special = self._special(address)
        if special:
            return partial(special, address)
        self._native.find(address << DEVICE_SHIFT | size, stores=True)
        return self._memory.store(address, size)
