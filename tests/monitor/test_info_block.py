"""`info block` beside QEMU's."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.patience import LONG

_MONITOR = "-nodefaults -display none -S -M malta -monitor stdio"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A raw image, and two qcow2 images above each other and it."""
    if shutil.which("qemu-system-mips") is None or shutil.which("qemu-img") is None:
        pytest.skip("qemu-system-mips is missing (Debian packages qemu-system-misc, qemu-utils)")
    for words in (
        "create -q -f raw base.img 1M",
        "create -q -f qcow2 -b base.img -F raw mid.qcow2",
        "create -q -f qcow2 -b mid.qcow2 -F qcow2 top.qcow2",
        "snapshot -c s1 top.qcow2",
        "create -q -f raw disc.img 1M",
        "create -q -f raw more.img 1M",
    ):
        subprocess.run(["qemu-img", *words.split()], cwd=tmp_path, check=True, timeout=LONG)
    return tmp_path


def answers(command: list[str], folder: Path, options: str, lines: list[str]) -> list[str]:
    """What a monitor answers, without what differs: names of nodes and devices."""
    done = subprocess.run(
        [*command, *_MONITOR.split(), *options.split()],
        input="".join(f"{line}\n" for line in (*lines, "quit")),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=LONG,
    )
    text = re.sub(r"\x1b\[\d*[A-Z]", "", done.stdout.replace("\r", ""))
    found = text.split("(qemu) ")[1:-1]
    shown = [one.partition("\n")[2] for one in found]
    shown = [re.sub(r"#block\d+", "#block", one) for one in shown]
    return [re.sub("Attached to:.*", "Attached to:", one) for one in shown]


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        (
            "-drive if=none,file=top.qcow2,cache=writethrough,id=x -device ide-hd,drive=x "
            "-drive if=none,id=y -device ide-cd,drive=y",
            ["info block", "info block -v", "info block y", "info block -v x", "info block z"],
        ),
        (
            "-drive if=none,file=disc.img,format=raw,id=a,cache=none,detect-zeroes=on,"
            "throttling.bps-total=1000000,throttling.iops-read=10 "
            "-drive if=ide,file=mid.qcow2,id=b,cache=unsafe,readonly=on,media=cdrom "
            "-drive if=none,file=more.img,format=raw,id=c,throttling.group=g",
            ["info block", "info block -x", "info block a b", "info block b", "help info block"],
        ),
        (
            "-blockdev raw,node-name=n,read-only=on,file.driver=file,file.filename=base.img,"
            "file.node-name=f",
            ["info block -n -v n", "info block -v -n f", "info block -n", "info block -n g"],
        ),
        (
            "-blockdev raw,node-name=n,file.driver=file,file.filename=disc.img "
            "-blockdev raw,node-name=m,file.driver=file,file.filename=more.img "
            "-device ide-hd,drive=m",
            ["info block", "info block n", "info block -n n"],
        ),
    ],
)
def test_like_reference(
    images: Path, pemu_system: list[str], options: str, lines: list[str]
) -> None:
    theirs = answers(["qemu-system-mips"], images, options, lines)
    ours = answers(pemu_system, images, options, lines)
    assert dict(zip(lines, ours, strict=True)) == dict(zip(lines, theirs, strict=True))


def test_drive_with_a_temporary_overlay(images: Path, pemu_system: list[str]) -> None:
    options = "-hda mid.qcow2 -snapshot"
    (shown,) = answers(pemu_system, images, options, ["info block ide0-hd0"])
    assert "mid.qcow2 (overlay)" in shown
    assert "Backing file:     mid.qcow2 (chain depth: 2)" in shown
