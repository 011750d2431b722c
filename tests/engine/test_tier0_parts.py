"""Tier 0 is made in parts, when a program needs them."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import pytest

from pemu.engine.code.cache import CodeCache
from pemu.engine.engine import Engine
from pemu.engine.layout.exits import EXIT_SYSCALL, EXIT_TRACK
from pemu.engine.memory.process import AddressSpace
from pemu.engine.staging.architecture import Architecture
from pemu.engine.staging.insn import PatternError
from pemu.engine.staging.values import StagingError
from pemu.engine.tier0.modules import base_text, part_text
from pemu.isa.mips.cpu import MODE_FR0, MODE_FR1, architecture, system_architecture
from pemu.isa.mips.fpu.control import fcsr_value

CODE = 0x400000
ADDIU, SYSCALL = 0x24420001, 0x0000000C  # addiu v0, v0, 1
MTC1, ADD_D, CFC1 = 0x44820000, 0x46200000, 0x4442F800  # with v0, f0, FCSR
FIXED = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x10

MODELS = [("24Kf", "o32"), ("74Kf", "o32"), ("4Kc", "o32"), ("MIPS64R2-generic", "n64")]


@pytest.fixture
def cache(tmp_path: Path) -> CodeCache:
    return CodeCache(str(tmp_path / "cache"))


def start(cache: CodeCache | None, *words: int, mode: int = MODE_FR1) -> Any:
    """Return a cpu that is to run the words and a system call."""
    arch = architecture("24Kf", False, "o32")
    memory = AddressSpace(arch.address_bits, arch.big_endian)
    memory.map(CODE, 4096, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC, FIXED)
    memory.write(CODE, b"".join(word.to_bytes(4, "little") for word in (*words, SYSCALL)))
    cpu = Engine(arch, memory, cache=cache, mode="tier0").new_cpu()
    cpu.pc, cpu.mode = CODE, mode
    return cpu


def run(cpu: Any) -> int:
    """Run to the system call, or to what else ends it: the exit's reason."""
    cpu.attach()
    try:
        cpu.run()
        while cpu.exit_reason == EXIT_TRACK:
            cpu.engine.memory.track(cpu.exit_addr & -4096)
            cpu.run()
    finally:
        cpu.detach()
    reason: int = cpu.exit_reason
    return reason


def loaded(cpu: Any) -> set[tuple[str, int]]:
    """The parts that are loaded, with translation modes."""
    arch: Architecture = cpu.engine.arch
    modes = len(arch.modes)
    return {
        (part, mode)
        for number, part in enumerate(arch.parts)
        for mode in range(modes)
        if cpu.engine.tier0.table[number * modes + mode]
    }


def test_program_of_integers_loads_no_part(cache: CodeCache) -> None:
    cpu = start(cache, ADDIU)
    assert run(cpu) == EXIT_SYSCALL
    assert loaded(cpu) == set()


def test_part_is_loaded_for_the_modes_that_it_is_the_same_in(cache: CodeCache) -> None:
    cpu = start(cache, ADDIU, MTC1)
    assert run(cpu) == EXIT_SYSCALL
    assert loaded(cpu) == {("fpu.memory", 1), ("fpu.memory", 3)}
    assert cpu.fpr[0] & 0xFFFFFFFF == 1


def test_another_mode_loads_its_own(cache: CodeCache) -> None:
    cpu = start(cache, ADD_D)
    run(cpu)
    cpu.pc, cpu.mode = CODE, MODE_FR0
    run(cpu)
    assert loaded(cpu) == {("fpu", MODE_FR1), ("fpu", MODE_FR0)}


def test_part_is_loaded_for_a_delay_slot(cache: CodeCache) -> None:
    cpu = start(cache, 0x10000001, MTC1)  # b over the delay slot
    assert run(cpu) == EXIT_SYSCALL
    assert loaded(cpu) == {("fpu.memory", 1), ("fpu.memory", 3)}


def test_parts_come_from_the_cache(cache: CodeCache, monkeypatch: pytest.MonkeyPatch) -> None:
    run(start(cache, ADDIU, MTC1))
    monkeypatch.setattr("pemu.engine.tier0.modules.compile_tier0", None)
    cpu = start(cache, ADDIU, MTC1)
    assert run(cpu) == EXIT_SYSCALL
    assert cpu.fpr[0] & 0xFFFFFFFF == 1


def test_damaged_part_is_made_again(cache: CodeCache) -> None:
    run(start(cache, ADDIU, MTC1))
    for file in Path(cache.directory).iterdir():
        content = bytearray(file.read_bytes())
        content[-100] ^= 1
        file.write_bytes(content)
    assert run(start(cache, ADDIU, MTC1)) == EXIT_SYSCALL
    assert len(list(Path(cache.directory).iterdir())) == 2


def test_parts_stay_when_all_other_code_is_thrown_away(cache: CodeCache) -> None:
    cpu = start(cache, ADD_D)
    run(cpu)
    before = list(cpu.engine.tier0.table)
    cpu.engine.renew()
    cpu.pc = CODE
    assert run(cpu) == EXIT_SYSCALL
    assert list(cpu.engine.tier0.table) == before


def test_no_cache_is_needed() -> None:
    cpu = start(None, ADDIU, MTC1)
    assert run(cpu) == EXIT_SYSCALL
    assert cpu.fpr[0] & 0xFFFFFFFF == 1


def test_query_loads_its_part(cache: CodeCache) -> None:
    cpu = start(cache)
    cpu.fp_op = 1  # as compiled code leaves it that was stored by an earlier run
    assert fcsr_value(cpu) & 0x1F000 == 0
    assert loaded(cpu) == {("fpu.status", 1), ("fpu.status", 3)}


@pytest.mark.parametrize(("model", "abi"), MODELS)
def test_parts_depend_on_no_other_mode_than_is_declared(model: str, abi: str) -> None:
    arch = architecture(model, False, abi)
    base_text(arch)
    for part, deciding in arch.parts.items():
        for mode in arch.modes:
            part_text(arch, part, mode & deciding)


@pytest.mark.parametrize(("model", "xlen"), [("24Kf", 32), ("5KEf", 64)])
def test_parts_of_whole_processors_depend_on_no_other_mode(model: str, xlen: int) -> None:
    arch = system_architecture(model, False, xlen)
    base_text(arch)
    for part, deciding in arch.parts.items():
        for mode in arch.modes:
            part_text(arch, part, mode & deciding)


def test_undeclared_dependence_on_a_mode_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    arch = architecture("24Kf", False, "o32")
    monkeypatch.setitem(arch.parts, "fpu", frozenset())
    monkeypatch.setitem(arch.parts, "fpu.memory", frozenset())
    with pytest.raises(StagingError, match="its part does not declare .* fr1"):
        part_text(arch, "fpu", frozenset())
    with pytest.raises(PatternError, match="luxc1 depends on a mode"):
        part_text(arch, "fpu.memory", frozenset({"fr1"}))
