"""getrandom: the host's randomness, or with -seed the same numbers in every run."""

from __future__ import annotations

from pemu.linux.host_ranges import host_range_for_writing
from pemu.linux.hostcalls import NR
from pemu.linux.syscall import syscall
from pemu.linux.types.base import Size
from pemu.linux.types.names import Bits
from pemu.linux.types.pointers import OutBuf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from random import Random

    from pemu.linux.process import Thread

_LARGEST = 32 << 20
"""Most bytes the kernel gives at once is 32 MiB - 1; a guest with -seed gets no more either."""

RandomFlags = Bits("unsigned int", "GRND_NONBLOCK 1 GRND_RANDOM 2 GRND_INSECURE 4")

_generator: Random | None = None


@syscall("getrandom", OutBuf(1), Size, RandomFlags, native="getrandom")
def getrandom(t: Thread, buffer: int, size: int, flags: int) -> int:
    seed = t.process.options.seed
    if seed is None:
        start = host_range_for_writing(t.mem, buffer, size)
        return t.host_syscall(NR["getrandom"], start, size, flags)
    return _seeded(t, seed, buffer, min(size, _LARGEST - 1))


def _seeded(t: Thread, seed: int, buffer: int, size: int) -> int:
    global _generator
    if _generator is None:
        from random import Random

        _generator = Random(seed)
    t.mem.write(buffer, _generator.randbytes(size))
    return size
