"""What a compiler makes of the DSP extension: a program of GCC's built-ins, beside QEMU."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import Run, need

SOURCE = r"""
#include <stdint.h>
#include <stdio.h>

typedef signed char v4i8 __attribute__((vector_size(4)));
typedef short v2q15 __attribute__((vector_size(4)));

static uint32_t state = 1;
static uint32_t next(void)
{
    state = state * 1664525u + 1013904223u;
    return state;
}

static long long filter(const v2q15 *samples, const v2q15 *taps, int count)
{
    long long total = 0;
    for (int i = 0; i < count; i++)
        total = __builtin_mips_dpaq_s_w_ph(total, samples[i], taps[i]);
    return total;
}

static void blend(v4i8 *to, const v4i8 *from, int count)
{
    for (int i = 0; i < count; i++) {
        __builtin_mips_cmpu_lt_qb(to[i], from[i]);
        v4i8 least = __builtin_mips_pick_qb(to[i], from[i]);
        to[i] = __builtin_mips_addu_s_qb(__builtin_mips_shrl_qb(to[i], 1), least);
    }
}

static unsigned bit_fields(uint64_t stream)
{
    unsigned sum = 0;
    __builtin_mips_wrdsp(63, 1);
    for (int width = 0; width < 9; width++)
        sum = sum * 31 + (unsigned)__builtin_mips_extpdp((long long)stream, width);
    return sum;
}

int main(void)
{
    union { uint32_t word[64]; v2q15 halves[64]; v4i8 bytes[64]; } a, b;
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < 64; i++) {
            a.word[i] = next();
            b.word[i] = next() & 8 ? 0x80008000u : next();
        }
        long long total = filter(a.halves, b.halves, 64);
        printf("%016llx %08x %d\n", (unsigned long long)total,
               (unsigned)__builtin_mips_extr_rs_w(total, 5), __builtin_mips_rddsp(63));
        blend(a.bytes, b.bytes, 64);
        printf("%08x %08x\n", (unsigned)a.word[round], bit_fields((uint64_t)total * 77773u));
        __builtin_mips_wrdsp(0, 63);
    }
    return 0;
}
"""


@pytest.mark.parametrize(
    ("target", "compiler"), [("mips", "mips-linux-gnu-gcc"), ("mipsel", "mipsel-linux-gnu-gcc")]
)
def test_compiled_program_prints_what_it_prints_under_qemu(
    target: str, compiler: str, tmp_path: Path, pemu: Run, qemu: Run
) -> None:
    source, program = tmp_path / "dsp.c", tmp_path / "dsp"
    source.write_text(SOURCE)
    command = [
        need(compiler),
        "-O2",
        "-mips32r2",
        "-mdspr2",
        "-static",
        str(source),
        "-o",
        str(program),
    ]
    subprocess.run(command, check=True)
    ours, theirs = (run(target, "-cpu", "74Kf", program) for run in (pemu, qemu))
    assert theirs.stdout.count("\n") == 100
    assert (ours.returncode, ours.stdout) == (theirs.returncode, theirs.stdout)


def test_dsp_instruction_on_another_model_is_illegal(tmp_path: Path, pemu: Run) -> None:
    source, program = tmp_path / "dsp.c", tmp_path / "dsp"
    source.write_text(SOURCE)
    command = [need("mips-linux-gnu-gcc"), "-O2", "-mips32r2", "-mdspr2", "-static"]
    subprocess.run([*command, str(source), "-o", str(program)], check=True)
    assert pemu("mips", "-cpu", "24Kf", program).returncode == -4  # SIGILL
