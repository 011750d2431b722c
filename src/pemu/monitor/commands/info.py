"""What `info` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pemu.monitor.schema import COMMANDS, INFO, Expression, Flag, MonitorError

if TYPE_CHECKING:
    from pemu.monitor.monitor import Monitor


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


@INFO.command("cpus", help="show infos for each CPU")
def cpus(monitor: Monitor) -> None:
    machine = monitor.instance.machine
    for number, cpu in enumerate(machine.cpus):
        mark = "*" if number == monitor.current else " "
        thread = machine.control.threads.get(cpu, 0)
        monitor.write(f"{mark} CPU #{number}: thread_id={thread}\n")


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
        wanted = monitor.current if number is None else number
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
    Flag("-d"),
    Flag("-o"),
    Flag("-D"),
    help="show memory tree (-f: dump flat view for address spaces; -d: dump dispatch tree, valid "
    "with -f only; -o: dump region owners/parents; -D: dump disabled regions)",
    note="[-f][-d][-o][-D]",
)
def mtree(monitor: Monitor, flat: bool, dispatch: bool, owners: bool, disabled: bool) -> None:
    from pemu.machine import mtree as trees

    if flat and dispatch:
        raise MonitorError("info mtree -d: memory is not dispatched by a tree here")
    spaces = monitor.instance.machine.spaces
    what = trees.Shown(owners, disabled)
    monitor.write(trees.flat(spaces, what) if flat else trees.mtree(spaces, what))


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


@INFO.command("irq", help="show the interrupts statistics (if available)")
def irq(monitor: Monitor) -> None:
    from pemu.devices.irq.i8259 import I8259

    for chip in monitor.instance.machine.devices:
        if isinstance(chip, I8259) and chip.master:
            monitor.write(f"IRQ statistics for {chip.driver}:\n")
            counts = [*chip.counts, *(chip.slave.counts if chip.slave else ())]
            for number, count in enumerate(counts):
                if count:
                    monitor.write(f"{number:2}: {count}\n")


@INFO.command("roms", help="show roms")
def roms(monitor: Monitor) -> None:
    for rom in sorted(monitor.instance.machine.roms, key=lambda rom: rom.address):
        place = f"addr={rom.address:016x} size={len(rom.data):#08x}"
        monitor.write(f'{place} mem=ram name="{rom.name}"\n')


@INFO.command("usb", help="show guest USB devices")
def usb(monitor: Monitor) -> None:
    from pemu.devices.usb.bus import UsbBus

    buses = [bus for bus in monitor.instance.machine.buses if isinstance(bus, UsbBus)]
    if not buses:
        monitor.write("USB support not enabled\n")
    for number, bus in enumerate(buses):
        for port, device in enumerate(bus.ports, 1):
            if device is not None:
                speed = "1.5" if device.low_speed else "12"
                monitor.write(
                    f"  Device {number}.{device.address}, Port {port}, Speed {speed} Mb/s, "
                    f"Product {device.description}{f', ID: {device.id}' if device.id else ''}\n"
                )


@INFO.command(
    "memory_size_summary",
    help="show the amount of initially allocated and present hotpluggable (if enabled) memory in "
    "bytes.",
)
def memory_size_summary(monitor: Monitor) -> None:
    monitor.write(f"base memory: {monitor.instance.ram_size}\n")


@INFO.command("kvm", help="show KVM information")
def kvm(monitor: Monitor) -> None:
    monitor.write("kvm support: not compiled\n")
