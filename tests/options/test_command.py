"""Command lines: forms of options, environment variables, order, mistakes, and the way back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pemu.options.command import Command, Option
from pemu.options.error import OptionError
from pemu.options.types import Int, Size, Text
from pemu.options.usage import option_table

OPTIONS = (
    Option("h", help="help", final=True, aliases=("help",)),
    Option("L", Text("path"), "path", "prefix", dest="prefix", env=("PEMU_L", "QEMU_L")),
    Option("s", Size(), "size", "stack", dest="size", env=("PEMU_S", "QEMU_S")),
    Option("strace", help="log", dest="strace", env=("PEMU_STRACE",)),
    Option("port", Int(), "number", dest="ports", repeat=True),
)
COMMAND = Command(OPTIONS)


class Settings:
    def __init__(self) -> None:
        self.prefix, self.size, self.strace = "", 0, False
        self.ports: list[int] = []


def given_of(words: list[str], environ: dict[str, str] | None = None) -> list[tuple[str, object]]:
    return [(option.name, value) for option, value in COMMAND.parse(words, environ).given]


@pytest.mark.parametrize("words", [["-L", "dir"], ["--L", "dir"], ["--L=dir"], ["-L", "dir", "--"]])
def test_forms_of_an_option(words: list[str]) -> None:
    parsed = COMMAND.parse([*words, "prog", "-L", "x"])
    assert [(option.name, value) for option, value in parsed.given] == [("L", "dir")]
    assert parsed.rest == ["prog", "-L", "x"]


def test_value_may_look_like_an_option() -> None:
    assert given_of(["-L", "-strace"]) == [("L", "-strace")]


def test_options_may_follow_words_where_they_are_mixed() -> None:
    parsed = Command(OPTIONS, mixed=True).parse(["a", "-strace", "b", "--", "-L"])
    assert parsed.rest == ["a", "b", "-L"]
    assert [option.name for option, _ in parsed.given] == ["strace"]


def test_final_option_ends_parsing() -> None:
    parsed = COMMAND.parse(["-help", "-nonsense"])
    assert parsed.final is not None
    assert parsed.final.name == "h"


def test_variables_come_before_the_command_line_and_the_first_of_them_counts() -> None:
    environ = {"QEMU_L": "qemu", "PEMU_L": "pemu", "QEMU_S": "1k", "PEMU_STRACE": "0"}
    assert given_of(["-L", "line"], environ) == [
        ("L", "pemu"),
        ("s", 1024),
        ("strace", True),
        ("L", "line"),
    ]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["-stracee"], "unknown option '-stracee'; did you mean '-strace'"),
        (["-xyzzy"], "-h lists the options"),
        (["-L"], "-L lacks its value; write -L path"),
        (["-s", "x"], "^-s: 'x' is not a size"),
        (["--strace=1"], "-strace takes none"),
        (["-L=dir"], "'-L=dir' is not an option; write -L dir"),
        (["-strace=on"], "-strace takes no value"),
        (["-"], "unknown option '-'"),
        (["--=x"], "unknown option"),
    ],
)
def test_mistake_is_named_with_its_remedy(words: list[str], sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        COMMAND.parse(words)


def test_mistake_in_a_variable_names_the_variable() -> None:
    with pytest.raises(OptionError, match="^QEMU_S: 'x' is not a size"):
        COMMAND.parse([], {"QEMU_S": "x"})


def test_option_declared_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="-L is declared twice"):
        Command((*OPTIONS, Option("L")))


@given(
    st.text(),
    st.integers(0, 1 << 63),
    st.booleans(),
    st.lists(st.integers(0, 1 << 32)),
)
def test_settings_are_handed_on_unchanged(
    prefix: str, size: int, strace: bool, ports: list[int]
) -> None:
    before, after = Settings(), Settings()
    before.prefix, before.size, before.strace, before.ports = prefix, size, strace, ports
    words = COMMAND.words(before, Settings())
    COMMAND.parse(words).assign(after)
    assert vars(after) == vars(before)


@given(st.lists(st.one_of(st.text(), st.sampled_from(["-L", "-s", "--", "-strace", "--s=1k"]))))
def test_any_words_are_parsed_or_answered_with_a_sentence(words: list[str]) -> None:
    sentence = ""
    try:
        COMMAND.parse(words)
    except OptionError as error:
        sentence = str(error)
    assert sentence.isprintable()


def test_table_of_options_has_a_row_for_each() -> None:
    rows = option_table(OPTIONS).splitlines()
    assert rows[0].split() == ["Argument", "Env-variable", "Description"]
    assert [row.split()[0] for row in rows[1:]] == ["-h", "-help", "-L", "-s", "-strace", "-port"]
