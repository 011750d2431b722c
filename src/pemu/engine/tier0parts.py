"""The parts of tier 0 that an engine has: from the code cache, or made when they are first needed.

A program needs few of a processor's instructions, and of its translation modes mostly one. So the
base alone is there from the start. Where its decoder meets an instruction of another part, native
code looks for that part's decoder in a table, and asks Python where there is none.
"""

from __future__ import annotations

import ctypes
import os

from pemu.engine.host.masking import with_own_descriptors, with_signals_blocked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _thread import RLock
    from collections.abc import Callable

    from pemu.engine.code.area import CodeArea
    from pemu.engine.code.cache import CodeCache
    from pemu.engine.staging.architecture import Architecture


class Tier0Parts:
    """Loads tier 0 into a code area, which others may use while they hold `lock`.

    `table`: host addresses of the parts' decoders, 0 for those not loaded; for each of
    `Architecture.parts` a row with one for each translation mode. `symbols`: host addresses of what
    the base exports. `start`, `end`: host addresses of the base.
    """

    __slots__ = (
        "_arch",
        "_cache",
        "_code",
        "_limit",
        "_lock",
        "_queries",
        "end",
        "start",
        "symbols",
        "table",
    )

    def __init__(
        self, arch: Architecture, cache: CodeCache | None, code: CodeArea, lock: RLock
    ) -> None:
        self._arch = arch
        self._cache = cache
        self._code = code
        self._lock = lock
        self._limit = code.end
        self._queries: dict[str, int] = {}
        self.table = (ctypes.c_uint64 * max(len(arch.parts) * len(arch.modes), 1))()
        self.symbols = self._load("", frozenset(), last=False)
        code.keep()
        self.start = code.start
        self.end = code.next

    def load(self, entry: int) -> None:
        """Load the part that entry number `entry` of the table stands for.

        Another thread may do the same at the same time unless the caller prevents it.
        """
        if self.table[entry]:
            return
        arch = self._arch
        number, mode = divmod(entry, len(arch.modes))
        part, deciding = list(arch.parts.items())[number]
        features = arch.modes[mode] & deciding
        loaded: list[dict[str, int]] = []

        def load() -> None:
            loaded.append(self._load(part, features, last=True))

        # The guest's signals and descriptor numbers are none of this.
        with_signals_blocked(lambda: with_own_descriptors(load))
        if not loaded:
            load()
        symbols = loaded[0]
        decoder = symbols.pop("pemu_decode")
        self._queries.update(symbols)
        for other, extra in enumerate(arch.modes):
            if extra & deciding == features:
                self.table[number * len(arch.modes) + other] = decoder

    def query(self, part: str, name: str, mode: int) -> int:
        """Return the host address of a query, which is the same for all modes.

        If it has to be loaded, then with the part that translation mode `mode` needs.
        """
        if name not in self._queries:
            self.load(list(self._arch.parts).index(part) * len(self._arch.modes) + mode)
        return self._queries[name]

    def contains(self, host_pc: int) -> bool:
        """True if a host address lies in tier 0."""
        return self.start <= host_pc < self.end or self._code.end <= host_pc < self._limit

    def _load(self, part: str, features: frozenset[str], *, last: bool) -> dict[str, int]:
        """Put a part into the code area; return its symbols' host addresses."""

        def compile_part() -> tuple[bytes, dict[str, int]]:
            from pemu.engine.tier0.modules import compile_tier0

            return compile_tier0(self._arch, part, features)

        name = " ".join([self._arch.name, *([part] if part else []), *sorted(features)])
        return self.load_module(name, compile_part, last=last)

    def load_module(
        self, name: str, make: Callable[[], tuple[bytes, dict[str, int]]], *, last: bool = True
    ) -> dict[str, int]:
        """Put code into the code area, to stay; return its symbols' host addresses.

        `make`: makes the code, with its symbols' offsets, where the cache has none of this name.
        """
        stored = self._cache.open_tier0(name) if self._cache is not None else None
        if stored is None:
            code, symbols = make()
            if self._cache is not None:
                self._cache.store_tier0(name, code, symbols)
            with self._lock:
                base = self._code.place(code, b"", last=last)
        else:
            fd, found = stored
            symbols = found.symbols
            try:
                with self._lock:
                    base = self._code.map(fd, found.code_at, found.code_size, [], last=last)
            finally:
                os.close(fd)
        return {symbol: base + offset for symbol, offset in symbols.items()}
