"""The table of user mode's options: each may be given in every way, and is handed on unchanged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pemu.cli.user import COMMAND
from pemu.cli.user_options import OPTIONS
from pemu.linux.options import UserOptions

VALUES = {
    "g": "1234",
    "L": "/tmp",
    "s": "64k",
    "cpu": "24Kf",
    "E": "A=1,B=2",
    "U": "A,B",
    "0": "name",
    "r": "5.10",
    "B": "0x1000000",
    "R": "1G",
    "d": "strace,unimp",
    "D": "/tmp/log-%d",
    "dfilter": "0x400000..0x40ffff,0x80000000..0x80000fff",
    "p": "8192",
    "seed": "7",
    "trace": "guest_*",
    "jit": "tier0,cache=off",
}
SWITCHES = [option.name for option in OPTIONS if option.type is None and not option.final]


def test_every_option_with_a_value_is_tested_here() -> None:
    assert {option.name for option in OPTIONS if option.type is not None} == VALUES.keys()


@pytest.mark.parametrize("name", VALUES)
def test_each_way_of_giving_an_option_means_the_same(name: str) -> None:
    option, text = COMMAND.names[name], VALUES[name]
    expected = COMMAND.parse([f"-{name}", text, "program"]).given
    assert len(expected) == 1
    for words, environ in (
        ([f"--{name}", text], {}),
        ([f"--{name}={text}"], {}),
        *(([], {variable: text}) for variable in option.env),
    ):
        assert COMMAND.parse([*words, "program"], environ).given == expected


@pytest.mark.parametrize("name", SWITCHES)
def test_each_way_of_giving_a_switch_means_the_same(name: str) -> None:
    option = COMMAND.names[name]
    expected = COMMAND.parse([f"-{name}", "program"]).given
    for words, environ in (([f"--{name}"], {}), *(([], {v: ""}) for v in option.env)):
        assert COMMAND.parse([*words, "program"], environ).given == expected


def given_options(words: list[str]) -> dict[str, object]:
    options = UserOptions()
    COMMAND.parse([*words, "program"]).assign(options)
    names = (option.dest for option in OPTIONS if option.dest)
    return {name: getattr(options, name) for name in names}


@given(st.lists(st.sampled_from([*VALUES, *SWITCHES]), unique=True))
def test_options_reach_an_executed_program_unchanged(names: list[str]) -> None:
    words: list[str] = []
    for name in names:
        words += [f"-{name}", VALUES[name]] if name in VALUES else [f"-{name}"]
    options = UserOptions()
    COMMAND.parse([*words, "program"]).assign(options)
    again = COMMAND.words(options, UserOptions())
    assert given_options(again) == given_options(words)
