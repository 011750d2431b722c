"""Mistakes in the use of the Python API."""

from __future__ import annotations

from pathlib import Path

import pytest

import pemu


def test_every_error_is_a_pemu_error() -> None:
    errors = [getattr(pemu, name) for name in pemu.api.__all__ if name.endswith(("Error", "Fault"))]
    assert len(errors) > 5
    assert all(issubclass(error, pemu.Error) for error in errors)


def test_missing_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(pemu.StartError, match="nothing: No such file or directory"):
        pemu.Program(tmp_path / "nothing")


def test_file_that_is_no_program_is_refused() -> None:
    with pytest.raises(pemu.StartError, match="not a program for any of the targets mips, "):
        pemu.Program(__file__)


def test_program_for_another_target_is_refused_with_the_right_one(guest: Path) -> None:
    with pytest.raises(pemu.StartError, match="big-endian o32 program: use pemu-mips"):
        pemu.Program(guest, target="mipsel")


def test_unknown_target_is_answered_with_the_nearest(guest: Path) -> None:
    with pytest.raises(pemu.StartError, match="'mips65'; did you mean 'mips64'"):
        pemu.Program(guest, target="mips65")


def test_unknown_processor_is_refused(guest: Path) -> None:
    with pytest.raises(pemu.StartError, match="24Kq"):
        pemu.Program(guest, cpu="24Kq")


def test_wrong_option_is_refused(guest: Path) -> None:
    with pytest.raises(pemu.StartError, match="did you mean '-strace'"):
        pemu.Program(guest, options=["-strac"])


def test_option_that_runs_no_program_is_refused(guest: Path) -> None:
    with pytest.raises(pemu.StartError, match="-version runs no program"):
        pemu.Program(guest, options=["-version"])


def test_gdb_beside_python_is_refused(guest: Path) -> None:
    with pytest.raises(pemu.StartError, match="-g gives gdb the control"):
        pemu.Program(guest, options=["-g", "1234"])


def test_missing_directory_is_named(guest: Path, tmp_path: Path) -> None:
    with pytest.raises(pemu.StartError, match="nowhere: No such file"):
        pemu.Program(guest, cwd=tmp_path / "nowhere")


def test_misspelt_register_is_answered_with_the_nearest(guest: Path) -> None:
    with pemu.Program(guest) as program:
        with pytest.raises(pemu.UnknownNameError, match="'fcrs'; did you mean 'fcsr'"):
            program.registers["fcrs"]
        with pytest.raises(AttributeError, match="nonsense"):
            program.registers.nonsense  # noqa: B018


def test_missing_symbol_is_named(guest: Path) -> None:
    with pemu.Program(guest) as program:
        with pytest.raises(LookupError, match="'mian'"):
            program.symbols["mian"]
        with pytest.raises(pemu.UnknownNameError, match="'mian'"):
            program.on_address("mian")(print)


def test_misspelt_system_call_is_answered_with_the_nearest(guest: Path) -> None:
    with pemu.Program(guest) as program:
        with pytest.raises(pemu.UnknownNameError, match="'wirte'; did you mean 'write'"):
            program.on_syscall("wirte")(lambda program, call: None)


def test_misspelt_signal_is_answered_with_the_nearest(guest: Path) -> None:
    with pemu.Program(guest) as program:
        with pytest.raises(pemu.UnknownNameError, match="'SIGSEG'; did you mean 'SIGSEGV'"):
            program.on_signal("SIGSEG")(lambda program, signal: None)


def test_run_inside_a_hook_is_refused(guest: Path) -> None:
    with pemu.Program(guest) as program:
        program.on_address("main")(lambda program: program.run())
        with pytest.raises(pemu.BusyError, match="running already"):
            program.run()


def test_output_that_was_not_captured_is_refused(guest: Path) -> None:
    with pemu.Program(guest) as program:
        with pytest.raises(pemu.BusyError, match="stdout=pemu.CAPTURE"):
            program.output  # noqa: B018
