"""Runs the same memory contents on QEMU's `mipssim` board and yields what memory holds then."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

from tests.conftest import need
from tests.patience import LONG


def _ask(process: subprocess.Popen[str], command: str, **arguments: object) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    request = {"execute": command, "arguments": arguments}
    process.stdin.write(json.dumps(request) + "\n")
    process.stdin.flush()
    while True:
        answer = json.loads(process.stdout.readline())
        assert "error" not in answer, answer
        if "return" in answer:
            return


def run_reference(
    directory: Path, model: str, bits: int, rom: bytes, ram: bytes, start: int, size: int
) -> bytes:
    """Return `size` bytes at guest-physical `start`, when the first word there is no longer 0.

    `rom` lies at the reset vector, `ram` at address 0.
    """
    program = need("qemu-system-mips64" if bits == 64 else "qemu-system-mips", "qemu-system-mips")
    (directory / "rom").write_bytes(rom)
    (directory / "ram").write_bytes(ram)
    process = subprocess.Popen(
        [
            *(program, "-M", "mipssim", "-m", "16", "-cpu", model, "-nodefaults", "-net", "none"),
            *("-bios", str(directory / "rom"), "-display", "none", "-qmp", "stdio"),
            *("-device", f"loader,file={directory}/ram,addr=0,force-raw=on"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        _ask(process, "qmp_capabilities")
        until = time.monotonic() + LONG
        file = directory / "memory"
        while True:
            name = str(file)
            _ask(process, "pmemsave", val=start, size=size, filename=name)
            memory = file.read_bytes()
            if any(memory[:4]):
                return memory
            assert time.monotonic() < until, "the reference did not come to the program's end"
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
