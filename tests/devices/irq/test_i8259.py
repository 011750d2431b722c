"""The pair of interrupt controllers, and one of them alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pemu.devices.irq.i8259 import CASCADE, pair
from pemu.machine.irq import Irq
from pemu.machine.isa import IsaBus
from pemu.machine.machine import Machine
from tests.devices.anyaccess import Access, accesses, check_state, perform


class Pair:
    """Two controllers with vectors from 0 and 8 on, as Linux on a Malta sets them up."""

    def __init__(self) -> None:
        self.machine = Machine("little")
        bus = IsaBus(self.machine, "isa.0", None, self.machine.memory.root, self.machine.io.root)
        self.output = Irq()
        self.master, self.irqs = pair(bus, self.output)
        self.machine.reset_devices()
        self.setup()

    def setup(self, icw4: int = 1) -> None:
        for port, icw2, icw3 in ((0x20, 0, 4), (0xA0, 8, 2)):
            self.write(port, 0x11)
            self.write(port + 1, icw2)
            self.write(port + 1, icw3)
            self.write(port + 1, icw4)
            self.write(port + 1, 0)

    def read(self, port: int) -> int:
        return self.machine.io.read(port, 1)

    def write(self, port: int, value: int) -> None:
        self.machine.io.write(port, value, 1)

    def pending(self) -> int:
        return self.output.level

    def acknowledge(self) -> int:
        return self.master.acknowledge()

    def eoi(self, number: int) -> None:
        if number >= 8:
            self.write(0xA0, 0x20)
        self.write(0x20, 0x20)


@pytest.fixture
def pic() -> Pair:
    return Pair()


def test_edge_is_served_once(pic: Pair) -> None:
    pic.irqs[4].raise_()
    assert pic.pending()
    assert pic.acknowledge() == 4
    assert not pic.pending()
    pic.eoi(4)
    assert not pic.pending()
    pic.irqs[4].lower()
    pic.irqs[4].raise_()
    assert pic.pending()


def test_edge_stays_when_its_line_falls(pic: Pair) -> None:
    pic.irqs[4].pulse()
    assert pic.acknowledge() == 4


def test_renewed_line_is_an_edge_after_the_acknowledge(pic: Pair) -> None:
    pic.irqs[4].raise_()
    pic.irqs[4].renew()
    assert pic.acknowledge() == 4
    pic.eoi(4)
    assert not pic.pending()
    pic.irqs[4].renew()
    assert pic.acknowledge() == 4
    assert pic.master.counts[4] == 3


def test_level_is_served_again_until_it_falls(pic: Pair) -> None:
    pic.write(0x4D1, 1 << 2)
    pic.irqs[10].raise_()
    assert pic.acknowledge() == 10
    assert not pic.pending()
    pic.eoi(10)
    assert pic.pending()
    assert pic.acknowledge() == 10
    pic.irqs[10].lower()
    pic.eoi(10)
    assert not pic.pending()


def test_level_that_falls_before_the_acknowledge_is_spurious(pic: Pair) -> None:
    pic.write(0x4D0, 1 << 5)
    pic.irqs[5].raise_()
    pic.irqs[5].lower()
    assert pic.acknowledge() == 7
    pic.write(0x20, 0x0B)
    assert pic.read(0x20) == 0


def test_edge_level_register_has_only_inputs_that_can_be_levels(pic: Pair) -> None:
    pic.machine.io.write(0x4D0, 0xFFFF, 2)
    assert (pic.read(0x4D0), pic.read(0x4D1)) == (0xF8, 0xDE)


def test_masked_request_waits(pic: Pair) -> None:
    pic.write(0x21, 1 << 4)
    pic.irqs[4].raise_()
    assert not pic.pending()
    assert pic.read(0x20) == 1 << 4
    assert pic.read(0x21) == 1 << 4
    pic.write(0x21, 0)
    assert pic.acknowledge() == 4


def test_lower_priority_waits_for_the_end_of_service(pic: Pair) -> None:
    pic.irqs[4].raise_()
    pic.acknowledge()
    pic.irqs[6].raise_()
    assert not pic.pending()
    pic.irqs[1].raise_()
    assert pic.acknowledge() == 1
    pic.eoi(1)
    pic.eoi(4)
    assert pic.acknowledge() == 6


def test_slave_comes_through_input_two(pic: Pair) -> None:
    pic.irqs[12].raise_()
    assert pic.acknowledge() == 12
    pic.write(0x20, 0x0B)
    pic.write(0xA0, 0x0B)
    assert (pic.read(0x20), pic.read(0xA0)) == (1 << 2, 1 << 4)
    pic.irqs[3].raise_()
    assert not pic.pending()
    pic.eoi(12)
    assert pic.acknowledge() == 3


def test_slave_that_has_nothing_more_to_say_makes_no_spurious_interrupt(pic: Pair) -> None:
    pic.write(0x4D1, 1 << 3)
    pic.irqs[11].raise_()
    pic.acknowledge()
    pic.eoi(11)
    pic.irqs[11].lower()
    assert not pic.pending()


def test_request_of_the_slave_that_is_gone_is_spurious(pic: Pair) -> None:
    pic.write(0x4D1, 1 << 3)
    pic.irqs[11].raise_()
    pic.irqs[11].lower()
    assert not pic.pending()
    assert pic.acknowledge() == 7


def test_specific_end_of_interrupt(pic: Pair) -> None:
    for number in (6, 3):
        pic.irqs[number].raise_()
        assert pic.acknowledge() == number
    pic.write(0x20, 0x60 | 6)
    pic.write(0x20, 0x0B)
    assert pic.read(0x20) == 1 << 3


def test_rotation_on_end_of_interrupt(pic: Pair) -> None:
    pic.irqs[3].raise_()
    pic.acknowledge()
    pic.write(0x20, 0xA0)
    pic.irqs[3].lower()
    for number in (3, 5, 1):
        pic.irqs[number].raise_()
    served = []
    for _ in range(3):
        served.append(pic.acknowledge())
        pic.eoi(0)
    assert served == [5, 1, 3]


def test_rotation_on_specific_end_and_set_priority(pic: Pair) -> None:
    pic.write(0x20, 0xC0 | 4)
    pic.irqs[4].raise_()
    pic.irqs[5].raise_()
    assert pic.acknowledge() == 5
    pic.write(0x20, 0xE0 | 5)
    assert pic.master.first == 6
    assert pic.acknowledge() == 4


def test_automatic_end_of_interrupt(pic: Pair) -> None:
    pic.setup(icw4=3)
    pic.irqs[5].pulse()
    assert pic.acknowledge() == 5
    pic.write(0x20, 0x0B)
    assert pic.read(0x20) == 0
    pic.irqs[6].pulse()
    assert pic.acknowledge() == 6


def test_rotation_on_automatic_end(pic: Pair) -> None:
    pic.setup(icw4=3)
    pic.write(0x20, 0x80)
    pic.irqs[5].pulse()
    pic.acknowledge()
    assert pic.master.first == 6
    pic.write(0x20, 0x00)
    pic.irqs[1].pulse()
    pic.acknowledge()
    assert pic.master.first == 6


def test_special_mask_mode_lets_lower_priorities_in(pic: Pair) -> None:
    pic.irqs[3].raise_()
    pic.acknowledge()
    pic.irqs[6].raise_()
    pic.write(0x21, 1 << 3)
    assert not pic.pending()
    pic.write(0x20, 0x68)
    assert pic.acknowledge() == 6
    pic.write(0x20, 0x20)
    pic.write(0x20, 0x0B)
    assert pic.read(0x20) == 1 << 3
    pic.write(0x20, 0x48)
    assert not pic.master.special_mask


def test_special_fully_nested_mode_lets_the_slave_interrupt_itself(pic: Pair) -> None:
    pic.setup(icw4=0x11)
    pic.irqs[12].raise_()
    assert pic.acknowledge() == 12
    pic.irqs[9].raise_()
    assert pic.acknowledge() == 9


def test_poll(pic: Pair) -> None:
    pic.write(0x20, 0x0C)
    assert pic.read(0x20) == 0
    pic.irqs[5].raise_()
    pic.write(0x20, 0x0C)
    assert pic.read(0x20) == 0x85
    assert pic.read(0x20) == 0
    pic.write(0x20, 0x0B)
    assert pic.read(0x20) == 1 << 5


def test_poll_of_a_cascade(pic: Pair) -> None:
    pic.irqs[14].raise_()
    pic.write(0x20, 0x0C)
    assert pic.read(0x20) == 0x82
    pic.write(0xA0, 0x0C)
    assert pic.read(0xA1) == 0x86


def test_initialization_forgets_edges_but_not_levels(pic: Pair) -> None:
    pic.write(0x4D0, 1 << 5)
    pic.irqs[5].raise_()
    pic.irqs[4].raise_()
    pic.write(0x20, 0x11)
    assert pic.read(0x20) == 1 << 5
    assert pic.read(0x21) == 0


def test_single_controller_expects_no_icw3(pic: Pair) -> None:
    pic.write(0x20, 0x13)
    pic.write(0x21, 0x40)
    pic.write(0x21, 0x01)
    pic.write(0x21, 0xFE)
    assert pic.read(0x21) == 0xFE
    pic.irqs[0].raise_()
    assert pic.acknowledge() == 0x40


def test_icw4_is_left_out_on_demand(pic: Pair) -> None:
    pic.write(0x20, 0x10)
    pic.write(0x21, 0x40)
    pic.write(0x21, 0x04)
    pic.write(0x21, 0x5A)
    assert pic.read(0x21) == 0x5A


def test_reset_lowers_the_output(pic: Pair) -> None:
    pic.irqs[3].raise_()
    pic.irqs[12].raise_()
    pic.machine.reset_devices()
    assert not pic.pending()


def test_line_of_info_pic(pic: Pair) -> None:
    pic.irqs[1].raise_()
    assert pic.master.line("pic0") == (
        "pic0: irr=02 imr=00 isr=00 hprio=0 irq_base=00 rr_sel=0 elcr=00 fnm=0"
    )


LINES = st.sampled_from([number for number in range(16) if number != CASCADE])


@given(accesses(2), accesses(2), accesses(2), st.lists(LINES))
def test_any_accesses(
    to_master: list[Access], to_slave: list[Access], to_levels: list[Access], lines: list[int]
) -> None:
    pic = Pair()
    for number in lines:
        pic.irqs[number].set(not pic.irqs[number].level)
    perform(pic.machine.io, 0x20, to_master)
    perform(pic.machine.io, 0x4D0, to_levels)
    perform(pic.machine.io, 0xA0, to_slave)
    for number in lines:
        pic.irqs[number].set(not pic.irqs[number].level)
        assert 0 <= pic.acknowledge() < 256
    check_state(pic.machine)
