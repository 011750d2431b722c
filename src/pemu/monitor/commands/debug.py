"""Debuggers, logs, single steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pemu.log import EVENTS, ITEMS, TRACE, LogItems, trace_events
from pemu.machine.processor import Processor
from pemu.monitor.schema import COMMANDS, INFO, Complaint, Expression, MonitorError, Word
from pemu.options.error import HelpRequest, OptionError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pemu.machine.machine import Machine
    from pemu.monitor.monitor import Monitor

DEFAULT_PLACE = "tcp::1234"


def log_items() -> str:
    """The items that `log` takes."""
    try:
        LogItems().parse("help")
    except HelpRequest as request:
        return str(request).replace("):\n", "):\nnone            remove all logs\n", 1)
    raise AssertionError("help gives help")


@COMMANDS.command(
    "log",
    Word("items", among=lambda: ("none", *ITEMS)),
    help="activate logging of the specified items",
    note="item1[,...]",
)
def log(monitor: Monitor, items: str) -> None:
    machine = monitor.instance.machine
    if items == "none":
        _choose(machine, (), ())
        return
    try:
        names = LogItems().parse(items)
    except HelpRequest as request:
        monitor.write(log_items() if "trace:help" not in items else str(request))
        return
    except OptionError:
        monitor.write(log_items())
        return
    plain = [name for name in names if not name.startswith(TRACE)]
    patterns = [name.removeprefix(TRACE) for name in names if name.startswith(TRACE)]
    _choose(machine, plain, trace_events(patterns)[0])


def _choose(machine: Machine, items: Iterable[str], events: Iterable[str]) -> None:
    machine.log.choose(items, events)
    with machine.control.standing():
        for cpu in machine.cpus:
            if isinstance(cpu, Processor):
                cpu.choose_log()


@COMMANDS.command("logfile", Word("filename", kind="filename"), help="output logs to 'filename'")
def logfile(monitor: Monitor, filename: str) -> None:
    try:
        monitor.instance.machine.log.redirect(filename)
    except OSError as error:
        raise MonitorError(f"Error opening logfile {filename}: {error.strerror}") from None


@COMMANDS.command(
    "singlestep",
    Word("option", optional=True, among=lambda: ("on", "off")),
    help="run emulation in singlestep mode or switch to normal mode",
    note="[on|off]",
)
def singlestep(monitor: Monitor, option: str | None) -> None:
    if option not in (None, "on", "off"):
        raise MonitorError(f"unexpected option {option}")
    cpu = monitor.cpu()
    with monitor.instance.machine.control.standing():
        cpu.engine.set_single_step(option != "off")


@COMMANDS.command(
    "gdbserver",
    Word("device", optional=True),
    help=f"start gdbserver on given device (default '{DEFAULT_PLACE}'), stop with 'none'",
)
def gdbserver(monitor: Monitor, device: str | None) -> None:
    place = device or DEFAULT_PLACE
    debug = monitor.instance.debug
    if debug is None:
        raise MonitorError("gdbserver: not supported yet")
    try:
        debug(place)
    except OptionError as error:
        raise MonitorError(f"{error}\nCould not open gdbserver on device '{place}'") from None
    if place == "none":
        monitor.write("Disabled gdbserver\n")
    else:
        monitor.write(f"Waiting for gdb connection on device '{place}'\n")


@COMMANDS.command(
    "trace-event",
    Word("name", among=lambda: EVENTS),
    Word("option", among=lambda: ("on", "off")),
    Expression("vcpu", 32, optional=True),
    help="changes status of a specific trace event (vcpu: vCPU to set, default is all)",
    note="name on|off [vcpu]",
)
def trace_event(monitor: Monitor, name: str, option: str, number: int | None) -> None:
    if option not in ("on", "off"):
        raise Complaint("Expected 'on' or 'off'")
    log = monitor.instance.machine.log
    found = set(_events(name))
    log.choose(log.items, log.events | found if option == "on" else log.events - found)


@INFO.command(
    "trace-events",
    Word("name", optional=True, among=lambda: EVENTS),
    Expression("vcpu", 32, optional=True),
    help="show available trace-events & their state (name: event name pattern; vcpu: vCPU to "
    "query, default is any)",
    note="[name] [vcpu]",
)
def trace_event_states(monitor: Monitor, name: str | None, number: int | None) -> None:
    log = monitor.instance.machine.log
    for event in _events(name or "*"):
        monitor.write(f"{event} : state {log.traced(event):d}\n")


def _events(pattern: str) -> list[str]:
    found = trace_events([pattern])[0]
    if not found:
        raise MonitorError(f'unknown event "{pattern}"')
    return found
