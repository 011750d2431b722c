"""Kernels: ELF files of both widths and byte orders, gzip, and what is refused."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pemu.machine import elf
from pemu.options.error import OptionError


def kernel(
    *,
    bits: int = 32,
    order: str = "big",
    machine: int = elf.EM_MIPS,
    entry: int = 0x80100004,
    address: int = 0x80100000,
    data: bytes = b"code",
    size: int = 0x10,
    kind: int = 2,
) -> bytes:
    """An ELF file with one segment."""
    mark = "<" if order == "little" else ">"
    word = "I" if bits == 32 else "Q"
    head = 52 if bits == 32 else 64
    entries = 32 if bits == 32 else 56
    ident = bytes((0x7F, 0x45, 0x4C, 0x46, bits // 32, 1 if order == "little" else 2, 1))
    header = ident.ljust(16, b"\0") + struct.pack(
        mark + "HHI" + 3 * word + "IHHHHHH",
        *(kind, machine, 1, entry, head, 0, 0, head, entries, 1, 0, 0, 0),
    )
    at = head + entries
    if bits == 32:
        segment = struct.pack(mark + "8I", 1, at, address, address, len(data), size, 7, 4)
    else:
        segment = struct.pack(mark + "II6Q", 1, 7, at, address, address, len(data), size, 4)
    return header + segment + data


def load(tmp_path: Path, data: bytes, order: Any = "big", bits: int = 32) -> elf.Program:
    path = tmp_path / "kernel"
    path.write_bytes(data)
    return elf.load(str(path), elf.EM_MIPS, order, bits)


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", ["big", "little"])
def test_segments_and_entry(tmp_path: Path, bits: int, order: str) -> None:
    found = load(tmp_path, kernel(bits=bits, order=order), order, 64)
    assert found == (
        0x80100004,
        [elf.Segment(0x80100000, b"code", 0x10, "ELF program header segment 0")],
        bits,
    )


def test_gzip(tmp_path: Path) -> None:
    assert load(tmp_path, gzip.compress(kernel())).segments[0].data == b"code"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"#!/bin/sh\n", "is no ELF file"),
        (kernel(order="little"), "is little-endian, the processor big-endian"),
        (kernel(bits=64), "is for 64-bit processors, this one has 32 bits"),
        (kernel(machine=62), "is for x86-64, not for MIPS"),
        (kernel(kind=1), "is no executable"),
        (kernel()[:60], "is cut short"),
        (kernel()[:-2], "is cut short"),
        (kernel(size=2), "is cut short, or damaged"),
        (gzip.compress(kernel(), mtime=0)[:-10], "is cut short, or too large"),
        (b"\x1f\x8b" + bytes(40), "cannot be decompressed"),
    ],
)
def test_refused(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(OptionError, match=f"-kernel: '.*' {message}"):
        load(tmp_path, data)


def test_missing_file() -> None:
    with pytest.raises(OptionError, match="-kernel: '/no/such' cannot be read"):
        elf.load("/no/such", elf.EM_MIPS, "big", 32)


@given(st.binary(max_size=200), st.integers(0, 150))
def test_damaged_files(tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int) -> None:
    good = kernel(bits=64)
    damaged = good[:at] + noise + good[at + len(noise) :]
    try:
        load(tmp_path_factory.mktemp("elf"), damaged, bits=64)
    except OptionError:
        pass
