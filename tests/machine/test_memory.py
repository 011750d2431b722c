"""Regions and address spaces, against a search of the tree for each address."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pemu.machine.memory import AddressSpace, RamRange, flatten
from pemu.machine.region import (
    Alias,
    BusError,
    Mmio,
    Order,
    Ram,
    Region,
    RomDevice,
    Terminal,
    transaction,
)
from pemu.options.error import OptionError

SIZE = 64


def seen_at(region: Region, address: int) -> tuple[Terminal, int] | None:
    """What is seen at `address` of `region`: the reference, one address at a time."""
    if not region.enabled or not 0 <= address < region.size:
        return None
    if isinstance(region, Alias):
        return seen_at(region.target, address + region.offset)
    for child in region.children:
        found = seen_at(child, address - child.address)
        if found:
            return found
    return (region, address) if isinstance(region, Terminal) else None


def nothing(name: str, size: int) -> Mmio:
    return Mmio(name, size, lambda offset, size: 0, lambda offset, value, size: None)


@st.composite
def trees(draw: st.DrawFn) -> Region:
    root = Region("root", SIZE)
    places: list[Region] = [root]
    for number in range(draw(st.integers(1, 8))):
        size = draw(st.integers(1, 32))
        kind = draw(st.sampled_from(("mmio", "container", "alias")))
        region: Region
        if kind == "mmio":
            region = nothing(f"m{number}", size)
        elif kind == "container":
            region = Region(f"c{number}", size)
        else:
            target = nothing(f"t{number}", 40)
            if draw(st.booleans()):
                target.add(nothing(f"u{number}", 5), draw(st.integers(0, 39)))
            region = Alias(f"a{number}", target, draw(st.integers(0, 39)), size)
        region.enabled = draw(st.integers(0, 5)) > 0
        parent = draw(st.sampled_from(places))
        parent.add(region, draw(st.integers(0, 60)), draw(st.integers(-1, 2)))
        if not isinstance(region, Alias):
            places.append(region)
    return root


@given(trees())
def test_flat_view_shows_what_each_address_has(root: Region) -> None:
    flat: dict[int, tuple[Terminal, int]] = {}
    end = 0
    for one in flatten(root):
        assert end <= one.start < one.end
        end = one.end
        for address in range(one.start, one.end):
            flat[address] = (one.region, one.offset + address - one.start)
    for address in range(SIZE):
        assert flat.get(address) == seen_at(root, address)


@given(trees())
def test_flat_view_has_no_two_ranges_that_are_one(root: Region) -> None:
    view = flatten(root)
    for one, two in zip(view, view[1:], strict=False):
        continues = one.end == two.start and one.offset + one.end - one.start == two.offset
        assert not (continues and one.region is two.region)


def space(order: Order = "little") -> AddressSpace:
    return AddressSpace("test", Region("root", 1 << 64), order)


class Recorder:
    """A region's functions: reads return what the offset's bytes say, writes are noted."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, ...]] = []

    def read(self, offset: int, size: int) -> int:
        self.calls.append((offset, size))
        return int.from_bytes(bytes(range(offset + 0x10, offset + 0x10 + size)), "little")

    def write(self, offset: int, value: int, size: int) -> None:
        self.calls.append((offset, value, size))


@pytest.mark.parametrize(
    ("device", "cpu", "value"),
    [
        ("little", "little", 0x13121110),
        ("little", "big", 0x10111213),
        ("big", "big", 0x13121110),
        ("big", "little", 0x10111213),
        (None, "big", 0x13121110),
        (None, "little", 0x13121110),
    ],
)
def test_register_byte_order(device: Order | None, cpu: Order, value: int) -> None:
    memory, recorder = space(cpu), Recorder()
    memory.root.add(Mmio("m", 16, recorder.read, recorder.write, order=device), 0x100)
    assert memory.read(0x100, 4) == value
    memory.write(0x104, value, 4)
    assert recorder.calls == [(0, 4), (4, 0x13121110, 4)]


