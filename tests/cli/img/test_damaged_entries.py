"""`pemu-img check` counts damaged L2 entries as qemu-img does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.sidebyside import Answer, Pair

_COPIED = 1 << 63


def findings(answer: Answer) -> tuple[int, str, list[str]]:
    """The exit status, the summary, and what is found, in whatever order."""
    return answer.status, answer.output, sorted(answer.error.splitlines())


@pytest.mark.parametrize("options", ["cluster_size=16k", "cluster_size=16k,extended_l2=on"])
@pytest.mark.parametrize(
    ("index", "bits"),
    [
        (0, 1),
        (1, 0x100),
        (1, 0x200),
        (2, 1 << 62),
        (2, _COPIED),
        (3, 0xFFFFFFFF << 64),
        (3, 0xFF00000000 << 64),
        (3, _COPIED | 0xFFFF),
        (64, _COPIED),
        (64, 1 << 64),
        (100, 1 << 64),
        (100, 0x400),
        (100, _COPIED | 0x8000_0000_4000),
    ],
)
def test_damaged_entry(tmp_path: Path, options: str, index: int, bits: int) -> None:
    """`bits` of an entry are turned around; those from 64 on are of its bitmap."""
    pair = Pair("img", tmp_path)
    assert pair.theirs("create", "-f", "qcow2", "-o", options, "x.img", "4M").status == 0
    writes = ("-c", "write 0 70000", "-c", "write -c 1M 16k")
    assert pair.theirs(*writes, "x.img", tool="io").status == 0
    data = bytearray((pair.qemu / "x.img").read_bytes())
    l1 = int.from_bytes(data[40:48], "big")
    l2 = int.from_bytes(data[l1 : l1 + 8], "big") & 0xFFFFFFFFFFFE00
    size = 16 if "extended" in options else 8
    at = l2 + index * size
    turned = (bits % (1 << 64)).to_bytes(8, "big") + (bits >> 64).to_bytes(8, "big")
    for place, one in enumerate(turned[:size], at):
        data[place] ^= one
    pair.write("x.img", bytes(data))
    ours, theirs = pair.both("check", "x.img")
    assert findings(ours) == findings(theirs)
