"""Methods of devices that native code runs, too."""

from __future__ import annotations

import ctypes
import json
import random
import threading
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import pytest

from pemu.chardev.interface import FrontEnd
from pemu.devices.pci.gt64120 import Gt64120
from pemu.devices.pci.piix4 import Piix4Isa
from pemu.devices.serial.ns16550a import IsaSerial, SerialMm
from pemu.engine.layout.native_devices import ENTRIES, IN_PYTHON, place_of
from pemu.engine.layout.tlb_table import DEVICE_SHIFT
from pemu.machine import state
from pemu.machine.declare import Output
from pemu.machine.device import Device
from pemu.machine.irq import Irq
from pemu.machine.mips import MipsProcessor
from pemu.machine.native import in_python, native
from pemu.machine.nativeaccess import NativeAccess, _semaphore, _semaphores_known
from pemu.machine.nativecode import UnknownConstruct, translate
from tests.isa.mips.system import words as w
from tests.machine.mips_machine import ROM, MipsMachine
from tests.patience import LONG

pytestmark = pytest.mark.skipif(
    not _semaphores_known(), reason="no native accesses to devices with this Python"
)

PORTS, ACKNOWLEDGE = 0x10000000, 0x14000C34
SERIAL, PIC = PORTS + 0x3F8, PORTS + 0x20


class Line:
    """A back end that takes everything, or as much as `room` says."""

    def __init__(self) -> None:
        self.sent = bytearray()
        self.room = 1 << 30

    def attach(self, front: FrontEnd) -> Line:
        return self

    def write(self, data: bytes) -> int:
        taken = data[: self.room]
        self.sent += taken
        self.room -= len(taken)
        return len(taken)

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: None


class Board:
    """A processor with a south bridge and a serial port."""

    def __init__(self, mode: str) -> None:
        self.mips = MipsMachine("MIPS64R2-generic", mode)
        self.machine = machine = self.mips.machine
        self.cpu = self.mips.cpu
        self.gt = machine.create(Gt64120)
        self.bridge = machine.create(Piix4Isa, self.gt.pci, addr=0x50, multifunction=True)
        self.bridge.intr.connect(self.mips.processor.line(0))
        self.gt.acknowledge = self.bridge.pic.acknowledge
        self.line = Line()
        self.serial = machine.create(IsaSerial, self.bridge.isa, chardev=self.line)
        machine.reset_devices()
        for port, words in ((0x20, (0x11, 0x20, 4, 1, 0)), (0xA0, (0x11, 0x28, 2, 1, 0))):
            machine.io.write(port, words[0], 1)
            for word in words[1:]:
                machine.io.write(port + 1, word, 1)
        self.made = 0

    @cached_property
    def native(self) -> NativeAccess:
        """What `access` uses; a guest that runs later does not find its own."""
        return NativeAccess(self.machine, self.cpu)

    def access(self, address: int, size: int, value: int | None, by_native: bool) -> int:
        """A load, or a store of `value`: by native code, where it can make it, or by Python."""
        memory = self.machine.memory
        key = address << DEVICE_SHIFT | size
        if by_native:
            self.native.find(key, stores=value is not None)
            at = 4 * (place_of(key) + (0 if value is None else ENTRIES))
            known, function, cells, number = self.native._tables.view[at : at + 4]
            if known == key:
                call = ctypes.CFUNCTYPE(ctypes.c_uint64, *[ctypes.c_uint64] * 3)(function)
                result: int = call(cells, value or 0, number)
                if result != IN_PYTHON:
                    self.made += 1
                    return result & (1 << 8 * size) - 1
        if value is None:
            return memory.read(address, size)
        memory.write(address, value, size)
        return 0

    def seen(self) -> str:
        """All that may not depend on who makes the accesses."""
        devices = (self.serial, self.bridge.pic, self.bridge.pic.slave, self.bridge)
        state = [device.save() for device in devices if device is not None]
        return json.dumps([state, list(self.bridge.pic.counts), self.cpu.irq_lines])


@pytest.fixture
def boards(request: pytest.FixtureRequest) -> Iterator[list[Board]]:
    made = [Board(request.config.getoption("--jit")) for _ in range(2)]
    yield made
    for board in made:
        board.mips.close()


STORES = (
    *((SERIAL, value) for value in (0x30, 0x31, 0x32, 0x33)),
    *((SERIAL + 1, value) for value in (0, 2, 2, 5, 7, 8)),
    *((SERIAL + 2, value) for value in (1, 7, 0)),
    *((SERIAL + 3, value) for value in (3, 3, 3, 0x83)),
    *((SERIAL + 4, value) for value in (0, 8, 8, 0x10)),
    *((PIC, value) for value in (0x20, 0x20, 0x64, 0x0A, 0x0B, 0x0C, 0x68, 0x48, 0xA0, 0xC3)),
    *((PIC + 1, value) for value in (0, 0x10, 0xFF, 0xEB)),
    *((PORTS + 0x4D0, value) for value in (0, 0x10)),
)
LOADS = (
    *((SERIAL + offset, 1) for offset in range(8)),
    *((PIC, 1), (PIC + 1, 1), (ACKNOWLEDGE, 4), (ACKNOWLEDGE, 4), (PORTS + 0x4D0, 1)),
)


