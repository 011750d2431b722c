"""Debian's installers for mipsel and mips64el: dialogue, second console, shell, and their logs."""

from __future__ import annotations

import pytest

from tests.machine.boards.installers import PROCESSORS, PROMPT, boot
from tests.machine.kernel_log import complaints

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("linux_boots"),
    pytest.mark.parametrize("architecture", PROCESSORS),
]

SECOND_CONSOLE = b"\x01\x012"
"""The first Ctrl-A is the multiplexer's, the second that of the guest's screen(1), as is the 2."""


def test_dialogue_and_shell_on_the_second_console(architecture: str) -> None:
    with boot(architecture, "") as console:
        console.expect("Select a language")
        console.expect("activates buttons")
        console.send(SECOND_CONSOLE)
        console.expect("built-in shell")
        console.expect("~ #")
        console.type("echo $((6 * 7))th; uname -m")
        console.expect("42th")
        console.expect("mips")
        console.type("poweroff -f")
        assert console.end()[0] == 0


def test_shell_instead_of_the_installer(architecture: str) -> None:
    """It runs commands, and the kernel complains of nothing that it does not on QEMU."""
    logs = []
    for reference in (False, True):
        with boot(architecture, "init=/bin/sh", reference=reference) as console:
            console.expect(PROMPT)
            assert console.run("echo $((6 * 7))", PROMPT) == "42\n"
            logs.append(console.run("dmesg -r", PROMPT))
            console.type("poweroff -f")
            assert console.end()[0] == 0
    assert complaints(logs[0]) <= complaints(logs[1])


def test_reboot_ends_the_machine_with_no_reboot(architecture: str) -> None:
    with boot(architecture, "init=/bin/sh", "-no-reboot") as console:
        console.expect(PROMPT)
        console.type("reboot -f")
        assert console.end()[0] == 0
