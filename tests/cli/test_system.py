"""The commands of system emulation, with a machine that has no processor."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pemu.cli import system, system_machine, system_run
from pemu.cli.system_options import COMMAND, SystemOptions
from pemu.machine.memory_backend import backends, is_memory_backend
from pemu.options.error import OptionError
from tests.cli.signals import catches
from tests.conftest import ROOT
from tests.patience import LONG, until


def options(*words: str) -> SystemOptions:
    parsed = COMMAND.parse(words)
    return system.gather(parsed.given, parsed.rest)


def start(*words: str | Path) -> subprocess.Popen[str]:
    code = f"import sys; sys.path[:0]=[{str(ROOT / 'src')!r}]; import pemu.cli.system as s; "
    code += "s.entry('mips')"
    return subprocess.Popen(
        [sys.executable, "-c", code, "-M", "none", *map(str, words)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def eventually_there(path: Path) -> None:
    until(lambda: path.exists() and path.read_text(), str(path))


def eventually_heeds_signals(pid: int) -> None:
    until(lambda: catches(pid, signal.SIGHUP), "the last handler of a signal")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-foo"], "unknown option '-foo'"),
        (["-netdev", "user"], "-netdev: not supported yet"),
        (
            ["-sandbox", "on,spawn=children"],
            "-sandbox: spawn: 'children' is none of allow and deny",
        ),
        (["-runas", "1:"], "-runas: there is no user '1:'; give a user's name or uid:gid"),
        (["-M", "none", "-chroot", "/nonexistent"], "-chroot: '/nonexistent' cannot become the"),
        (["-M", "none", "-add-fd", "fd=2,set=1"], "-add-fd fd=2,set=1: a standard stream cannot"),
        (["-M", "none", "-add-fd", "fd=999,set=1"], "-add-fd fd=999,set=1: descriptor 999 cannot"),
        (["-add-fd", "fd=3"], "-add-fd: 'set' is missing"),
        (
            ["-compat", "deprecated-output=reject"],
            "-compat: deprecated-output: 'reject' is none of",
        ),
        (["-k", "xx"], "-k: 'xx' is none of ar, bepo"),
        (["-watchdog-action", "foo"], "-watchdog-action: 'foo' is none of reset"),
        (["-action", "panic=foo"], "-action: panic: 'foo' is none of pause"),
        (["-overcommit", "cpu-pm=on"], "-overcommit: cpu-pm: not supported yet; only 'off' is"),
        (
            ["-M", "none", "-device", "pcnet,netdev=n"],
            "-device pcnet,netdev=n: 'pcnet' (a network card) is not supported yet",
        ),
        (["-M", "none", "-device", "usb-kbd"], "-device usb-kbd: 'usb-kbd' (a USB device) is not"),
        (["-nic", "user"], "-nic: not supported yet; only 'none' is"),
        (["-M", "nnoe"], "-M: unsupported machine 'nnoe'; did you mean 'none'?"),
        (["-M", "none,foo=1"], "-M none: there is no property 'foo'"),
        (["-M", "none", "-device", "foo"], "-device foo: 'foo' is not a valid device model name"),
        (["-M", "none", "-smp", "2"], "-smp 2: board none has at most 1 processor"),
        (["-M", "none", "-cpu", "24Kx"], "-cpu: CPU model '24Kx' is not known"),
        (["-d", "tid"], "-d: log item 'tid': not supported yet"),
        (["-smp", "4,sockets=3"], "-smp: sockets=3 make 3 processors, not maxcpus=4"),
        (["-smp", "2,maxcpus=1"], "-smp: maxcpus=1 is less than cpus=2"),
        (["-smp", "1,dies=2"], "-smp: dies=2: no board here has more than one"),
        (["-M", "none", "-smp", "1,maxcpus=2"], "-smp 2: board none has at most 1 processor"),
        (["-M", "none", "-accel", "tcg", "-M", "accel=tcg"], "-accel and -M accel= say the same"),
        (["-M", "none,smp.cpus=2"], "-smp 2: board none has at most 1 processor"),
        (["-M", "none,smp.cpus=1", "-smp", "1"], "-smp and -M smp.cpus= say the same"),
        (["-M", "none,memory.size=x"], "-M memory: size: 'x' is not a size"),
        (["-M", "none,boot.order=x"], "-M boot: order: 'x' is no boot device"),
        (["-M", "none,boot.foo=x"], "-M boot: 'foo' is not a key here"),
        (["-M", "none,mem-merge=x"], "-M mem-merge: 'x' is neither on nor off"),
        (["-M", "none,accel=kvm:xen"], "-M accel=kvm: there is no such accelerator"),
        (["-accel", "tcg,split-wx=on"], "-accel: split-wx: not supported yet"),
        (["-boot", "once=d"], "-boot once: boards of this architecture have no boot order"),
        (["-boot", "reboot-timeout=-2"], "-boot: reboot-timeout: '-2' is out of range"),
        (["-m", "16,slots=2,maxmem=32"], "-m: maxmem (32 bytes) is less than the size"),
        (["-M", "none", "-D", "/nonexistent/x"], "-D: log file '/nonexistent/x' cannot be opened"),
        (["-M", "none", "-kernel", "x"], "-kernel: board none starts nothing"),
        (["-d", ""], "-d: unknown log item ''"),
        (["-m", "foo"], "-m: size: 'foo' is not a size"),
        (["-m", "16,slots=2"], "-m: slots are given without maxmem"),
        (["-append", "x"], "-append is for kernels; give one with -kernel"),
        (["-initrd", "x"], "-initrd is for kernels; give one with -kernel"),
        (["-set", "a.b"], "-set: 'a.b' sets nothing; write group.id.key=value"),
        (["-set", "device.x.a=1"], "-set device.x.a: there is no device 'x'"),
        (["-M", "none", "-rtc", "base=foo"], "-rtc base: 'foo' is no date"),
        (["-icount", "11"], "-icount: shift: '11' is out of range"),
        (["-icount", "3,align=on,sleep=off"], "-icount: align=on and sleep=off are incompatible"),
        (["-icount", "align=on"], "-icount: align=on needs a shift"),
        (["-icount", "rr=record"], "-icount: rr: not supported yet"),
        (["-uuid", "x"], "-uuid: 'x' is no UUID"),
        (["-display", "gtk"], "-display: 'gtk' is not supported yet"),
        (["-accel", "kvm"], "-accel kvm: there is no such accelerator"),
        (["-boot", "cc"], "-boot: order: boot device 'c' was given twice"),
        (["-boot", "x"], "-boot: order: 'x' is no boot device"),
        (["-dfilter", "5..3"], "-dfilter: '5..3' is no range"),
        (["-M", "none", "-serial", "foo"], "-serial foo: 'foo' is not a character device"),
        (["-M", "none", "-pidfile", "/nonexistent/x"], "-pidfile: '/nonexistent/x' cannot be made"),
        (["-daemonize", "-nographic"], "-nographic needs a terminal"),
        (["-M", "none", "-drive", "if=foo"], "-drive if=foo: if: 'foo' is none of"),
    ],
)
def test_mistakes(words: list[str], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert system.main("mips", words) == 1
    assert capfd.readouterr().err.startswith(f"pemu-system-mips: {message}")


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["-M", "help"], "none                 empty machine\n"),
        (["-M", "none,help"], "none-machine options:\n"),
        (["-accel", "help"], "tcg\n"),
        (["-display", "help"], "none\n"),
        (["-version"], "pemu-system-mips version "),
        (["-h"], "-machine, -M [type=]name[,prop=value...]"),
        (["-cpu", "help"], "MIPS '24Kf'\n"),
        (["-smp", "help"], "cpus=<int>"),
    ],
)
def test_help(words: list[str], answer: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert system.main("mips", words) == 0
    assert answer in capfd.readouterr().out


def test_sizes_of_memory() -> None:
    given = options("-m", "256", "-m", "slots=2,maxmem=1G").memory
    assert (given[0]["size"], given[1]["maxmem"]) == (256 << 20, 1 << 30)


def test_groups_of_properties_of_the_machine() -> None:
    text = "none,memory.size=64M,memory.max-size=1G,memory.slots=2,smp.cpus=1,boot.order=dc"
    given = options("-M", text)
    name, properties = system_machine.machine_option(given)
    system_machine.general_properties("", given, properties)
    assert (name, properties) == ("none", {})
    assert given.memory == [{"size": 64 << 20, "slots": 2, "maxmem": 1 << 30}]
    assert given.smp is not None
    assert given.smp["cpus"] == 1
    assert given.boot is not None
    assert given.boot["order"] == "dc"


def test_switches() -> None:
    given = options("-no-reboot", "-no-shutdown", "-nodefaults", "-S", "-s", "-snapshot")
    assert (given.reboot, given.stay, given.defaults) == (False, True, False)
    assert (given.frozen, given.gdb, given.snapshot) == (True, "tcp::1234", True)


def test_drives_keep_their_order() -> None:
    given = options("-hdb", "b", "-drive", "file=c", "image").drives
    assert given == [("hdb", "b"), ("drive", "file=c"), ("hda", "image")]


def test_global_in_both_forms() -> None:
    given = options("-global", "a.b-c=1.5", "-global", "driver=d.e,property=f,value=2").globals
    assert given == [("a", "b-c", "1.5"), ("d.e", "f", "2")]


def test_log_ranges() -> None:
    assert options("-dfilter", "0x80..0x8f,16+16,31-16").log_ranges == [
        (0x80, 0x8F),
        (16, 31),
        (16, 31),
    ]


def test_set_changes_an_earlier_option() -> None:
    given = options("-device", "x,id=d,a=1", "-set", "device.d.a=2,3")
    assert given.device == ["x,id=d,a=1,a=2,,3"]


def test_uuid() -> None:
    given = options("-uuid", "550e8400-e29b-41d4-a716-446655440000").uuid
    assert given is not None
    assert given.hex() == "550e8400e29b41d4a716446655440000"


CONFIG = """\
# a comment
[machine]
  type = "none"

