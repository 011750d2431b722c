"""Hooks on addresses, blocks, system calls and signals."""

from __future__ import annotations

import errno
import lzma
import signal
from pathlib import Path

import pytest

import pemu
from tests.conftest import ROOT


def test_address_hook_sees_and_changes_registers(guest: Path) -> None:
    with pemu.Program([guest, "sum"], stdout=pemu.CAPTURE) as program:

        @program.on_address("add")
        def double(program: pemu.Program) -> None:
            program.registers["a1"] *= 2

        program.run()
        assert program.output == b"90\n"


def test_address_hook_may_go_elsewhere(guest: Path) -> None:
    with pemu.Program([guest, "sum"], stdout=pemu.CAPTURE) as program:

        @program.on_address("add")
        def answer(program: pemu.Program) -> None:
            program.registers.v0 = 99
            program.registers.pc = program.registers.ra

        assert program.run() == 99
        assert program.output == b"99\n"


def test_hooks_are_called_in_the_order_of_their_making(guest: Path) -> None:
    with pemu.Program(guest) as program:
        order = []
        program.on_address("add")(lambda program: order.append("first"))
        program.on_address(program.symbols["add"])(lambda program: order.append("second"))
        program.run()
        assert order == ["first", "second"]


def test_thousands_of_addresses_can_be_hooked(guest: Path) -> None:
    with pemu.Program([guest, "sum"], stdout=pemu.CAPTURE) as program:
        start = program.symbols["main"] & -4096
        places = []

        @program.on_address(*range(start - 20000, start + 20000, 4))
        def note(program: pemu.Program) -> None:
            places.append(program.registers.pc)

        program.run(until="add")
        program.remove(note)
        assert program.symbols["main"] in places
        assert program.symbols["add"] in places
        assert program.run() == 7


def test_removed_hook_is_not_called_any_more(guest: Path) -> None:
    with pemu.Program([guest, "sum"], stdout=pemu.CAPTURE) as program:
        calls = []

        @program.on_address("add")
        def once(program: pemu.Program) -> None:
            calls.append(program.registers.a1)
            program.remove(once)

        program.run()
        assert calls == [0]


def test_exception_of_a_hook_comes_out_of_run_which_can_go_on(guest: Path) -> None:
    with pemu.Program([guest, "sum"], stdout=pemu.CAPTURE) as program:

        @program.on_address("main")
        def fail(program: pemu.Program) -> None:
            raise ValueError("from the hook")

        with pytest.raises(ValueError, match="from the hook"):
            program.run()
        assert program.registers.pc == program.symbols["main"]
        assert program.run() == 7


def test_hook_stops_the_run_before_its_instruction(guest: Path) -> None:
    with pemu.Program([guest, "sum"], stdout=pemu.CAPTURE) as program:
        program.on_address("add")(lambda program: program.stop())
        assert program.run() is None
        assert program.registers.pc == program.symbols["add"]
        assert program.registers.a1 == 0
        program.run()
        assert program.registers.a1 == 1


def test_block_hook_sees_every_block(guest: Path) -> None:
    with pemu.Program([guest, "sum"], stdout=pemu.CAPTURE) as program:
        places: list[int] = []
        program.on_block(lambda program: places.append(program.registers.pc))
        program.run()
        assert places.count(program_symbol(guest, "add")) == 11
        assert program.output == b"45\n"


def program_symbol(path: Path, name: str) -> int:
    with pemu.Program(path) as program:
        return program.symbols[name]


def test_call_hook_sees_arguments(guest: Path) -> None:
    with pemu.Program([guest, "sum"], stdout=pemu.CAPTURE) as program:
        written = []

        @program.on_syscall("write")
        def note(program: pemu.Program, call: pemu.Call) -> None:
            descriptor, address, size = call.args
            written.append((call.name, descriptor, program.memory.read(address, size)))

        program.run()
        assert written == [("write", 1, b"45\n")]
        assert program.output == b"45\n"


