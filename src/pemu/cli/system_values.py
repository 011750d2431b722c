"""What single options of system emulation may be given: value types and the keys of comma lists."""

from __future__ import annotations

import math
from typing import Any

from pemu.cli.user_options import Lazy
from pemu.options.error import HelpRequest, OptionError, quoted
from pemu.options.keyval import Group, Key, split
from pemu.options.types import Bool, Enum, Int, Size, Text, ValueType


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
        for key in ("dies", "clusters"):
            if (values[key] or 1) > 1:
                raise OptionError(
                    f"{key}={values[key]}: no board here has more than one; leave it out"
                )
        levels = [key for key in ("sockets", "cores", "threads") if values[key] is not None]
        product = math.prod(values[key] for key in levels)
        cpus = values["cpus"] or values["maxcpus"] or product
        most = values["maxcpus"] or (product if len(levels) == 3 else cpus)
        values["cpus"], values["maxcpus"] = cpus, most
        if most < cpus:
            raise OptionError(f"maxcpus={most} is less than cpus={cpus}")
        if most % product or len(levels) == 3 and most != product:
            shown = ", ".join(f"{key}={values[key]}" for key in levels)
            raise OptionError(f"{shown} make {product} processors, not maxcpus={most}")
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


class Timeout(Int):
    """Milliseconds, or -1 for never."""

    def __init__(self) -> None:
        super().__init__(maximum=0xFFFF)

    def parse(self, text: str) -> int:
        return -1 if text == "-1" else super().parse(text)


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


def memory_group() -> Group:
    """The keys of -m."""
    size = Size(unit="M", maximum=1 << 40)
    return Group(
        "-m",
        (
            Key("size", size, "RAM of the machine"),
            Key("slots", Int(maximum=256), "places for more"),
            Key("maxmem", Size(maximum=1 << 40), "RAM with all places filled"),
        ),
        implied="size",
    )


def smp_group() -> Group:
    """The keys of -smp."""
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


def boot_group() -> Group:
    """The keys of -boot."""
    return Group(
        "-boot",
        (
            Key("order", BootOrder("drives"), "letters of drives, tried one after the other"),
            Key("once", BootOrder("drives"), "the same for the first boot only"),
            Key("menu", Bool(), "let the user choose, where firmware can"),
            Key("splash", Text("file"), "picture for the menu"),
            Key("splash-time", Int(maximum=0xFFFF), "milliseconds that it is shown"),
            Key(
                "reboot-timeout",
                Timeout(),
                "milliseconds until a failed boot is tried again, -1 for never",
            ),
            Key("strict", Bool(), "boot from nothing else"),
        ),
        implied="order",
    )


def rtc_group() -> Group:
    """The keys of -rtc."""
    return Group(
        "-rtc",
        (
            Key("base", Text("date", empty=False), "utc, localtime or a date", default="utc"),
            Key(
                "clock",
                Enum(("host", "rt", "vm")),
                "what moves it (default: host; vm with -icount)",
            ),
            Key("driftfix", Enum(("none", "slew")), "make up for lost ticks", default="none"),
        ),
    )


class Icount(Lazy):
    """The value of -icount."""

    def parse(self, text: str) -> Any:
        values = super().parse(text)
        shift = values["shift"]
        if values["align"] and shift is None:
            raise OptionError("align=on needs a shift; write shift=<0 to 10>,align=on")
        if values["align"] and not values["sleep"]:
            raise OptionError("align=on and sleep=off are incompatible; drop one of them")
        if shift in (None, "auto"):  # virtual time follows the host's either way
            return {**values, "shift": "auto", "align": False, "sleep": True}
        try:
            values["shift"] = Int(maximum=10).parse(shift)
        except OptionError as error:
            raise error.within("shift") from None
        return values


def icount_group() -> Group:
    """The keys of -icount."""
    return Group(
        "-icount",
        (
            Key("shift", Text("N|auto"), "an instruction takes 2**N ns; auto if not said"),
            Key("align", Bool(), "say when the guest falls behind the host", default=False),
            Key("sleep", Bool(), "let idle time pass as on the host", default=True),
            Key("rr", NotYet(), "record or replay"),
            Key("rrfile", NotYet(), "the recording"),
            Key("rrsnapshot", NotYet(), "snapshot to begin from"),
        ),
        implied="shift",
    )


