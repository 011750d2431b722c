"""What qemu-system-mips 7.2 makes of the same options: refusals, and `info chardev`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pemu.options.error import OptionError
from tests.chardev.conftest import World
from tests.patience import LONG

REFERENCE = "qemu-system-mips"


def reference(option: str, text: str, place: Path) -> str | None:
    """The lines of `info chardev` about `x`, None where the reference refuses the option."""
    if not shutil.which(REFERENCE):
        pytest.skip(f"needs {REFERENCE} (Debian: qemu-system-mips)")
    command = [REFERENCE, "-M", "none", "-display", "none", "-nodefaults", "-S"]
    command += ["-monitor", "stdio", option, text]
    done = subprocess.run(
        command,
        input="info chardev\nquit\n",
        stdout=subprocess.PIPE,
        text=True,
        cwd=place,
        timeout=LONG,
        check=False,
    )
    if done.returncode:
        return None
    lines = re.findall(r"^(?:x|x-base): filename=.*$", done.stdout.replace("\r", ""), re.MULTILINE)
    return shown(lines)


def shown(lines: list[str]) -> str:
    """Lines without what differs from run to run, in an order of their own."""
    return "\n".join(sorted(re.sub(r"/pts/\d+|(?<=127\.0\.0\.1:)\d{5}", "N", x) for x in lines))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory with the named pipes `p.in` and `p.out`."""
    monkeypatch.chdir(tmp_path)
    for end in ("in", "out"):
        os.mkfifo(tmp_path / f"p.{end}")
    return tmp_path


@pytest.mark.parametrize(
    "text",
    [
        "null,id=x",
        "null,id=x,mux=on",
        "pty,id=x",
        "file,id=x,path=f",
        "file,id=x,path=/nope/f",
        "file,id=x",
        "pipe,id=x,path=p",
        "pipe,id=x,path=q",
        "ringbuf,id=x",
        "ringbuf,id=x,size=3",
        "memory,id=x,size=4096",
        "serial,id=x,path=/dev/null",
        "serial,id=x,path=/dev/nope",
        "tty,id=x,path=/dev/null",
        "udp,id=x,host=127.0.0.1,port=9",
        "udp,id=x",
        "null,id=x,logfile=log",
        "null,id=x,logfile=/nope/log",
        "null",
        "null,id=1",
        "id=x",
        "nul,id=x",
        "mux,id=x,chardev=y",
        "null,id=x,foo=1",
        "socket,id=x",
        "socket,id=x,path=s,server=on,wait=off",
        "socket,id=x,path=s,server,nowait",
        "socket,id=x,path=pemu-test-PID,abstract=on,server=on,wait=off",
        "socket,id=x,path=s",
        "socket,id=x,path=s,server=on,wait=off,telnet=on",
        "socket,id=x,host=127.0.0.1,port=0,server=on,wait=off",
        "socket,id=x,host=127.0.0.1,port=0,server=on,wait=off,telnet=on,nodelay",
        "socket,id=x,host=127.0.0.1,port=0,server=on,wait=off,websocket=on",
        "socket,id=x,host=127.0.0.1,port=9,reconnect=100",
        "socket,id=x,host=127.0.0.1",
        "socket,id=x,port=1",
        "socket,id=x,path=s,host=127.0.0.1,port=0,server=on,wait=off",
        "socket,id=x,host=127.0.0.1,port=0,server=on,wait=off,reconnect=1",
        "socket,id=x,host=127.0.0.1,port=9,reconnect=100,wait=off",
        "socket,id=x,host=127.0.0.1,port=0,server=on,wait=off,delay=on,nodelay=on",
        "socket,id=x,host=127.0.0.1,port=9,websocket=on",
        "socket,id=x,host=127.0.0.1,port=nope,server=on,wait=off",
        "socket,id=x,host=127.0.0.1,port=0,server=on,wait=off,ipv4=off,ipv6=off",
        "socket,id=x,fd=77",
        "socket,id=x,fd=nope",
    ],
)
def test_comma_lists_mean_the_same(world: World, place: Path, text: str) -> None:
    text = text.replace("PID", str(os.getpid()))
    expected = reference("-chardev", text, place)
    if expected is None:
        with pytest.raises(OptionError):
            world.chardevs.create(text)
    else:
        world.chardevs.create(text)
        assert expected == shown(world.chardevs.info().splitlines())
