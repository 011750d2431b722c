"""Keys and mice of the guest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pemu.machine.clock import MILLISECOND
from pemu.machine.input import KEYS
from pemu.monitor.schema import COMMANDS, INFO, Expression, MonitorError, Word

if TYPE_CHECKING:
    from pemu.machine.input import Pointer
    from pemu.monitor.monitor import Monitor

HOLD = 100
"""Milliseconds."""

_BUTTONS = ((1, "left"), (2, "middle"), (4, "right"))


def key_named(name: str) -> str:
    """The key that a user calls `name`, or by its number. Raises MonitorError."""
    from pemu.devices.input.ps2_keys import by_number

    if name in KEYS:
        return name
    if name[:2] == "0x":
        try:
            return by_number(int(name, 16)) or ""
        except ValueError:
            pass
    raise MonitorError(f"invalid parameter: {name}")


@COMMANDS.command(
    "sendkey",
    Word("keys", among=lambda: KEYS),
    Expression("hold_ms", 32, optional=True),
    help=f"send keys to the VM (e.g. 'sendkey ctrl-alt-f1', default hold time={HOLD} ms)",
)
def sendkey(monitor: Monitor, text: str, hold: int | None) -> None:
    names = ["less"] if text[:1] == "<" else text.split("-")
    keys = [key_named(name) for name in names]
    machine = monitor.instance.machine
    if machine.control.running:
        machine.input.type(keys, (hold or HOLD) * MILLISECOND)


def pointer(monitor: Monitor) -> Pointer | None:
    """The pointer of a guest that runs."""
    machine = monitor.instance.machine
    return machine.input.pointer if machine.control.running else None


@COMMANDS.command(
    "mouse_move",
    Word("dx"),
    Word("dy"),
    Word("dz", optional=True),
    help="send mouse move events",
)
def mouse_move(monitor: Monitor, x: str, y: str, z: str | None) -> None:
    mouse = pointer(monitor)
    if mouse is not None and not mouse.absolute:
        mouse.move(_distance(x), _distance(y))
        turned = _distance(z or "0")
        if turned:
            mouse.wheel(1 if turned > 0 else -1)
        mouse.sync()


def _distance(text: str) -> int:
    """A number as C has it; 0 for what is none."""
    try:
        return max(min(int(text, 0), 1 << 16), -1 << 16)
    except ValueError:
        return 0


@COMMANDS.command(
    "mouse_button",
    Expression("state", 32),
    help="change mouse button state (1=L, 2=M, 4=R)",
)
def mouse_button(monitor: Monitor, state: int) -> None:
    mouse = pointer(monitor)
    if mouse is not None:
        for bit, name in _BUTTONS:
            mouse.button(name, bool(state & bit))
        mouse.sync()


@COMMANDS.command(
    "mouse_set", Expression("index", 32), help="set which mouse device receives events"
)
def mouse_set(monitor: Monitor, index: int) -> None:
    given = monitor.instance.machine.input
    chosen = given.numbers.get(index)
    if chosen is None:
        raise MonitorError(f"Mouse at index '{index}' not found")
    for mouse in given.pointers:
        if mouse is chosen:
            given.select(mouse)
            return
    raise MonitorError(f"Input device '{chosen.description}' is not a mouse")


@INFO.command("mice", help="show which guest mouse is receiving events")
def mice(monitor: Monitor) -> None:
    given = monitor.instance.machine.input
    if not given.pointers:
        monitor.write("No mouse devices connected\n")
    for number, device in given.numbers.items():
        for mouse in given.pointers:
            if mouse is device:
                mark = "*" if mouse is given.pointer else " "
                how = " (absolute)" if mouse.absolute else ""
                monitor.write(f"{mark} Mouse #{number}: {mouse.description}{how}\n")