def name_group() -> Group:
    """The keys of -name."""
    return Group(
        "-name",
        (
            Key("guest", Text(), "name of the machine"),
            Key("process", Text(), "name of the process"),
            Key("debug-threads", Bool(), "name threads"),
        ),
        implied="guest",
    )


def message_group() -> Group:
    """The keys of -msg."""
    return Group(
        "-msg",
        (
            Key("timestamp", Bool(), "the time before each message", default=False),
            Key("guest-name", Bool(), "the name of the machine, too", default=False),
        ),
    )


def semihosting_group() -> Group:
    """The keys of -semihosting-config."""
    return Group(
        "-semihosting-config",
        (
            Key("enable", Bool(), "let programs use the host", default=True),
            Key("target", Enum(("native", "auto")), "who carries it out", default="auto"),
            Key("chardev", NotYet(), "where the console is"),
            Key("userspace", Bool(), "also programs in user mode", default=False),
            Key("arg", Text("text"), "an argument of the program", repeat=True),
        ),
        implied="enable",
    )


def overcommit_group() -> Group:
    """The keys of -overcommit."""
    return Group(
        "-overcommit",
        (
            Key("mem-lock", Bool(), "keep all memory from being swapped out", default=False),
            Key("cpu-pm", NotYet("off"), "let the guest put the host's processor to sleep"),
        ),
    )


def mon_group() -> Group:
    """The keys of -mon."""
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


def add_fd_group() -> Group:
    """The keys of -add-fd."""
    number = Int(maximum=0x7FFFFFFF)
    return Group(
        "-add-fd",
        (
            Key("fd", number, "descriptor that was open before", required=True),
            Key("set", number, "the set that it is put into", required=True),
            Key("opaque", Text(), "what it is, for programs that ask"),
        ),
    )


def compat_group() -> Group:
    """The keys of -compat."""
    given, told = Enum(("accept", "reject", "crash")), Enum(("accept", "hide"))
    return Group(
        "-compat",
        tuple(
            Key(f"{kind}-{way}", allowed, f"what is {kind} in what comes {side}")
            for kind in ("deprecated", "unstable")
            for way, allowed, side in (("input", given, "in"), ("output", told, "out"))
        ),
    )


def keyboard_layout() -> Enum:
    """The value of -k."""
    names = "ar bepo cz da de de-ch en-gb en-us es et fi fo fr fr-be fr-ca fr-ch hr hu is it ja lt"
    return Enum(
        (*names.split(), *"lv mk nl no pl pt pt-br ru sl sv th tr".split()), name="language"
    )


def accel_group() -> Group:
    """The keys of -accel."""
    return Group(
        "-accel",
        (
            Key("accel", Text("name", empty=False), "the accelerator", required=True),
            Key("thread", Enum(("single", "multi")), "the same for one processor"),
            Key("tb-size", Int(maximum=0xFFFFFFFF), "limit of compiled code in MiB"),
            Key("split-wx", NotYet("off"), "off: generated code is never writable"),
            Key("one-insn-per-tb", Bool(), "as -singlestep"),
        ),
        implied="accel",
    )


def action_group() -> Group:
    """The keys of -action."""
    return Group(
        "-action",
        (
            Key("reboot", Enum(("reset", "shutdown")), "what a reset by the guest does"),
            Key("shutdown", Enum(("poweroff", "pause")), "what the guest's shutdown does"),
            Key(
                "panic",
                Enum(("pause", "shutdown", "exit-failure", "none")),
                "what a panic of the guest does, where a device tells of it",
            ),
            Key("watchdog", WATCHDOG, "what a watchdog does, where there is one"),
        ),
    )


class Accelerator(Lazy):
    """The value of -accel; Pemu's own accelerator is called what QEMU's is."""

    def parse(self, text: str) -> Any:
        if text in ("", "help", "?"):
            raise HelpRequest("Accelerators supported:\ntcg\n")
        return super().parse(text)


WATCHDOG = Enum(
    ("reset", "shutdown", "poweroff", "inject-nmi", "pause", "debug", "none"), name="action"
)
"""What a watchdog may do."""

GLOBAL = Group(
    "-global",
    (
        Key("driver", Text(empty=False), required=True),
        Key("property", Text(empty=False), required=True),
        Key("value", Text(), required=True),
    ),
)