def test_call_hook_changes_arguments(guest: Path) -> None:
    with pemu.Program([guest, "sum"], stdout=pemu.CAPTURE, stderr=pemu.CAPTURE) as program:

        @program.on_syscall("write")
        def redirect(program: pemu.Program, call: pemu.Call) -> None:
            call.args[0] = 2

        program.run()
        assert (program.output, program.errors) == (b"", b"45\n")


def test_call_hook_answers_in_place_of_the_kernel(guest: Path) -> None:
    with pemu.Program([guest, "open", "/etc/passwd"], stdout=pemu.CAPTURE) as program:

        @program.on_syscall("open", "openat")
        def deny(program: pemu.Program, call: pemu.Call) -> int | None:
            path = program.memory.string(call.args[1 if call.name == "openat" else 0])
            return -errno.EPERM if path == b"/etc/passwd" else None

        program.run()
        assert program.output == b"Operation not permitted\n"


def test_result_hook_changes_the_result(guest: Path) -> None:
    with pemu.Program([guest, "open", "/nowhere"], stdout=pemu.CAPTURE) as program:
        results = []

        @program.after_syscall("openat", "open")
        def change(program: pemu.Program, call: pemu.Call) -> int | None:
            results.append(call.result)
            return -errno.ELOOP

        program.run()
        assert results[-1] == -errno.ENOENT
        assert program.output == b"Too many levels of symbolic links\n"


def test_hook_without_names_is_for_all_calls(guest: Path) -> None:
    with pemu.Program([guest, "sum"], stdout=pemu.CAPTURE) as program:
        before: list[str] = []
        after: list[str] = []
        program.on_syscall()(lambda program, call: before.append(call.name))
        program.after_syscall()(lambda program, call: after.append(call.name))
        program.run()
        assert before[-1] == "exit_group"
        assert before[:-1] == after


def test_calls_are_made_though_children_end_while_python_is_asked(tmp_path: Path) -> None:
    shell = tmp_path / "busybox"
    shell.write_bytes(lzma.decompress((ROOT / "demo" / "busybox-mips.xz").read_bytes()))
    shell.chmod(0o755)
    words: list[str | Path] = [shell, "sh", "-c", "for i in 1 2 3 4 5 6; do echo $i | cat; done"]
    with pemu.Program(words, stdout=pemu.CAPTURE) as program:
        closed: list[int] = []
        program.on_syscall("close", "clone")(lambda program, call: closed.append(call.args[0]))
        assert program.run(timeout=300) == 0
        assert program.output == b"1\n2\n3\n4\n5\n6\n"


def test_program_can_stop_at_its_end(guest: Path) -> None:
    with pemu.Program([guest, "threads"], stdout=pemu.CAPTURE) as program:
        program.on_syscall("exit_group")(lambda program, call: program.stop())
        assert program.run() is None
        assert program.memory.i32[program.symbols["counter"]] == 405
        assert program.run() == 407 % 256


def test_signal_hook_sees_a_fault_and_may_go_elsewhere(guest: Path) -> None:
    with pemu.Program([guest, "fault"]) as program:
        seen = []

        @program.on_signal("SIGSEGV")
        def mend(program: pemu.Program, signal: pemu.Signal) -> bool:
            seen.append(signal.address)
            # Functions of shared code find their data by their own address in t9.
            program.registers.t9 = program.registers.pc = program.symbols["abort_quietly"]
            return True

        assert program.run() == 55
        assert seen == [16]


def test_signal_hook_lets_a_signal_through(guest: Path) -> None:
    with pemu.Program([guest, "signal"], stdout=pemu.CAPTURE) as program:
        names: list[str] = []
        program.on_signal()(lambda program, signal: names.append(signal.name))
        assert program.run() == -signal.SIGTERM
        assert names == ["SIGUSR1", "SIGTERM"]
        assert program.output == b"handled\n"


def test_signal_hook_takes_a_signal_away(guest: Path) -> None:
    with pemu.Program([guest, "signal"], stdout=pemu.CAPTURE) as program:
        program.on_signal("SIGTERM")(lambda program, signal: True)
        assert program.run() == 7
