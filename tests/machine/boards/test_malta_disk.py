"""A whole system on a qcow2 disk, and the 64-bit guest beside QEMU; both from $GUESTS."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import need
from tests.machine.console import machine, pemu_command, qemu_command

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("linux_boots")]

PROMPT = "guest# "
PARTITION = 2048 * 512
"""Where the disk's only partition begins, bytes."""


def test_system_on_a_disk_runs_its_tests_and_leaves_the_disk_clean(
    guests: Path, tmp_path: Path
) -> None:
    image, raw = tmp_path / "disk.qcow2", tmp_path / "disk.raw"
    shutil.copyfile(guests / "disk-mips.qcow2", image)
    kernel = guests / "mips-malta" / "vmlinux"
    board = ("-M", "malta", "-m", "128", "-nographic", "-no-reboot", "-hda", image)
    with machine(
        pemu_command("mips"),
        *(*board, "-kernel", kernel, "-append", "root=/dev/sda1 console=ttyS0"),
    ) as console:
        console.expect("login:")
        console.type("root")
        console.expect("assword:")
        console.type("root")
        console.expect(PROMPT)
        results = console.run("sh /opt/tests/run.sh", PROMPT)
        assert results.count("##rc 0") == results.count("##rc ") > 0
        assert "FAIL" not in results
        console.run("seq 1 100000 > /root/new", PROMPT)
        console.type("poweroff")
        assert console.end()[0] == 0
    subprocess.run([need("qemu-img", "qemu-utils"), "check", "-q", image], check=True)
    subprocess.run(["qemu-img", "convert", "-O", "raw", image, raw], check=True)
    with raw.open("rb") as disk, (tmp_path / "partition").open("wb") as partition:
        disk.seek(PARTITION)
        shutil.copyfileobj(disk, partition)
    checked = [need("e2fsck", "e2fsprogs"), "-f", "-n", str(tmp_path / "partition")]
    subprocess.run(checked, check=True, capture_output=True)


def test_64_bit_guest_says_what_it_says_under_qemu(guests: Path) -> None:
    line = (
        "console=ttyS0 quiet guest.nodhcp guest.cmd=uname%20-m;cat%20/proc/ioports;seq%2099|md5sum"
    )
    said = []
    for command in (pemu_command("mips64"), qemu_command("mips64")):
        with machine(
            command,
            *("-M", "malta", "-cpu", "MIPS64R2-generic", "-m", "128", "-nographic", "-no-reboot"),
            *("-kernel", guests / "mips64-malta" / "vmlinux", "-append", line),
            *("-initrd", guests / "initramfs-mips.cpio.gz"),
        ) as console:
            console.expect("guest: cmd begin")
            said.append(console.expect("guest: cmd end 0"))
            assert console.end()[0] == 0
    assert said[0] == said[1]