def test_wide_access_is_split_into_what_the_device_takes() -> None:
    memory, recorder = space("big"), Recorder()
    memory.root.add(Mmio("m", 16, recorder.read, recorder.write, maximum=2), 0)
    assert memory.read(0, 4) == 0x10111213
    memory.write(0, 0x01020304, 4)
    assert recorder.calls == [(0, 2), (2, 2), (0, 0x0201, 2), (2, 0x0403, 2)]


def test_narrow_read_is_cut_out_of_what_the_device_gives() -> None:
    memory, recorder = space(), Recorder()
    memory.root.add(Mmio("m", 16, recorder.read, recorder.write, minimum=4), 0)
    assert memory.read(6, 1) == 0x16
    assert recorder.calls == [(4, 4)]


def test_narrow_write_has_zeros_beside_it() -> None:
    memory, recorder = space(), Recorder()
    memory.root.add(Mmio("m", 16, recorder.read, recorder.write, minimum=4), 0)
    memory.write(6, 0xAB, 1)
    assert recorder.calls == [(4, 0xAB0000, 4)]


def test_unaligned_access_is_split() -> None:
    memory, recorder = space(), Recorder()
    memory.root.add(Mmio("m", 16, recorder.read, recorder.write), 0)
    assert memory.read(1, 4) == 0x14131211
    assert recorder.calls == [(1, 1), (2, 2), (4, 1)]


def test_access_across_two_ranges() -> None:
    memory, recorder = space("big"), Recorder()
    ram = Ram("ram", 0x1000)
    memory.root.add(ram, 0)
    memory.root.add(Mmio("m", 16, recorder.read, recorder.write), 0x1000)
    ram.write_bytes(0xFFE, b"\xaa\xbb")
    assert memory.read(0xFFE, 4) == 0xAABB1011


def test_read_of_nothing_asks_the_board() -> None:
    memory = space()
    memory.unassigned = lambda address, size, is_write: 0x1122334455
    assert memory.read(0x1000, 4) == 0x22334455


def test_board_may_refuse_access_to_nothing() -> None:
    memory = space()

    def refuse(address: int, size: int, is_write: bool) -> int:
        raise BusError

    memory.unassigned = refuse
    with pytest.raises(BusError):
        memory.write(0x1000, 1, 4)
    assert memory.dma_read(0x1000, 8) == bytes(8)


def test_ram_ranges_tell_where_memory_is() -> None:
    memory = space()
    ram, rom = Ram("ram", 0x3000), Ram("rom", 0x1000, readonly=True)
    memory.root.add(ram, 0x10000)
    memory.root.add(rom, 0x11000, priority=1)
    assert memory.ram_ranges() == [
        RamRange(0x10000, 0x11000, ram.host, True, ram, 0),
        RamRange(0x11000, 0x12000, rom.host, False, rom, 0),
        RamRange(0x12000, 0x13000, ram.host + 0x2000, True, ram, 0x2000),
    ]


def test_listeners_hear_once_of_a_transaction() -> None:
    memory = space()
    heard: list[int] = []
    memory.listen(lambda: heard.append(len(memory.view)))
    with transaction():
        memory.root.add(Ram("a", 0x1000), 0)
        memory.root.add(Ram("b", 0x1000), 0x1000)
    assert heard == [0, 2]


def test_nothing_is_heard_of_a_change_that_cannot_be_seen() -> None:
    memory = space()
    hidden = Region("hidden", 0x1000)
    hidden.enabled = False
    memory.root.add(hidden, 0)
    heard: list[int] = []
    memory.listen(lambda: heard.append(1))
    hidden.add(Ram("a", 0x1000), 0)
    assert heard == [1]


def test_removed_and_disabled_regions_are_not_seen() -> None:
    memory = space()
    one, two = Ram("one", 0x1000), Ram("two", 0x1000)
    memory.root.add(one, 0)
    memory.root.add(two, 0x1000)
    one.enabled = False
    memory.root.remove(two)
    assert memory.view == []
    one.enabled = True
    assert [at.region for at in memory.view] == [one]


def test_write_to_rom_is_ignored() -> None:
    memory = space()
    rom = Ram("rom", 0x1000, readonly=True)
    rom.write_bytes(0, b"code")
    memory.root.add(rom, 0)
    memory.write(0, 0, 4)
    memory.dma_write(0, b"evil")
    assert rom.read_bytes(0, 4) == b"code"


