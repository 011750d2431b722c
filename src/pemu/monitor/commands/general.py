"""Help, and how the machine runs: stop, cont, reset, power, the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pemu.monitor.monitor import find
from pemu.monitor.schema import COMMANDS, INFO, Expression, MonitorError, Reader, Rest, Word

if TYPE_CHECKING:
    from pemu.monitor.monitor import Monitor


@COMMANDS.command("help|?", Rest("cmd", optional=True), help="show the help")
def show_help(monitor: Monitor, name: str | None) -> None:
    if name is None:
        monitor.write(COMMANDS.listing())
        return
    if name == "log":
        from pemu.monitor.commands.debug import log_items

        monitor.write(log_items())
        return
    command, typed = find(COMMANDS, Reader(name))
    if command.subcommands:
        monitor.write(INFO.listing("info "))
    else:
        monitor.write(f"{'info ' if typed.startswith('info ') else ''}{command.usage}\n")


@COMMANDS.command("quit|q", help="quit the emulator")
def leave(monitor: Monitor) -> None:
    monitor.leaving = True
    monitor.instance.machine.control.quit()


@COMMANDS.command("stop|s", help="stop emulation")
def stop(monitor: Monitor) -> None:
    monitor.instance.machine.control.pause()


@COMMANDS.command("cont|c", help="resume emulation")
def resume(monitor: Monitor) -> None:
    control = monitor.instance.machine.control
    if control.state == "shutdown":
        monitor.write("Error: Resetting the Virtual Machine is required\n")
    else:
        control.resume()


@COMMANDS.command("system_reset", help="reset the system")
def system_reset(monitor: Monitor) -> None:
    monitor.instance.machine.control.request_reset("host-qmp-system-reset")


@COMMANDS.command("system_powerdown", help="send system power down event")
def system_powerdown(monitor: Monitor) -> None:
    monitor.instance.machine.control.request_powerdown()


@COMMANDS.command("system_wakeup", help="wakeup guest from suspend")
def system_wakeup(monitor: Monitor) -> None:
    raise MonitorError("Error: Unable to wake up: guest is not in suspended state")


@COMMANDS.command("nmi", help="inject an NMI")
def nmi(monitor: Monitor) -> None:
    raise MonitorError("Error: this feature or command is not currently supported")


@COMMANDS.command("boot_set", Word("bootdevice"), help="define new values for the boot device list")
def boot_set(monitor: Monitor, order: str) -> None:
    raise MonitorError("no function defined to set boot device list for this architecture")


@COMMANDS.command("cpu", Expression("index", 32), help="set the default CPU")
def choose_cpu(monitor: Monitor, index: int) -> None:
    if index >= len(monitor.instance.machine.cpus):
        raise MonitorError("invalid CPU index")
    monitor.current = index
