"""What making tier 0 costs, part by part: `PYTHONPATH=src python -m bench.tier0 [model [abi]]`.

Processor time, without importing LLVM and the instruction set; sizes of code as it is stored.
"""

from __future__ import annotations

import sys
from time import process_time

from pemu.engine.code.llvm import compile_ir
from pemu.engine.tier0.modules import base_text, part_text
from pemu.isa.mips.cpu import architecture


def main(model: str = "24Kf", abi: str = "o32") -> None:
    arch = architecture(model, False, abi)
    arch.source()
    compile_ir("")
    print("part                      functions  to write, ms  to compile, ms  KiB")
    rows = [("", frozenset[str]())]
    for part, deciding in arch.parts.items():
        rows += sorted(
            {(part, mode & deciding) for mode in arch.modes}, key=lambda row: sorted(row[1])
        )
    for part, features in rows:
        begin = process_time()
        text = part_text(arch, part, features) if part else base_text(arch)
        written = process_time()
        blob = compile_ir(text)
        name = " ".join([part or "base", *sorted(features)])
        writing, compiling = 1e3 * (written - begin), 1e3 * (process_time() - written)
        functions = text.count("\ndefine ")
        if functions == 1:  # the decoder alone: the model has nothing of it
            continue
        size = len(blob.code) >> 10
        print(f"{name:25} {functions:9}  {writing:12.0f}  {compiling:14.0f}  {size:3}")


if __name__ == "__main__":
    main(*sys.argv[1:])