@pytest.mark.parametrize("seed", range(6))
def test_native_code_does_what_python_does(boards: list[Board], seed: int) -> None:
    choice = random.Random(seed)
    for step in range(1500):
        kind = choice.randrange(16)
        store, load = choice.choice(STORES), choice.choice(LOADS)
        byte = bytes([choice.randrange(256)])
        results = []
        for number, board in enumerate(boards):
            result = 0
            if kind == 0:
                board.serial.receive(byte[: board.serial.can_receive()])
            elif kind == 1:
                board.bridge.isa_pins[12].set(byte[0] & 1)
            elif kind == 2:
                board.line.room = byte[0] >> 3
                board.serial.writable()
            elif kind < 9:
                result = board.access(store[0], 1, store[1], bool(number))
            else:
                result = board.access(*load, None, bool(number))
            results.append((result, board.seen()))
        assert results[0] == results[1], (step, kind, store, load)
    assert boards[0].line.sent == boards[1].line.sent
    assert boards[1].made > 500


# By a guest


def _lbu(rt: int, base: int, offset: int) -> int:
    return 0x90000000 | base << 21 | rt << 16 | offset


def _sb(rt: int, base: int, offset: int) -> int:
    return 0xA0000000 | base << 21 | rt << 16 | offset


SENDS = (
    w.lui(w.T0, 0xB000),  # where the ports are, uncached
    w.addiu(w.T1, 0, 200),
    _lbu(w.T2, w.T0, 0x3FD),
    0x30000000 | w.T2 << 21 | w.T2 << 16 | 0x20,  # andi t2, t2, 0x20
    w.beq(w.T2, 0, -3),
    w.NOP,
    _sb(w.T1, w.T0, 0x3F8),
    w.addiu(w.T1, w.T1, -1),
    0x14000000 | w.T1 << 21 | -7 & 0xFFFF,  # bne t1, zero, to the load
    w.NOP,
    *w.stop(),
)


@pytest.fixture
def board(request: pytest.FixtureRequest) -> Iterator[Board]:
    made = Board(request.config.getoption("--jit"))
    yield made
    made.mips.close()


def test_guest_sends_without_python(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    by_python = []
    pending = board.serial._pending

    def asked() -> int:
        by_python.append(len(board.line.sent))
        return pending()

    monkeypatch.setattr(board.serial, "_pending", asked)
    board.mips.write(ROM, SENDS)
    board.mips.run()
    assert board.serial.bound
    assert board.line.sent == b"\xc8"  # the first, so that nobody waits for a single one
    assert by_python == [0]  # for that one
    board.serial._pass_on()
    assert board.line.sent == bytes(range(200, 0, -1))


def test_what_holds_the_lock_is_waited_for(board: Board) -> None:
    board.mips.write(ROM, SENDS)
    entered = threading.Event()

    def hold() -> None:
        with board.machine.lock:
            entered.set()
            # The guest comes to its first access meanwhile, or later: both are well.
            threading.Event().wait(0.05)
            assert board.line.sent == b""

    holder = threading.Thread(target=hold)
    holder.start()
    assert entered.wait(LONG)
    board.mips.run()
    holder.join()
    board.serial._pass_on()
    assert len(board.line.sent) == 200


def test_native_code_and_python_take_the_same_lock() -> None:
    lock = threading.RLock()
    library = ctypes.CDLL(None)
    semaphore = ctypes.c_void_p(_semaphore(lock))
    assert library.sem_trywait(semaphore) == 0
    assert not lock.acquire(blocking=False)
    assert library.sem_post(semaphore) == 0
    with lock:
        assert library.sem_trywait(semaphore) == -1


def test_interrupt_raised_by_native_code_keeps_the_processor_awake(board: Board) -> None:
    board.access(SERIAL + 1, 1, 2, True)  # an interrupt, as nothing is being sent
    assert board.made == 1
    assert board.cpu.irq_lines == 1
    processor = board.mips.processor
    MipsProcessor.sleep(processor)  # returns at once
    assert not processor.awake.view[0]


def test_lines_that_native_code_drives_stay_as_they_are(board: Board) -> None:
    board.access(SERIAL + 1, 1, 0, True)
    with pytest.raises(RuntimeError, match="before the guest uses it"):
        board.serial.irq.connect(Irq())


def test_device_behind_which_python_hears_is_left_to_python(board: Board) -> None:
    heard: list[int] = []
    board.serial.irq.connect(heard.append)
    board.access(SERIAL + 1, 1, 2, True)
    assert board.made == 0
    assert heard == [1]


def test_registers_some_bytes_apart_are_native(board: Board) -> None:
    line = Line()
    uart = board.machine.create(SerialMm, regshift=3, chardev=line)
    board.machine.memory.root.add(uart.region, 0x1F000900, 1)
    uart.irq.connect(board.mips.processor.line(2))
    board.machine.reset_devices()
    assert board.access(0x1F000928, 1, None, True) == 0x60
    assert board.access(0x1F000928, 4, None, True) == 0x60
    board.access(0x1F000908, 4, 2, True)
    assert board.made == 3
    assert board.cpu.irq_lines == 4
    assert board.access(0x1F000910, 4, None, True) == 2


# What cannot be native


class Odd(Device):
    """Its method is given by each test."""

    value = state.uint(8)
    irq = Output()


def _translated(method: Callable[..., Any]) -> str:
    return translate(type("Odd2", (Odd,), {"method": native(method), "__module__": __name__}))


def _loops(self: Any) -> int:
    while self.value:
        self.value -= 1
    return 0


def _leaves_late(self: Any) -> int:
    self.value = 1
    in_python()
    return 0


def _leaves_late_in_a_branch(self: Any, level: int) -> int:
    if level:
        self.irq.set(level)
    else:
        in_python()
    if level > 1:
        in_python()
    return 0


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (_loops, "Odd2.method: cannot be native: while self.value"),
        (_leaves_late, r"in_python\(\) \(something has been changed before"),
        (_leaves_late_in_a_branch, r"in_python\(\) \(something has been changed before"),
    ],
)
def test_what_cannot_be_native_is_named(method: Callable[..., Any], message: str) -> None:
    with pytest.raises(UnknownConstruct, match=message):
        _translated(method)
