"""What files of regions cost: to open one when a program starts, and to add to it when it ends.

    python -m bench.cache

Prints milliseconds of processor time for files of several sizes, with invented content.
"""

from __future__ import annotations

import os
import tempfile
from time import thread_time

from pemu.engine.code.cache import REGIONS, CodeCache
from pemu.engine.code.regionstore import Module, RegionStore, merge, pack

SIZES = (10_000, 100_000, 1_000_000)
"""Guest instructions."""

WORDS = 400
"""Of a module; it has ten regions of two entries and two ranges of guest code each."""

CODE_BYTES = 25 * WORDS


def invented(number: int) -> Module:
    """The module for a range of guest addresses."""
    start = 0x400000 + 4 * WORDS * number
    regions = []
    for index in range(10):
        pc = start + 160 * index
        ranges = [(pc, os.urandom(80)), (pc + 80, os.urandom(80))]
        regions.append((CODE_BYTES // 10 * index, [pc, pc + 80], ranges, False))
    code = os.urandom((CODE_BYTES + 4095) // 4096 * 4096)
    lines = {".debug_line": os.urandom(2 * WORDS)}
    return Module(code, bytes(160), WORDS, regions, lines, [(0, start)])


def measure(cache: CodeCache, words: int) -> tuple[float, float, float]:
    """Megabytes of a file, and the seconds that it takes to open it and to add a module."""
    parts = pack("program", [invented(number) for number in range(words // WORDS)])
    cache.store(REGIONS, "program", parts)
    begin = thread_time()
    fd = cache.open(REGIONS, "program")
    assert fd is not None
    store = RegionStore(fd)
    opened = thread_time()
    os.close(fd)
    merged = merge(store.good_modules(), [invented(words)])
    cache.store(REGIONS, "program", pack("program", merged))
    added = thread_time()
    store.close()
    return sum(map(len, parts)) / 1e6, opened - begin, added - opened


def main() -> None:
    print("instructions  megabytes  to open, ms  to add, ms")
    with tempfile.TemporaryDirectory() as folder:
        cache = CodeCache(folder)
        cache.open_tier0("none")  # reads the sources' names and times
        for words in SIZES:
            size, opening, adding = measure(cache, words)
            print(f"{words:12}  {size:9.1f}  {1e3 * opening:11.2f}  {1e3 * adding:10.1f}")


if __name__ == "__main__":
    main()
