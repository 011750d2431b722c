"""The commands of gdb's protocol, for a debuggee without a processor."""

from __future__ import annotations

import os
import re
import socket
import threading
import xml.etree.ElementTree as xml
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pemu.isa.mips.cpu import architecture as processor
from pemu.isa.mips.debug import variables
from pemu.monitor.gdb.packet import Connection, frame
from pemu.monitor.gdb.server import serve
from pemu.monitor.gdb.stub import COMMANDS, Stub
from pemu.monitor.gdb.target import EFAULT, Action, PolledTarget, Stop, TargetError, describe
from tests.patience import LONG

BASE, SIZE = 0x1000, 256


class Machine(PolledTarget):
    """Two threads, the registers of a processor without DSP, and a little memory."""

    pid = 42
    byte_order = "big"
    architecture = "mips"
    osabi = "GNU/Linux"
    registers = variables(processor("24Kf", True, "o32"))

    def __init__(self) -> None:
        self.values = {1: [0] * len(self.registers), 2: [0] * len(self.registers)}
        self.memory = bytearray(range(SIZE))
        self.actions: list[tuple[int | None, Action]] = []
        self.points: set[tuple[str, int, int]] = set()
        self.passed: frozenset[int] = frozenset()
        self.caught: frozenset[int] | None = None
        self.ended = ""
        self.stop: Stop | None = None
        self.event = os.eventfd(0, os.EFD_NONBLOCK)

    def fileno(self) -> int:
        return self.event

    def take_stop(self) -> Stop | None:
        os.eventfd_read(self.event)
        stop, self.stop = self.stop, None
        return stop

    def tell(self, stop: Stop) -> None:
        self.stop = stop
        os.eventfd_write(self.event, 1)

    def resume(self, actions: Sequence[tuple[int | None, Action]]) -> None:
        self.actions = list(actions)

    def interrupt(self) -> None:
        self.tell(Stop("signal", 1, 2))

    def threads(self) -> list[int]:
        return list(self.values)

    def thread_name(self, thread: int) -> str:
        return f"worker <{thread}>"

    def read_register(self, thread: int, index: int) -> int:
        return self.values[thread][index]

    def write_register(self, thread: int, index: int, value: int) -> None:
        self.values[thread][index] = value

    def read_memory(self, address: int, size: int) -> bytes:
        if not BASE <= address < BASE + SIZE:
            raise TargetError(EFAULT)
        return bytes(self.memory[address - BASE : address - BASE + size])

    def write_memory(self, address: int, data: bytes) -> None:
        if not BASE <= address <= BASE + SIZE - len(data):
            raise TargetError(EFAULT)
        self.memory[address - BASE : address - BASE + len(data)] = data

    def open_file(self, path: bytes) -> int:
        return os.open(path, os.O_RDONLY)

    def read_link(self, path: bytes) -> bytes:
        return os.readlink(path)

    def set_breakpoint(self, address: int, on: bool) -> None:
        self.set_watchpoint("break", address, 4, on)

    def set_watchpoint(self, kind: str, address: int, size: int, on: bool) -> None:
        point = (kind, address, size)
        if on:
            self.points.add(point)
        else:
            self.points.discard(point)

    def pass_signals(self, signals: frozenset[int]) -> None:
        self.passed = signals

    def catch_calls(self, numbers: frozenset[int] | None) -> None:
        self.caught = numbers

    def detach(self) -> None:
        self.ended = self.ended or "detached"

    def kill(self) -> None:
        self.ended = "killed"


@pytest.fixture
def machine() -> Iterator[Machine]:
    made = Machine()
    yield made
    os.close(made.event)


@pytest.fixture
def stub(machine: Machine) -> Stub:
    return Stub(machine, Stop("signal", 1))


def test_registers_are_read_and_written_in_the_targets_byte_order(
    stub: Stub, machine: Machine
) -> None:
    assert stub.handle(b"P4=01020304") == b"OK"
    assert machine.values[1][4] == 0x01020304
    assert stub.handle(b"p4") == b"01020304"
    whole = stub.handle(b"g")
    assert whole is not None
    assert whole[32:40] == b"01020304"
    assert len(whole) == 8 * len(machine.registers)
    assert stub.handle(b"G" + whole.replace(b"01020304", b"0000000a")) == b"OK"
    assert machine.values[1][4] == 10


