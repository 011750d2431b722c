"""blkdebug: errors where and when a test wants them.

Rules wait for events: what a format tells of by `Image.event` (read_aio and write_aio are those of
contents), and the accesses that come here (preadv, pwritev, pwritev_zero, flush_to_disk). An
inject-error rule has accesses fail from then on, a set-state rule changes the state that others
ask for. Breakpoints wait for events, too: the request that comes there first is suspended until it
is resumed. Source: docs/devel/blkdebug.rst of QEMU describes the rules.
"""

from __future__ import annotations

import errno
import os
import sys
import threading

from pemu.block.driver import Driver
from pemu.block.error import ImageError
from pemu.block.filters.aligned import Aligned
from pemu.block.filters.filter import Filter
from pemu.block.image import Extent, Image, Limits
from pemu.block.opening import Opening
from pemu.block.pieces import Buffers, Pieces, take
from pemu.options.error import quoted
from pemu.options.keyval import Group, Key
from pemu.options.types import Bool, Enum, Int, ListOf, Size, Text
from pemu.records import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, ClassVar

EVENTS = (
    "l1_update l1_grow_alloc_table l1_grow_write_table l1_grow_activate_table l2_load l2_update "
    "l2_update_compressed l2_alloc_cow_read l2_alloc_write read_aio read_backing_aio "
    "read_compressed write_aio write_compressed vmstate_load vmstate_save cow_read cow_write "
    "reftable_load reftable_grow reftable_update refblock_load refblock_update "
    "refblock_update_part refblock_alloc refblock_alloc_hookup refblock_alloc_write "
    "refblock_alloc_write_blocks refblock_alloc_write_table refblock_alloc_switch_table "
    "cluster_alloc cluster_alloc_bytes cluster_free flush_to_os flush_to_disk pwritev_rmw_head "
    "pwritev_rmw_after_head pwritev_rmw_tail pwritev_rmw_after_tail pwritev pwritev_zero "
    "pwritev_done empty_image_prepare l1_shrink_write_table l1_shrink_free_l2_clusters cor_write "
    "cluster_alloc_space none preadv"
).split()

USUAL = ("read", "write", "write-zeroes", "discard", "flush")
"""Kinds of accesses that fail where a rule says nothing else."""


@dataclass
class Rule:
    """One rule. state: the one it waits in, 0 for any. new_state: of set-state rules.

    error: number. offset: byte that an access must touch, None for any. kind: of accesses, '' for
    the usual ones.
    """

    event: str
    state: int = 0
    new_state: int | None = None
    error: int = errno.EIO
    offset: int | None = None
    once: bool = False
    kind: str = ""

    def strikes(self, kind: str, offset: int, length: int) -> bool:
        """Whether an access fails. A flush is everywhere."""
        if kind != self.kind if self.kind else kind not in USUAL:
            return False
        return self.offset is None or kind == "flush" or offset <= self.offset < offset + length


@dataclass(eq=False)
class _Stop:
    """A request is suspended at a breakpoint. thread: whose it is."""

    tag: str
    thread: int


