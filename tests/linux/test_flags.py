"""Translation and names of flags and enumerations."""

from __future__ import annotations

import errno

from pemu.linux.flags import Enum, Flags
from pemu.linux.mips.errno import TO_GUEST, TO_HOST, to_guest, to_host

OPEN = Flags(
    """
    RDONLY 0     0
    WRONLY 1     1
    RDWR   2     2
    SYNC   0x30  0x300
    DSYNC  0x10  0x100
    CREAT  0x100 0x40
    """,
    fields=(3,),
)


def test_bits_translate_both_ways() -> None:
    assert OPEN.to_host(0x102) == 0x42
    assert OPEN.to_guest(0x42) == 0x102
    assert OPEN.to_host(0x30) == 0x300
    assert OPEN.to_host(0x10) == 0x100
    assert OPEN.to_host(0x20) == 0


def test_a_field_holds_one_number() -> None:
    assert OPEN.to_host(3) == 0
    assert OPEN.show(2) == "RDWR"
    assert OPEN.show(0x130) == "RDONLY|SYNC|CREAT"


def test_bits_without_a_name() -> None:
    assert OPEN.unknown(0x8102) == 0x8000
    assert OPEN.show(0x8001) == "WRONLY|0x8000"
    assert Flags("A 1 2", keep=True).to_host(0x11) == 0x12
    assert Flags("A 1 2", invalid=0x80).to_host(0x11) == 0x82
    assert Flags("A 1 2").to_host(0x11) == 2


def test_enumeration() -> None:
    commands = Enum("GET 14 5\nSET 6\nGET64 33 5")
    assert (commands.to_host(14), commands.to_host(33), commands.to_host(99)) == (5, 5, 99)
    assert commands.to_guest(5) == 14
    assert (commands.show(33), commands.show(7)) == ("GET64", "7")
    assert commands.known(6)
    assert not commands.known(5)


def test_errors_translate_both_ways_and_low_ones_are_the_same() -> None:
    assert to_guest(errno.ENOSYS) == 89
    assert to_host(89) == errno.ENOSYS
    assert to_guest(errno.EDQUOT) == 1133
    assert all(to_guest(number) == number for number in range(35))
    assert to_guest(524) == 524
    assert len(TO_GUEST) == 134
    assert {to_host(guest) for guest in TO_HOST} == set(range(1, 134)) - {41, 58}
