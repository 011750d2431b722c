"""The DMA controllers of a PC, with a device at a channel."""

from __future__ import annotations

import pytest

from pemu.devices.dma import i8237
from pemu.machine.irq import Irq
from pemu.machine.isa import DmaChannel, IsaBus
from pemu.machine.machine import Machine
from pemu.machine.region import Ram
from tests.devices.anyaccess import check_state
from tests.machine.battering import batter

READ, WRITE, AUTO, DOWN = 0x48, 0x44, 0x10, 0x20
"""Modes: from memory, to memory, with automatic initialization, downwards."""


class Bench:
    """A machine with both controllers and 16 MiB of memory."""

    def __init__(self) -> None:
        self.machine = Machine()
        root = self.machine.memory.root
        root.add(Ram("ram", 16 << 20), 0)
        irqs = [Irq() for _ in range(16)]
        self.bus = IsaBus(self.machine, "isa", None, root, self.machine.io.root, irqs)
        i8237.pair(self.bus)
        self.machine.reset()

    def write(self, port: int, *values: int) -> None:
        for value in values:
            self.machine.io.write(port, value, 1)

    def read(self, port: int) -> int:
        return self.machine.io.read(port, 1)

    def memory(self, address: int, length: int) -> bytes:
        return self.machine.memory.dma_read(address, length)

    def set_up(self, number: int, mode: int, address: int, count: int) -> DmaChannel:
        """Program channel 2 or 5, as drivers do, with an address and count of bytes."""
        assert number in (2, 5)
        base, step, page = (0x00, 1, 0x81) if number == 2 else (0xC0, 2, 0x8B)
        at = base + (number & 3) * 2 * step
        units, start = count // step, address // step & 0xFFFF
        self.write(base + 10 * step, number & 3 | 4)
        self.write(base + 12 * step, 0)
        self.write(base + 11 * step, number & 3 | mode)
        self.write(at, start & 0xFF, start >> 8)
        self.write(at + step, units - 1 & 0xFF, units - 1 >> 8)
        self.write(page, address >> 16)
        self.write(base + 10 * step, number & 3)
        return self.bus.dma[number]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_to_memory_until_the_terminal_count(bench: Bench) -> None:
    channel = bench.set_up(2, WRITE, 0x123450, 8)
    moves = [(channel.to_memory(data), channel.ended) for data in (b"abcde", b"fghij")]
    assert moves == [(5, False), (3, True)]
    assert bench.memory(0x12344F, 10) == b"\0abcdefgh\0"
    assert bench.read(8) == 0x04
    assert bench.read(8) == 0
    assert bench.read(15) == 0xFF, "the channel is masked at its end"
    assert channel.to_memory(b"more") == 0


def test_from_memory(bench: Bench) -> None:
    bench.machine.memory.dma_write(0x200, b"something")
    channel = bench.set_up(2, READ, 0x200, 9)
    assert channel.from_memory(4) == b"some"
    assert (bench.read(4), bench.read(4)) == (0x04, 0x02)
    assert (bench.read(5), bench.read(5)) == (4, 0)
    assert channel.from_memory(512) == b"thing"


def test_words_have_even_addresses(bench: Bench) -> None:
    channel = bench.set_up(5, WRITE, 0x030010, 8)
    assert channel.to_memory(b"12345678") == 8
    assert bench.memory(0x030010, 8) == b"12345678"


def test_addresses_stay_in_their_page(bench: Bench) -> None:
    bench.set_up(2, WRITE, 0x02FFFE, 4).to_memory(b"abcd")
    assert bench.memory(0x02FFFE, 2) + bench.memory(0x020000, 2) == b"abcd"


def test_downwards(bench: Bench) -> None:
    bench.set_up(2, WRITE | DOWN, 0x1003, 4).to_memory(b"abcd")
    assert bench.memory(0x1000, 4) == b"dcba"


def test_automatic_initialization_begins_again(bench: Bench) -> None:
    channel = bench.set_up(2, WRITE | AUTO, 0x1000, 4)
    assert channel.to_memory(b"abcd") == 4
    assert channel.ended
    assert channel.to_memory(b"efgh") == 4
    assert bench.memory(0x1000, 5) == b"efgh\0"


def test_verifying_counts_only(bench: Bench) -> None:
    channel = bench.set_up(2, 0x40, 0x1000, 4)
    assert channel.to_memory(b"abcd") == 4
    assert bench.memory(0x1000, 4) == bytes(4)


def test_device_waits_for_its_channel(bench: Bench) -> None:
    moved: list[int] = []
    channel = bench.bus.dma[2]
    channel.when_ready(lambda: moved.append(channel.to_memory(b"abcd")))
    assert moved == []
    bench.set_up(2, WRITE, 0x1000, 4)
    assert moved == [4]


def test_disabled_controller_transfers_nothing(bench: Bench) -> None:
    channel = bench.set_up(2, WRITE, 0x1000, 4)
    bench.write(8, 4)
    assert channel.to_memory(b"abcd") == 0


def test_master_clear(bench: Bench) -> None:
    bench.write(15, 0)
    bench.write(9, 5)
    assert bench.read(8) == 0x20
    bench.write(13, 0)
    assert (bench.read(8), bench.read(15)) == (0, 0xFF)
    bench.write(14, 0)
    assert bench.read(15) == 0xF0


def test_random_accesses(bench: Bench) -> None:
    batter(bench.machine, 20_000, seed=1)
    for channel in bench.bus.dma:
        channel.to_memory(bytes(512))
        channel.from_memory(512)
    check_state(bench.machine)
