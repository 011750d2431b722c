"""What there is where the command line does not say."""

from __future__ import annotations

from typing import ClassVar

import pytest

from pemu.cli import system, system_defaults
from pemu.cli.system_options import COMMAND, SystemOptions
from pemu.machine.board import Board


def options(*words: str) -> SystemOptions:
    parsed = COMMAND.parse(words)
    return system.gather(parsed.given, parsed.rest)


class WithDrives(Board):
    """A board with an empty CD-ROM and an empty floppy drive."""

    empty_drives: ClassVar[tuple[str, ...]] = ("cdrom", "fda")

    def create(self) -> None:
        pass


@pytest.mark.parametrize(
    ("words", "serials", "monitors"),
    [
        ([], ["null"], ["null"]),
        (["-nographic"], ["mon:stdio"], []),
        (["-nographic", "-monitor", "none"], ["stdio"], ["none"]),
        (["-nographic", "-serial", "null"], ["null"], ["stdio"]),
        (["-nographic", "-serial", "mon:stdio"], ["mon:stdio"], []),
        (["-nographic", "-nodefaults"], [], []),
        (["-serial", "stdio", "-serial", "null"], ["stdio", "null"], ["null"]),
        (["-device", "isa-serial", "-nographic"], [], ["stdio"]),
        (["-mon", "chardev=x"], ["null"], []),
    ],
)
def test_ports(words: list[str], serials: list[str], monitors: list[str]) -> None:
    found = system_defaults.ports(options(*words))
    assert (found.serials, found.monitors) == (serials, monitors)


def test_parallel_port() -> None:
    assert system_defaults.ports(options()).parallels == ["null"]
    assert system_defaults.ports(options("-nodefaults")).parallels == []


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        ([], ["ide1-cd0", "floppy0"]),
        (["-nodefaults"], []),
        (["-cdrom", "x"], ["ide1-cd0", "floppy0"]),
        (["-hdc", "x"], ["ide1-hd0", "floppy0"]),
        (["-device", "ide-cd,drive=x"], ["floppy0"]),
        (["-hda", "a", "-fda", "f"], ["ide0-hd0", "floppy0", "ide1-cd0"]),
    ],
)
def test_drives(words: list[str], ids: list[str]) -> None:
    found = system_defaults.drives(options(*words), WithDrives)
    assert [drive.id for drive in found.drives] == ids