def _tell(text: str) -> None:
    """Print a line, as QEMU's blkdebug does: scripts look for it."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class Debug(Filter):
    """Fails as `rules` have it. most: bytes of one access, 0 for any; more come in pieces."""

    format: ClassVar[str] = "blkdebug"

    def __init__(self, below: Image, rules: list[Rule], *, most: int = 0) -> None:
        super().__init__(below)
        self._rules = rules
        self._active: list[Rule] = []
        self._state = 1
        self._most = most
        self._breakpoints: list[tuple[str, str]] = []
        self._stops: list[_Stop] = []
        self.changed = threading.Condition()
        """Told when requests have been suspended or resumed."""
        self.event("none")

    def event(self, name: str) -> None:
        tags: list[str] = []
        with self.lock:
            if self._breakpoints:
                tags = [tag for event, tag in self._breakpoints if event == name]
                self._breakpoints = [one for one in self._breakpoints if one[0] != name]
            found = [one for one in self._rules if one.event == name]
            found = [one for one in found if one.state in (0, self._state)]
            injected = [one for one in found if one.new_state is None]
            if injected:
                self._active = injected
            for rule in found:
                if rule.new_state is not None:
                    self._state = rule.new_state
        super().event(name)
        if tags:
            self._suspend(tags)

    def _access(self, kind: str, offset: int, length: int, *events: str) -> None:
        """Raise OSError where a rule says so."""
        if not self._rules and not self._breakpoints:
            return
        for name in events:
            self.event(name)
        with self.lock:
            for rule in self._active:
                if rule.strikes(kind, offset, length):
                    if rule.once:
                        self._active.remove(rule)
                        self._rules.remove(rule)
                    raise OSError(rule.error, os.strerror(rule.error))

    def allocated(self) -> int | None:
        return None

    def read_cached(self, offset: int, buffers: Buffers) -> bool:
        return False

    def _read_into(self, offset: int, buffers: Buffers) -> None:
        rest = list(buffers)
        for at, length in self._pieces(offset, sum(map(len, buffers))):
            self._access("read", at, length, "preadv")
            part, rest = take(rest, length)
            self._below.read_into(at, part)

    def _write_from(self, offset: int, pieces: Pieces) -> None:
        rest = [memoryview(piece) for piece in pieces]
        for at, length in self._pieces(offset, sum(map(len, rest))):
            self._access("write", at, length, "pwritev")
            part, rest = take(rest, length)
            self._below.write_from(at, part)
            self.event("pwritev_done")

    # Breakpoints

    def set_breakpoint(self, event: str, tag: str) -> None:
        """Suspend the next request that comes to an event. Raises OSError for an unknown one."""
        if event not in EVENTS:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        with self.lock:
            self._breakpoints.insert(0, (event, tag))

    def remove_breakpoint(self, tag: str) -> None:
        """Take breakpoints away, and let go what they have suspended. Raises OSError without."""
        with self.lock:
            left = [one for one in self._breakpoints if one[1] != tag]
            found = len(left) != len(self._breakpoints)
            self._breakpoints = left
        while self.suspended(tag):
            self.resume(tag)
        if not found:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))

    def resume(self, tag: str) -> None:
        """Let a suspended request go on. Raises OSError without one."""
        with self.changed:
            stop = next((one for one in self._stops if one.tag == tag), None)
            if stop is None:
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
            _tell(f"blkdebug: Resuming request '{tag}'")
            self._stops.remove(stop)
            self.changed.notify_all()

    def suspended(self, tag: str) -> bool:
        """Whether a request is suspended that a breakpoint with this tag has stopped."""
        return any(one.tag == tag for one in self._stops)

    def stopped_threads(self) -> set[int]:
        """The threads with requests that are suspended."""
        return {one.thread for one in self._stops}

    def let_go(self) -> None:
        """Take all breakpoints away, and let all requests go on."""
        with self.lock:
            self._breakpoints = []
        for stop in list(self._stops):
            self.resume(stop.tag)

    def _suspend(self, tags: list[str]) -> None:
        stops = [_Stop(tag, threading.get_ident()) for tag in tags]
        with self.changed:
            for stop in stops:
                self._stops.insert(0, stop)
                _tell(f"blkdebug: Suspended request '{stop.tag}'")
            self.changed.notify_all()
            self.changed.wait_for(lambda: not any(stop in self._stops for stop in stops))

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        self._access("write-zeroes", offset, length, "pwritev_zero")
        self._below.write_zeroes(offset, length, unmap=unmap)

    def _discard(self, offset: int, length: int) -> None:
        self._access("discard", offset, length)
        self._below.discard(offset, length)

    def flush(self) -> None:
        self._access("flush", 0, 0, "flush_to_os", "flush_to_disk")
        self._below.flush()

    def _status(self, offset: int, length: int) -> Extent:
        self._access("block-status", offset, length)
        return self._below.status(offset, length)

    def _pieces(self, offset: int, length: int) -> list[tuple[int, int]]:
        most = self._most or length
        end = offset + length
        return [(at, min(most, end - at)) for at in range(offset, end, most or 1)]


class _Blocks(Aligned):
    """What has blkdebug's `align`."""

    def limits(self) -> Limits:
        return self._below.limits()._replace(alignment=self._block)


