"""The engine's own threads beside others: forks, code that is thrown away, ends."""

from __future__ import annotations

import ctypes
import mmap
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

from pemu.engine.code.cache import CodeCache
from pemu.engine.engine import Engine
from pemu.engine.layout import context as c
from pemu.engine.layout.exits import EXIT_SYSCALL, EXIT_TRACK
from pemu.engine.memory.process import AddressSpace
from pemu.isa.mips.cpu import architecture
from tests.patience import LONG, until

CODE = 0x400000
WORDS = (
    0x3C080001,  # lui t0, 1
    0x2508FFFF,  # loop: addiu t0, t0, -1
    0x1500FFFE,  # bnez t0, loop
    0x25290001,  # addiu t1, t1, 1 (its delay slot)
    0x0000000C,  # syscall
)
T1 = 9
_FLAGS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x10


@pytest.fixture
def engine(jit: str) -> Engine:
    """An engine with a loop of 65536 rounds in its memory."""
    arch = architecture("24Kf", True, "o32")
    memory = AddressSpace(arch.address_bits, arch.big_endian)
    memory.map(CODE, 4096, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC, _FLAGS)
    memory.write(CODE, b"".join(word.to_bytes(4, "big") for word in WORDS))
    made = Engine(arch, memory, cache=CodeCache(os.environ["PEMU_TEST_CACHE"]), mode=jit)
    made._make_compiler()
    return made


def compiler_of(engine: Engine) -> Any:
    assert engine._compiler is not None
    return engine._compiler


def in_background(*actions: Callable[[], object]) -> list[threading.Thread]:
    threads = [threading.Thread(target=action, daemon=True) for action in actions]
    for thread in threads:
        thread.start()
    return threads


def test_hot_block_may_be_gone_before_it_is_reported(
    engine: Engine, jit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = engine.hot
    late = 5

    def report_late(cpu: Any, block: int) -> None:
        nonlocal late
        if late:
            late -= 1
            engine.flush()
            compiler_of(engine).be_patient()  # until the block's memory is gone
        report(cpu, block)

    monkeypatch.setattr(engine, "hot", report_late)
    cpu: Any = engine.new_cpu()
    cpu.pc = CODE
    cpu.attach()
    cpu.run()
    while cpu.exit_reason != EXIT_SYSCALL:
        if cpu.exit_reason == EXIT_TRACK:
            cpu.engine.memory.track(cpu.exit_addr)
        cpu.run()
    cpu.detach()
    assert not late or jit == "tier0"
    assert cpu.gpr[T1] == 0x10000
    compiler = compiler_of(engine)
    until(lambda: not (compiler._reported or compiler._queue or compiler._busy))
    engine.rest()


def test_fork_and_flush_do_not_wait_for_each_other(engine: Engine) -> None:
    locked, going = threading.Event(), threading.Event()

    def flush() -> None:
        with engine.lock:
            locked.set()
            until(engine._making.locked)
            going.wait(0.3)  # the fork comes as far as it can
            engine.flush()

    def fork() -> None:
        locked.wait(LONG)
        engine.before_fork()
        engine.after_fork_parent()

    for thread in in_background(flush, fork):
        thread.join(LONG)
        assert not thread.is_alive()


def test_two_threads_may_end_the_background_thread(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = compiler_of(engine)
    compiling, let_go = threading.Event(), threading.Event()

    def compile_slowly(*unused: object) -> list[int]:
        compiling.set()
        let_go.wait(LONG)
        return []

    monkeypatch.setattr(compiler, "_compile", compile_slowly)
    block = (ctypes.c_uint8 * c.HEADER)()
    compiler.request(ctypes.addressof(block), engine.epoch, wait=False)
    assert compiling.wait(LONG)
    first = in_background(compiler.rest)
    until(lambda: compiler._stopping)
    second = in_background(compiler.rest)
    second[0].join(0.3)
    let_go.set()
    for thread in first + second:
        thread.join(LONG)
        assert not thread.is_alive()
