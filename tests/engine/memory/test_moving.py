"""Memory of the guest that moves and grows, as mremap(2) does it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable

import pytest

from pemu.engine.host import memory as hostmemory
from pemu.engine.host.memory import host_map
from pemu.engine.layout.pages import PAGE, READ, WRITE
from pemu.engine.memory import process as memory
from pemu.engine.memory.process import AddressSpace

START = 0x100000
PRIVATE = 0x22
SHARED = 0x01


HOLE_CASES = {"moves": (1, 0x400000), "grows": (2, None), "grows and moves": (2, 0x400000)}


@pytest.mark.parametrize("case", HOLE_CASES)
@pytest.mark.parametrize("kind", ["anonymous", "private", "shared"])
def test_memory_that_moves_leaves_no_place_to_the_host(
    kind: str, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before and after every step of a move the host gets no memory among the guest's."""
    space = AddressSpace(32, True)
    size = 16 * PAGE
    stolen: list[int] = []

    def watched(call: Callable[..., int]) -> Callable[..., int]:
        def wrapper(*arguments: int) -> int:
            try:
                return call(*arguments)
            finally:
                stolen.append(host_map(0, size, READ, PRIVATE))

        return wrapper

    with tempfile.TemporaryFile() as file:
        file.write(b"content" + bytes(2 * size))
        file.flush()
        how = {"anonymous": PRIVATE, "private": 0x02, "shared": SHARED}[kind] | 0x10
        fd = -1 if kind == "anonymous" else file.fileno()
        start = space.map(START, size, READ | WRITE, how, fd)
        space.write(start + PAGE, b"content")
        factor, target = HOLE_CASES[case]
        flags = 1 if target is None else 3
        for module in (hostmemory, memory):
            for name in ("host_map", "host_remap", "host_unmap"):
                call = getattr(module, name)
                monkeypatch.setattr(module, name, watched(call))
        moved = space.remap(start, size, factor * size, flags, target or 0)
        monkeypatch.undo()
    assert space.read(moved + PAGE, 7) == b"content"
    assert space.read(moved + factor * size - PAGE, PAGE) == bytes(PAGE)
    assert not [at for at in stolen if space.base <= at < space.base + space.size]


@pytest.mark.parametrize("kind", ["anonymous", "shared"])
def test_memory_grows_in_its_place(kind: str) -> None:
    space = AddressSpace(32, True)
    with tempfile.TemporaryFile() as file:
        file.write(bytes(3 * PAGE) + b"end")
        file.flush()
        fd = -1 if kind == "anonymous" else file.fileno()
        start = space.map(START, 2 * PAGE, READ | WRITE, PRIVATE if fd < 0 else SHARED, fd)
        space.write(start, b"content")
        assert space.remap(start, 2 * PAGE, 4 * PAGE, 0) == start
        assert space.read(start, 7) == b"content"
        assert space.read(start + 3 * PAGE, 3) == (bytes(3) if fd < 0 else b"end")
        assert space.writable(start, 4 * PAGE)


def test_a_mapping_moves_with_what_it_grew_by() -> None:
    space = AddressSpace(32, True)
    start = space.map(START, PAGE, READ | WRITE, PRIVATE | 0x10)
    for index in range(1, 20):
        space.put_u32(start + (index - 1) * PAGE, index)
        target = 0x1000000 * index if index % 3 else 0
        flags = 3 if target else index % 2
        start = space.remap(start, index * PAGE, (index + 1) * PAGE, flags, target)
        assert [space.u32(start + page * PAGE) for page in range(index)] == [*range(1, index + 1)]


def test_a_mapping_does_not_move_onto_itself() -> None:
    space = AddressSpace(32, True)
    start = space.map(START, 4 * PAGE, READ | WRITE, PRIVATE | 0x10)
    with pytest.raises(OSError, match="onto itself"):
        space.remap(start, 4 * PAGE, 4 * PAGE, 3, start + PAGE)
