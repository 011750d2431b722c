"""Damaged images: each field of headers and tables is changed, and the image is used all the same.

What must come of it: an error of one sentence, an OSError of a request, or data; never another
exception, a hang, much memory, or a file that grows without bound.
"""

from __future__ import annotations

import random
import resource
import signal
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any, NamedTuple

from pemu.block.error import ImageError
from pemu.block.graph import Graph
from pemu.block.image import Image, Snapshot
from pemu.block.opening import Mode
from pemu.block.structure import Structure
from tests.block.recording import Recording, put

SECONDS = 20
MEMORY = 1 << 30
GROWTH = 1 << 28


class Field(NamedTuple):
    """A number in the file: its name, where it is, how many bytes it has, and their order."""

    name: str
    offset: int
    width: int
    order: str = "little"


def fields_of(structure: type[Structure], base: int = 0, name: str = "") -> list[Field]:
    """The fields of a structure at `base` bytes into the file; of long ones the first 8 bytes."""
    ends = [*list(structure.OFFSETS.values())[1:], structure.SIZE]
    return [
        Field(
            f"{name}{key}",
            base + start,
            min(end - start, 8),
            "big" if structure.FORMATS[key].startswith(">") else "little",
        )
        for (key, start), end in zip(structure.OFFSETS.items(), ends, strict=True)
    ]


def entries(name: str, base: int, width: int, count: int, order: str = "little") -> list[Field]:
    """The entries of a table at `base`."""
    places = range(base, base + width * count, width)
    return [Field(f"{name}[{n}]", place, width, order) for n, place in enumerate(places)]


def mutations(
    data: bytes, fields: Iterable[Field], seed: int, each: int
) -> Iterator[tuple[str, bytes]]:
    """For each field `each` images in which it is another: what has been changed, the image."""
    chance = random.Random(seed)
    for field in fields:
        raw = data[field.offset : field.offset + field.width]
        order: Any = field.order
        old = int.from_bytes(raw, order)
        top = (1 << 8 * field.width) - 1
        values = [
            0, top, old + 1, old - 1, 1, top >> 1, (top >> 1) + 1, old << 1, old >> 1, old << 9,
            top - 1, len(data), len(data) // 512, old ^ 1 << 8 * field.width - 1,
            len(data) - 1, old + 512,
        ]  # fmt: skip
        if each < len(values):
            values = values[:4] + chance.sample(values[4:], max(each - 4, 0))
        while len(values) < each:
            kind = chance.randrange(3)
            if kind == 0:
                values.append(old ^ 1 << chance.randrange(8 * field.width))
            else:
                values.append(chance.getrandbits(chance.randrange(1, 8 * field.width + 1)))
        for value in dict.fromkeys(one & top for one in values[: max(each, 4)]):
            if value != old:
                changed = bytearray(data)
                put(changed, field.offset, value.to_bytes(field.width, order))
                yield f"{field.name} = {value:#x}", bytes(changed)


def tangles(data: bytes, fields: list[Field], seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """`count` images in which structures are at odds with each other: what was done, the image.

    Fields say what others say, point to other fields' structures, into the header, to the end or
    beyond it; structures are put over each other, filled with random bytes, cut off.
    """
    chance = random.Random(seed)
    places = sorted({0, 512, len(data), len(data) + 65536, *(one.offset for one in fields)})
    units = (1, 512, 4096, 65536)
    for _ in range(count):
        changed, done = bytearray(data), []
        for _ in range(chance.choice((1, 2, 2, 3, 5))):
            field, other = chance.choice(fields), chance.choice(fields)
            size = chance.choice((8, 64, 512))
            match chance.randrange(8):
                case 0 | 1 | 2:
                    place = chance.choice(places) // 512 * 512 // chance.choice(units)
                    value = place | chance.choice((0, 0, 1 << 63, 1 << 62, 1)) * (field.width == 8)
                    done.append(_set(changed, field, value))
                case 3:
                    raw = bytes(data[other.offset : other.offset + other.width])
                    order: Any = other.order
                    done.append(_set(changed, field, int.from_bytes(raw, order)))
                case 4:
                    bits = chance.randrange(1, 8 * field.width + 1)
                    done.append(_set(changed, field, chance.getrandbits(bits)))
                case 5:
                    put(changed, field.offset, bytes(data[other.offset : other.offset + size]))
                    done.append(f"{field.name} has {size} bytes from {other.name} on")
                case 6:
                    filled = chance.choice((b"\0" * size, b"\xff" * size, chance.randbytes(size)))
                    put(changed, field.offset, filled)
                    done.append(f"{size} bytes from {field.name} on are {filled[:4]!r}...")
                case 7 if chance.randrange(4) == 0:
                    end = chance.choice((field.offset, field.offset + 512, len(changed) - 1))
                    del changed[max(end, 1) :]
                    done.append(f"cut off at {end}")
        yield ", ".join(done), bytes(changed)


def _set(changed: bytearray, field: Field, value: int) -> str:
    order: Any = field.order
    value &= (1 << 8 * field.width) - 1
    put(changed, field.offset, value.to_bytes(field.width, order))
    return f"{field.name} = {value:#x}"


def exercise(format: str, data: bytes, what: str, *, writes: bool, seed: int = 1) -> str:
    """Use an image; returns what came of it. Raises for what must not be, with `what` as a note."""
    disk = Recording(data, readonly=not writes, most=len(data) + GROWTH)
    graph = Graph()
    graph.nodes["disk"] = disk
    old_handler = signal.signal(signal.SIGPROF, _too_long)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (_taken() + MEMORY, hard))
    try:
        return _exercise(graph, format, writes, seed)
    except BaseException as error:
        error.add_note(f"{format}: {what}")
        raise
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, old_handler)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        assert writes or disk.data == data, f"{format}: {what}: written to"


