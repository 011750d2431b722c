"""Where compiled code says that a guest access has faulted."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Run, need
from tests.linux.cross import COMPILERS

# The value that the second load would give is added at once and then forgotten.
SOURCE = """
 .globl __start
 .set noreorder
__start:
 li $t0, 3
 move $t2, $sp
 move $a1, $sp
loop:
 addiu $t0, $t0, -1
 lw $t3, 0($a1)
 addiu $t2, $t2, 1
faulty:
 lw $t1, 0x700($a2)
 addu $t2, $t1, $t2
 li $t1, 9
 bnez $t0, loop
 move $t3, $t2
 li $v0, 4001
 syscall
"""


@pytest.fixture(params=["mips", "mipsel"])
def program(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path, int]:
    """A program that faults, for a target, and the address of the instruction."""
    compiler = need(COMPILERS[request.param][0])
    source, output = tmp_path / "p.S", tmp_path / "p"
    source.write_text(SOURCE)
    subprocess.run([compiler, "-static", "-nostdlib", "-w", "-o", output, source], check=True)
    names = subprocess.run(
        [need(compiler.replace("gcc", "nm")), output], check=True, capture_output=True, text=True
    )
    found = re.search(r"^(\w+) \w faulty$", names.stdout, re.MULTILINE)
    assert found is not None
    return request.param, output, int(found[1], 16)


@pytest.mark.parametrize("mode", ["tier0", "tier1"])
def test_load_whose_value_is_used_at_once_faults_at_its_own_address(
    pemu: Run, program: tuple[str, Path, int], mode: str
) -> None:
    target, path, address = program
    done = pemu(target, "-jit", f"mode={mode}", path)
    assert done.returncode == -signal.SIGSEGV
    assert f"at {address:#010x}" in done.stderr
