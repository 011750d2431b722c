"""Properties of devices and boards: what `-device name,key=value` and `-M name,key=value` set.

    iobase = prop.uint(16, 0x3F8, "first I/O port")
    chardev = prop.chardev()

The attribute has the value from the start on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pemu.machine.declare import Property as Property
from pemu.options import types
from pemu.options.error import OptionError, quoted
from pemu.options.types import ValueType

if TYPE_CHECKING:
    from pemu.chardev.interface import Chardev
    from pemu.machine.drives import Drive


class SignedInt(ValueType):
    """An integer from -2**(bits-1) on."""

    def __init__(self, bits: int) -> None:
        super().__init__(f"int{bits}")
        self.bits = bits

    def parse(self, text: str) -> int:
        negative = text[:1] == "-"
        value = types.Int(name=self.name).parse(text[negative:])
        value = -value if negative else value
        if not -1 << (self.bits - 1) <= value < 1 << (self.bits - 1):
            raise OptionError(f"{quoted(text)} is out of range for an integer of {self.bits} bits")
        return value


class PciAddress(ValueType):
    """A place on a PCI bus, `slot` or `slot.function` in hexadecimal; the value is slot*8+fn."""

    def __init__(self) -> None:
        super().__init__("slot[.function]")

    def parse(self, text: str) -> int:
        slot, point, function = text.partition(".")
        try:
            devfn = int(slot, 16) * 8 + (int(function, 16) if point else 0)
            if 0 <= devfn < 256 and (not point or 0 <= int(function, 16) < 8):
                return devfn
        except ValueError:
            pass
        raise OptionError(
            f"{quoted(text)} is no PCI address; write slot.function, from 00.0 to 1f.7"
        )

    def format(self, value: int) -> str:
        return f"{value >> 3:02x}.{value & 7}"


def uint(bits: int, default: int, help: str = "", *, key: str = "") -> Property[int]:
    """An unsigned integer of `bits` bits."""
    kind = types.Int(maximum=(1 << bits) - 1, name=f"uint{bits}")
    return Property(kind, default, help, key=key)


def sint(bits: int, default: int, help: str = "", *, key: str = "") -> Property[int]:
    """A signed integer of `bits` bits."""
    return Property(SignedInt(bits), default, help, key=key)


def flag(default: bool, help: str = "", *, key: str = "") -> Property[bool]:
    """on or off."""
    return Property(types.Bool(), default, help, key=key)


def text(default: str, help: str = "", *, key: str = "") -> Property[str]:
    """Any text."""
    return Property(types.Text(), default, help, key=key)


def size(default: int, help: str = "", *, key: str = "") -> Property[int]:
    """A number of bytes: 4096, 64k, 1.5G."""
    return Property(types.Size(), default, help, key=key)


def choice(names: Sequence[str], default: str, help: str = "", *, key: str = "") -> Property[str]:
    """One of `names`."""
    return Property(types.Enum(names), default, help, key=key)


def on_off_auto(default: str = "auto", help: str = "", *, key: str = "") -> Property[str]:
    """'on', 'off' or 'auto'."""
    return choice(("on", "off", "auto"), default, help, key=key)


def chardev(help: str = "id of the character device", *, key: str = "") -> Property[Chardev | None]:
    """A character device; None if not given."""
    return Property(types.Text(), None, help, key=key, backend="chardev")


def drive(help: str = "id of the drive", *, key: str = "") -> Property[Drive | None]:
    """A drive (-drive); None if not given."""
    return Property(types.Text(), None, help, key=key, backend="drive")
