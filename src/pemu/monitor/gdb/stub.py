"""gdb's commands: each packet's meaning for a `Target`, and the reply.

`COMMANDS` says which method answers a packet that begins with given letters; the longest beginning
counts. What has no entry gets the empty reply, by which gdb learns that it is not supported.
"""

from __future__ import annotations

from pemu.monitor.gdb.files import Files
from pemu.monitor.gdb.packet import MAX_PACKET
from pemu.monitor.gdb.target import EINVAL, ESRCH, Action, Stop, TargetError, describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias, TypeVar

    from pemu.monitor.gdb.target import Target

    Command: TypeAlias = "Callable[[Stub, bytes], bytes | None]"
    F = TypeVar("F", bound="Command")

COMMANDS: dict[bytes, Command] = {}

SIGINT, SIGTRAP = 2, 5
_ALL, _ANY = -1, 0
_WATCHES = {2: "watch", 3: "rwatch", 4: "awatch"}
_HELP = "This is Pemu's gdb server. It has no commands of its own yet but this one.\n"


def command(*beginnings: str) -> Callable[[F], F]:
    """Enter a method into `COMMANDS`. It gets what follows the beginning of the packet."""

    def enter(method: F) -> F:
        for beginning in beginnings:
            COMMANDS[beginning.encode()] = method
        return method

    return enter


def number(text: bytes) -> int:
    """A hexadecimal number; raises TargetError for anything else."""
    if not text or len(text) > 32 or text.strip(b"0123456789abcdefABCDEF"):
        raise TargetError(EINVAL, "not a number")
    return int(text, 16)


def hexadecimal(text: bytes) -> bytes:
    """Bytes from pairs of digits; raises TargetError for anything else."""
    try:
        return bytes.fromhex(text.decode("ascii"))
    except ValueError:
        raise TargetError(EINVAL, "not pairs of hexadecimal digits") from None


def _pair(text: bytes) -> tuple[int, int]:
    first, comma, second = text.partition(b",")
    if not comma:
        raise TargetError(EINVAL, "a number is missing")
    return number(first), number(second)


