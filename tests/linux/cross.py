"""What the cross compilers say of a C structure: sizes and offsets, without running anything."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

COMPILERS = {
    "mips": ("mips-linux-gnu-gcc", ()),
    "mipsel": ("mipsel-linux-gnu-gcc", ()),
    "mips64": ("mips64-linux-gnuabi64-gcc", ()),
    "mips64el": ("mips64el-linux-gnuabi64-gcc", ()),
    "mipsn32": ("mips64-linux-gnuabi64-gcc", ("-mabi=n32",)),
    "mipsn32el": ("mips64el-linux-gnuabi64-gcc", ("-mabi=n32",)),
    "host": ("gcc", ()),
}


def constants(target: str, headers: str, expressions: list[str], folder: Path) -> list[int]:
    """The values of integer constant expressions, compiled for `target` after `headers`.

    The assembler source shows them: each becomes the value of a 64-bit word between two marks.
    """
    compiler, options = COMPILERS[target]
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    values = ",\n".join(f"(long long)({expression})" for expression in expressions)
    source = folder / f"{target}.c"
    source.write_text(f"{headers}\nconst long long values[] = {{{values}}};\n")
    output = folder / f"{target}.o"
    command = [compiler, *options, "-c", "-O1", "-fno-toplevel-reorder", "-w"]
    subprocess.run([*command, "-o", str(output), str(source)], check=True)
    raw = folder / f"{target}.bin"
    section = ".rodata"
    objcopy = compiler.replace("gcc", "objcopy")
    subprocess.run([objcopy, "-O", "binary", "-j", section, str(output), str(raw)], check=True)
    order = "little" if target.endswith("el") or target == "host" else "big"
    data = raw.read_bytes()
    return [
        int.from_bytes(data[i * 8 : i * 8 + 8], order, signed=True)  # type: ignore[arg-type]
        for i in range(len(expressions))
    ]
