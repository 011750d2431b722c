"""The log items of -d about a machine's processor, beside the reference emulator's log."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, need
from tests.linux.cross import COMPILERS
from tests.patience import LONG

SOURCE = """
 .set noreorder
 .set noat
 .set mips32r2
 .globl __start
 .type __start, @function
 .type again, @function
 .type vector, @function
refill:
 b again
 nop
 .org 0x180
vector:
 mfc0 $26, $14
 addiu $26, $26, 4
 mtc0 $26, $14
 ehb
 eret
 nop
again:
 b vector
 nop
 .size again, .-again
 .size vector, .-vector
 .org 0x1000
__start:
 lui $8, 0x2000
 mtc0 $8, $12
 ehb
 li $8, 3
loop:
 addiu $8, $8, -1
 addu $16, $16, $8
 bnez $8, loop
 addiu $17, $17, 1
 syscall
 lui $9, 0xc000
 lw $10, 0x123($9)
 lw $10, 0x124($9)
 sw $10, 0x124($9)
 mtc1 $0, $f0
 .word 0x7c00003f
 break
 lui $11, 0xbf00
 li $10, 0x42
 sw $10, 0x500($11)
end: b end
 nop
 .size __start, .-__start
"""

_SLOT = 0x803800
"""Bits of the reference emulator's flags that tell a delay slot, which is a block of its own."""


def build(folder: Path, big: bool, bits: int) -> Path:
    """A kernel that takes some exceptions and resets the board."""
    target = f"mips{'' if big else 'el'}"
    compiler, options = COMPILERS[target]
    path, output = folder / "kernel.S", folder / "kernel"
    path.write_text(SOURCE.replace("mips32r2", f"mips{bits}r2"))
    command = [need(compiler), *options, "-mno-abicalls", "-fno-pic", "-static", "-nostdlib", "-w"]
    command += ["-Wl,-Ttext=0x80000000", "-Wl,--build-id=none", "-o", str(output), str(path)]
    subprocess.run(command, check=True)
    return output


