"""Declarations that cannot be right are refused, with a message that names the instruction."""

from __future__ import annotations

from typing import Any

import pytest

from pemu.engine.staging.insn import InstructionSet, PatternError


def nothing(cpu: Any) -> None:
    pass


def rs_only(cpu: Any, rs: Any) -> None:
    pass


def rs_and_rt(cpu: Any, rs: Any, rt: Any) -> None:
    pass


@pytest.fixture
def isa() -> InstructionSet:
    return InstructionSet("toy", unit=8)


def refusal(isa: InstructionSet, pattern: str, assembly: str, meaning: Any) -> str:
    with pytest.raises(PatternError) as caught:
        isa.insn(pattern, assembly, name="it")(meaning)
    return str(caught.value)


def test_pattern_with_missing_bits(isa: InstructionSet) -> None:
    assert refusal(isa, "0000 rs:3", "it {rs}", rs_only) == "it: 7 bits, expected 8"


def test_pattern_with_too_many_bits(isa: InstructionSet) -> None:
    assert refusal(isa, "00000 rs:4", "it {rs}", rs_only) == "it: 9 bits, expected 8"


def test_field_that_is_never_used(isa: InstructionSet) -> None:
    message = refusal(isa, "00 rs:3 rt:3", "it {rs}", rs_only)
    assert message == "it: field rt is never used, write - bits"


def test_parameter_that_is_no_field(isa: InstructionSet) -> None:
    message = refusal(isa, "00000 rs:3", "it {rs}", rs_and_rt)
    assert message == "it: parameter rt is no field of '00000 rs:3'"


def test_field_in_the_text_that_is_not_in_the_pattern(isa: InstructionSet) -> None:
    message = refusal(isa, "00000 rs:3", "it {rs}, {rd}", rs_only)
    assert message == "it: rd in 'it {rs}, {rd}' is no field"


def test_unclosed_brace_in_the_text(isa: InstructionSet) -> None:
    assert "unclosed brace" in refusal(isa, "00000 rs:3", "it {rs", rs_only)


def test_field_twice_in_a_pattern(isa: InstructionSet) -> None:
    message = refusal(isa, "00 rs:3 rs:3", "it {rs}", rs_only)
    assert message == "it: field rs stands twice in the pattern"


@pytest.mark.parametrize("token", ["rs:", "rs:x", "rs:0", "2", "r-s:3"])
def test_token_that_is_neither_bits_nor_field(isa: InstructionSet, token: str) -> None:
    message = refusal(isa, f"00000 {token}", "it", nothing)
    assert message == f"it: {token!r} is neither bits (0 1 -) nor name:width"


def test_name_that_is_taken(isa: InstructionSet) -> None:
    isa.insn("00000000", "it", name="it")(nothing)
    assert refusal(isa, "00000001", "it", nothing) == "it is declared twice"


def test_overlap_names_both_instructions(isa: InstructionSet) -> None:
    isa.insn("0000 0---", "one", name="one")(nothing)
    isa.insn("0000 --00", "two", name="two")(nothing)
    with pytest.raises(PatternError) as caught:
        isa.select(())
    assert str(caught.value) == "one [0000 0---] and two [0000 --00] match the same words"


def test_override_allows_an_overlap_and_comes_first(isa: InstructionSet) -> None:
    isa.insn("0000 rs:4", "general {rs}", name="general")(nothing)
    isa.insn("0000 0000", "special", overrides="general", name="special")(nothing)
    assert [insn.name for insn in isa.select(())] == ["special", "general"]


def test_override_of_an_override_comes_before_it(isa: InstructionSet) -> None:
    isa.insn("0000 rs:4", "general {rs}", name="general")(nothing)
    isa.insn("0000 00--", "special", overrides="general", name="special")(nothing)
    isa.insn("0000 0000", "very", overrides="general special", name="very")(nothing)
    assert [insn.name for insn in isa.select(())] == ["very", "special", "general"]


def test_override_of_nothing(isa: InstructionSet) -> None:
    isa.insn("0000 0000", "special", overrides="general", name="special")(nothing)
    with pytest.raises(PatternError, match="special overrides general, which does not exist"):
        isa.select(())


def test_features_select(isa: InstructionSet) -> None:
    isa.insn("0000 0000", "always", name="always")(nothing)
    isa.insn("0000 0001", "old", unless="new", name="old")(nothing)
    isa.insn("0000 0001", "fresh", needs="new", name="fresh")(nothing)
    isa.insn("0000 0010", "both", needs="new wide", name="both")(nothing)
    assert {insn.name for insn in isa.select({"new"})} == {"always", "fresh"}
    assert {insn.name for insn in isa.select(())} == {"always", "old"}


def test_name_is_the_functions_unless_given(isa: InstructionSet) -> None:
    def and_(cpu: Any) -> None:
        pass

    isa.insn("0000 0000", "and")(and_)
    assert [insn.name for insn in isa.insns] == ["and"]


def test_fields_are_extracted_from_a_word(isa: InstructionSet) -> None:
    isa.insn("10 rs:3 rt:3", "it {rs}, {rt}")(rs_and_rt)
    (insn,) = isa.insns
    assert {field.name: field.of(0b10_101_011) for field in insn.fields} == {"rs": 5, "rt": 3}
    assert (insn.mask, insn.match) == (0b11000000, 0b10000000)