_COMMON = (
    Key("event", Enum(EVENTS, name="event"), "what the rule waits for", required=True),
    Key("state", Int(maximum=1 << 31), "state in which it holds, 0 for any", default=0),
)

_INJECT = Group(
    "inject-error",
    (
        *_COMMON,
        Key("iotype", Enum((*USUAL, "block-status")), "kind of access"),
        Key("errno", Int(1, 4095), "number of the error", default=errno.EIO),
        Key("sector", Int(-1, 1 << 55), "sector that an access must touch", default=-1),
        Key("once", Bool(), "whether one access fails only", default=False),
        Key("immediately", Bool(), "without waiting; here always", default=False),
    ),
)

_SET_STATE = Group(
    "set-state",
    (
        *_COMMON,
        Key("new_state", Int(1, 1 << 31), "the state from then on", required=True),
    ),
)


def _injection(values: Mapping[str, Any]) -> Rule:
    return Rule(
        values["event"],
        values["state"],
        error=values["errno"],
        offset=None if values["sector"] < 0 else values["sector"] * 512,
        once=values["once"],
        kind=values["iotype"] or "",
    )


def read_config(text: str, name: str) -> list[Rule]:
    """The rules of a file with sections [inject-error] and [set-state]. Raises ImageError."""
    groups = {group.name: group for group in (_INJECT, _SET_STATE)}
    sections: list[tuple[Group, dict[str, str]]] = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("[") and line.endswith("]") and line[1:-1] in groups:
            sections.append((groups[line[1:-1]], {}))
            continue
        key, equals, value = (part.strip() for part in line.partition("="))
        if not equals or not sections:
            raise ImageError(
                f"{name}:{number}: {quoted(line)} is neither a section nor key = value"
            )
        sections[-1][1][key] = value.strip('"')
    return [_rule(group, values) for group, values in sections]


def _rule(group: Group, values: dict[str, str]) -> Rule:
    from pemu.block.tree import typed

    found = typed(values, group.keys.values(), f"[{group.name}]")
    if group is _INJECT:
        return _injection(found)
    return Rule(found["event"], found["state"], new_state=found["new_state"])


def _open(opening: Opening) -> Image:
    options = opening.options
    align, most = options["align"], options["max-transfer"]
    if align & (align - 1):
        raise ImageError(f"Cannot meet constraints with align {align}; it must be a power of two")
    if most % (align or 1):
        raise ImageError(f"Cannot meet constraints with max-transfer {most}")
    rules = []
    if options["config"]:
        try:
            with open(options["config"], encoding="utf-8", errors="replace") as file:
                rules += read_config(file.read(1 << 20), options["config"])
        except OSError as error:
            raise ImageError(
                f"Could not read blkdebug config file: {options['config']}: {error.strerror}"
            ) from None
    rules += [
        Rule(one["event"], one["state"], new_state=one["new_state"])
        for one in options["set-state"] or ()
    ]
    rules += map(_injection, options["inject-error"] or ())
    below = opening.filtered("image")
    image = Debug(below, rules, most=most)
    return _Blocks(image, align) if align > 1 else image


def _parse(name: str) -> dict[str, Any]:
    """blkdebug:config:image, the config empty for none."""
    config, colon, image = name.removeprefix("blkdebug:").partition(":")
    if not colon:
        raise ImageError(f"'{name}' has no image; write blkdebug:config:image")
    tree: dict[str, Any] = {"image": {"filename": image}}
    return {**tree, "config": config} if config else tree


DRIVER = Driver(
    "blkdebug",
    _open,
    keys=(
        Key("config", Text("path"), "file with rules"),
        Key("align", Size(maximum=1 << 26), "what accesses are multiples of", default=0),
        Key("max-transfer", Size(maximum=1 << 31), "bytes of one access", default=0),
        *(
            Key(f"{kind}-{what}", Size(maximum=1 << 31), "accepted, without effect")
            for kind in ("opt", "max")
            for what in ("write-zero", "discard")
        ),
        Key("inject-error", ListOf(_INJECT), "rules that have accesses fail"),
        Key("set-state", ListOf(_SET_STATE), "rules that change the state"),
    ),
    children=("image",),
    parse_name=_parse,
)