@pytest.fixture(scope="module", params=["mips", "mipsel", "mips64"])
def kernel(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """A target, and a kernel for it."""
    target: str = request.param
    big, bits = not target.endswith("el"), 64 if "64" in target else 32
    return target, build(tmp_path_factory.mktemp(target), big, bits)


def logs(kernel: tuple[str, Path], *words: str) -> tuple[str, str]:
    """Our log and the reference's."""
    target, path = kernel
    reference = f"qemu-system-{target}"
    if not shutil.which(reference):
        pytest.skip(f"{reference} is not installed (package qemu-system-mips)")
    code = f"import sys; sys.path[:0]=[{str(ROOT / 'src')!r}]; import pemu.cli.system as s; "
    own = [sys.executable, "-c", code + f"s.entry({target!r})"]
    found = []
    for number, command in enumerate((own, [reference])):
        log = path.parent / f"log{number}"
        log.unlink(missing_ok=True)
        options = ["-M", "malta", "-m", "16", "-kernel", str(path), "-no-reboot"]
        options += ["-display", "none", "-serial", "null", "-monitor", "none"]
        options += ["-vga", "none", "-net", "none"]
        subprocess.run(
            [*command, *options, "-D", str(log), *words],
            stdin=subprocess.DEVNULL,
            timeout=LONG,
            check=True,
        )
        found.append(log.read_text())
    return found[0], found[1]


def traced(log: str) -> list[int]:
    """The address of each line of `exec` that begins no delay slot."""
    lines = re.findall(r"^Trace \d+: 0x\w+ \[\w+/(\w+)/(\w+)/\w+\]", log, re.MULTILINE)
    return [int(pc, 16) for pc, flags in lines if not int(flags, 16) & _SLOT]


def test_exceptions_are_logged_like_the_references(kernel: tuple[str, Path]) -> None:
    ours, theirs = logs(kernel, "-d", "int")

    def shown(log: str) -> list[str]:
        lines = [line for line in log.splitlines() if not line.startswith("do_raise")]
        # The lines of the processor's timer and of the board's depend on the time.
        return [
            re.sub(r" C (\w+)", lambda m: f" C {int(m[1], 16) & ~0x40008400:08x}", line)
            for line in lines
        ]

    assert shown(ours) == shown(theirs)
    assert ours.count("cause") == 6


def test_blocks_are_logged_like_the_references(kernel: tuple[str, Path]) -> None:
    ours, theirs = logs(kernel, "-d", "exec,nochain", "-singlestep", "-dfilter", "0x8000100c+0x10")
    assert traced(ours)[:6] == traced(theirs)[:6]
    assert set(traced(ours)) == set(traced(theirs))


def test_a_filter_leaves_out_all_other_code(kernel: tuple[str, Path]) -> None:
    high = "0xffffffff" if "64" in kernel[0] else "0x"
    ours, _ = logs(kernel, "-d", "in_asm,exec,op", "-dfilter", f"{high}80000180..{high}8000018f")
    blocks = re.findall(r"^IN: (.*)\n0x(\w+):", ours, re.MULTILINE)
    assert blocks == [("vector", f"{high}80000180".removeprefix("0x"))]
    assert set(traced(ours)) == {int(f"{high}80000180", 16)}
    assert "] vector\n" in ours


def test_instructions_are_logged_like_the_references(kernel: tuple[str, Path]) -> None:
    found = []
    for log in logs(kernel, "-d", "in_asm"):
        # Operands are written as objdump does, with names of registers that 7.2 numbers.
        found.append(dict(re.findall(r"^(0x\w*8000[01]\w{3}):  ([a-z]\w+)", log, re.MULTILINE)))
    assert found[0] == found[1]
    assert len(found[0]) > 20


def test_registers_are_logged_before_each_block(kernel: tuple[str, Path]) -> None:
    found = []
    for log in logs(kernel, "-d", "cpu,nochain", "-singlestep"):
        states = []
        for dump in re.split(r"^(?=pc=)", log, flags=re.MULTILINE)[1:]:
            values = re.findall(r"GPR08: \w+ (\w+)", dump)
            values += re.findall(r"GPR16: \w+ (\w+)", dump)
            if values not in states:  # which the reference shows in delay slots, too
                states.append(values)
        found.append([one for one in states if int(one[1], 16)])
    assert found[0] == found[1]
    assert [int(value, 16) for value in found[0][-1]] == [0, 3]


def test_fpu_registers_are_logged_before_each_block(kernel: tuple[str, Path]) -> None:
    ours, theirs = logs(kernel, "-d", "cpu,fpu")
    assert re.search(r"^CP1 FCR0 0x00\w{6} .*\n f0: w:", ours, re.MULTILINE)
    assert re.search(r"^CP1 FCR0 0x00\w{6} .*\n f0: w:", theirs, re.MULTILINE)


def test_translations_are_logged(kernel: tuple[str, Path]) -> None:
    ours, theirs = logs(kernel, "-d", "mmu")
    for log in ours, theirs:
        assert re.search(r"^mips_cpu_tlb_fill address=\w*c0000124 ret -2$", log, re.MULTILINE)
        assert re.search(
            r"^mips_cpu_tlb_fill address=\w*80001000 physical 0000000000001000 prot 7$",
            log,
            re.MULTILINE,
        )


def test_resets_are_logged(kernel: tuple[str, Path]) -> None:
    ours, _ = logs(kernel, "-d", "cpu_reset")
    assert ours.startswith("CPU Reset (CPU 0)\npc=0x")


def test_what_is_compiled_is_logged(kernel: tuple[str, Path]) -> None:
    words = ("-jit", "mode=tier1,cache=off", "-d", "op,op_opt,out_asm")
    target, path = kernel
    code = f"import sys; sys.path[:0]=[{str(ROOT / 'src')!r}]; import pemu.cli.system as s; "
    command = [sys.executable, "-c", code + f"s.entry({target!r})", "-M", "malta", "-kernel"]
    command += [str(path), "-no-reboot", "-display", "none", "-serial", "null", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONG, check=True)
    assert re.search(
        r"^OUT: \w+ at 0x\w+ \[size=\d+\]\n  -- guest block", done.stderr, re.MULTILINE
    )
    assert re.search(r"^OP after optimization: regions 0x", done.stderr, re.MULTILINE)
