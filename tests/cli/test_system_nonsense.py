"""Nonsense on the command line of system emulation: each mistake is answered with a sentence."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pemu.cli import system, system_run
from pemu.cli.outcome import INTERNAL_ERROR
from pemu.cli.system_options import COMMAND
from pemu.options.command import Option

LEFT_OUT = ("daemonize", "readconfig", "gdb", "s")
"""They fork, or wait at fixed places; -readconfig has a test of its own."""

WORDS = (
    "", ",", ",,", "=", "=,=", "a", "none", "malta", "type=none", "help", "?", "on", "off", "auto",
    "0", "1", "-1", "2", "0x", "0x10", "1e9", "99999999999999999999", "1.5G", "64k", "M", "..",
    "0..1", "1+1", "5-9", "id=x", "id=", "id=x,id=y", "a=b=c", "a,b,c=", "a=,,b", "%d", "%d%d",
    "/nonexistent/x", "/", "/dev/null", "file=/dev/null", "if=none", "if=ide,index=1", "index=-1",
    "null", "null,id=x", "chardev:x", "mon:null", "vc", "pty,id=x", "file:/nonexistent/x", "stdio",
    "udp:", "tcp:", "tcp:a:b", "unix:", "telnet::99999", "pipe:x", "ringbuf,size=3,id=r", "mux",
    "isa-serial", "isa-serial,index=9", "isa-serial,chardev=x", "ide-hd,drive=x", "i8042",
    "isa-serial.index=7", "driver=a,property=b,value=c", "device.x.y=z", "drive.x.file=y", "24Kf",
    "24Kf,x=y", "20Kc", "tcg", "tcg,tb-size=0", "kvm", "kvm:tcg", "utc", "base=2020-02-30",
    "base=9999-12-31T23:59:59", "base=0001-01-01", "clock=vm", "shift=7", "shift=auto,align=on",
    "in_asm,exec", "all", "trace:*", "trace:", "guest_*", "order=cba", "menu=on", "c", "zz",
    "splash-time=1e5", "cpus=0", "4,sockets=3", "1,cores=0", "maxcpus=65537", "size=1E", "slots=1",
    "16,slots=2,maxmem=1", "reboot=shutdown", "reboot=", "550e8400-e29b-41d4-a716-446655440000",
    "\udc80", "\udcff=\udcfe", "\n", "a\nb", "'", '"', "\\", "é", "\U0001f600", "a" * 5000,
)  # fmt: skip


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Machines are made, but not run."""
    monkeypatch.setattr(system_run.Session, "run", lambda session: 0)
    monkeypatch.chdir(tmp_path)


def value(source: random.Random) -> str:
    chosen = source.choices(WORDS, k=source.choice((1, 1, 1, 2, 3)))
    return source.choice((",", ",", "=", "", ":")).join(chosen)


def one(source: random.Random, option: Option) -> list[str]:
    return [f"-{option.name}", value(source)] if option.type is not None else [f"-{option.name}"]


def names() -> list[Option]:
    every = {option.name: option for option in COMMAND.names.values()}
    return [option for name, option in every.items() if name not in LEFT_OUT]


@pytest.mark.parametrize("seed", range(4))
def test_options_with_nonsense(built: None, seed: int, capfd: pytest.CaptureFixture[str]) -> None:
    source = random.Random(seed)
    options = names()
    for _ in range(750):
        words = ["-M", "none", "-display", "none", "-serial", "null", "-monitor", "null"]
        for option in source.choices(options, k=source.choice((1, 1, 1, 2, 4))):
            words += one(source, option)
        status = system.main("mips", words)
        assert status != INTERNAL_ERROR, (words, capfd.readouterr().err)
        assert "Traceback" not in capfd.readouterr().err, words


def test_files_of_options_with_nonsense(
    built: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = random.Random(0)
    path = tmp_path / "config"
    heads = (
        "[memory]",
        "[machine]",
        '[drive "x"]',
        '[device "y"]',
        "[chardev]",
        "[",
        "[]",
        "[foo]",
    )
    keys = ("size", "type", "file", "driver", "backend", "id", "a.b", "", "=", "x y")
    for _ in range(500):
        lines = []
        for _ in range(source.randrange(6)):
            text = value(source).encode("utf-8", "surrogateescape").decode("latin-1")
            lines += [source.choice(heads), f'{source.choice(keys)} = "{text}"', text]
        path.write_text("\n".join(lines), encoding="utf-8", errors="replace")
        status = system.main("mips", ["-M", "none", "-display", "none", "-readconfig", str(path)])
        assert status != INTERNAL_ERROR, (lines, capfd.readouterr().err)