def test_flash_is_read_as_memory_or_by_its_function() -> None:
    memory, recorder = space("little"), Recorder()
    flash = RomDevice("flash", 0x1000, recorder.read, recorder.write)
    flash.write_bytes(0, b"\x01\x02\x03\x04")
    memory.root.add(flash, 0)
    assert memory.read(0, 4) == 0x04030201
    memory.write(0, 0x90, 1)
    flash.direct = False
    assert memory.read(0, 4) == 0x13121110
    assert memory.ram_ranges() == []
    assert recorder.calls == [(0, 0x90, 1), (0, 4)]


def test_translated_code_hears_of_dma() -> None:
    memory = space()
    ram = Ram("ram", 0x2000)
    memory.root.add(ram, 0x8000)
    heard: list[tuple[int, int]] = []
    ram.written = lambda offset, length: heard.append((offset, length))
    memory.dma_write(0x8100, bytes(300))
    memory.write(0x8004, 0, 4)
    assert heard == [(0x100, 300), (4, 4)]


def test_dma_across_ram_and_registers() -> None:
    memory, recorder = space(), Recorder()
    memory.root.add(Ram("ram", 0x1000), 0)
    memory.root.add(Mmio("m", 8, recorder.read, recorder.write), 0x1000)
    memory.dma_write(0xFFE, b"\x01\x02\x03\x04\x05\x06\x07\x08")
    assert recorder.calls == [(0, 0x06050403, 4), (4, 0x0807, 2)]
    assert memory.dma_read(0xFFE, 4) == b"\x01\x02\x10\x11"


def test_dma_to_the_devices_own_registers_is_refused() -> None:
    memory, device = space(), object()
    done: list[int] = []

    def write(offset: int, value: int, size: int) -> None:
        done.append(value)
        memory.dma_write(0, bytes([value + 1]), device)

    memory.root.add(Mmio("m", 4, lambda offset, size: 0, write, device), 0)
    memory.write(0, 1, 1)
    assert done == [1]


def test_dma_in_a_circle_of_devices_ends() -> None:
    memory, devices = space(), (object(), object())
    done: list[int] = []

    def write(number: int, offset: int, value: int, size: int) -> None:
        done.append(number)
        memory.dma_write(8 * (1 - number), bytes([1]), devices[number])

    for number in (0, 1):
        memory.root.add(
            Mmio(
                f"m{number}",
                4,
                lambda offset, size: 0,
                partial(write, number),
                devices[number],
            ),
            8 * number,
        )
    memory.write(0, 1, 1)
    assert done == [0, 1]


def test_dma_view_is_the_memory_itself() -> None:
    memory = space()
    ram = Ram("ram", 0x2000)
    memory.root.add(ram, 0x8000)
    view = memory.dma_view(0x8FF0, 0x20)
    assert view is not None
    view[:4] = b"disk"
    assert memory.dma_read(0x8FF0, 4) == b"disk"
    assert memory.dma_view(0x9FF0, 0x20) is None


def test_dma_at_the_end_of_the_address_space_wraps_around() -> None:
    memory = space()
    memory.root.add(Ram("ram", 0x1000), 0)
    memory.dma_write((1 << 64) - 2, b"abcd")
    assert memory.dma_read(0, 2) == b"cd"


def test_container_moves_with_what_it_holds() -> None:
    memory = space()
    box, ram = Region("box", 0x4000), Ram("ram", 0x1000)
    memory.root.add(box, 0x10000)
    box.add(ram, 0x1000)
    box.move(0x20000)
    assert [(at.start, at.end) for at in memory.view] == [(0x21000, 0x22000)]


def test_more_memory_than_the_host_has() -> None:
    with pytest.raises(OptionError, match="cannot set up guest memory big of"):
        Ram("big", 1 << 62)


def test_alias_can_be_aimed_elsewhere() -> None:
    memory, ram = space(), Ram("ram", 0x4000)
    ram.write_bytes(0x3000, b"x")
    window = Alias("window", ram, 0, 0x1000)
    memory.root.add(window, 0x8000)
    window.aim(ram, 0x3000)
    assert memory.dma_read(0x8000, 1) == b"x"