def test_register_that_does_not_exist_or_of_another_size_is_refused(stub: Stub) -> None:
    assert stub.handle(b"p1000") == b"E16"
    assert stub.handle(b"P4=0102") == b"E16"
    assert stub.handle(b"G00") == b"E16"


def test_memory_is_read_and_written(stub: Stub, machine: Machine) -> None:
    assert stub.handle(b"m1010,4") == b"10111213"
    assert stub.handle(b"M1010,2:aabb") == b"OK"
    assert stub.handle(b"X1012,3:\0}$") == b"OK"
    assert bytes(machine.memory[0x10:0x15]) == b"\xaa\xbb\0}$"
    assert stub.handle(b"m10fe,10") == b"feff"  # as much as there is
    assert stub.handle(b"X1000,0:") == b"OK"


def test_memory_that_is_not_there_is_error_14(stub: Stub) -> None:
    assert stub.handle(b"m0,4") == b"E0e"
    assert stub.handle(b"M10ff,2:0000") == b"E0e"


def test_thread_is_selected_for_registers(stub: Stub, machine: Machine) -> None:
    machine.values[2][3] = 7
    assert stub.handle(b"Hg2") == b"OK"
    assert stub.handle(b"p3") == b"00000007"
    assert stub.handle(b"Hg9") == b"E03"
    assert stub.handle(b"T2") == b"OK"
    assert stub.handle(b"T3") == b"E03"


def test_threads_are_listed_with_their_process_if_gdb_knows_processes(stub: Stub) -> None:
    assert stub.handle(b"qfThreadInfo") == b"m1,2"
    assert stub.handle(b"qsThreadInfo") == b"l"
    stub.handle(b"qSupported:multiprocess+")
    assert stub.handle(b"qfThreadInfo") == b"mp2a.1,p2a.2"
    assert stub.handle(b"Hgp2a.2") == b"OK"
    assert stub.handle(b"qC") == b"QCp2a.2"
    assert stub.handle(b"Hgp2b.2") == b"E03"


def test_thread_list_is_good_xml(stub: Stub) -> None:
    answer = stub.handle(b"qXfer:threads:read::0,1000")
    assert answer is not None
    names = [thread.get("name") for thread in xml.fromstring(answer[1:])]
    assert names == ["worker <1>", "worker <2>"]


@pytest.mark.parametrize("abi", ["o32", "n64"])
def test_description_has_gdbs_features_and_each_number_once(abi: str, machine: Machine) -> None:
    machine.registers = variables(processor("74Kf" if abi == "o32" else "5KEf", True, abi))
    root = xml.fromstring(describe(machine))
    names = [feature.get("name") for feature in root.iter("feature")]
    wanted = ["cpu", "cp0", "fpu"] + (["dsp"] if abi == "o32" else [])
    assert names == [f"org.gnu.gdb.mips.{name}" for name in wanted]
    numbers = [int(register.get("regnum") or "") for register in root.iter("reg")]
    assert sorted(numbers) == list(range(len(machine.registers)))
    width = next(register.get("bitsize") for register in root.iter("reg"))
    assert width == ("32" if abi == "o32" else "64")


def test_objects_are_read_in_pieces(stub: Stub, machine: Machine) -> None:
    text, at = b"", 0
    while True:
        piece = stub.handle(b"qXfer:features:read:target.xml:%x,64" % at)
        assert piece is not None
        text += piece[1:]
        at += len(piece) - 1
        if piece[:1] == b"l":
            break
        assert len(piece) == 101
    assert text == describe(machine)
    assert stub.handle(b"qXfer:features:read:other.xml:0,64") == b"E00"
    assert stub.handle(b"qXfer:auxv:read::0,64") == b"E00"


def test_first_matching_action_counts_for_a_thread(stub: Stub, machine: Machine) -> None:
    assert stub.handle(b"vCont;s:1;r1000,1010:2;C0a:-1") is None
    assert stub.running
    rows = [(thread, a.step, a.signal, a.start, a.end) for thread, a in machine.actions]
    assert rows == [
        (1, True, 0, 0, 0),
        (2, True, 0, 0x1000, 0x1010),
        (None, False, 10, 0, 0),
    ]