[drive "d0"]
  file = "a,b.img"
  if = "none"

[device "dev0"]
  driver = "thing"
  drive = "d0"

[memory]
  size = "64M"

[global]
  driver = "thing"
  property = "speed"
  value = "9"
"""


def test_options_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(CONFIG)
    given = options("-readconfig", str(path))
    assert given.machine == [[("type", "none")]]
    assert given.drives == [("drive", "id=d0,file=a,,b.img,if=none")]
    assert given.device == ["id=dev0,driver=thing,drive=d0"]
    assert given.memory[0]["size"] == 64 << 20
    assert given.globals == [("thing", "speed", "9")]


def test_options_to_a_file_and_back(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text(CONFIG)
    before = options("-readconfig", str(first), "-writeconfig", str(second))
    after = options("-readconfig", str(second))
    before.writeconfig = ""
    before.drives = [("drive", "id=d0,file=a,,b.img,if=none")]
    assert after == before


def test_short_options_have_a_general_form_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "config"
    words = ["-hdb", "b,c.img", "-cdrom", "d.iso", "-kernel", "vmlinux", "-append", "a=b,c d"]
    words += ["-bios", "f", "-accel", "tcg,tb-size=8", "-smp", "1,cores=1", "-boot", "dc"]
    words += ["-name", "n,process=p", "-icount", "3", "-mon", "m", "disk.img"]
    before = options(*words, "-writeconfig", str(path))
    after = options("-readconfig", str(path))
    assert after.machine == [[("kernel", "vmlinux"), ("append", "a=b,c d"), ("firmware", "f")]]
    assert after.drives == [
        ("drive", "file=b,,c.img,index=1"),
        ("drive", "file=d.iso,index=2,media=cdrom"),
        ("drive", "file=disk.img,index=0"),
    ]
    for same in ("accel", "smp", "boot", "name", "icount", "mon"):
        assert getattr(after, same) == getattr(before, same)


def test_written_options_add_to_those_that_were_read(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config"
    path.write_text('[machine]\ntype = "mipssim"\n\n[memory]\nsize = "64M"\n')
    options("-readconfig", str(path), "-M", "malta", "-append", "x", "-writeconfig", "-")
    assert capfd.readouterr().out == (
        "# pemu configuration file\n\n"
        '[machine]\n  type = "malta"\n  append = "x"\n\n'
        '[memory]\n  size = "64M"\n'
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[foo]\n", ":1: unknown section 'foo'"),
        ('a = "b"\n', ":1: 'a = \"b\"' stands before the first [section]"),
        ("[drive]\nfile = x\n", ":2: 'file = x' is neither [section] nor key"),
        ('[memory]\nsize = "x"\n', ": m: size: 'x' is not a size"),
    ],
)
def test_damaged_file(
    text: str, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    assert system.main("mips", ["-readconfig", str(path)]) == 1
    assert message in capfd.readouterr().err


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGTERM, ()),
        (signal.SIGINT, ("-cpu", "24Kf")),
        (signal.SIGHUP, ("-cpu", "24Kf", "-S")),
    ],
)
def test_signal_ends_the_machine(
    number: signal.Signals, words: tuple[str, ...], tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"
    process = start("-m", "16", "-display", "none", "-no-shutdown", "-pidfile", pid_file, *words)
    eventually_there(pid_file)
    assert int(pid_file.read_text()) == process.pid
    eventually_heeds_signals(process.pid)
    process.send_signal(number)
    _, errors = process.communicate(timeout=LONG)
    assert process.returncode == 0
    assert errors == f"pemu-system-mips: terminating on signal {int(number)}\n"
    assert not pid_file.exists()


def test_pid_file_of_a_machine_that_runs(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    first = start("-pidfile", pid_file)
    eventually_there(pid_file)
    second = start("-pidfile", pid_file)
    _, errors = second.communicate(timeout=LONG)
    first.kill()
    first.communicate()
    assert second.returncode == 1
    assert "is that of a machine that runs" in errors


def test_machine_in_the_background(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    process = start("-daemonize", "-display", "none", "-pidfile", pid_file)
    out, errors = process.communicate(timeout=LONG)
    assert (process.returncode, out, errors) == (0, "", "")
    eventually_there(pid_file)
    pid = int(pid_file.read_text())
    assert pid != process.pid
    eventually_heeds_signals(pid)
    os.kill(pid, signal.SIGTERM)
    until(lambda: not pid_file.exists(), "the end")


def test_mistake_of_a_machine_in_the_background() -> None:
    process = start("-daemonize", "-smp", "3")
    _, errors = process.communicate(timeout=LONG)
    assert process.returncode == 1
    assert errors.count("\n") == 1


def test_board_with_nothing_to_start_runs_and_says_so() -> None:
    process = start("-M", "malta", "-display", "none")
    try:
        assert process.stderr is not None
        warning = "warning: board malta has nothing to start; give -kernel, -bios or -pflash"
        assert warning in process.stderr.readline()
        eventually_heeds_signals(process.pid)
    finally:
        process.terminate()
        process.communicate(timeout=LONG)
    assert process.returncode == 0


@pytest.mark.parametrize("words", [["-usb"], ["-sandbox", "off"], ["-M", "none,usb=off"]])
def test_what_asks_for_what_is_the_case(words: list[str], tmp_path: Path) -> None:
    process = start(*words, "-display", "none", "-pidfile", tmp_path / "pid")
    eventually_heeds_signals(process.pid)
    process.terminate()
    process.communicate(timeout=LONG)
    assert process.returncode == 0


def test_messages_begin_with_time_and_name() -> None:
    process = start("-msg", "timestamp=on,guest-name=on", "-name", "one", "-global", "x.y=1")
    assert process.stderr is not None
    line = process.stderr.readline()
    process.terminate()
    process.communicate(timeout=LONG)
    assert re.match(r"\d{4}-\d\d-\d\dT[\d:.]{15}Z one pemu-system-mips: warning: ", line)


def test_memory_that_cannot_be_locked(capfd: pytest.CaptureFixture[str]) -> None:
    class Refusing:
        def mlockall(self, flags: int) -> int:
            ctypes.set_errno(errno.ENOMEM)
            return -1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ctypes, "CDLL", lambda *_, **__: Refusing())
        with pytest.raises(OptionError, match="locking memory failed .Cannot allocate memory."):
            system_run._lock_memory()


def test_names_that_are_no_text_stand_in_files_of_options(tmp_path: Path) -> None:
    path = tmp_path / "config"
    options("-kernel", "vmlin\udcffux", "-writeconfig", str(path))
    assert options("-readconfig", str(path)).machine == [[("kernel", "vmlin\udcffux")]]


def test_objects_stand_in_files_of_options(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text('[object "r"]\nqom-type = "memory-backend-ram"\nsize = "1M"\n')
    given = options("-readconfig", str(path))
    assert [is_memory_backend(text) for text in given.object] == [True]
    assert backends(given.object)["r"].size == 1 << 20
