"""MIPSsim, the machine that MIPS Technologies' simulator of that name made, as QEMU has it.

Memory from 0 on, a serial port, a network card, and firmware where the processor starts. A kernel
is started at once, with the processor as after a reset; it finds its initial RAM disk behind
itself, and its command line nowhere. There is no way to switch the machine off. The network card,
`mipsnet`, is absent, as with QEMU's -net none.
"""

from __future__ import annotations

from typing import ClassVar, cast

from pemu.devices.serial.ns16550a import SerialMm
from pemu.machine.board import MIB, Board
from pemu.machine.files import load_file
from pemu.machine.memory import Rom
from pemu.machine.mips_kernel import MipsCpu, load_kernel
from pemu.machine.region import BusError, Mmio, Ram
from pemu.options.error import OptionError, quoted

MOST_RAM = 4096 * MIB
"""What 32-bit physical addresses reach."""

FIRMWARE = 0x1FC0_0000
FIRMWARE_SIZE = 4 * MIB
IO, IO_SIZE = 0x1FD0_0000, 1 << 16
"""The window to I/O ports, which hides a part of the firmware."""

SERIAL_PORT = 0x3F8
SERIAL_INTERRUPT = 2
"""The processor's input IP4."""

COUNT_NS = {32: 166, 64: 333}
"""By the bits of the processor: clocks of 12 and 6 MHz, of which Count counts every second."""

DISK_ALIGNMENT = 64 << 10


class Mipssim(Board):
    """The board."""

    name: ClassVar[str] = "mipssim"
    description: ClassVar[str] = "MIPS MIPSsim platform"
    default_cpu = {"mips": "24Kf", "mipsel": "24Kf", "mips64": "5Kf", "mips64el": "5Kf"}

    def create(self) -> None:
        if self.ram_size > MOST_RAM:
            raise OptionError(
                f"-m: {self.ram_size // MIB} MiB is too much memory for board mipssim; "
                f"it has at most {MOST_RAM // MIB} MiB"
            )
        machine, root, config = self.machine, self.machine.memory.root, self.config
        machine.memory.unassigned = _nothing
        cpu = cast(MipsCpu, machine.add_cpu(config.cpu))
        cpu.count_ns = COUNT_NS[cpu.bits]
        self._ram = self.main_memory("mips_mipssim.ram")
        root.add(self._ram, 0)
        firmware = Ram("mips_mipssim.bios", FIRMWARE_SIZE, readonly=True)
        root.add(firmware, FIRMWARE, 1)
        ports = machine.io
        root.add(Mmio("isa_mmio", IO_SIZE, ports.read, ports.write, order=None), IO, 2)
        if config.defaults or config.serials:
            uart = machine.create(SerialMm, chardev=config.serial(0))
            ports.root.add(uart.region, SERIAL_PORT)
            uart.irq.connect(cpu.line(SERIAL_INTERRUPT))
        if config.firmware:
            path = config.find(config.firmware)
            if path is None:
                raise OptionError(f"-bios: {quoted(config.firmware)} is not there")
            firmware.write_bytes(0, load_file(path, "-bios", FIRMWARE_SIZE))
        elif not config.kernel:
            self.nothing_to_start = "give -kernel or -bios"
        if config.kernel:
            self._start_kernel(cpu)

    def _start_kernel(self, cpu: MipsCpu) -> None:
        """Have kernel and initial RAM disk loaded at each reset, and the processor begin there."""
        config, machine = self.config, self.machine
        room = min(self.ram_size, FIRMWARE)
        kernel = load_kernel(config.kernel, machine.order, cpu.bits, room)
        machine.function_name = kernel.function_name
        machine.roms += kernel.roms
        if config.initrd:
            disk = load_file(config.initrd, "-initrd", FIRMWARE)
            start = -(-kernel.end // DISK_ALIGNMENT) * DISK_ALIGNMENT
            if start + len(disk) > room:
                raise OptionError(
                    f"-initrd: {quoted(config.initrd)} ({len(disk)} bytes) does not fit behind the "
                    f"kernel into {room // MIB} MiB of memory; give more (-m)"
                )
            machine.roms.append(Rom(config.initrd, start, disk))
        machine.at_reset.append(lambda: cpu.start_at(kernel.entry))


def _nothing(address: int, size: int, is_write: bool) -> int:
    """An access where nothing is."""
    raise BusError
