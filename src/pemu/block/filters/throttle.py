"""Limits on how fast and how often an image is read and written; several may share them.

Each limit is a leaky bucket: requests fill it, it leaks at the average rate, and who finds it full
waits. Source: docs/throttle.txt of QEMU describes what the keys mean.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from pemu.block.driver import Driver
from pemu.block.error import ImageError
from pemu.block.filters.filter import Filter
from pemu.block.image import Image
from pemu.block.opening import Opening
from pemu.block.pieces import Buffers, Pieces
from pemu.block.tree import typed
from pemu.options.keyval import Group, Key
from pemu.options.types import Int, Text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.block.opening import Opener

BUCKETS = ("bps-total", "bps-read", "bps-write", "iops-total", "iops-read", "iops-write")

LARGEST = 10**15
"""Of a limit, per second."""

SHORTEST_BURST = 0.1
"""Seconds whose worth may come at once where no burst is allowed."""


_NOTHING = 1e-6
"""Seconds that nobody waits for: what rounding leaves."""


class Bucket:
    """One limit. average: per second, 0 for none. burst: per second, for `seconds` at most."""

    def __init__(self, average: int = 0, burst: int = 0, seconds: int = 1) -> None:
        self.average = average
        self.burst = burst
        self._room = burst * seconds if burst else average * SHORTEST_BURST
        self._level = 0.0
        self._quick = Bucket(burst) if burst and seconds > 1 else None

    def leak(self, seconds: float) -> None:
        """Let time go by."""
        self._level = max(self._level - self.average * seconds, 0)
        if self._quick is not None:
            self._quick.leak(seconds)

    def wait(self) -> float:
        """Seconds until there is room again."""
        if not self.average:
            return 0
        quick = self._quick.wait() if self._quick is not None else 0
        return max((self._level - self._room) / self.average, quick, 0)

    def fill(self, units: float) -> None:
        """Note a request."""
        if self.average:
            self._level += units
            if self._quick is not None:
                self._quick.fill(units)


class ThrottleGroup:
    """Limits that several images share, in requests and bytes. Raises ImageError for impossible
    ones.

    limits: by key, as `LIMITS` declares them. name: what it is called. clock, sleep: for tests.
    """

    def __init__(
        self,
        limits: Mapping[str, Any],
        *,
        name: str = "",
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = name
        self.limits = given = {key: value or 0 for key, value in limits.items()}
        self._buckets: dict[str, Bucket] = {}
        for name in BUCKETS:
            average, burst = given.get(name, 0), given.get(f"{name}-max", 0)
            seconds = given.get(f"{name}-max-length", 0) or 1
            if burst and burst <= average:
                raise ImageError("bps_max/iops_max cannot be lower than bps/iops")
            if burst and not average:
                raise ImageError("bps_max/iops_max require corresponding bps/iops values")
            if seconds > 1 and not burst:
                raise ImageError("burst length set without burst rate")
            self._buckets[name] = Bucket(average, burst, seconds)
        for kind in ("bps", "iops"):
            if given.get(f"{kind}-total") and any(
                given.get(f"{kind}-{one}") for one in ("read", "write")
            ):
                raise ImageError(
                    "bps/iops/max total values and read/write values cannot be used at the same "
                    "time"
                )
        self._unit = given.get("iops-size", 0)
        self._clock = clock
        self._sleep = sleep
        self._now = clock()
        self._lock = threading.Lock()
        self._turns = {"read": threading.Lock(), "write": threading.Lock()}
        self.limited = any(bucket.average for bucket in self._buckets.values())
        """Whether there is any limit."""

    def wait(self, kind: str, length: int) -> None:
        """Wait until a request of `length` bytes may go on; kind: 'read' or 'write'."""
        bytes_, requests = (
            [self._buckets[f"{unit}-{which}"] for which in ("total", kind)]
            for unit in ("bps", "iops")
        )
        with self._turns[kind]:
            while True:
                with self._lock:
                    now = self._clock()
                    for bucket in self._buckets.values():
                        bucket.leak(now - self._now)
                    self._now = now
                    pause = max(bucket.wait() for bucket in (*bytes_, *requests))
                    if pause < _NOTHING:
                        for bucket in bytes_:
                            bucket.fill(length)
                        for bucket in requests:
                            bucket.fill(max(length / self._unit, 1) if self._unit else 1)
                        return
                self._sleep(pause)


class Throttled(Filter):
    """Reads and writes `below` no faster than `group` allows."""

    format: ClassVar[str] = "throttle"

    def __init__(self, below: Image, group: ThrottleGroup) -> None:
        super().__init__(below)
        self.group = group

    def _read_into(self, offset: int, buffers: Buffers) -> None:
        self.group.wait("read", sum(map(len, buffers)))
        self._below.read_into(offset, buffers)

    def read_cached(self, offset: int, buffers: Buffers) -> bool:
        return not self.group.limited and self._below.read_cached(offset, buffers)

    def _write_from(self, offset: int, pieces: Pieces) -> None:
        self.group.wait("write", sum(map(len, pieces)))
        self._below.write_from(offset, pieces)

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        self.group.wait("write", length)
        self._below.write_zeroes(offset, length, unmap=unmap)

    def _discard(self, offset: int, length: int) -> None:
        self.group.wait("write", length)
        self._below.discard(offset, length)


LIMITS = tuple(
    Key(f"{name}{suffix}", Int(maximum=LARGEST))
    for name in BUCKETS
    for suffix in ("", "-max", "-max-length")
) + (Key("iops-size", Int(maximum=LARGEST), "bytes that count as one request"),)

_OLD_NAMES = {"bps": "bps-total", "iops": "iops-total", "bps_max": "bps-total-max"}
_OLD_NAMES |= {"iops_max": "iops-total-max", "iops_size": "iops-size"}
_OLD_NAMES |= {
    f"{unit}_{way}{suffix}": f"{unit}-{way}{long}"
    for unit in ("bps", "iops")
    for way in ("rd", "wr")
    for suffix, long in (("", ""), ("_max", "-max"))
}
OLD_NAMES = {
    old: new.replace("-rd", "-read").replace("-wr", "-write") for old, new in _OLD_NAMES.items()
}
"""What -drive called the limits before they were `throttling.*`."""


def make_group(values: Mapping[str, Any], objects: Mapping[str, Any]) -> ThrottleGroup:
    """The object throttle-group."""
    own = {key.name: values[f"x-{key.name}"] for key in LIMITS}
    nested = values["limits"] or {}
    return ThrottleGroup({key: own[key] if nested.get(key) is None else nested[key] for key in own})


def take_limits(tree: dict[str, Any]) -> tuple[dict[str, int], str]:
    """Take from the keys of a -drive those about throttling: the limits, and the group's name.

    Raises ImageError.
    """
    given = dict(tree.pop("throttling", None) or {})
    group = str(given.pop("group", None) or tree.pop("group", ""))
    for old, new in OLD_NAMES.items():
        if old in tree:
            given[new] = tree.pop(old)
    limits = typed(given, LIMITS, "throttling")
    return {key: value for key, value in limits.items() if value}, group


def throttled(image: Image, limits: Mapping[str, int], group: str, opener: Opener) -> Image:
    """`image` with the limits of a -drive; those of one group are shared.

    Raises ImageError, and the image is closed then.
    """
    if not limits and not group:
        return image
    try:
        made = ThrottleGroup(limits, name=group)
        found = opener.objects.setdefault(group, made) if group else made
        if not isinstance(found, ThrottleGroup):
            raise ImageError(f"'{group}' is no throttle group")
    except BaseException:
        image.close()
        raise
    return Throttled(image, found)


OBJECTS = {
    "throttle-group": (
        (
            Key("limits", Group("limits", LIMITS), "the limits"),
            *(Key(f"x-{key.name}", key.type, key.help) for key in LIMITS),
        ),
        make_group,
    )
}


def _open(opening: Opening) -> Image:
    name = opening.options["throttle-group"]
    group = opening.graph.objects.get(name)
    if not isinstance(group, ThrottleGroup):
        raise ImageError(f"Throttle group '{name}' does not exist")
    return Throttled(opening.filtered("file"), group)


DRIVER = Driver(
    "throttle",
    _open,
    keys=(Key("throttle-group", Text("id"), "object that has the limits", required=True),),
)
