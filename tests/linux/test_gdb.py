"""gdb-multiarch drives guest programs through `-g`.

The programs are tests/programs/gdb/*.c. What they do is told by their comments.
"""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pemu.monitor.gdb.packet import frame
from pemu.monitor.gdb.stub import COMMANDS
from tests.conftest import command, need
from tests.linux.cross import COMPILERS
from tests.patience import LONG, free_port, listens, settled, until

PROGRAMS = Path(__file__).resolve().parent.parent / "programs" / "gdb"
TARGETS = ("mips", "mipsel", "mips64el")
Build = Callable[[str, str], Path]
PATIENCE = ("set tcp connect-timeout 300", "set remotetimeout 300")
"""gdb asks again after two seconds, and does not know then which answer is which."""

PAIR = """
 .globl __start
__start:
 li $t0, 0x40040000
 mtc1 $zero, $f2
 mtc1 $t0, $f3
 li $t0, 0x3fc00000
 mtc1 $t0, $f4
there:
 nop
 add.s $f8, $f4, $f6
 nop
"""


class Session:
    """A guest that waits for gdb at `place`, and gdb with a list of commands."""

    def __init__(
        self, target: str, place: str, program: Path, *words: str, options: tuple[str, ...]
    ) -> None:
        self.place = place
        self.knows_program = True
        self.program = program
        self.guest = subprocess.Popen(
            [*command(target), *options, "-g", place, str(program), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.gdb: subprocess.Popen[str] | None = None

    def start(self, *commands: str) -> None:
        """Start gdb, which obeys `commands` when it has connected."""
        place = self.place if self.place.startswith("/") else f"127.0.0.1:{self.place}"
        words = [need("gdb-multiarch"), "-nx", "-q", "-batch"]
        first = ("set confirm off", "set width 0", *PATIENCE)
        for line in (*first, f"target remote {place}", *commands):
            words += ["-ex", line]
        self.wait_for_socket()
        self.gdb = subprocess.Popen(
            [*words, str(self.program)] if self.knows_program else words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self) -> str:
        """Wait for gdb's end and return what it has printed."""
        assert self.gdb is not None
        output, _ = self.gdb.communicate(timeout=LONG)
        return output

    def interrupt(self) -> None:
        """Send gdb a ^C when it waits for the guest, which has been continued."""
        assert self.gdb is not None
        pid = self.gdb.pid
        until(lambda: settled(pid), "the end of gdb's work")
        self.gdb.send_signal(signal.SIGINT)

    def run(self, *commands: str) -> str:
        """Start gdb and wait for its end."""
        self.start(*commands)
        return self.finish()

    def guest_output(self) -> tuple[str, str, int]:
        """Wait for the guest's end; returns its output, errors and exit status."""
        output, errors = self.guest.communicate(timeout=LONG)
        return output, errors, self.guest.returncode

    def wait_for_socket(self) -> None:
        """Wait until the guest listens on its socket's path; gdb itself waits for a port."""
        if self.place.startswith("/"):
            until(lambda: self.guest.poll() is not None or listens(self.place), self.place)
            assert self.guest.poll() is None, self.guest.communicate()

    def close(self) -> None:
        for process in (self.gdb, self.guest):
            if process is not None:
                process.kill()
                process.communicate()


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Compile one of the programs for a target, once."""
    folder = tmp_path_factory.mktemp("gdb")

    def make(name: str, target: str) -> Path:
        output = folder / f"{name}-{target}"
        if not output.exists():
            compiler, options = COMPILERS[target]
            words = [need(compiler), *options, "-g", "-O0", "-static", "-pthread", "-w"]
            subprocess.run([*words, "-o", output, PROGRAMS / f"{name}.c"], check=True)
        return output

    return make


Debug = Callable[..., Session]


@pytest.fixture
def debug(build: Build) -> Iterator[Debug]:
    """Start a program for gdb: `debug("values", "mips", *words)`."""
    need("gdb-multiarch")
    sessions: list[Session] = []
    with tempfile.TemporaryDirectory(prefix="pemu-gdb-") as folder:

        def start(
            name: str | Path,
            target: str = "mips",
            *words: str,
            place: str = "",
            options: tuple[str, ...] = (),
        ) -> Session:
            where = place or f"{folder}/socket{len(sessions)}"
            program = name if isinstance(name, Path) else build(name, target)
            sessions.append(Session(target, where, program, *words, options=options))
            return sessions[-1]

        yield start
        for session in sessions:
            session.close()


@pytest.mark.parametrize("target", TARGETS)
def test_breakpoint_shows_arguments_and_callers(debug: Debug, target: str) -> None:
    output = debug("values", target).run("break add if a == 7", "continue", "bt", "finish")
    assert "Breakpoint 1, add (a=7, b=10)" in output
    assert re.search(r"#1 .* main \(argc=1", output)
    assert "Value returned is $1 = 17" in output


def test_breakpoint_stops_each_time_and_the_program_ends_with_its_status(debug: Debug) -> None:
    session = debug("values")
    lines = ["break add", *["continue"] * 12]
    output = session.run(*lines)
    assert output.count("Breakpoint 1, add") == 11
    assert "exited with code 031" in output
    assert session.guest_output()[2] == 25


def test_breakpoint_in_code_that_is_hot_already(debug: Debug) -> None:
    session = debug("events", "mips", "spin")
    lines = ["break events.c:60", "continue", "continue", "print shared > 0", "kill"]
    session.start("continue", *lines)
    assert session.guest.stdout is not None
    assert session.guest.stdout.readline() == "ready\n"
    time.sleep(1)
    session.interrupt()
    output = session.finish()
    assert "received signal SIGINT" in output
    assert "Breakpoint 1, main" in output
    assert "$1 = 1" in output


def test_temporary_breakpoint_stops_once(debug: Debug) -> None:
    output = debug("values").run("tbreak add", "continue", "continue")
    assert output.count("Temporary breakpoint 1, add") == 1
    assert "exited with code 031" in output


@pytest.mark.parametrize("target", TARGETS)
def test_steps_go_over_lines_into_calls_and_over_single_instructions(
    debug: Debug, target: str
) -> None:
    output = debug("values", target).run(
        *("break twice", "continue", "step", "next", "next", "info source"),
        *("print sum", "stepi", "nexti", "print $pc > (long)add", "up", "info frame", "continue"),
    )
    assert "add (a=4, b=4)" in output
    assert "$1 = 8" in output
    assert "$2 = 1" in output
    assert "exited with code 031" in output


def test_every_instruction_can_be_stepped_over(debug: Debug) -> None:
    # Through calls, branches with delay slots, system calls and atomic sequences of printf.
    session = debug("values")
    output = session.run("break 68", "continue", "stepi 1000", "print $pc != 0", "continue")
    assert "$1 = 1" in output
    assert "exited with code 031" in output
    assert session.guest_output()[0] == "153 229.5 through a pipe 6\n"


@pytest.mark.parametrize("target", TARGETS)
def test_registers_and_variables_are_changed(debug: Debug, target: str) -> None:
    session = debug("values", target)
    output = session.run(
        *("break 68", "continue", "set var total = 1000", "set var factor = 0.25"),
        *("set var record.watched = 77", "print $sp != 0", "print $zero"),
        *("set var $t0 = 0x1234", "print/x $t0", "continue"),
    )
    assert "$1 = 1" in output
    assert "$2 = 0" in output
    assert "$3 = 0x1234" in output
    assert session.guest_output()[0] == "1000 0.25 through a pipe 77\n"


def test_floating_point_registers(debug: Debug) -> None:
    session = debug("values", "mips64el")
    output = session.run(
        *("break scale", "continue", "print x", "finish", "print $fcsr & 3", "print $fir != 0"),
        *("set var $f4 = 2.5", "print $f4", "break touch_record", "continue", "print factor"),
        *("print scale(3.0)", "continue"),
    )
    assert "Value returned is $2 = 229.5" in output
    assert "$3 = 0" in output
    assert "$4 = 1" in output
    assert "$5 = 2.5" in output
    assert "$6 = 229.5" in output


@pytest.mark.parametrize("target", ["mips", "mipsel"])
def test_pairs_of_32_bit_registers_make_doubles(debug: Debug, target: str, tmp_path: Path) -> None:
    source, program = tmp_path / "pair.S", tmp_path / "pair"
    source.write_text(PAIR)
    options = ["-static", "-nostdlib", "-w", "-mhard-float", "-mfp32"]
    words = [need(COMPILERS[target][0]), *options, "-o", str(program), str(source)]
    subprocess.run(words, check=True)
    output = debug(program, target).run(
        *("break there", "continue", "info registers f2", "info registers f4"),
        *("set var $f6 = 0.5", "set var $f7 = 0", "stepi", "stepi", "info registers f8", "kill"),
    )
    assert re.search(r"f2: .*dbl: 2.5", output)
    assert re.search(r"f4: .*flt: 1.5", output)
    assert re.search(r"f8: .*flt: 2 ", output)


@pytest.mark.parametrize("target", TARGETS)
def test_functions_of_the_program_are_called(debug: Debug, target: str) -> None:
    session = debug("values", target)
    output = session.run(
        *("break touch_record", "continue", "print twice(21)", "print counter", "continue"),
    )
    assert "$1 = 42" in output
    assert "$2 = 195" in output
    assert "exited with code 0103" in output
    assert session.guest_output()[0] == "153 229.5 through a pipe 6\n"


@pytest.mark.parametrize("target", TARGETS)
def test_watchpoints_tell_reads_from_writes(debug: Debug, target: str) -> None:
    output = debug("values", target).run(
        *("break touch_record", "continue", "delete 1"),
        *("rwatch record.watched", "awatch record.byte", "watch record.number"),
        *("watch record.watched", *["continue"] * 8),
    )
    output = output.split("Hardware watchpoint 5: record.watched\n", 1)[1]
    stops = re.findall(r"^(Hardware [a-z() /]*\d): .*\n\n(.*\n(?:New.*\n)?)", output, re.MULTILINE)
    assert [(what, re.sub(r"\s+", " ", values).strip()) for what, values in stops] == [
        ("Hardware watchpoint 5", "Old value = 0 New value = 5"),
        ("Hardware read watchpoint 2", "Value = 5"),
        (
            "Hardware access (read/write) watchpoint 3",
            r"Old value = 0 '\000' New value = 3 '\003'",
        ),
        ("Hardware read watchpoint 2", "Value = 5"),
        ("Hardware watchpoint 5", "Old value = 5 New value = 6"),
        ("Hardware watchpoint 4", "Old value = 0 New value = 7.5"),
        ("Hardware read watchpoint 2", "Value = 6"),
    ]
    assert "exited with code 031" in output


def test_system_call_writes_to_a_watched_page(debug: Debug) -> None:
    session = debug("values")
    session.run("break touch_record", "continue", "awatch record.pad", "continue")
    assert session.guest_output()[0] == "153 229.5 through a pipe 6\n"


def test_watchpoint_on_a_local_variable_ends_with_its_function(debug: Debug) -> None:
    output = debug("values").run(
        *("break add", "continue", "delete 1", "watch sum", "continue", "continue", "continue")
    )
    assert "New value = 10" in output
    assert "Watchpoint 2 deleted" in output
    assert "exited with code 031" in output


def test_watchpoint_hit_by_any_thread(debug: Debug) -> None:
    output = debug("events", "mips", "threads").run(
        "watch shared if shared == 75", "continue", "print shared", "delete", "continue"
    )
    assert "New value = 75" in output
    assert "exited with code 03" in output


def test_threads_appear_stop_together_and_end(debug: Debug) -> None:
    session = debug("events", "mips", "threads")
    output = session.run(
        *("break work if number == 1 && shared > 30", "continue", "info threads"),
        *("thread apply all bt 1", "thread apply all print $pc != 0", "delete", "continue"),
    )
    assert re.search(r'Thread \d "events-mips" hit Breakpoint 1, work \(number=1\)', output)
    assert len(re.findall(r"^[* ] +\d +Thread ", output, re.MULTILINE)) >= 2
    assert "exited with code 03" in output
    assert session.guest_output()[0] == "shared 150\n"


def test_only_the_chosen_thread_runs_with_the_scheduler_locked(debug: Debug) -> None:
    output = debug("events", "mips", "threads").run(
        *("break work if number == 2", "continue", "set scheduler-locking on", "delete"),
        *("print own", "next", "print own", "set scheduler-locking off", "continue"),
    )
    before, after = (
        [int(count) for count in found.split(", ")]
        for found in re.findall(r"^\$\d = \{(.*)\}$", output, re.MULTILINE)
    )
    assert after == [*before[:2], before[2] + 1]
    assert "exited with code 03" in output


@pytest.mark.parametrize("target", TARGETS)
def test_signal_stops_and_is_delivered(debug: Debug, target: str) -> None:
    session = debug("events", target, "signal")
    output = session.run(
        *("continue", "print $_siginfo.si_signo", "break on_signal", "continue", "bt", "continue")
    )
    assert "Program received signal SIGUSR1" in output
    assert "$1 = 16" in output
    assert "Breakpoint 1, on_signal (number=16)" in output
    assert "<signal handler called>" in output
    assert session.guest_output()[0] == "handled 1\n"


def test_signal_is_passed_without_a_stop_or_kept_from_the_program(debug: Debug) -> None:
    session = debug("events", "mips", "signal")
    output = session.run("handle SIGUSR1 nostop noprint pass", "continue")
    assert "received signal" not in output
    assert session.guest_output()[0] == "handled 1\n"
    session = debug("events", "mips", "signal")
    session.run("handle SIGUSR1 stop nopass", "continue", "continue")
    assert session.guest_output()[0] == "handled 0\n"


def test_signal_of_gdbs_own_is_delivered(debug: Debug) -> None:
    session = debug("events", "mips", "signal")
    session.run("handle SIGUSR1 nostop noprint pass", "break raise", "continue", "signal SIGUSR1")
    assert session.guest_output()[0] == "handled 2\n"


def test_fault_stops_at_the_instruction_and_then_ends_the_program(debug: Debug) -> None:
    session = debug("events", "mips", "fault")
    output = session.run(
        *("continue", "print $_siginfo._sifields._sigfault.si_addr", "bt", "continue")
    )
    assert "Program received signal SIGSEGV" in output
    assert "$1 = (void *) 0x10" in output
    assert "Program terminated with signal SIGSEGV" in output
    assert session.guest_output()[2] == -signal.SIGSEGV


@pytest.mark.parametrize("how", ["spin", "wait"])
def test_interrupt_stops_code_that_runs_and_a_call_that_waits(debug: Debug, how: str) -> None:
    session = debug("events", "mips", how)
    session.start("continue", "bt", "info threads", "kill")
    assert session.guest.stdout is not None
    assert session.guest.stdout.readline() == "ready\n"
    session.interrupt()
    output = session.finish()
    assert "Program received signal SIGINT" in output
    assert re.search(r"#\d .*main \(argc=2", output)
    assert "killed" in output
    _, errors, status = session.guest_output()
    assert "terminated by gdb" in errors
    assert status == 0


def test_call_that_waits_goes_on_after_an_interrupt(debug: Debug) -> None:
    session = debug("events", "mips", "wait")
    session.start("continue", "detach")
    assert session.guest.stdout is not None
    assert session.guest.stdout.readline() == "ready\n"
    session.interrupt()
    assert "detached" in session.finish()
    with pytest.raises(subprocess.TimeoutExpired):
        session.guest.wait(0.5)


def test_detached_program_runs_on(debug: Debug) -> None:
    session = debug("values")
    assert "detached" in session.run("break add", "continue", "detach")
    output, _, status = session.guest_output()
    assert output == "153 229.5 through a pipe 6\n"
    assert status == 25


def test_program_runs_on_when_the_connection_is_lost(debug: Debug) -> None:
    session = debug("values")
    session.start("break add", "continue", "shell kill -9 $PPID")
    session.finish()
    assert session.guest_output()[0] == "153 229.5 through a pipe 6\n"


def test_quitting_gdb_ends_the_program(debug: Debug) -> None:
    session = debug("values")
    session.run("break add", "continue", "quit")
    output, errors, status = session.guest_output()
    assert output == ""
    assert "terminated by gdb" in errors
    assert status == 0


def test_auxiliary_vector_and_program_file(debug: Debug) -> None:
    session = debug("values")
    output = session.run("info auxv", "kill")
    assert f'"{session.program}"' in output
    assert "AT_ENTRY" in output


def test_child_process_runs_without_gdb(debug: Debug) -> None:
    session = debug("events", "mips", "fork")
    output = session.run("break in_child", "continue")
    assert "Breakpoint 1, in_child" not in output
    assert session.guest_output()[0] == "child 5\n"


def test_gdb_gets_program_and_libraries_from_the_guests_side(debug: Debug, tmp_path: Path) -> None:
    compiler = need(COMPILERS["mipsel"][0])
    prefix = Path("/usr/mipsel-linux-gnu")
    if not (prefix / "lib" / "ld.so.1").exists():
        pytest.skip(f"no libraries for mipsel in {prefix} (package libc6-dev-mipsel-cross)")
    program = tmp_path / "dynamic"
    words = [compiler, "-g", "-w", "-o", str(program), str(PROGRAMS / "values.c")]
    subprocess.run(words, check=True)
    session = debug(program, "mipsel", options=("-L", str(prefix)))
    session.knows_program = False
    output = session.run(
        *("break add", "continue", "bt", "info sharedlibrary", "info proc exe", "delete"),
        *("info proc mappings", "break write", "continue", "bt", "kill"),
    )
    assert "Breakpoint 1, add (a=0, b=10)" in output
    assert "target:/lib/libc.so.6" in output
    assert f"exe = '{program}'" in output
    assert "[stack]" in output
    assert re.search(
        r"#0 .* in write \(\) from target:/lib/libc.so.6\n#1 .* in touch_record", output
    )


def test_executed_program_is_debugged(debug: Debug, build: Build) -> None:
    other = build("values", "mips")
    session = debug("events", "mips", "exec", str(other))
    output = session.run("catch exec", "continue", "delete", "break scale", "continue", "bt 1")
    assert f"is executing new program: {other}" in output
    assert "Breakpoint 2, scale (x=153)" in output


def test_memory_that_is_not_there(debug: Debug) -> None:
    output = debug("values").run("x/4x 16", "set var *(int *)16 = 1", "break main", "continue")
    assert output.count("Cannot access memory at address 0x10") == 2
    assert "Breakpoint 1, main" in output


def test_text_is_changed_and_the_change_runs(debug: Debug) -> None:
    # main's call of scale becomes two no-operations: the result is what $f0 held before.
    session = debug("values")
    output = session.run(
        *("break add", "continue", "delete", "set var *(int *)&factor = 0"),
        *("set var *(int *)twice = 0x03e00008", "set var *((int *)twice + 1) = 0x2402002a"),
        *("x/2i twice", "continue"),
    )
    assert "jr\tra" in output
    assert session.guest_output()[0].startswith("187 ")  # 145 + 42


@pytest.mark.parametrize("target", ["mips", "mips64el"])
def test_system_calls_are_caught(debug: Debug, target: str) -> None:
    session = debug("values", target)
    output = session.run("catch syscall write", *["continue"] * 4, "delete", "continue")
    assert output.count("(call to syscall write)") == 2
    assert output.count("(returned from syscall write)") == 2
    assert session.guest_output()[0] == "153 229.5 through a pipe 6\n"


def test_program_that_ends_while_another_thread_has_stopped(debug: Debug) -> None:
    session = debug("events", "mips", "leave")
    output = session.run("break work", "continue", "shell sleep 1", "delete", "print 7", "continue")
    assert "Breakpoint 1, work" in output
    assert "$1 = 7" in output
    assert "exited with code 05" in output


def test_core_file_is_made(debug: Debug, tmp_path: Path) -> None:
    session = debug("values")
    core = tmp_path / "core"
    session.run("break add", "continue", f"generate-core-file {core}", "kill")
    words = [need("gdb-multiarch"), "-nx", "-q", "-batch", "-ex", "bt"]
    done = subprocess.run(
        [*words, str(session.program), str(core)], capture_output=True, text=True, timeout=LONG
    )
    assert re.search(r"#0 +add \(a=0, b=10\)", done.stdout)


def test_monitor_answers(debug: Debug) -> None:
    output = debug("values").run("monitor help", "monitor nonsense", "kill")
    assert "gdb server" in output
    assert "nonsense" in output


def _drain(connected: socket.socket) -> None:
    with suppress(OSError):
        while connected.recv(65536):
            pass


@pytest.mark.parametrize("target", ["mips", "mips64el"])
def test_hostile_packets_make_no_traceback_and_no_hang(build: Build, target: str) -> None:
    source = random.Random(f"packets for {target}")
    beginnings = sorted(COMMANDS.keys() - {b"k", b"vKill;", b"D", b"c", b"C", b"S", b"vCont;"})
    with tempfile.TemporaryDirectory(prefix="pemu-gdb-") as folder:
        session = Session(target, f"{folder}/socket", build("values", target), options=())
        try:
            session.wait_for_socket()
            with socket.socket(socket.AF_UNIX) as gdb:
                gdb.connect(session.place)
                reader = threading.Thread(target=_drain, args=(gdb,), daemon=True)
                reader.start()
                with suppress(OSError):  # the program may end early
                    for _ in range(3000):
                        digits = "".join(source.choices("0123456789abcdef,;:=.p", k=12))
                        packet = source.choice(beginnings) + digits[: source.randrange(13)].encode()
                        gdb.sendall(source.choice((frame(packet), frame(packet)[1:], b"\3")))
                    gdb.shutdown(socket.SHUT_WR)
                reader.join(LONG)
                assert not reader.is_alive()
            # What the packets have made of the program is its own business.
            session.guest.wait(LONG)
            errors = session.guest_output()[1]
            assert "Traceback" not in errors
            assert "internal error" not in errors
        finally:
            session.close()


def test_tcp_port(debug: Debug) -> None:
    session = debug("values", place=str(free_port()))
    assert "Breakpoint 1, add" in session.run("break add", "continue", "delete", "continue")
    assert session.guest_output()[2] == 25


def test_port_from_the_environment(build: Build) -> None:
    need("gdb-multiarch")
    with tempfile.TemporaryDirectory(prefix="pemu-gdb-") as folder:
        place = f"{folder}/socket"
        guest = subprocess.Popen(
            [*command("mips"), str(build("values", "mips"))],
            env={**os.environ, "QEMU_GDB": place},
            stdout=subprocess.DEVNULL,
        )
        try:
            until(lambda: guest.poll() is not None or listens(place), place)
            assert guest.poll() is None
        finally:
            guest.kill()
            guest.wait()


def test_place_that_cannot_be_listened_on_is_one_sentence(build: Build, tmp_path: Path) -> None:
    place = tmp_path / "nowhere" / "socket"
    done = subprocess.run(
        [*command("mips"), "-g", str(place), str(build("values", "mips"))],
        capture_output=True,
        text=True,
        timeout=LONG,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "cannot listen there" in done.stderr