def _exercise(graph: Graph, format: str, writes: bool, seed: int) -> str:
    tree: dict[str, Any] = {"driver": format, "file": "disk"}
    try:
        image = graph.open(tree, Mode(readonly=not writes, backing=False))
    except ImageError as error:
        return str(error)
    outcome = "used"
    try:
        for step in _steps(image, writes, seed):
            try:
                step()
            except (OSError, ImageError) as error:
                outcome = str(error)
    finally:
        try:
            image.close()
        except OSError as error:
            outcome = str(error)
    return outcome


def _steps(image: Image, writes: bool, seed: int) -> Iterator[Any]:
    chance = random.Random(seed)
    places = [0, image.size // 2, max(image.size - 4096, 0)]
    places += [chance.randrange(max(image.size, 1)) for _ in range(3)]
    for place in places:
        offset = place // 512 * 512
        length = min(4096, image.size - offset)
        yield lambda offset=offset, length=length: image.read(offset, length)
        yield lambda offset=offset: image.status(offset, image.size - offset)
        if writes:
            data = chance.randbytes(length)
            yield lambda offset=offset, data=data: image.write(offset, data)
            yield lambda offset=offset, length=length: image.discard(offset, length)
            yield lambda o=offset, n=length: image.write_zeroes(o, n, unmap=True)
    yield image.details
    yield image.snapshots
    yield image.check_image
    yield image.bitmaps
    if writes:
        yield image.flush
        yield lambda: image.check_image("all")
        yield lambda: image.write(places[1] // 512 * 512, b"x" * min(512, image.size))
        changes = list(_changes(image, chance))
        yield from chance.sample(changes, min(len(changes), 4))
        yield lambda: image.check_image("leaks")


def _changes(image: Image, chance: random.Random) -> Iterator[Any]:
    """What is done to an image as a whole: snapshots, bitmaps, other sizes, other options."""
    for key in ("1", "one"):
        yield lambda key=key: image.apply_snapshot(key)
        yield lambda key=key: image.delete_snapshot(key)
    yield lambda: image.create_snapshot(Snapshot("", "new"))
    yield lambda: image.add_bitmap("new")
    for name in ("b0", "b1"):
        yield lambda name=name: list(image.dirty_ranges(name))
        yield lambda name=name: image.clear_bitmap(name)
        yield lambda name=name: image.remove_bitmap(name)
    yield lambda: image.merge_bitmap("b0", image, "b1")
    yield lambda: image.set_backing("", "")
    yield lambda: image.truncate(image.size + 65536)
    yield lambda: image.truncate(image.size // 2 // 512 * 512)
    yield lambda: image.truncate(image.size + (1 << 20), preallocation="metadata")
    yield image.make_empty
    cluster = image.limits().cluster
    if 0 < cluster <= 1 << 21:
        yield lambda: image.write_compressed(0, chance.randbytes(8) * (cluster // 8))
    for options in ({"compat": "0.10"}, {"compat": "1.1"}, {"refcount_bits": 8}):
        yield lambda options=options: list(image.amend(options))
    yield lambda: list(image.amend({"lazy_refcounts": True}))


def _taken() -> int:
    """Bytes of address space that this process has."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def _too_long(number: int, frame: FrameType | None) -> None:
    raise AssertionError(f"took more than {SECONDS} s of the processor's time")
