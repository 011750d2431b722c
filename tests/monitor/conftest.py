"""A machine with a monitor."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from pemu.chardev.interface import Host
from pemu.chardev.registry import Chardevs
from pemu.machine.machine import Machine
from pemu.machine.region import Ram
from pemu.monitor.commands import COMMANDS
from pemu.monitor.instance import Instance
from pemu.monitor.monitor import Monitor
from tests.conftest import ROOT


class Typed:
    """A monitor of a machine without processors; `says` runs a command and returns the answer."""

    def __init__(self) -> None:
        self.machine = Machine("big")
        self.ram = Ram("ram", 1 << 20)
        self.machine.memory.root.add(self.ram, 0)
        self.chardevs = Chardevs(Host(self.machine.iothread.loop, self.machine.lock))
        self.instance = Instance(self.machine, self.chardevs)
        self.answer: list[str] = []
        self.monitor = Monitor(self.instance, COMMANDS, self.answer.append)

    def says(self, line: str) -> str:
        self.answer.clear()
        self.monitor.run(line)
        return "".join(self.answer)


@pytest.fixture
def typed() -> Iterator[Typed]:
    """A monitor."""
    made = Typed()
    yield made
    made.chardevs.close()
    made.machine.close()


@pytest.fixture
def pemu_system() -> list[str]:
    """The command that runs machines with MIPS processors."""
    code = f"import sys; sys.path[:0]=[{str(ROOT / 'src')!r}]; import pemu.cli.system as s; "
    return [sys.executable, "-c", code + "s.entry('mips')"]
