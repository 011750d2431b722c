"""Random privileged programs, TLB operations and exceptions, compared with QEMU.

PEMU_TEST_SEED=n runs other programs.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pemu.isa.mips.cp0.models import BY_NAME
from tests.isa.mips.machines import encode
from tests.isa.mips.system.barecpu import RAM_BYTES, ROM, ROM_BYTES, BareMachine
from tests.isa.mips.system.privileged_streams import LOG, LOG_BYTES, Stream
from tests.isa.mips.system.reference import run_reference

SEED = int(os.environ.get("PEMU_TEST_SEED", "1"))
OPERATIONS = 600
COMPILED_OPERATIONS = 100
"""Where everything is compiled before it runs."""

MODELS = ("24Kf", "4Kc", "34Kf", "R4000", "20Kc", "5Kc", "MIPS64R2-generic")


def _differences(ours: bytes, theirs: bytes, size: int) -> list[str]:
    """The first places where two logs differ, with what came before."""
    for at in range(0, len(ours), size):
        if ours[at : at + size] != theirs[at : at + size]:
            first = max(at - 12 * size, 0)
            return [
                f"{place:#x}: {ours[place : place + size].hex()} "
                f"qemu {theirs[place : place + size].hex()}"
                for place in range(first, at + 12 * size, size)
            ]
    return []


@pytest.mark.parametrize("model", MODELS)
def test_log_of_random_program_equals_that_of_qemu(model: str, jit: str, tmp_path: Path) -> None:
    control = BY_NAME[model]
    bits = control.model.bits
    stream = Stream(SEED, control)
    stream.program(COMPILED_OPERATIONS if jit == "tier1" else OPERATIONS)
    rom, ram = stream.images()
    machine = BareMachine(model, mode=jit)
    images = (bytearray(ROM_BYTES), bytearray(RAM_BYTES))
    for image, base, parts in zip(images, (ROM, 0), (rom, ram), strict=True):
        for address, words in parts:
            machine.write(base + address, words)
            data = encode(words, True)
            image[address : address + len(data)] = data
    machine.reset()
    machine.run()
    ours = machine.memory.read(machine.place(LOG), LOG_BYTES)
    theirs = run_reference(
        tmp_path, model, bits, bytes(images[0]), bytes(images[1]), LOG, LOG_BYTES
    )
    assert ours[:4] == b"\0\0\0\1"
    assert _differences(ours, theirs, bits // 8) == []
