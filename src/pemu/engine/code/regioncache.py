"""What an engine has to do with stored regions: map those of a program, add what it compiled."""

from __future__ import annotations

import os
from _thread import allocate_lock

from pemu.engine.code.cache import REGIONS
from pemu.engine.layout import context as c

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pemu.engine.code.cache import CodeCache
    from pemu.engine.code.regionstore import Module, RegionStore
    from pemu.engine.staging.architecture import Architecture

    MapCode = Callable[[int, int, int, list[tuple[int, int]]], int]

SEPARATOR = "\0"
"""Between the parts of an identity: name of the architecture, path of the program, version."""

LEAST_WORDS = 16
"""Newly compiled guest instructions that are worth writing a file for."""

LEAST_SHARE = 256
"""And at least one for so many that the file holds, which all have to be written again."""


class RegionCache:
    """The stored regions of the program that an engine runs.

    `program` is its path; `version` tells the file from what it was before. `context`: the
    engine's; `map_code` maps code of a file into its code area, as `CodeArea.map` does.
    """

    __slots__ = (
        *("_base", "_cache", "_context", "_identity", "_one_memory", "_retired", "_saving"),
        *("_store", "_usable", "_words"),
    )

    def __init__(
        self,
        arch: Architecture,
        context: memoryview,
        map_code: MapCode,
        cache: CodeCache,
        program: str,
        version: str,
    ) -> None:
        self._cache = cache
        self._identity = SEPARATOR.join((arch.name, program, version))
        self._one_memory = arch.system is None
        self._context = context
        self._saving = allocate_lock()
        self._base = 0
        self._words = 0
        self._store = self._open(map_code)
        self._usable = self._store is not None
        self._retired = 0
        if self._store is not None:
            self._words = self._store.words

    def _open(self, map_code: MapCode | None) -> RegionStore | None:
        """Open the program's file, and map its code where that is wanted."""
        fd = self._cache.open(REGIONS, self._identity)
        if fd is None:
            return None
        from pemu.engine.code.regionstore import RegionStore

        try:
            store = RegionStore(fd)
            if map_code is not None:
                self._map(map_code, store, fd)
            return store
        except (MemoryError, OSError, ValueError):
            return None
        finally:
            os.close(fd)

    def _map(self, map_code: MapCode, store: RegionStore, fd: int) -> None:
        base = map_code(fd, store.code_at, store.code_bytes, store.writable())
        self._base = base
        start = store.address
        for field, value in (
            (c.WARM_IMAGE, start),
            (c.WARM_MODULES, start + store.modules_at),
            (c.WARM_CODE, base),
            (c.WARM_MASK, store.table_mask),
        ):
            self._context[field >> 3] = value

    def use(self, wanted: bool) -> None:
        """Let new blocks be replaced by stored regions, or not."""
        table = 0
        if wanted and self._usable and self._store is not None:
            table = self._store.address + self._store.table_at
        self._context[c.WARM_TABLE >> 3] = table

    @property
    def exists(self) -> bool:
        """Whether earlier runs have left something that can be used."""
        return self._usable

    def retire(self, epoch: int) -> None:
        """Do not use them for now: all blocks are thrown away, and regions hold links to these.

        `epoch`: the generation of code that follows.
        """
        if self._usable or self._retired:
            self._retired = epoch
        self._usable = False
        self.use(False)

    def restore(self, oldest: int) -> bool:
        """Forget the links, so that they can be used again; whether that was due.

        `oldest`: the generation of code that some thread may still be in.
        """
        if self._store is None or not 0 < self._retired <= oldest:
            return False
        self._store.restore(self._base)
        self._retired = 0
        self._usable = True
        return True

    def close(self) -> None:
        """Use them no more, and never again; another program follows."""
        self._usable = False
        self._retired = 0
        self.use(False)
        if self._store is not None:
            self._store.close()

    def guest_pc(self, host_pc: int, insn_bytes: int) -> int | None:
        """Guest pc of the access at a host address in stored code, or None."""
        if self._store is None or not 0 <= host_pc - self._base < self._store.code_bytes:
            return None
        return self._store.guest_pc(host_pc - self._base, insn_bytes)

    # Saving.

    def worth_saving(self, words: int) -> bool:
        """Whether so many newly compiled guest instructions should be stored."""
        return words >= max(LEAST_WORDS, self._words // LEAST_SHARE)

    def save(self, modules: list[Module]) -> None:
        """Add modules to the file, which other processes may have changed meanwhile."""
        with self._saving:
            from pemu.engine.code.regionstore import merge, pack

            try:
                merged = merge(self._stored_modules(), modules, self._one_memory)
                packed = pack(self._identity, merged, self._one_memory)
                self._cache.store(REGIONS, self._identity, packed)
            except MemoryError:
                return
            self._words = sum(module.words for module in merged)

    def _stored_modules(self) -> list[Module]:
        store = self._open(None)
        if store is None:
            return []
        try:
            return store.good_modules()
        except ValueError:
            return []
        finally:
            store.close()

    def after_fork(self) -> None:
        """A thread that was saving does not exist in the child."""
        self._saving = allocate_lock()