def test_older_commands_resume_the_selected_thread(stub: Stub, machine: Machine) -> None:
    stub.handle(b"Hc2")
    assert stub.handle(b"S05;1004") is None
    assert [(thread, a.step, a.signal) for thread, a in machine.actions] == [(2, True, 5)]
    assert machine.values[2][37] == 0x1004


@pytest.mark.parametrize(
    ("stop", "reply"),
    [
        (Stop("signal", 2, 11), b"T0bthread:p2a.2;"),
        (Stop("breakpoint", 1), b"T05swbreak:;thread:p2a.1;"),
        (Stop("rwatch", 1, address=0x1234), b"T05rwatch:1234;thread:p2a.1;"),
        (Stop("exec", 1, path=b"/a"), b"T05exec:2f61;thread:p2a.1;"),
        (Stop("syscall_entry", 1, number=4004), b"T05syscall_entry:fa4;thread:p2a.1;"),
        (Stop("exited", status=3), b"W03;process:2a"),
        (Stop("killed", signal=9), b"X09;process:2a"),
        (Stop("idle"), b"N"),
    ],
)
def test_stops_are_told_and_told_again(stub: Stub, stop: Stop, reply: bytes) -> None:
    stub.handle(b"qSupported:multiprocess+;swbreak+;exec-events+;no-resumed+")
    assert stub.stopped(stop) == reply
    assert stub.handle(b"?") == reply


def test_older_gdb_is_told_no_more_than_it_understands(stub: Stub) -> None:
    stub.handle(b"qSupported")
    assert stub.stopped(Stop("breakpoint", 1)) == b"T05thread:1;"
    assert stub.stopped(Stop("exec", 1, path=b"/a")) == b"T05thread:1;"
    assert stub.stopped(Stop("idle")) == b"T00thread:1;"


def test_breakpoints_and_watchpoints_by_kind(stub: Stub, machine: Machine) -> None:
    for packet in (b"Z0,1000,4", b"Z1,1004,4", b"Z2,1008,4", b"Z3,100c,1", b"Z4,1010,2"):
        assert stub.handle(packet) == b"OK"
    assert {kind for kind, _, _ in machine.points} == {"break", "watch", "rwatch", "awatch"}
    assert stub.handle(b"z0,1000,4") == b"OK"
    assert stub.handle(b"Z5,1000,4") == b""
    assert stub.handle(b"Z2,1000,0") == b"E16"
    assert len(machine.points) == 4


def test_files_are_read(stub: Stub, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"some }#content")
    name = str(path).encode().hex().encode()
    assert stub.handle(b"vFile:setfs:0") == b"F0"
    opened = stub.handle(b"vFile:open:" + name + b",0,0")
    assert opened is not None
    fd = opened[1:]
    assert stub.handle(b"vFile:pread:" + fd + b",100,5") == b"F9;}#content"
    status = stub.handle(b"vFile:fstat:" + fd)
    assert status is not None
    assert status[:4] == b"F40;"
    assert int.from_bytes(status[4 + 28 : 4 + 36], "big") == 14
    assert stub.handle(b"vFile:close:" + fd) == b"F0"
    assert stub.handle(b"vFile:close:" + fd) == b"F-1,9"


def test_files_are_not_written_and_missing_ones_are_told(stub: Stub, tmp_path: Path) -> None:
    name = str(tmp_path / "none").encode().hex().encode()
    assert stub.handle(b"vFile:open:" + name + b",601,1b6") == b"F-1,1e"
    assert stub.handle(b"vFile:open:" + name + b",0,0") == b"F-1,2"
    assert stub.handle(b"vFile:readlink:" + name) == b"F-1,2"
    assert stub.handle(b"vFile:unlink:" + name) == b""
    assert stub.handle(b"vFile:open:zz,0,0") == b"E16"
    assert stub.handle(b"vFile:pread:1") == b"E16"


