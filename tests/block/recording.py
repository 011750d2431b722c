"""A file in memory that records what is done to it: what it holds if the power is cut."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from typing import ClassVar, NamedTuple

from pemu.block.image import Image
from pemu.block.pieces import Buffers, Pieces

SECTOR = 512

FARTHEST = 1 << 34
"""A file that is to be longer than this is a mistake."""


class Step(NamedTuple):
    """Something done to the file: a write, a change of its length, or (neither) a flush."""

    offset: int = 0
    data: bytes | None = None
    length: int | None = None


class Recording(Image):
    """A file with contents `data`; its steps are noted. most: bytes, then the disk is full."""

    format: ClassVar[str] = "recording"

    def __init__(self, data: bytes, *, readonly: bool = False, most: int = 1 << 30) -> None:
        super().__init__("recording", len(data), readonly=readonly)
        self.start = bytes(data)
        self.data = bytearray(data)
        self.most = most
        self.steps: list[Step] = []
        self.flushes = 0

    def within(self, offset: int, length: int, *, writes: bool = False) -> None:
        if writes and not self.readonly and 0 <= offset and 0 <= length:
            assert offset + length <= FARTHEST, f"a write to {offset:#x}"
            if offset + length > self.most:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        else:
            super().within(offset, length, writes=writes)

    def _read_into(self, offset: int, buffers: Buffers) -> None:
        for view in buffers:
            view[:] = self.data[offset : offset + len(view)]
            offset += len(view)

    def _write_from(self, offset: int, pieces: Pieces) -> None:
        data = b"".join(pieces)
        self.steps.append(Step(offset, data))
        put(self.data, offset, data)
        self.size = len(self.data)

    def truncate(self, size: int, *, preallocation: str = "off") -> None:
        assert not self.readonly
        assert size <= FARTHEST, f"a file of {size:#x} bytes"
        if size > self.most:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.steps.append(Step(length=size))
        resize(self.data, size)
        self.size = size

    def flush(self) -> None:
        self.steps.append(Step())
        self.flushes += 1

    def grow(self) -> None:
        """It can."""

    def allocated(self) -> int:
        return len(self.data)

    def cuts(self, seed: int, variants: int = 3) -> Iterator[tuple[int, bytes]]:
        """What is left if the power is cut: after how many steps, and the contents.

        Steps before the last flush are there. Of those after it there are, by turns: all, or some,
        of which some are torn between sectors.
        """
        chance = random.Random(seed)
        safe = bytearray(self.start)
        since: list[Step] = []
        for count, step in enumerate(self.steps, 1):
            if step.data is None and step.length is None:
                for one in since:
                    _apply(safe, one)
                since = []
                yield count, bytes(safe)
                continue
            since.append(step)
            for variant in range(variants):
                left = bytearray(safe)
                for one in since:
                    if not variant or one.length is not None:
                        _apply(left, one)
                    elif chance.random() < 0.6:
                        _apply(left, _torn(one, chance) if chance.random() < 0.3 else one)
                yield count, bytes(left)


def put(data: bytearray, offset: int, piece: bytes) -> None:
    """Write `piece`; what lies between the end and it becomes zeros."""
    if offset > len(data):
        data.extend(bytes(offset - len(data)))
    data[offset : offset + len(piece)] = piece


def resize(data: bytearray, size: int) -> None:
    """Cut off what is too much, or fill up with zeros."""
    del data[size:]
    data.extend(bytes(size - len(data)))


def _apply(data: bytearray, step: Step) -> None:
    if step.data is not None:
        put(data, step.offset, step.data)
    elif step.length is not None:
        resize(data, step.length)


def _torn(step: Step, chance: random.Random) -> Step:
    """The beginning or the end of a write."""
    assert step.data is not None
    first = SECTOR - step.offset % SECTOR
    cuts = [*range(first, len(step.data), SECTOR)]
    if not cuts:
        return step
    cut = chance.choice(cuts)
    if chance.randrange(2):
        return Step(step.offset, step.data[:cut])
    return Step(step.offset + cut, step.data[cut:])
