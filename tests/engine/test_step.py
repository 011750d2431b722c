"""Single steps of a cpu, and what makes it stop."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from typing import Any

import pytest

from pemu.engine.code.cache import CodeCache
from pemu.engine.engine import Engine
from pemu.engine.layout.exits import EXIT_FAULT, EXIT_HOOK, EXIT_INTERRUPT, EXIT_SYSCALL, EXIT_TRACK
from pemu.engine.memory.process import AddressSpace
from pemu.isa.mips.cpu import architecture

CODE = 0x400000
WORDS = (
    0x24080003,  # li t0, 3
    0x24090000,  # loop: li t1, 0
    0x2508FFFF,  # addiu t0, t0, -1
    0x1500FFFD,  # bnez t0, loop
    0x25290005,  # addiu t1, t1, 5 (its delay slot)
    0x8C0A0000,  # lw t2, 0(zero): faults
    0x0000000C,  # syscall
)
T0, T1 = 8, 9
_FLAGS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x10


@pytest.fixture
def cpu(jit: str) -> Iterator[Any]:
    """A cpu at the beginning of the program."""
    arch = architecture("24Kf", True, "o32")
    memory = AddressSpace(arch.address_bits, arch.big_endian)
    memory.map(CODE, 4096, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC, _FLAGS)
    memory.write(CODE, b"".join(word.to_bytes(4, "big") for word in WORDS))
    engine = Engine(arch, memory, cache=CodeCache(os.environ["PEMU_TEST_CACHE"]), mode=jit)
    made = engine.new_cpu()
    made.pc = CODE
    made.attach()
    yield made
    made.detach()


def step(cpu: Any) -> int:
    """Step once; pages are tracked as they come up."""
    cpu.step()
    while cpu.exit_reason == EXIT_TRACK:
        cpu.engine.memory.track(cpu.exit_addr)
        cpu.step()
    reason: int = cpu.exit_reason
    return reason


def run(cpu: Any) -> int:
    cpu.run()
    while cpu.exit_reason in (EXIT_TRACK, EXIT_INTERRUPT):
        if cpu.exit_reason == EXIT_TRACK:
            cpu.engine.memory.track(cpu.exit_addr)
        cpu.run()
    reason: int = cpu.exit_reason
    return reason


def test_each_step_is_one_instruction_and_a_branch_takes_its_delay_slot_along(cpu: Any) -> None:
    places = []
    for _ in range(10):
        assert step(cpu) == EXIT_INTERRUPT
        places.append((cpu.pc - CODE) // 4)
    assert places == [1, 2, 3, 1, 2, 3, 1, 2, 3, 5]
    assert cpu.gpr[T1] == 5


def test_code_that_has_run_at_full_speed_is_stepped_all_the_same(cpu: Any) -> None:
    assert run(cpu) == EXIT_FAULT
    cpu.pc = CODE
    test_each_step_is_one_instruction_and_a_branch_takes_its_delay_slot_along(cpu)


def test_stepped_code_runs_at_full_speed_again(cpu: Any) -> None:
    step(cpu)
    step(cpu)
    assert run(cpu) == EXIT_FAULT
    assert cpu.pc == CODE + 20
    assert cpu.gpr[T0] == 0


def test_step_that_faults_or_calls_tells_so(cpu: Any) -> None:
    cpu.pc = CODE + 20
    assert step(cpu) == EXIT_FAULT
    assert cpu.pc == CODE + 20
    cpu.pc = CODE + 24
    assert step(cpu) == EXIT_SYSCALL
    assert cpu.pc == CODE + 28
    assert not cpu.interrupted


def test_hook_comes_before_the_stepped_instruction(cpu: Any) -> None:
    cpu.engine.set_hooks({CODE})
    assert step(cpu) == EXIT_HOOK
    assert cpu.pc == CODE
    cpu.engine.set_hooks(set())
    assert step(cpu) == EXIT_INTERRUPT
    assert cpu.pc == CODE + 4


def test_nothing_is_compiled_where_that_is_not_wanted(cpu: Any) -> None:
    cpu.engine.set_compile(False)
    assert run(cpu) == EXIT_FAULT
    assert cpu.engine._compiler is None
    cpu.engine.set_compile(True)
    cpu.pc = CODE
    assert run(cpu) == EXIT_FAULT
    assert cpu.pc == CODE + 20
