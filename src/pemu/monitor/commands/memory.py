"""Memory, I/O ports and numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pemu.monitor.schema import COMMANDS, Expression, Format, MonitorError, Word

if TYPE_CHECKING:
    from pemu.machine.memory import AddressSpace
    from pemu.monitor.monitor import Monitor

    Read = Callable[[int, int], bytes | None]

_MASK = (1 << 64) - 1
_PIECE = 1 << 16
_ESCAPES = {"'": "\\'", "\\": "\\\\", "\n": "\\n", "\r": "\\r"}
_PORT_KINDS = {1: "b", 2: "w", 4: "l"}


def physical(space: AddressSpace, address: int, size: int) -> bytes | None:
    """`size` bytes as the processor's bus sees them; None where nothing is."""
    at = address
    while at < address + size:
        one = space.find(at & _MASK)
        if one is None:
            return None
        at += one.end - (at & _MASK)
    return space.dma_read(address & _MASK, size)


def character(code: int) -> str:
    """A byte as a character constant."""
    char = chr(code)
    return f"'{_ESCAPES.get(char, char if ' ' <= char <= '~' else f'{chr(92)}x{code:02x}')}'"


def number(value: int, letter: str, size: int) -> str:
    """A number of `size` bytes in a column that is as wide as any of its kind."""
    bits = 8 * size
    value &= (1 << bits) - 1
    if letter == "x":
        return f"0x{value:0{bits // 4}x}"
    if letter == "o":
        text, width = f"0{value:o}" if value else "0", (bits + 2) // 3
    elif letter == "d":
        text, width = str(value - (value >> bits - 1 << bits)), (bits * 10 + 32) // 33
    else:
        text, width = str(value), (bits * 10 + 32) // 33
    return f"{text:>{width}}"


def dump(monitor: Monitor, fmt: Format, address: int, read: Read, digits: int) -> None:
    """Show memory as `fmt` says; `digits`: of addresses."""
    if fmt.letter == "i":
        instructions(monitor, fmt.count, address, read)
        return
    left = fmt.size * fmt.count
    width = 8 if fmt.size == 1 else 16
    order = monitor.instance.machine.order
    mask = (1 << 4 * digits) - 1
    while left > 0:
        length = min(width, left)
        line = f"{address & mask:0{digits}x}:"
        data = read(address & mask, length)
        if data is None:
            monitor.write(f"{line} Cannot access memory\n")
            return
        if fmt.letter == "c":
            line += "".join(f" {character(code)}" for code in data)
        else:
            for at in range(0, length, fmt.size):
                value = int.from_bytes(data[at : at + fmt.size], order)
                line += f" {number(value, fmt.letter, fmt.size)}"
        monitor.write(f"{line}\n")
        address += length
        left -= length


def instructions(monitor: Monitor, count: int, address: int, read: Read) -> None:
    """Show instructions."""
    cpu = monitor.cpu()
    digits = cpu.address_digits
    mask = (1 << 4 * digits) - 1
    for _ in range(count):
        address &= mask
        data = read(address, cpu.instruction_bytes)
        if data is None:
            monitor.write(f"0x{address:0{digits}x}:  Cannot access memory\n")
            return
        monitor.write(f"0x{address:0{digits}x}:  {cpu.disassemble(address, data)}\n")
        address += len(data)


@COMMANDS.command(
    "x", Format("fmt"), Expression("addr"), help="virtual memory dump starting at 'addr'"
)
def dump_virtual(monitor: Monitor, fmt: Format, address: int) -> None:
    cpu = monitor.cpu()
    with monitor.instance.machine.control.standing():
        dump(monitor, fmt, address, cpu.read_virtual, cpu.address_digits)


@COMMANDS.command(
    "xp", Format("fmt"), Expression("addr"), help="physical memory dump starting at 'addr'"
)
def dump_physical(monitor: Monitor, fmt: Format, address: int) -> None:
    space = monitor.instance.machine.memory
    dump(monitor, fmt, address, lambda at, size: physical(space, at, size), 16)


