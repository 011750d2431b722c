"""What `info` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pemu.monitor.schema import COMMANDS, INFO, Expression, Flag, MonitorError

if TYPE_CHECKING:
    from pemu.monitor.human import Monitor


@COMMANDS.command(
    "info",
    help="show various information about the system state",
    note="[subcommand]",
)
def info(monitor: Monitor) -> None:
    monitor.write(INFO.listing("info "))


COMMANDS["info"].subcommands = INFO


@INFO.command("version", help="show the version of Pemu")
def version(monitor: Monitor) -> None:
    from pemu.version import VERSION

    monitor.write(f"{VERSION}\n")


@INFO.command("status", help="show the current VM status (running|paused)")
def status(monitor: Monitor) -> None:
    state = monitor.instance.machine.control.state
    if state in ("running", "paused"):
        monitor.write(f"VM status: {state}\n")
    else:
        monitor.write(f"VM status: paused ({state})\n")


@INFO.command("name", help="show the current VM name")
def name(monitor: Monitor) -> None:
    if monitor.instance.name:
        monitor.write(f"{monitor.instance.name}\n")


@INFO.command("uuid", help="show the current VM UUID")
def uuid(monitor: Monitor) -> None:
    import uuid

    monitor.write(f"{uuid.UUID(bytes=monitor.instance.uuid or bytes(16))}\n")


@INFO.command("history", help="show the command line history")
def history(monitor: Monitor) -> None:
    monitor.write("".join(f"{place}: '{line}'\n" for place, line in enumerate(monitor.history)))


@INFO.command("chardev", help="show the character devices")
def chardev(monitor: Monitor) -> None:
    monitor.write(monitor.instance.chardevs.info())


@INFO.command("block", help="show info of all block devices")
def block(monitor: Monitor) -> None:
    parts = []
    for drive in monitor.instance.drives:
        image = f"{drive.file} ({drive.format or 'raw'})" if drive.file else "[not inserted]"
        text = f"{drive.id}: {image}{', read-only' if drive.file and drive.readonly else ''}\n"
        if drive.owner is not None:
            text += f"    Attached to:      {getattr(drive.owner, 'path', drive.owner)}\n"
        if drive.media == "cdrom" or not drive.file:
            text += "    Removable device: not locked, tray closed\n"
        parts.append(text)
    monitor.write("\n".join(parts))


@INFO.command("cpus", help="show infos for each CPU")
def cpus(monitor: Monitor) -> None:
    for number, cpu in enumerate(monitor.instance.machine.cpus):
        mark = "*" if number == 0 else " "
        monitor.write(f"{mark} CPU #{number}: thread_id={getattr(cpu, 'thread_id', 0)}\n")


@INFO.command(
    "registers",
    Flag("-a"),
    Expression("vcpu", 32, optional=True),
    help="show the cpu registers (-a: show register info for all cpus; vcpu: specific vCPU to "
    "query; show the current CPU's registers if no argument is specified)",
    note="[-a|vcpu]",
)
def registers(monitor: Monitor, every: bool, number: int | None) -> None:
    from pemu.machine.processor import Processor

    machine = monitor.instance.machine
    shown = {at: cpu for at, cpu in enumerate(machine.cpus) if isinstance(cpu, Processor)}
    if not every:
        wanted = number or 0
        if wanted not in shown:
            raise MonitorError(
                "No CPU available" if number is None else f"CPU#{number} not available"
            )
        shown = {wanted: shown[wanted]}
    with machine.control.standing():
        for at, cpu in shown.items():
            monitor.write(f"\nCPU#{at}\n{cpu.registers_text()}")


@INFO.command("tlb", help="show virtual to physical memory mappings")
def tlb(monitor: Monitor) -> None:
    cpu = monitor.cpu()
    with monitor.instance.machine.control.standing():
        monitor.write(cpu.tlb_text())


@INFO.command("jit", help="show dynamic compiler info")
def jit(monitor: Monitor) -> None:
    engine = monitor.cpu().engine
    code = engine.code
    monitor.write(
        "Translation buffer state:\n"
        f"gen code size       {code.next - code.start}/{code.end - code.start}\n"
        f"mode                {engine.mode}\n"
        f"TB flush count      {engine.epoch}\n"
    )


@INFO.command(
    "mtree",
    Flag("-f"),
    help="show memory tree (-f: dump flat view for address spaces)",
)
def mtree(monitor: Monitor, flat: bool) -> None:
    from pemu.machine import mtree as trees

    spaces = monitor.instance.machine.spaces
    monitor.write(trees.flat(spaces) if flat else trees.mtree(spaces))


@INFO.command("qtree", help="show device tree")
def qtree(monitor: Monitor) -> None:
    from pemu.machine.qtree import qtree as tree

    monitor.write(tree(monitor.instance.machine))


@INFO.command("pci", help="show PCI info")
def pci(monitor: Monitor) -> None:
    from pemu.machine.infopci import info_pci

    monitor.write(info_pci(monitor.instance.machine) or "PCI devices not supported\n")


@INFO.command("pic", help="show PIC state")
def pic(monitor: Monitor) -> None:
    from pemu.devices.irq.i8259 import I8259

    chips = [one for one in monitor.instance.machine.devices if isinstance(one, I8259)]
    for number, chip in reversed(list(enumerate(chips))):
        monitor.write(f"{chip.line(f'pic{number}')}\n")
