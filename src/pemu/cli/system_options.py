"""The options of system emulation, which are QEMU's and `-jit`, and what they set.

`OPTIONS` says what there is; -h, parsing and -readconfig derive from it. The values of options that
name objects (-device, -drive, -chardev, ...) stay text here: -set may change them, and what they
mean is decided where the objects are made.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pemu.cli.system_later import LATER, LATER_SWITCHES, NONE_ONLY
from pemu.cli.user_options import Cpu, Lazy, LogPath, Trace, jit_group, trace_group
from pemu.log import LogItems
from pemu.options.command import Command, Option
from pemu.options.error import HelpRequest, OptionError, quoted
from pemu.options.keyval import Group, Key, split
from pemu.options.types import Bool, Enum, Int, Size, Text, ValueType


@dataclass
class SystemOptions:
    """What the command line of system emulation asked for.

    Lists of text hold the values of an option that may be repeated, in order; dicts the keys of a
    comma list. `drives` has pairs (option, value): ("drive", text), ("hda", file) and so on.
    """

    machine: list[list[tuple[str, str | None]]] = field(default_factory=list)
    cpu: str = ""
    memory: list[dict[str, Any]] = field(default_factory=list)
    smp: dict[str, Any] | None = None
    kernel: str = ""
    initrd: str = ""
    append: str | None = None
    dtb: str = ""
    bios: str = ""
    drives: list[tuple[str, str]] = field(default_factory=list)
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


class Machine(ValueType):
    """The value of -machine: [type=]name and properties, whose meaning the board decides."""

    def parse(self, text: str) -> list[tuple[str, str | None]]:
        return split(text, "type")

    def format(self, value: list[tuple[str, str | None]]) -> str:
        return ",".join(
            key if text is None else f"{key}={text.replace(',', ',,')}" for key, text in value
        )


class Memory(Lazy):
    """The value of -m; numbers without a suffix are MiB."""

    def parse(self, text: str) -> Any:
        values = super().parse(text)
        if values["slots"] is not None and values["maxmem"] is None:
            raise OptionError("slots are given without maxmem; write slots=<n>,maxmem=<size>")
        size, most = values["size"], values["maxmem"]
        if most is not None and size is not None and most < size:
            raise OptionError(f"maxmem ({most} bytes) is less than the size of {size} bytes")
        return values


class Smp(Lazy):
    """The value of -smp: how many processors, and how they are arranged."""

    def parse(self, text: str) -> Any:
        values = super().parse(text)
        product, given = 1, False
        for key in ("sockets", "dies", "clusters", "cores", "threads"):
            if values[key] is not None:
                product, given = product * values[key], True
        cpus, most = values["cpus"], values["maxcpus"]
        if cpus is None:
            cpus = values["cpus"] = most or product
        if given and product < cpus or (most is not None and most < cpus):
            raise OptionError(f"{quoted(text)}: there is no room for {cpus} processors in that")
        return values


class BootOrder(ValueType):
    """Letters of drives to boot from."""

    def parse(self, text: str) -> str:
        for letter in text:
            if not "a" <= letter <= "p":
                raise OptionError(
                    f"{quoted(letter)} is no boot device; use letters from a to p: a and b are "
                    "floppy disks, c the first hard disk, d the first CD-ROM, n the network"
                )
            if text.count(letter) > 1:
                raise OptionError(f"boot device {quoted(letter)} was given twice")
        return text


class Uuid(ValueType):
    """A UUID, 00000000-0000-0000-0000-000000000000."""

    def parse(self, text: str) -> bytes:
        import uuid  # 7 ms

        try:
            if len(text) == 36:
                return uuid.UUID(text).bytes
        except ValueError:
            pass
        raise OptionError(
            f"{quoted(text)} is no UUID; write it as 550e8400-e29b-41d4-a716-446655440000"
        )


class Ranges(ValueType):
    """The value of -dfilter: start..end, start+size, start-size, separated by commas."""

    def parse(self, text: str) -> list[tuple[int, int]]:
        return [self._range(part) for part in text.split(",")]

    def _range(self, text: str) -> tuple[int, int]:
        number = Int(name="address")
        for mark in ("..", "+", "-"):
            first, found, second = text.partition(mark)
            if found:
                start, other = number.parse(first), number.parse(second)
                if mark == "..":
                    ends = start, other
                elif mark == "+":
                    ends = start, start + other - 1
                else:
                    ends = start - other + 1, start
                if ends[0] <= ends[1] and ends[0] >= 0:
                    return ends
        raise OptionError(f"{quoted(text)} is no range; write start..end, start+size or start-size")


class Global(ValueType):
    """The value of -global: driver.property=value, or the three as a comma list."""

    def parse(self, text: str) -> tuple[str, str, str]:
        place, equals, value = text.partition("=")
        driver, dot, key = place.partition(".")
        if equals and dot and driver and key and "," not in place:
            return driver, key, value
        values: dict[str, str] = GLOBAL.parse(text)
        return values["driver"], values["property"], values["value"]

    def format(self, value: tuple[str, str, str]) -> str:
        return GLOBAL.format(dict(zip(GLOBAL.keys, value, strict=True)))


class Set(ValueType):
    """The value of -set: group.id.key=value."""

    def parse(self, text: str) -> tuple[str, str, str, str]:
        place, equals, value = text.partition("=")
        parts = place.split(".", 2)
        if not equals or len(parts) != 3 or not all(parts):
            raise OptionError(f"{quoted(text)} sets nothing; write group.id.key=value")
        return parts[0], parts[1], parts[2], value


class Display(ValueType):
    """The value of -display."""

    def parse(self, text: str) -> str:
        if text in ("help", "?"):
            raise HelpRequest("Available display backend types:\nnone\n")
        if text != "none":
            raise OptionError(f"{quoted(text)} is not supported yet; use none or -nographic")
        return text


class NotYet(ValueType):
    """The value of what Pemu does not have yet; `allowed` are those that ask for nothing."""

    def __init__(self, *allowed: str) -> None:
        super().__init__("value")
        self.allowed = allowed

    def parse(self, text: str) -> str:
        if text not in self.allowed:
            allowed = f"; only '{self.allowed[0]}' is" if self.allowed else ""
            raise OptionError(f"not supported yet{allowed}")
        return text


def _memory() -> Group:
    size = Size(unit="M", maximum=1 << 40)
    return Group(
        "-m",
        (
            Key("size", size, "RAM of the machine"),
            Key("slots", Int(maximum=256), "places for more"),
            Key("maxmem", size, "RAM with all places filled"),
        ),
        implied="size",
    )


def _smp() -> Group:
    number = Int(minimum=1, maximum=1 << 16)
    return Group(
        "-smp",
        (
            Key("cpus", number, "processors"),
            Key("maxcpus", number, "processors with those that may be added"),
            *(
                Key(key, number, f"how many {key} there are one level up")
                for key in ("sockets", "dies", "clusters", "cores", "threads")
            ),
        ),
        implied="cpus",
    )


def _boot() -> Group:
    return Group(
        "-boot",
        (
            Key("order", BootOrder("drives"), "letters of drives, tried one after the other"),
            Key("once", BootOrder("drives"), "the same for the first boot only"),
            Key("menu", Bool(), "let the user choose, where firmware can"),
            Key("splash", Text("file"), "picture for the menu"),
            Key("splash-time", Int(maximum=0xFFFF), "milliseconds that it is shown"),
            Key("reboot-timeout", Int(maximum=0xFFFF), "milliseconds until a failed boot is tried"),
            Key("strict", Bool(), "boot from nothing else"),
        ),
        implied="order",
    )


def _rtc() -> Group:
    return Group(
        "-rtc",
        (
            Key("base", Text("date", empty=False), "utc, localtime or a date", default="utc"),
            Key("clock", Enum(("host", "rt", "vm")), "what moves it", default="host"),
            Key("driftfix", Enum(("none", "slew")), "make up for lost ticks", default="none"),
        ),
    )


class Icount(Lazy):
    """The value of -icount."""

    def parse(self, text: str) -> Any:
        values = super().parse(text)
        shift = values["shift"]
        if shift != "auto":
            try:
                values["shift"] = Int(maximum=10).parse(shift)
            except OptionError as error:
                raise error.within("shift") from None
        elif not values["sleep"]:
            raise OptionError("sleep=off needs a fixed shift; write shift=<0 to 10>,sleep=off")
        if values["align"] and (shift == "auto" or not values["sleep"]):
            raise OptionError("align=on needs a fixed shift and sleep=on")
        return values


def _icount() -> Group:
    return Group(
        "-icount",
        (
            Key("shift", Text("N|auto"), "an instruction takes 2**N ns", default="auto"),
            Key("align", Bool(), "say when the guest falls behind the host", default=False),
            Key("sleep", Bool(), "let idle time pass as on the host", default=True),
            Key("rr", NotYet(), "record or replay"),
            Key("rrfile", NotYet(), "the recording"),
            Key("rrsnapshot", NotYet(), "snapshot to begin from"),
        ),
        implied="shift",
    )


def _name() -> Group:
    return Group(
        "-name",
        (
            Key("guest", Text(), "name of the machine"),
            Key("process", Text(), "name of the process"),
            Key("debug-threads", Bool(), "name threads"),
        ),
        implied="guest",
    )


def _mon() -> Group:
    return Group(
        "-mon",
        (
            Key("chardev", Text("id", empty=False), "where it is", required=True),
            Key("mode", Enum(("readline", "control")), "for users or programs", default="readline"),
            Key("pretty", Bool(), "indent replies", default=False),
            Key("id", Text(), "name"),
        ),
        implied="chardev",
    )


def _accel() -> Group:
    return Group(
        "-accel",
        (
            Key("accel", Enum(("tcg",), name="name"), "the accelerator", required=True),
            Key("thread", Enum(("single", "multi")), "one thread, or one a processor"),
            Key("tb-size", Size(unit="M"), "limit of generated code"),
            Key("one-insn-per-tb", Bool(), "as -singlestep"),
        ),
        implied="accel",
    )


def _action() -> Group:
    return Group(
        "-action",
        (
            Key("reboot", Enum(("reset", "shutdown")), "what a reset by the guest does"),
            Key("shutdown", Enum(("poweroff", "pause")), "what the guest's shutdown does"),
            Key("panic", NotYet("none"), "what a panic of the guest does"),
            Key("watchdog", NotYet("none"), "what a watchdog does"),
        ),
    )


class Accelerator(Lazy):
    """The value of -accel; Pemu's own accelerator is called what QEMU's is."""

    def parse(self, text: str) -> Any:
        if text in ("help", "?"):
            raise HelpRequest("Accelerators supported:\ntcg\n")
        return super().parse(text)


GLOBAL = Group(
    "-global",
    (
        Key("driver", Text(empty=False), required=True),
        Key("property", Text(empty=False), required=True),
        Key("value", Text(), required=True),
    ),
)

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
        Accelerator("name", _accel),
        "name[,prop=value...]",
        "select an accelerator: tcg",
        dest="accel",
        repeat=True,
    ),
    Option("smp", Smp("n", _smp), "[cpus=]n[,...]", "number of processors", dest="smp"),
    Option(
        "m",
        Memory("size", _memory),
        "[size=]size[,slots=n,maxmem=size]",
        "RAM, in MiB if there is no suffix",
        dest="memory",
        repeat=True,
    ),
    Option("boot", Lazy("order", _boot), "[order=]drives[,...]", "boot order", dest="boot"),
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
    Option("snapshot", help="write to temporary files, not images", dest="snapshot"),
    Option("serial", _DEVICE, "dev", "what is at the next serial port", dest="serial", repeat=True),
    Option("parallel", _DEVICE, "dev", "at the next parallel port", dest="parallel", repeat=True),
    Option("monitor", _DEVICE, "dev", "where a monitor is", dest="monitor", repeat=True),
    Option("mon", Lazy("chardev", _mon), "chardev=id[,...]", "a monitor", dest="mon", repeat=True),
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
    Option("rtc", Lazy("base", _rtc), "[base=...][,clock=...]", "time of day", dest="rtc"),
    Option(
        "icount",
        Icount("shift", _icount),
        "[shift=]N|auto[,sleep=on|off]",
        "virtual time follows the instructions",
        dest="icount",
    ),
    Option("name", Lazy("name", _name), "name", "name of the machine", dest="name"),
    Option("uuid", Uuid("uuid"), "uuid", "UUID of the machine", dest="uuid"),
    Option("no-reboot", help="end instead of rebooting"),
    Option("no-shutdown", help="pause instead of ending when the guest shuts down", dest="stay"),
    Option(
        "action",
        Lazy("event=action", _action),
        "event=action",
        "what reboot and shutdown of the guest do",
        dest="action",
        repeat=True,
    ),
    Option("S", help="do not start the guest", dest="frozen"),
    Option("pidfile", _PATH, "file", "write the process number to 'file'", dest="pidfile"),
    Option("daemonize", help="go into the background", dest="daemonize"),
    Option("L", _PATH, "path", "look for firmware in 'path'", dest="directories", repeat=True),
    Option("gdb", _DEVICE, "dev", "accept gdb at 'dev'", dest="gdb"),
    Option("s", help="short for -gdb tcp::1234"),
    Option("singlestep", help="translate one instruction at a time", dest="singlestep"),
    Option("d", LogItems(), "item[,...]", "log the given items (-d help)", dest="log_items"),
    Option("D", LogPath(), "logfile", "log to 'logfile' (default stderr)", dest="log_file"),
    Option("dfilter", Ranges("range"), "range[,...]", "log code there only", dest="log_ranges"),
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