def test_files_are_closed_with_the_connection(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    name = str(path).encode().hex().encode()
    ours, theirs = socket.socketpair()
    theirs.sendall(frame(b"vFile:open:" + name + b",0,0") + frame(b"D"))
    serve(Connection(ours), machine, Stop("signal", 1))
    held = [os.path.realpath(entry) for entry in Path("/proc/self/fd").iterdir()]
    assert str(path) not in held
    theirs.close()


def test_signals_to_pass(stub: Stub, machine: Machine) -> None:
    assert stub.handle(b"QPassSignals:e;14;1e") == b"OK"
    assert machine.passed == {14, 20, 30}


@pytest.mark.parametrize(
    ("packet", "caught"),
    [
        (b"QCatchSyscalls:1;fa4;fa5", frozenset({4004, 4005})),
        (b"QCatchSyscalls:1", frozenset()),
        (b"QCatchSyscalls:0", None),
    ],
)
def test_system_calls_to_catch(
    stub: Stub, machine: Machine, packet: bytes, caught: frozenset[int] | None
) -> None:
    machine.caught = frozenset({1})
    assert stub.handle(packet) == b"OK"
    assert machine.caught == caught


def test_unknown_commands_get_the_empty_reply(stub: Stub) -> None:
    for packet in (b"", b"!", b"vMustReplyEmpty", b"qTStatus", b"\xff"):
        assert stub.handle(packet) == b""


BEGINNINGS = st.sampled_from(sorted(COMMANDS)) | st.just(b"")
HOSTILE = st.one_of(
    st.binary(max_size=40),
    st.text("0123456789abcdef,;:=-.p", max_size=40).map(str.encode),
)


@given(BEGINNINGS, HOSTILE)
def test_no_packet_breaks_the_stub(beginning: bytes, rest: bytes) -> None:
    machine = Machine()
    try:
        stub = Stub(machine, Stop("signal", 1))
        reply = stub.handle(beginning + rest)
        assert reply is None or isinstance(reply, bytes)
        if reply is None:
            assert stub.running or stub.finished == "kill"
    finally:
        os.close(machine.event)


@given(st.lists(st.one_of(st.binary(max_size=60), HOSTILE.map(frame)), max_size=10))
def test_server_outlives_whatever_is_sent(pieces: list[bytes]) -> None:
    machine = Machine()
    ours, theirs = socket.socketpair()
    theirs.settimeout(LONG)
    thread = threading.Thread(
        target=serve, args=(Connection(ours), machine, Stop("signal", 1)), daemon=True
    )
    thread.start()
    try:
        for piece in pieces:
            theirs.sendall(piece)
        theirs.shutdown(socket.SHUT_WR)
        while theirs.recv(65536):
            pass
    except OSError:
        pass  # let go
    thread.join(LONG)
    theirs.close()
    assert not thread.is_alive()
    assert machine.ended in ("detached", "killed")
    os.close(machine.event)


def test_conversation(machine: Machine) -> None:
    ours, theirs = socket.socketpair()
    theirs.settimeout(LONG)
    thread = threading.Thread(target=serve, args=(Connection(ours), machine, Stop("signal", 1)))
    thread.start()
    stream = theirs.makefile("rb")

    def reply() -> bytes:
        text = b""
        while not re.search(rb"\$([^#]*)#..$", text):
            text += stream.read(1)
        return text[text.index(b"$") + 1 : -3]

    def ask(packet: bytes) -> bytes:
        theirs.sendall(frame(packet))
        return reply()

    assert b"QStartNoAckMode+" in ask(b"qSupported:swbreak+")
    assert ask(b"QStartNoAckMode") == b"OK"
    assert ask(b"?") == b"T05thread:1;"
    theirs.sendall(frame(b"vCont;c"))
    machine.tell(Stop("breakpoint", 2))
    assert reply() == b"T05swbreak:;thread:2;"
    theirs.sendall(frame(b"c"))
    theirs.sendall(b"\3")
    assert reply() == b"T02thread:1;"
    assert ask(b"D") == b"OK"
    thread.join(LONG)
    assert machine.ended == "detached"
    theirs.close()


def test_kill_ends_the_debuggee(machine: Machine) -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(frame(b"k"))
    serve(Connection(ours), machine, Stop("signal", 1))
    assert machine.ended == "killed"
    theirs.close()
