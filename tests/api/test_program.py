"""Programs that Python loads and runs."""

from __future__ import annotations

import gc
import os
import re
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import pemu
from tests.api.conftest import build
from tests.conftest import need
from tests.patience import LONG, until


def test_program_runs_to_its_exit_status(guest: Path) -> None:
    with pemu.Program([guest, "sum"], stdout=pemu.CAPTURE) as program:
        assert program.returncode is None
        assert program.run() == 7
        assert program.output == b"45\n"
        assert program.returncode == 7


@pytest.mark.parametrize("target", ["mips", "mipsel", "mips64", "mips64el"])
def test_target_is_found_from_the_file(target: str, tmp_path: Path) -> None:
    path = build(target, tmp_path)
    with pemu.Program([path, "sum"], stdout=pemu.CAPTURE) as program:
        assert program.target == target
        program.run(until="add")
        program.registers.a0 = 1000
        assert program.run() == 7
        assert program.output == b"1045\n"


def test_input_is_given_as_bytes(guest: Path) -> None:
    with pemu.Program([guest, "read"], stdin=b"one\ntwo\n", stdout=pemu.CAPTURE) as program:
        program.run()
        assert program.output == b"[one\n][two\n]"


def test_streams_may_be_files(guest: Path, tmp_path: Path) -> None:
    with open(tmp_path / "out", "wb") as file, pemu.Program([guest, "sum"], stdout=file) as program:
        program.run()
    assert (tmp_path / "out").read_bytes() == b"45\n"


def test_environment_directory_and_name_can_be_chosen(guest: Path, tmp_path: Path) -> None:
    with pemu.Program(
        [guest, "env"],
        env={"NAME": "value"},
        cwd=tmp_path,
        argv0="other",
        stdout=pemu.CAPTURE,
    ) as program:
        program.run()
        assert program.output == f"other value {tmp_path}\n".encode()


def test_options_are_those_of_the_command(guest: Path) -> None:
    options = ["-strace", "-E", "NAME=option"]
    with pemu.Program(
        [guest, "env"], options=options, stdout=pemu.CAPTURE, stderr=pemu.CAPTURE
    ) as program:
        program.run()
        assert b" option " in program.output
        assert b"write(1," in program.errors


def test_signal_that_ends_the_program_is_its_returncode(guest: Path) -> None:
    with pemu.Program([guest, "fault"], stderr=pemu.CAPTURE) as program:
        assert program.run() == -signal.SIGSEGV
        assert b"uncaught target signal 11" in program.errors


def test_program_that_closes_descriptors_does_not_touch_python(guest: Path) -> None:
    gc.collect()  # what other tests have left
    before = os.getcwd(), os.listdir("/proc/self/fd")
    with pemu.Program([guest, "close"]) as program:
        assert program.run() == 4
    assert (os.getcwd(), os.listdir("/proc/self/fd")) == before


def test_two_programs_at_once_do_not_meet(guest: Path) -> None:
    with pemu.Program([guest, "sum"], stdout=pemu.CAPTURE) as one, pemu.Program(guest) as two:
        one.run(until="add")
        one.memory.u32[one.symbols["counter"]] = 50
        assert two.run() == 6
        assert one.run() == 52
        assert two.pid != one.pid


def test_programs_run_in_threads_of_their_own(guest: Path) -> None:
    results = []

    def run() -> None:
        with pemu.Program([guest, "sum"], stdout=pemu.CAPTURE) as program:
            program.run()
            results.append(program.output)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [b"45\n"] * 3


def test_run_stops_at_an_address_and_goes_on(guest: Path) -> None:
    with pemu.Program([guest, "sum"], stdout=pemu.CAPTURE) as program:
        seen = []
        while program.run(until="add") is None:
            assert program.registers.pc == program.symbols["add"]
            seen.append(program.registers.a1)
        assert seen == [*range(10), 2]
        assert program.returncode == 7


def test_run_stops_at_an_address_that_another_run_has_passed(guest: Path) -> None:
    with pemu.Program([guest, "sum"], stdout=pemu.CAPTURE) as program:
        program.run(until="add")
        program.run(until=program.registers.ra)
        program.run(until="add")
        assert program.registers.a1 == 1


def test_dynamic_program_finds_its_libraries(guest: Path, tmp_path: Path) -> None:
    prefix = "/usr/mips-linux-gnu"
    source, output = tmp_path / "hello.c", tmp_path / "hello"
    source.write_text('#include <stdio.h>\nint main() { return puts("hello"); }\n')
    subprocess.run([need("mips-linux-gnu-gcc"), "-o", output, source], check=True)
    with pemu.Program(output, prefix=prefix, stdout=pemu.CAPTURE) as program:
        assert "puts" not in program.symbols
        program.run(until="main")
        assert program.run(until="puts") is None
        assert program.memory.string(program.registers.a0) == b"hello"
        assert program.run() == 6


def test_step_executes_one_instruction(guest: Path) -> None:
    with pemu.Program([guest, "sum"]) as program:
        program.run(until="add")
        before = program.registers.pc
        program.step()
        assert program.registers.pc in (before + 4, program.registers.ra)
        program.step(3)
        assert program.symbols.at(program.registers.pc) is not None


