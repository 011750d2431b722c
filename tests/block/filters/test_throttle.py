"""Throttling: how long requests wait, by a clock that the test moves."""

from __future__ import annotations

from pathlib import Path

import pytest

from pemu.block.error import ImageError
from pemu.block.filters.throttle import ThrottleGroup, take_limits
from pemu.block.graph import Graph
from pemu.block.objects import add_object


class Clock:
    """A clock that goes on when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def read(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def taken(limits: dict[str, int], *requests: tuple[str, int]) -> float:
    """Seconds that requests take one after the other."""
    clock = Clock()
    group = ThrottleGroup(limits, clock=clock.read, sleep=clock.sleep)
    for kind, length in requests:
        group.wait(kind, length)
    return clock.now


def test_bytes_per_second() -> None:
    assert taken({"bps-total": 1000}, *[("read", 100)] * 101) == pytest.approx(9.9, abs=0.2)


def test_requests_per_second() -> None:
    assert taken({"iops-write": 10}, *[("write", 1)] * 101) == pytest.approx(9.9, abs=0.2)


def test_other_direction_is_not_limited() -> None:
    assert taken({"bps-read": 1}, *[("write", 100)] * 100) == 0


def test_large_requests_count_more_than_once() -> None:
    limits = {"iops-total": 10, "iops-size": 4096}
    assert taken(limits, *[("read", 40960)] * 11) == pytest.approx(10, abs=0.2)


def test_burst_is_quick_and_then_it_is_over() -> None:
    limits = {"bps-total": 100, "bps-total-max": 1000, "bps-total-max-length": 2}
    assert taken(limits, *[("read", 10)] * 190) == pytest.approx(1.8, abs=0.2)
    assert taken(limits, *[("read", 10)] * 400) > 15


def test_without_limits_nobody_waits() -> None:
    assert taken({}, *[("read", 1 << 30)] * 100) == 0


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"bps-total": 10, "bps-read": 10}, "cannot be used at the same time"),
        ({"bps-total-max": 10}, "require corresponding"),
        ({"bps-total": 10, "bps-total-max": 5}, "cannot be lower"),
        ({"bps-total": 10, "bps-total-max-length": 5}, "without burst rate"),
    ],
)
def test_impossible_limits_are_refused(limits: dict[str, int], message: str) -> None:
    with pytest.raises(ImageError, match=message):
        ThrottleGroup(limits)


def test_old_keys_of_drives_mean_the_same() -> None:
    tree = {"bps": "100", "iops_rd_max": "9", "group": "g", "throttling": {"iops-read": 5}, "x": 1}
    limits = {"bps-total": 100, "iops-read-max": 9, "iops-read": 5}
    assert take_limits(tree) == (limits, "g")
    assert tree == {"x": 1}


def test_nodes_share_a_group(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(b"abcd" * 1024)
    graph = Graph()
    add_object(graph.objects, "throttle-group,id=g,x-iops-total=1000000")
    tree = {
        "driver": "throttle",
        "throttle-group": "g",
        "file": {"driver": "file", "filename": str(tmp_path / "disk")},
    }
    images = [graph.open({**tree, "read-only": True}) for _ in range(2)]
    assert [image.read(0, 4) for image in images] == [b"abcd", b"abcd"]
    for image in images:
        image.close()
    with pytest.raises(ImageError, match="Throttle group 'h' does not exist"):
        graph.open({**tree, "throttle-group": "h"})
