"""Character devices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pemu.chardev.ringbuf import RingBuffer
from pemu.monitor.schema import COMMANDS, INFO, Expression, MonitorError, Rest, Word
from pemu.options.error import OptionError

if TYPE_CHECKING:
    from pemu.monitor.monitor import Monitor


@INFO.command("chardev", help="show the character devices")
def chardev(monitor: Monitor) -> None:
    monitor.write(monitor.instance.chardevs.info())


@COMMANDS.command("chardev-add", Rest("args"), help="add chardev")
def chardev_add(monitor: Monitor, text: str) -> None:
    try:
        monitor.instance.chardevs.create(text)
    except OptionError as error:
        raise MonitorError(f"Error: {error}") from None


@COMMANDS.command("chardev-remove", Word("id"), help="remove chardev")
def chardev_remove(monitor: Monitor, id: str) -> None:
    _find(monitor, id, "Chardev")
    try:
        monitor.instance.chardevs.remove(id)
    except OptionError as error:
        raise MonitorError(f"Error: {error}") from None


@COMMANDS.command("chardev-send-break", Word("id"), help="send a break on chardev")
def chardev_send_break(monitor: Monitor, id: str) -> None:
    _find(monitor, id, "Chardev")
    monitor.instance.chardevs.send_break(id)


@COMMANDS.command(
    "ringbuf_read",
    Word("device"),
    Expression("size", 32),
    help="Read from a ring buffer character device",
)
def ringbuf_read(monitor: Monitor, id: str, size: int) -> None:
    text = _ring(monitor, id).read(size).decode("utf-8", "replace").split("\0")[0]
    shown = ""
    for char in text:
        plain = char.isprintable() or char in "\n\t"
        shown += "\\\\" if char == "\\" else char if plain else f"\\u{ord(char):04X}"
    monitor.write(f"{shown}\n")


@COMMANDS.command(
    "ringbuf_write",
    Word("device"),
    Word("data"),
    help="Write to a ring buffer character device",
)
def ringbuf_write(monitor: Monitor, id: str, data: str) -> None:
    _ring(monitor, id).write(data.encode("utf-8", "surrogateescape"))


def _ring(monitor: Monitor, id: str) -> RingBuffer:
    found = _find(monitor, id, "Device")
    if not isinstance(found, RingBuffer):
        raise MonitorError(f"Error: {id} is not a ringbuf device")
    return found


def _find(monitor: Monitor, id: str, what: str) -> object:
    try:
        return monitor.instance.chardevs.find(id)
    except OptionError:
        raise MonitorError(f"Error: {what} '{id}' not found") from None
