"""Processor models: the list, what a model has, and what programs and the kernel see of it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pemu.isa.mips.cpu import architecture
from pemu.isa.mips.models import (
    MODELS,
    Model,
    UnknownModel,
    UnsupportedModel,
    closure,
    help_text,
    model,
    models,
)
from tests.conftest import need


@pytest.mark.parametrize(("program", "xlen"), [("qemu-mips", 32), ("qemu-mips64", 64)])
def test_list_has_the_names_that_qemu_lists(program: str, xlen: int) -> None:
    # The list is printed with exit status 1.
    words = [need(program, "qemu-user"), "-cpu", "help"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    theirs = [line.split("'")[1] for line in done.stdout.splitlines()]
    assert [listed.name for listed in models(xlen)] == theirs


def test_help_says_which_models_are_not_supported() -> None:
    lines = help_text(32).splitlines()
    assert "MIPS '24Kf'" in lines
    assert "MIPS 'P5600'  (not supported yet: needs MIPS32 Release 5 and MSA)" in lines


def test_unsupported_model_is_refused_with_its_reason() -> None:
    with pytest.raises(UnsupportedModel, match=r"I6400 is not supported yet.*MIPS64 Release 6"):
        architecture("I6400", True, "n64")


def test_misspelt_model_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownModel, match=r"'24Kg'.*did you mean 24K[cf]\?"):
        architecture("24Kg", True, "o32")


def test_case_of_a_name_does_not_matter() -> None:
    assert model("24kf", 32).name == "24Kf"


def test_64_bit_model_is_refused_by_a_32_bit_target() -> None:
    with pytest.raises(UnknownModel, match="64-bit processor"):
        architecture("R4000", True, "o32")


def test_later_levels_include_earlier_ones() -> None:
    assert closure("mips64r2") >= {"mips1", "mips3", "mips5", "mips32", "mips32r2", "mips64"}
    assert "mips3" not in closure("mips32r2")
    assert closure("mips3") >= {"mips3_32", "mips3_32r2"}
    assert "mips4_32" not in closure("mips3")


SUPPORTED = [listed for listed in MODELS if not listed.lacks]


@pytest.mark.parametrize("chosen", SUPPORTED, ids=lambda m: m.name)
def test_every_supported_model_has_a_table_without_overlaps(chosen: Model) -> None:
    arch = architecture(chosen.name, True, "o32" if chosen.bits == 32 else "n64")
    for extra in arch.modes:
        assert arch.source().select(arch.features | extra)


def test_model_without_floating_point_unit_lacks_its_instructions() -> None:
    assert "fpu" not in model("4Kc", 32).features
    assert model("4Kc", 32).fir == 0
    assert "fpu" in model("24Kf", 32).features


def test_fir_is_that_of_the_core() -> None:
    assert model("24Kf", 32).fir == 0x00739300
    assert model("MIPS64R2-generic", 64).fir == 0x007F0000
    assert "ps" in model("MIPS64R2-generic", 64).features
    assert "ps" not in model("5KEf", 64).features


def test_kernels_facts_of_a_model() -> None:
    found = model("74Kf", 32)
    assert found.isa_line == "mips1 mips2 mips32r1 mips32r2"
    assert found.ases_line == "dsp dsp2"
    assert found.hwcap == 1 << 7 | 1 << 8
    assert found.base_platform == "mips32r2"
    assert model("20Kc", 64).isa_line == "mips1 mips2 mips3 mips4 mips5 mips32r1 mips64r1"


def test_architecture_follows_the_abi() -> None:
    o32, n32, n64 = (architecture("MIPS64R2-generic", False, abi) for abi in ("n32", "n32", "n64"))
    assert (o32.xlen, n32.address_bits, n64.address_bits) == (64, 32, 41)
    narrow = architecture("24Kf", False, "o32")
    assert (narrow.xlen, narrow.address_bits) == (32, 32)
    assert narrow.system_call is not None
    assert narrow.system_call.arguments == (4, 5, 6, 7)
    assert n64.system_call is not None
    assert n64.system_call.arguments == (4, 5, 6, 7, 8, 9, 10, 11)


def test_description_of_a_processor_imports_no_instruction() -> None:
    code = (
        "import sys; from pemu.isa.mips.cpu import architecture;"
        "architecture('24Kf', True, 'o32');"
        "loaded = [m for m in sys.modules if m.startswith('pemu.')];"
        "print(*loaded); print('typing' in sys.modules, 're' in sys.modules)"
    )
    words = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    loaded, heavy = done.stdout.splitlines()
    assert not {"integer", "table"} & {name.rpartition(".")[2] for name in loaded.split()}
    assert heavy == "False False"
