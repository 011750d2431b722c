"""What the compiler asks of its engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from _thread import RLock
    from collections.abc import Callable

    from pemu.engine.memory.machine import MachineMemory
    from pemu.engine.memory.process import AddressSpace
    from pemu.engine.staging.architecture import Architecture
    from pemu.engine.tier1.guestblock import GuestBlock


class Owner(Protocol):
    """An engine as its compiler knows it. `engine.Engine` says what each of these means."""

    arch: Architecture
    context: memoryview
    symbols: dict[str, int]
    lock: RLock
    memory: AddressSpace | MachineMemory
    mode: str
    on_compiled: Callable[[str, dict[int, list[GuestBlock]], int], None] | None

    @property
    def epoch(self) -> int: ...

    @property
    def patience(self) -> float: ...

    @property
    def stores_regions(self) -> bool: ...

    def is_hooked(self, start: int, end: int) -> bool: ...

    def count_again(self, block: int) -> None: ...

    def place_code(self, code: bytes, data: bytes) -> int: ...

    def kick_all(self) -> None: ...

    def save_regions(self) -> None: ...