def test_time_limit_stops_a_program_that_goes_on_later(guest: Path) -> None:
    with pemu.Program([guest, "loop"]) as program:
        program.run(until="add")
        with pytest.raises(pemu.TimeLimitError, match="has not ended within 0.3 s"):
            program.run(timeout=0.3)
        counter = program.symbols["counter"]
        first = program.memory.u32[counter]
        while program.memory.u32[counter] == first:
            with pytest.raises(TimeoutError):
                program.run(timeout=0.3)


def test_time_limit_ends_the_waiting_of_a_system_call(guest: Path) -> None:
    reader, writer = os.pipe()
    with pemu.Program([guest, "wait"], stdin=reader, stdout=pemu.CAPTURE) as program:
        stop = program.on_syscall("read")(lambda program, call: program.stop())
        program.run()
        program.remove(stop)
        with pytest.raises(pemu.TimeLimitError):
            program.run(timeout=0.5)
        assert program.output == b"waiting\n"
        os.write(writer, b"A")
        assert program.run() == ord("A")
    os.close(reader)
    os.close(writer)


def test_stop_from_another_thread_lets_run_return(guest: Path) -> None:
    with pemu.Program([guest, "loop"]) as program:
        program.run(until="add")

        def stop() -> None:
            until(program._connection.is_running_elsewhere)
            program.stop()

        thread = threading.Thread(target=stop)
        thread.start()
        assert program.run() is None
        assert program.returncode is None
        thread.join()


def test_stop_before_the_program_has_been_told_to_go_on(
    guest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pemu.Program([guest, "loop"]) as program:
        program.run(until="add")
        post = program._connection.post

        def post_late(verb: str, *arguments: object) -> None:
            if verb == "resume":
                thread = threading.Thread(target=program.stop)
                thread.start()
                thread.join()
            post(verb, *arguments)

        monkeypatch.setattr(program._connection, "post", post_late)
        assert program.run() is None
        assert program.returncode is None


def test_program_that_has_ended_says_so(guest: Path) -> None:
    with pemu.Program(guest) as program:
        program.run()
        with pytest.raises(pemu.EndedError, match="has ended"):
            program.memory.read(program.symbols["text"], 1)
        with pytest.raises(pemu.EndedError):
            program.run()


def test_kill_ends_the_program(guest: Path) -> None:
    program = pemu.Program([guest, "loop"])
    program.kill()
    assert program.returncode == -signal.SIGKILL
    assert not os.path.exists(f"/proc/{program.pid}")


def test_program_without_a_controller_ends(guest: Path) -> None:
    code = (
        f"import pemu, os; program = pemu.Program([{str(guest)!r}, 'loop']); "
        "print(program.pid, flush=True); os._exit(0)"
    )
    done = _python(code)
    try:
        descriptor = os.pidfd_open(int(done.stdout))
    except ProcessLookupError:
        return
    assert select.select([descriptor], [], [], LONG)[0]
    os.close(descriptor)


def test_children_of_the_program_run_without_hooks(guest: Path) -> None:
    with pemu.Program([guest, "fork"], stdout=pemu.CAPTURE) as program:
        places = []
        program.on_address("add")(lambda program: places.append(program.registers.a0))
        assert program.run() == 7
        assert program.output == b"child 7\n"
        assert places == [5]


def test_hooks_are_called_for_all_threads(guest: Path) -> None:
    with pemu.Program([guest, "threads"], stdout=pemu.CAPTURE) as program:
        threads = set()

        @program.on_address("add")
        def note(program: pemu.Program) -> None:
            threads.add(program.thread)
            assert program.thread in program.threads

        program.run()
        assert len(threads) == 5  # main adds once at the end
        assert program.output == b"405\n"


def test_hooks_by_name_find_their_place_in_an_executed_program(guest: Path) -> None:
    with pemu.Program([guest, "exec"], stdout=pemu.CAPTURE) as program:
        numbers = []
        program.on_address("add")(lambda program: numbers.append(program.registers.a1))
        assert program.run() == 7
        assert numbers == [*range(10), 2]


def test_ctrl_c_stops_the_program_and_it_can_be_run_on(guest: Path) -> None:
    code = f"""
import os, signal, threading, pemu
with pemu.Program([{str(guest)!r}, "loop"]) as program:
    program.run(until="add")
    for _ in range(2):
        timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
        try:
            timer.start()
            program.run()
        except KeyboardInterrupt:
            print("stopped", program.returncode, program.symbols.at(program.registers.pc)[0])
"""
    stopped = re.compile("stopped None (add|main)\n" * 2)
    assert stopped.fullmatch(_python(code).stdout)


def test_ctrl_c_interrupts_a_hook(guest: Path) -> None:
    code = f"""
import os, signal, pemu
with pemu.Program([{str(guest)!r}, "sum"], stdout=pemu.CAPTURE) as program:
    @program.on_address("main")
    def hook(program):
        os.kill(os.getpid(), signal.SIGINT)
        print("not reached")
    try:
        program.run()
    except KeyboardInterrupt:
        print("stopped")
    print(program.run(), program.output)
"""
    assert _python(code).stdout == "stopped\n7 b'45\\n'\n"


def _python(code: str) -> subprocess.CompletedProcess[str]:
    paths = [str(Path(pemu.__file__).parent.parent), *sys.path]
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )


def test_import_does_not_load_the_api() -> None:
    code = "import pemu, sys; print('pemu.api' in sys.modules, pemu.Program.__name__)"
    assert _python(code).stdout == "False Program\n"