@COMMANDS.command(
    "gva2gpa",
    Expression("addr"),
    help="print the guest physical address corresponding to a guest virtual address",
)
def virtual_to_physical(monitor: Monitor, address: int) -> None:
    cpu = monitor.cpu()
    with monitor.instance.machine.control.standing():
        found = cpu.translate(address)
    monitor.write("Unmapped\n" if found is None else f"gpa: {hex(found) if found else 0}\n")


@COMMANDS.command(
    "print|p",
    Format("fmt"),
    Expression("expr"),
    help="print expression value (use $reg for CPU register access)",
)
def show_value(monitor: Monitor, fmt: Format, value: int) -> None:
    unsigned = value & _MASK
    shown = {
        "o": f"0{unsigned:o}" if unsigned else "0",
        "x": f"{unsigned:#x}",
        "u": str(unsigned),
        "c": character(unsigned & 0xFF),
    }
    monitor.write(f"{shown.get(fmt.letter, str(value))}\n")


@COMMANDS.command("i", Format("fmt"), Expression("addr", 32), help="I/O port read")
def port_read(monitor: Monitor, fmt: Format, port: int) -> None:
    size = min(fmt.size, 4)
    port &= 0xFFFF
    value = monitor.instance.machine.io.read(port, size)
    monitor.write(f"port{_PORT_KINDS[size]}[{port:#06x}] = {value:#0{2 + 2 * size}x}\n")


@COMMANDS.command(
    "o", Format("fmt"), Expression("addr", 32), Expression("value", 32), help="I/O port write"
)
def port_write(monitor: Monitor, fmt: Format, port: int, value: int) -> None:
    size = min(fmt.size, 4)
    monitor.instance.machine.io.write(port & 0xFFFF, value & (1 << 8 * size) - 1, size)


@COMMANDS.command(
    "sum",
    Expression("addr", 32),
    Expression("size", 32),
    help="compute the checksum of a memory region",
)
def checksum(monitor: Monitor, address: int, size: int) -> None:
    space = monitor.instance.machine.memory
    total = 0
    for at in range(address, address + max(size, 0), _PIECE):
        for byte in space.dma_read(at & _MASK, min(_PIECE, address + size - at)):
            total = ((total >> 1 | total << 15) + byte) & 0xFFFF
    monitor.write(f"{total:05}\n")


@COMMANDS.command(
    "memsave",
    Expression("addr"),
    Expression("size", 32),
    Word("file"),
    help="save to disk virtual memory dump starting at 'addr' of size 'size'",
)
def save_virtual(monitor: Monitor, address: int, size: int, path: str) -> None:
    cpu = monitor.cpu()
    mask = (1 << 4 * cpu.address_digits) - 1
    with monitor.instance.machine.control.standing():
        save(path, address & mask, size, cpu.read_virtual)


@COMMANDS.command(
    "pmemsave",
    Expression("addr"),
    Expression("size", 32),
    Word("file"),
    help="save to disk physical memory dump starting at 'addr' of size 'size'",
)
def save_physical(monitor: Monitor, address: int, size: int, path: str) -> None:
    space = monitor.instance.machine.memory
    save(path, address & _MASK, size, lambda at, length: space.dma_read(at, length))


def save(path: str, address: int, size: int, read: Read) -> None:
    """Write memory into a file. Raises MonitorError."""
    try:
        with open(path, "wb") as file:
            for at in range(address, address + max(size, 0), _PIECE):
                data = read(at & _MASK, min(_PIECE, address + size - at))
                if data is None:
                    raise MonitorError(
                        f"Error: Invalid addr 0x{address:016x}/size {size} specified"
                    )
                file.write(data)
    except OSError as error:
        raise MonitorError(f"Error: Could not open '{path}': {error.strerror}") from None
    except ValueError:
        raise MonitorError("Error: a file's name cannot hold a NUL") from None
