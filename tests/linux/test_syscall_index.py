"""The index of call modules agrees with what the modules declare."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import pemu.linux.calls
from pemu.linux import syscall
from pemu.linux.calls import modules
from pemu.linux.mips.numbers import call_names


@pytest.mark.parametrize("module", modules())
def test_index_lists_just_what_the_module_declares(module: str) -> None:
    name = f"pemu.linux.calls.{module}"
    importlib.import_module(name)
    declared = {call.name for call in syscall.declared() if call.module == name}
    assert declared == set(modules()[module])


def test_every_module_is_in_the_index() -> None:
    path = pemu.linux.calls.__path__[0]
    files = {file.stem for file in Path(path).glob("*.py")} - {"__init__"}
    assert files == set(modules())


def test_no_call_is_in_two_modules() -> None:
    names = [name for listed in modules().values() for name in listed]
    assert len(names) == len(set(names))


def test_every_declared_name_is_one_of_linux() -> None:
    known = {name for abi in syscall.ABIS for name in call_names(abi).values()}
    for listed in modules().values():
        assert set(listed) <= known
