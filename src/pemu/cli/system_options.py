"""The options of system emulation, which are QEMU's and `-jit`, and what they set.

`OPTIONS` says what there is; -h, parsing and -readconfig derive from it. The values of options that
name objects (-device, -drive, -chardev, ...) stay text here: -set may change them, and what they
mean is decided where the objects are made.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pemu.cli.privileges import RunAs, User, sandbox_group
from pemu.cli.system_later import LATER, LATER_SWITCHES, NONE_ONLY
from pemu.cli.system_values import (
    WATCHDOG,
    Accelerator,
    Display,
    Global,
    Icount,
    Machine,
    Memory,
    NotYet,
    Set,
    Smp,
    Uuid,
    accel_group,
    action_group,
    add_fd_group,
    boot_group,
    compat_group,
    icount_group,
    keyboard_layout,
    memory_group,
    message_group,
    mon_group,
    name_group,
    overcommit_group,
    rtc_group,
    semihosting_group,
    smp_group,
)
from pemu.cli.user_options import Cpu, Lazy, LogPath, Trace, jit_group, trace_group
from pemu.log import LogItems, Ranges
from pemu.options.command import Command, Option
from pemu.options.types import Int, Text


@dataclass
class SystemOptions:
    """What the command line of system emulation asked for.

    Lists of text hold the values of an option that may be repeated, in order; dicts the keys of a
    comma list. `drives` has pairs (option, value): ("drive", text), ("hda", file) and so on.
    """

    machine: list[list[tuple[str, str | None]]] = field(default_factory=list)
    cpu: str = ""
    memory: list[dict[str, Any]] = field(default_factory=list)
    memory_path: str = ""
    memory_backend: str = ""
    memory_now: bool = False
    smp: dict[str, Any] | None = None
    kernel: str = ""
    initrd: str = ""
    append: str | None = None
    dtb: str = ""
    bios: str = ""
    drives: list[tuple[str, str]] = field(default_factory=list)
    object: list[str] = field(default_factory=list)
    blockdev: list[str] = field(default_factory=list)
    snapshot: bool = False
    serial: list[str] = field(default_factory=list)
    parallel: list[str] = field(default_factory=list)
    monitor: list[str] = field(default_factory=list)
    mon: list[dict[str, Any]] = field(default_factory=list)
    chardev: list[str] = field(default_factory=list)
    nographic: bool = False
    display: str = ""
    reboot: bool = True
    stay: bool = False
    frozen: bool = False
    name: dict[str, Any] | None = None
    uuid: bytes | None = None
    pidfile: str = ""
    daemonize: bool = False
    directories: list[str] = field(default_factory=list)
    log_items: tuple[str, ...] = ()
    log_file: str = ""
    log_ranges: list[tuple[int, int]] = field(default_factory=list)
    trace: list[dict[str, Any]] = field(default_factory=list)
    gdb: str = ""
    singlestep: bool = False
    writeconfig: str = ""
    escape: int = 1
    boot: dict[str, Any] | None = None
    device: list[str] = field(default_factory=list)
    globals: list[tuple[str, str, str]] = field(default_factory=list)
    sets: list[tuple[str, str, str, str]] = field(default_factory=list)
    defaults: bool = True
    rtc: dict[str, Any] | None = None
    icount: dict[str, Any] | None = None
    accel: list[dict[str, Any]] = field(default_factory=list)
    jit: list[dict[str, Any]] = field(default_factory=list)
    seed: int | None = None
    action: list[dict[str, Any]] = field(default_factory=list)
    messages: dict[str, Any] | None = None
    semihosting: list[dict[str, Any]] = field(default_factory=list)
    overcommit: list[dict[str, Any]] = field(default_factory=list)
    descriptors: list[dict[str, Any]] = field(default_factory=list)
    root: str = ""
    user: User | None = None
    sandbox: dict[str, Any] = field(default_factory=dict)


_PATH = Text("file", empty=False)
_DEVICE = Text("dev", empty=False)


def _drive(name: str, text: str) -> Option:
    return Option(name, _PATH, "file", text)


OPTIONS = (
    Option("h", help="print this help", final=True, aliases=("help",)),
    Option("version", help="print the version", final=True),
    Option(
        "machine",
        Machine("name"),
        "[type=]name[,prop=value...]",
        "be the board 'name' (-M help lists them)",
        dest="machine",
        repeat=True,
        aliases=("M",),
    ),
    Option("cpu", Cpu("model"), "model", "be the processor 'model' (-cpu help)", dest="cpu"),
    Option(
        "accel",
        Accelerator("name", accel_group),
        "name[,prop=value...]",
        "select an accelerator: tcg",
        dest="accel",
        repeat=True,
    ),
    Option("smp", Smp("n", smp_group), "[cpus=]n[,...]", "number of processors", dest="smp"),
    Option(
        "m",
        Memory("size", memory_group),
        "[size=]size[,slots=n,maxmem=size]",
        "RAM, in MiB if there is no suffix",
        dest="memory",
        repeat=True,
    ),
    Option(
        "mem-path", _PATH, "path", "a file, or a directory for one, for RAM", dest="memory_path"
    ),
    Option("mem-prealloc", help="take RAM from the host at the start", dest="memory_now"),
    Option("boot", Lazy("order", boot_group), "[order=]drives[,...]", "boot order", dest="boot"),
    Option("bios", _PATH, "file", "firmware", dest="bios"),
    Option("kernel", _PATH, "file", "kernel to start", dest="kernel"),
    Option("append", Text("text"), "text", "command line of the kernel", dest="append"),
    Option("initrd", _PATH, "file", "initial RAM disk", dest="initrd"),
    Option("dtb", _PATH, "file", "device tree", dest="dtb"),
    _drive("pflash", "image of a flash chip"),
    _drive("hda", "image of hard disk 0"),
    _drive("hdb", "image of hard disk 1"),
    _drive("hdc", "image of hard disk 2"),
    _drive("hdd", "image of hard disk 3"),
    _drive("fda", "image of floppy disk 0"),
    _drive("fdb", "image of floppy disk 1"),
    _drive("cdrom", "image of a CD-ROM"),
    _drive("mtdblock", "image of on-board flash"),
    _drive("sd", "image of an SD card"),
    Option("drive", Text("options"), "[file=file][,if=type][,...]", "a drive (-drive help)"),
    Option(
        "object",
        Text("options"),
        "type,id=id[,...]",
        "a secret, say, that other options refer to",
        dest="object",
        repeat=True,
    ),
    Option(
        "blockdev",
        Text("options"),
        "[driver=]driver,node-name=name[,...]",
        "an image for -device ...,drive=name, as a comma list or JSON",
        dest="blockdev",
        repeat=True,
    ),
    Option("snapshot", help="write to temporary files, not images", dest="snapshot"),
    Option("serial", _DEVICE, "dev", "what is at the next serial port", dest="serial", repeat=True),
    Option("parallel", _DEVICE, "dev", "at the next parallel port", dest="parallel", repeat=True),
    Option("monitor", _DEVICE, "dev", "where a monitor is", dest="monitor", repeat=True),
    Option(
        "mon", Lazy("chardev", mon_group), "chardev=id[,...]", "a monitor", dest="mon", repeat=True
    ),
    Option(
        "chardev",
        Text("backend"),
        "backend,id=id[,...]",
        "a character device (-chardev help)",
        dest="chardev",
        repeat=True,
    ),
    Option("nographic", help="no display; serial port and monitor here", dest="nographic"),
    Option("display", Display("type"), "type", "the display: none", dest="display"),
    Option(
        "device",
        Text("driver"),
        "driver[,prop=value...]",
        "add a device (-device help, -device driver,help)",
        dest="device",
        repeat=True,
    ),
    Option(
        "global",
        Global("driver.property=value"),
        "driver.property=value",
        "a property of all devices of a driver",
        dest="globals",
        repeat=True,
    ),
    Option(
        "set",
        Set("group.id.key=value"),
        "group.id.key=value",
        "change an option given before",
        dest="sets",
        repeat=True,
    ),
    Option("nodefaults", help="no default devices"),
    Option("k", keyboard_layout(), "language", "keyboard layout, for displays"),
    Option("option-rom", Text("rom"), "file", "nothing: boards have no place for option ROMs"),
    Option("rtc", Lazy("base", rtc_group), "[base=...][,clock=...]", "time of day", dest="rtc"),
    Option(
        "icount",
        Icount("shift", icount_group),
        "[shift=]N|auto[,sleep=on|off]",
        "virtual time follows the instructions",
        dest="icount",
    ),
    Option("name", Lazy("name", name_group), "name", "name of the machine", dest="name"),
    Option(
        "msg",
        Lazy("key=value", message_group),
        "[timestamp=on|off][,guest-name=on|off]",
        "what stands before messages",
        dest="messages",
    ),
    Option(
        "overcommit",
        Lazy("key=value", overcommit_group),
        "[mem-lock=on|off]",
        "what the host may give others",
        dest="overcommit",
        repeat=True,
    ),
    Option("semihosting", help="let a program without an operating system use the host"),
    Option(
        "semihosting-config",
        Lazy("enable", semihosting_group),
        "[enable=on|off][,arg=text...]",
        "the same, with arguments of the program",
        dest="semihosting",
        repeat=True,
    ),
    Option("uuid", Uuid("uuid"), "uuid", "UUID of the machine", dest="uuid"),
    Option("no-reboot", help="end instead of rebooting"),
    Option("no-shutdown", help="pause instead of ending when the guest shuts down", dest="stay"),
    Option(
        "action",
        Lazy("event=action", action_group),
        "event=action",
        "what reboot and shutdown of the guest do",
        dest="action",
        repeat=True,
    ),
    Option(
        "watchdog-action",
        WATCHDOG,
        "action",
        "what a watchdog does: the same as -action watchdog=action",
    ),
    Option("S", help="do not start the guest", dest="frozen"),
    Option("pidfile", _PATH, "file", "write the process number to 'file'", dest="pidfile"),
    Option("daemonize", help="go into the background", dest="daemonize"),
    Option("chroot", _PATH, "dir", "have 'dir' for root directory", dest="root"),
    Option("runas", RunAs("user"), "user|uid:gid", "run as this user", dest="user"),
    Option(
        "sandbox",
        Lazy("on", sandbox_group),
        "on|off[,key=allow|deny...]",
        "have system calls refused that machines do not need",
        dest="sandbox",
    ),
    Option(
        "add-fd",
        Lazy("fd", add_fd_group),
        "fd=fd,set=N[,opaque=text]",
        "a descriptor that was open before is /dev/fdset/N",
        dest="descriptors",
        repeat=True,
    ),
    Option("L", _PATH, "path", "look for firmware in 'path'", dest="directories", repeat=True),
    Option("gdb", _DEVICE, "dev", "accept gdb at 'dev'", dest="gdb"),
    Option("s", help="short for -gdb tcp::1234"),
    Option("singlestep", help="translate one instruction at a time", dest="singlestep"),
    Option("d", LogItems(), "item[,...]", "log the given items (-d help)", dest="log_items"),
    Option("D", LogPath(), "logfile", "log to 'logfile' (default stderr)", dest="log_file"),
    Option("dfilter", Ranges(), "range[,...]", "log code there only", dest="log_ranges"),
    Option(
        "trace",
        Trace("pattern", trace_group),
        "pattern",
        "log events (-trace help lists them)",
        dest="trace",
        repeat=True,
    ),
    Option("seed", Int(name="number"), "number", "seed of what is random", dest="seed"),
    Option("echr", Int(maximum=255, name="code"), "code", "in place of Ctrl-A", dest="escape"),
    Option("readconfig", _PATH, "file", "read options from 'file'"),
    Option("writeconfig", _PATH, "file", "write options to 'file'", dest="writeconfig"),
    Option("no-user-config", help="nothing: there is no such configuration"),
    Option(
        "compat",
        Lazy("key=value", compat_group),
        "key=value[,...]",
        "nothing: there are no deprecated or unstable interfaces",
    ),
    Option("usb", help="nothing: boards have their USB controllers"),
    Option(
        "jit",
        Lazy("key=value", jit_group),
        "key=value[,...]",
        "how code is generated and cached (-jit help)",
        dest="jit",
        env=("PEMU_JIT",),
        repeat=True,
    ),
)

_HIDDEN = (
    *(Option(name, NotYet(), "value") for name in LATER),
    *(Option(name, NotYet("none"), "none") for name in NONE_ONLY),
    *(Option(name) for name in LATER_SWITCHES),
)

COMMAND = Command((*OPTIONS, *_HIDDEN), mixed=True)
"""What parses a command line; a word that is no option is the image of hard disk 0."""