class Stub:
    """One connection's state, and the methods of the commands.

    `running`: the debuggee has been resumed, and gdb waits for a stop. `finished`: "detach" or
    "kill" when gdb has let go.
    """

    def __init__(self, target: Target, first: Stop) -> None:
        self.target = target
        self.running = False
        self.finished = ""
        self.no_ack = False
        self._stop = first
        self._general = first.thread
        self._for_resume = _ALL
        self._processes = False
        self._tells_breakpoint = False
        self._tells_idle = False
        self._description = b""
        self.files = Files(target)
        self.output: list[bytes] = []
        """What gdb is to show, before the reply."""

    def handle(self, packet: bytes) -> bytes | None:
        """Obey a packet; returns the reply, None if there is none now."""
        for length in range(len(packet), 0, -1):
            method = COMMANDS.get(packet[:length])
            if method is not None:
                break
        else:
            return b""
        try:
            return method(self, packet[length:])
        except TargetError as error:
            return b"E%02x" % error.number

    def stopped(self, stop: Stop) -> bytes:
        """The debuggee has stopped: returns what to tell gdb."""
        self.running = False
        self._stop = stop
        if stop.thread:
            self._general = stop.thread
        return self._stop_reply()

    # Threads and processes.

    def _thread_id(self, thread: int) -> bytes:
        if self._processes:
            return b"p%x.%x" % (self.target.pid, thread)
        return b"%x" % thread

    def _parse_thread(self, text: bytes) -> int:
        """A thread's number, `_ALL` or `_ANY`."""
        if text.startswith(b"p"):
            process, dot, thread = text[1:].partition(b".")
            if process not in (b"-1", b"0") and number(process) != self.target.pid:
                raise TargetError(ESRCH, "no such process")
            text = thread if dot else b"-1"
        return _ALL if text == b"-1" else number(text)

    def _living(self, thread: int) -> int:
        """The thread that a request means; raises TargetError if it does not live."""
        threads = self.target.threads()
        if thread in (_ALL, _ANY):
            thread = (
                self._stop.thread if self._stop.thread in threads or not threads else threads[0]
            )
        if thread not in threads:
            raise TargetError(ESRCH, "no such thread")
        return thread

    @command("H")
    def select_thread(self, rest: bytes) -> bytes:
        """`Hg` for registers and memory, `Hc` for the older commands that resume."""
        thread = self._parse_thread(rest[1:])
        if rest[:1] == b"c":
            self._for_resume = thread
        elif rest[:1] == b"g":
            self._general = self._living(thread)
        else:
            raise TargetError(EINVAL, "no such kind of selection")
        return b"OK"

    @command("T")
    def is_alive(self, rest: bytes) -> bytes:
        self._living(self._parse_thread(rest))
        return b"OK"

    @command("qC")
    def current_thread(self, rest: bytes) -> bytes:
        return b"QC" + self._thread_id(self._living(self._general))

    @command("qfThreadInfo")
    def first_threads(self, rest: bytes) -> bytes:
        return b"m" + b",".join(self._thread_id(thread) for thread in self.target.threads())

    @command("qsThreadInfo")
    def further_threads(self, rest: bytes) -> bytes:
        return b"l"

    @command("qThreadExtraInfo,")
    def thread_name(self, rest: bytes) -> bytes:
        thread = self._living(self._parse_thread(rest))
        return self.target.thread_name(thread).encode().hex().encode()

    @command("qAttached")
    def attached(self, rest: bytes) -> bytes:
        """0: gdb kills the program when the user quits, as it was started to be debugged."""
        return b"1" if self.target.attached else b"0"

    # What both sides can do.

    @command("qSupported")
    def supported(self, rest: bytes) -> bytes:
        features = rest.removeprefix(b":").split(b";")
        self._processes = b"multiprocess+" in features
        self._tells_breakpoint = b"swbreak+" in features
        self._tells_idle = b"no-resumed+" in features
        self.target.reports_exec = b"exec-events+" in features
        ours = [
            f"PacketSize={MAX_PACKET:x}",
            "QStartNoAckMode+",
            "vContSupported+",
            "qXfer:features:read+",
            "QPassSignals+",
            "QCatchSyscalls+",
            "swbreak+",
            "hwbreak+",
            "multiprocess+",
            "exec-events+",
            "no-resumed+",
            "qXfer:threads:read+",
        ]
        if self.target.auxv() is not None:
            ours.append("qXfer:auxv:read+")
        if self.target.exec_file() is not None:
            ours += ["qXfer:exec-file:read+", "qXfer:siginfo:read+"]
        return ";".join(ours).encode()

    @command("QStartNoAckMode")
    def start_no_ack(self, rest: bytes) -> bytes:
        self.no_ack = True
        return b"OK"

    @command("qSymbol::")
    def symbols(self, rest: bytes) -> bytes:
        return b"OK"

    @command("QPassSignals:")
    def pass_signals(self, rest: bytes) -> bytes:
        signals = frozenset(number(text) for text in rest.split(b";") if text)
        self.target.pass_signals(signals)
        return b"OK"

    @command("QCatchSyscalls:")
    def catch_calls(self, rest: bytes) -> bytes:
        kind, *numbers = rest.split(b";")
        if kind not in (b"0", b"1"):
            raise TargetError(EINVAL, "neither on nor off")
        caught = frozenset(number(text) for text in numbers) if kind == b"1" else None
        self.target.catch_calls(caught)
        return b"OK"

    @command("qqemu.", "Qqemu.")
    def extension(self, rest: bytes) -> bytes:
        return self.target.extension(rest)

    @command("qRcmd,")
    def monitor(self, rest: bytes) -> bytes:
        line = hexadecimal(rest).decode("utf-8", "replace")
        answer = self.target.monitor_command(line)
        if answer is not None:
            data = answer.encode("utf-8", "surrogateescape")
            size = MAX_PACKET // 4
            self.output += [data[at : at + size] for at in range(0, len(data), size)]
            return b"OK"
        words = line.split()
        if words in ([], ["help"]):
            return _HELP.encode().hex().encode()
        return f"no such command: {words[0]}; try: monitor help\n".encode().hex().encode()

    # Objects that are read piece by piece.

    @command("qXfer:features:read:")
    def read_features(self, rest: bytes) -> bytes:
        annex, piece = self._annex(rest)
        if annex != b"target.xml":
            raise TargetError(0, "no such description")
        if not self._description:
            self._description = describe(self.target)
        return self._piece(self._description, piece)

    @command("qXfer:auxv:read:")
    def read_auxv(self, rest: bytes) -> bytes:
        return self._piece(self.target.auxv(), self._annex(rest)[1])

    @command("qXfer:exec-file:read:")
    def read_exec_file(self, rest: bytes) -> bytes:
        return self._piece(self.target.exec_file(), self._annex(rest)[1])

    @command("qXfer:siginfo:read:")
    def read_siginfo(self, rest: bytes) -> bytes:
        info = self.target.signal_info(self._living(self._general))
        return self._piece(info, self._annex(rest)[1])

    @command("qXfer:threads:read:")
    def read_threads(self, rest: bytes) -> bytes:
        from html import escape

        lines = [
            f'<thread id="{self._thread_id(thread).decode()}" '
            f'name="{escape(self.target.thread_name(thread))}"/>'
            for thread in self.target.threads()
        ]
        document = "\n".join(['<?xml version="1.0"?>', "<threads>", *lines, "</threads>", ""])
        return self._piece(document.encode(), self._annex(rest)[1])

    @staticmethod
    def _annex(rest: bytes) -> tuple[bytes, bytes]:
        annex, colon, piece = rest.partition(b":")
        if not colon:
            raise TargetError(EINVAL, "no offset and length")
        return annex, piece

    @staticmethod
    def _piece(document: bytes | None, piece: bytes) -> bytes:
        """The bytes from an offset on; `m` says that more follow, `l` that these are the last."""
        if document is None:
            raise TargetError(0, "there is none")
        offset, length = _pair(piece)
        if offset > len(document):
            raise TargetError(0, "beyond the end")
        length = min(length, MAX_PACKET // 2 - 1)
        part = document[offset : offset + length]
        return (b"m" if offset + len(part) < len(document) else b"l") + part

    @command("vFile:")
    def file(self, rest: bytes) -> bytes:
        operation, _, arguments = rest.partition(b":")
        try:
            return self.files.answer(operation, arguments.split(b",")) or b""
        except ValueError:
            raise TargetError(EINVAL, "not an operation's arguments") from None

    # Registers.

    def _bytes(self, index: int) -> int:
        registers = self.target.registers
        if index >= len(registers):
            raise TargetError(EINVAL, "no such register")
        return registers[index].bits // 8

    def _read(self, thread: int, index: int) -> bytes:
        size = self._bytes(index)
        value = self.target.read_register(thread, index)
        data = value.to_bytes(size, self.target.byte_order)
        return data.hex().encode()

    def _write(self, thread: int, index: int, data: bytes) -> None:
        value = int.from_bytes(data, self.target.byte_order)
        self.target.write_register(thread, index, value)

    @command("g")
    def read_registers(self, rest: bytes) -> bytes:
        thread = self._living(self._general)
        return b"".join(self._read(thread, index) for index in range(len(self.target.registers)))

    @command("G")
    def write_registers(self, rest: bytes) -> bytes:
        thread = self._living(self._general)
        data = hexadecimal(rest)
        if len(data) != sum(register.bits // 8 for register in self.target.registers):
            raise TargetError(EINVAL, "not all registers")
        at = 0
        for index in range(len(self.target.registers)):
            size = self._bytes(index)
            self._write(thread, index, data[at : at + size])
            at += size
        return b"OK"

    @command("p")
    def read_register(self, rest: bytes) -> bytes:
        return self._read(self._living(self._general), number(rest))

    @command("P")
    def write_register(self, rest: bytes) -> bytes:
        text, _, value = rest.partition(b"=")
        index, data = number(text), hexadecimal(value)
        if len(data) != self._bytes(index):
            raise TargetError(EINVAL, "not of the register's size")
        self._write(self._living(self._general), index, data)
        return b"OK"

    # Memory.

    @command("m")
    def read_memory(self, rest: bytes) -> bytes:
        address, size = _pair(rest)
        return self.target.read_memory(address, min(size, MAX_PACKET // 2)).hex().encode()

    @command("M")
    def write_memory(self, rest: bytes) -> bytes:
        place, _, digits = rest.partition(b":")
        return self._store(place, hexadecimal(digits))

    @command("X")
    def write_memory_binary(self, rest: bytes) -> bytes:
        place, _, data = rest.partition(b":")
        return self._store(place, data)

    def _store(self, place: bytes, data: bytes) -> bytes:
        address, size = _pair(place)
        if size != len(data):
            raise TargetError(EINVAL, "not as many bytes as announced")
        if data:
            self.target.write_memory(address, data)
        return b"OK"

    # Breakpoints and watchpoints.

    @command("Z")
    def insert(self, rest: bytes) -> bytes:
        return self._point(rest, True)

    @command("z")
    def remove(self, rest: bytes) -> bytes:
        return self._point(rest, False)

    def _point(self, rest: bytes, on: bool) -> bytes:
        kind, _, place = rest.partition(b",")
        address, size = _pair(place.partition(b";")[0])
        what = number(kind)
        if what in (0, 1):
            self.target.set_breakpoint(address, on)
        elif what in _WATCHES:
            if not size:
                raise TargetError(EINVAL, "nothing to watch")
            self.target.set_watchpoint(_WATCHES[what], address, size, on)
        else:
            return b""
        return b"OK"

    # Running.

    @command("?")
    def why_stopped(self, rest: bytes) -> bytes:
        return self._stop_reply()

    def _stop_reply(self) -> bytes:
        stop = self._stop
        process = b";process:%x" % self.target.pid if self._processes else b""
        if stop.kind == "exited":
            return b"W%02x" % (stop.status & 0xFF) + process
        if stop.kind == "killed":
            return b"X%02x" % stop.signal + process
        if stop.kind == "idle":
            if self._tells_idle:
                return b"N"
            stop = Stop("signal", self._living(_ANY), 0)
        reply = b"T%02x" % stop.signal
        if stop.kind == "breakpoint" and self._tells_breakpoint:
            reply += b"swbreak:;"
        elif stop.kind in ("watch", "rwatch", "awatch"):
            reply += b"%s:%x;" % (stop.kind.encode(), stop.address)
        elif stop.kind in ("syscall_entry", "syscall_return"):
            reply += b"%s:%x;" % (stop.kind.encode(), stop.number)
        elif stop.kind == "exec" and self.target.reports_exec:
            reply += b"exec:" + stop.path.hex().encode() + b";"
        return reply + b"thread:" + self._thread_id(stop.thread) + b";"

    def _resume(self, actions: list[tuple[int | None, Action]]) -> None:
        self.target.resume(actions)
        self.running = True

    @command("vCont?")
    def resume_actions(self, rest: bytes) -> bytes:
        return b"vCont;c;C;s;S;r"

    @command("vCont;")
    def resume(self, rest: bytes) -> bytes | None:
        actions: list[tuple[int | None, Action]] = []
        for part in rest.split(b";"):
            text, _, where = part.partition(b":")
            thread = self._parse_thread(where) if where else _ALL
            actions.append((None if thread == _ALL else self._living(thread), _action(text)))
        self._resume(actions)
        return None

    def _go(self, step: bool, signal: int, address: bytes) -> None:
        thread = self._living(self._for_resume)
        if address:
            registers = self.target.registers
            index = next(i for i, register in enumerate(registers) if register.name == "pc")
            value = number(address) & (1 << registers[index].bits) - 1
            self.target.write_register(thread, index, value)
        actions: list[tuple[int | None, Action]] = [(thread, Action(step, signal))]
        if self._for_resume in (_ALL, _ANY):
            actions.append((None, Action(False)))
        self._resume(actions)

    @command("c")
    def continue_at(self, rest: bytes) -> None:
        self._go(False, 0, rest)

    @command("s")
    def step_at(self, rest: bytes) -> None:
        self._go(True, 0, rest)

    @command("C")
    def continue_with(self, rest: bytes) -> None:
        signal, _, address = rest.partition(b";")
        self._go(False, number(signal), address)

    @command("S")
    def step_with(self, rest: bytes) -> None:
        signal, _, address = rest.partition(b";")
        self._go(True, number(signal), address)

    @command("D")
    def detach(self, rest: bytes) -> bytes:
        self.finished = "detach"
        return b"OK"

    @command("k")
    def kill(self, rest: bytes) -> None:
        self.finished = "kill"

    @command("vKill;")
    def kill_process(self, rest: bytes) -> bytes:
        if number(rest) != self.target.pid:
            raise TargetError(ESRCH, "no such process")
        self.finished = "kill"
        return b"OK"


def _action(text: bytes) -> Action:
    kind, rest = text[:1], text[1:]
    if kind in (b"c", b"s") and not rest:
        return Action(kind == b"s")
    if kind in (b"C", b"S"):
        return Action(kind == b"S", number(rest))
    if kind == b"r":
        start, end = _pair(rest)
        return Action(True, 0, start, end)
    raise TargetError(EINVAL, "no such action")
