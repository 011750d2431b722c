"""Files of compiled regions: what is written is what is found, and damage is noticed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pemu.engine.code import regionstore as r
from pemu.engine.code.regionstore import Module, RegionStore, merge, pack

PAGE = 4096


def module(*tags: int, pages: int = 1, fill: int = 1, data: bytes = b"") -> Module:
    """A module with one region for each tag, all of one guest instruction."""
    regions = [(64 * number, [tag], [(tag, b"code")], False) for number, tag in enumerate(tags)]
    code = bytes([fill]) * (pages * PAGE)
    return Module(code, data, len(tags), regions, {".debug_line": b"lines"}, [(0, tags[0])])


def fields(one: Module) -> tuple[object, ...]:
    return tuple(getattr(one, name) for name in Module.__slots__)


def opened(parts: list[bytes], path: Path) -> RegionStore:
    path.write_bytes(b"".join(parts))
    fd = os.open(path, os.O_RDONLY)
    try:
        return RegionStore(fd)
    finally:
        os.close(fd)


def found(store: RegionStore, content: bytes, tag: int) -> tuple[int, int, list[bytes]] | None:
    """What native code finds for a tag: offset of code, entry number, guest code; None if nothing.

    `content` is that of the file.
    """
    slot = r.hashed(tag) & store.table_mask
    while True:
        here = store.table_at + slot * r.ENTRY_BYTES
        known, record, number = r._ENTRY.unpack_from(content, here)
        if not record:
            return None
        if known == tag:
            break
        slot = (slot + 1) & store.table_mask
    code, _module, count, _flags = r._RECORD.unpack_from(content, record)
    copies = []
    for index in range(count):
        at = record + r.RECORD_BYTES + index * r.RANGE_BYTES
        _pc, size, copy = r._RANGE.unpack_from(content, at)
        copies.append(content[copy : copy + size])
    return code, number, copies


tags = st.integers(1, (1 << 48) - 1).map(lambda number: number * 4 & (1 << 48) - 1)
ranges = st.lists(
    st.tuples(st.integers(0, 1 << 40), st.binary(min_size=4, max_size=64)), min_size=1, max_size=4
)
regions = st.lists(
    st.tuples(
        st.integers(0, PAGE - 1),
        st.lists(tags, min_size=1, max_size=5, unique=True),
        ranges,
        st.booleans(),
    ),
    min_size=1,
    max_size=4,
)
modules = st.lists(
    st.builds(
        Module,
        st.integers(1, 3).map(lambda pages: os.urandom(pages * PAGE)),
        st.binary(max_size=100).map(lambda data: data.ljust((len(data) + 7) // 8 * 8, b"\0")),
        st.integers(0, 1000),
        regions,
        st.dictionaries(st.sampled_from([".debug_line", ".debug_line_str"]), st.binary()),
        st.lists(st.tuples(st.integers(0, PAGE), st.integers(0, 1 << 40))),
    ),
    max_size=4,
)


@given(modules, st.text(st.characters(blacklist_categories=["Cs"])))
def test_file_holds_what_was_packed(
    tmp_path_factory: pytest.TempPathFactory, packed: list[Module], identity: str
) -> None:
    store = opened(pack(identity, packed), tmp_path_factory.mktemp("store") / "file")
    assert store.identity == identity
    assert store.words == sum(one.words for one in packed)
    assert [fields(one) for one in store.modules()] == [fields(one) for one in packed]
    assert len(store.good_modules()) == len(packed)
    store.check()
    store.close()


@given(modules)
def test_every_entry_is_found_in_the_table(
    tmp_path_factory: pytest.TempPathFactory, packed: list[Module]
) -> None:
    parts = pack("program", packed)
    content = b"".join(parts)
    store = opened(parts, tmp_path_factory.mktemp("store") / "file")
    expected = {}
    start = 0
    for one in packed:
        for offset, entries, code, _ in one.regions:
            for number, tag in enumerate(entries):
                expected[tag] = (start + offset, number, [copy for _, copy in code])
        start += len(one.code) + (len(one.data) + PAGE - 1) // PAGE * PAGE
    assert {tag: found(store, content, tag) for tag in expected} == expected
    assert found(store, content, 0x7FFF_FFFF_FFF0) == expected.get(0x7FFF_FFFF_FFF0)
    store.close()


def test_identity_may_be_any_path(tmp_path: Path) -> None:
    name = os.fsdecode(b"/bin/\xff\0\n")
    store = opened(pack(name, [module(4)]), tmp_path / "file")
    assert store.identity == name
    store.close()


def test_open_store_keeps_no_descriptor(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    store = opened(pack("program", [module(4)]), tmp_path / "file")
    assert os.listdir("/proc/self/fd") == before
    store.close()


# Damage.


@given(st.data())
def test_changed_byte_of_the_index_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    parts = pack("program", [module(4, 8), module(12)])
    (index_bytes,) = r._HEADER.unpack_from(parts[0])[2:3]
    damaged = bytearray(parts[0])
    at = data.draw(st.one_of(st.integers(0, r._HEADER.size - 1), st.integers(0, index_bytes - 1)))
    damaged[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ValueError, match="damaged|truncated"):
        opened([bytes(damaged), *parts[1:]], tmp_path_factory.mktemp("store") / "file")


@pytest.mark.parametrize("part", [1, 2])
def test_module_with_damaged_code_or_data_is_left_out(tmp_path: Path, part: int) -> None:
    parts = pack("program", [module(4, data=bytes(8)), module(8)])
    parts[part] = b"\xff" + parts[part][1:]
    store = opened(parts, tmp_path / "file")
    assert [one.regions[0][1] for one in store.good_modules()] == [[8]]
    with pytest.raises(ValueError, match="damaged code"):
        store.check()
    store.close()


@given(st.data())
def test_changed_byte_of_the_tail_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    *parts, tail = pack("program", [module(4)])
    damaged = bytearray(tail)
    damaged[data.draw(st.integers(0, len(tail) - 1))] ^= data.draw(st.integers(1, 255))
    store = opened([*parts, bytes(damaged)], tmp_path_factory.mktemp("store") / "file")
    with pytest.raises(ValueError, match="damaged tail"):
        store.modules()
    store.close()


@pytest.mark.parametrize("size", [0, 1, 12, 63, 64, 300, PAGE, 2 * PAGE, -1])
def test_truncated_file_is_noticed(tmp_path: Path, size: int) -> None:
    content = b"".join(pack("program", [module(4, data=bytes(8))]))
    with pytest.raises(ValueError, match="truncated"):
        opened([content[:size]], tmp_path / "file")


def test_file_of_another_kind_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="another kind"):
        opened([b"#!/bin/sh\n".ljust(9000)], tmp_path / "file")


# Merging.


def test_module_whose_blocks_are_all_compiled_anew_goes() -> None:
    old = [module(4), module(8, 12)]
    new = [module(4), module(8, 16)]
    assert merge(old, new) == [old[1], *new]


def test_later_region_for_a_block_counts(tmp_path: Path) -> None:
    parts = pack("program", merge([module(4, 8)], [module(8)]))
    store = opened(parts, tmp_path / "file")
    content = b"".join(parts)
    assert found(store, content, 4) == (0, 0, [b"code"])
    assert found(store, content, 8) == (PAGE, 0, [b"code"])
    store.close()


def test_oldest_modules_go_when_the_limit_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(r, "MOST_BYTES", 5 * PAGE)
    old = [module(4, pages=1), module(8, pages=2)]
    new = [module(12, pages=1, data=b"data"), module(16, pages=1)]
    assert merge(old, new) == [old[1], *new]


def test_replaced_modules_do_not_count_for_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(r, "MOST_BYTES", 3 * PAGE)
    old = [module(4), module(8, pages=2)]
    new = [module(8, pages=2)]
    assert merge(old, new) == [old[0], *new]
