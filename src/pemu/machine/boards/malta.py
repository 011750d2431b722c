"""The MIPS Malta evaluation board with a core card of the GT-64120 kind.

MIPS Malta User's Manual, MD00048, revision 1.7. Memory is laid out as in QEMU, which takes up to
2 GiB: all of it from 0x80000000 on, its first 256 MiB at 0 too, and what is past the first 512 MiB
from 0x20000000 on. Without firmware, a small boot loader leaves the chips as YAMON does.
"""

from __future__ import annotations

import os
import random
from typing import ClassVar, cast

from pemu.devices.i2c.eeprom import SmbusEeprom, spd_sdram
from pemu.devices.i2c.piix4_smbus import Piix4Smbus
from pemu.devices.input.i8042 import I8042
from pemu.devices.misc.maltafpga import MaltaFpga
from pemu.devices.misc.parallel import IsaParallel
from pemu.devices.pci.gt64120 import CONFIG_DATA, CONFIG_ENABLE, Gt64120
from pemu.devices.pci.piix4 import SCI, Piix4Isa, Piix4Pm
from pemu.devices.serial.ns16550a import IsaSerial, SerialMm
from pemu.devices.storage.cfi_flash import CfiFlash
from pemu.devices.storage.floppy import IsaFdc
from pemu.devices.storage.ide_drives import plug_drives
from pemu.devices.storage.piix4_ide import Piix4Ide
from pemu.devices.usb.uhci import Uhci
from pemu.machine.board import MIB, Board
from pemu.machine.files import load_file
from pemu.machine.memory import Rom
from pemu.machine.mips_kernel import MipsCpu, load_kernel
from pemu.machine.region import Alias, BusError, Ram
from pemu.machine.yamon import A0, A1, A2, A3, KSEG0, KSEG1, SP, Code, parameters
from pemu.options.error import OptionError, quoted

MOST_RAM = 2048 * MIB
LOW_RAM = 256 * MIB
HIGH_RAM = 0x8000_0000
PAST_IO = 0x2000_0000
"""Where memory goes on after devices, and how much of it has been before."""

FLASH, FPGA, CBUS_UART, BOOT = 0x1E00_0000, 0x1F00_0000, 0x1F00_0900, 0x1FC0_0000
FLASH_SIZE = 4 * MIB
FLASH_BLOCK = 64 << 10
FLASH_CODE = 0x3E_0000
"""Bytes of the flash that hold firmware; its settings follow."""
CBUS_CLOCK = 3_686_400

FIRMWARE = {"big": "mips_bios.bin", "little": "mipsel_bios.bin"}
"""What is looked for without -bios, by byte order."""

REVISION, REVISION_OFFSET = 0x420, 0x10
"""The board's revision register, in the boot area: Malta, core card with a GT-64120."""

PIIX4_SLOT = 10
SMBUS_PORT = 0x1100
EEPROM_ADDRESS, EEPROMS = 0x50, 8
IDE_IRQS = (14, 15)
LOADER = 0x580
"""Where the boot loader is in the boot area, after the exception vectors."""
PARAMETERS = 0x2000
PARAMETERS_END = 0x10_0000
RESERVED = 128 << 10
"""Bytes at the end of memory that an initial RAM disk leaves free."""

INTERRUPT, CBUS_INTERRUPT, CORE_HIGH = 0, 2, 3
"""The processor's interrupt inputs: of the interrupt controllers, the UART of the FPGA, the system
controller."""


class Malta(Board):
    """The board."""

    name: ClassVar[str] = "malta"
    description: ClassVar[str] = "MIPS Malta Core LV"
    default_cpu = {"mips": "24Kf", "mipsel": "24Kf", "mips64": "20Kc", "mips64el": "20Kc"}
    default_ram: ClassVar[int] = 128 * MIB
    empty_drives: ClassVar[tuple[str, ...]] = ("cdrom", "fda")

    def create(self) -> None:
        if self.ram_size > MOST_RAM:
            raise OptionError(
                f"-m: {self.ram_size // MIB} MiB is too much memory for board malta; "
                f"it has at most {MOST_RAM // MIB} MiB"
            )
        machine, root = self.machine, self.machine.memory.root
        machine.memory.unassigned = _nothing
        cpu = cast(MipsCpu, machine.add_cpu(self.config.cpu))
        self._ram = self.main_memory("mips_malta.ram")
        root.add(self._ram, HIGH_RAM)
        low = min(self.ram_size, LOW_RAM)
        root.add(Alias("mips_malta_low_preio.ram", self._ram, 0, low), 0)
        if self.ram_size > PAST_IO:
            root.add(Alias("mips_malta_low_postio.ram", self._ram, PAST_IO), PAST_IO)
        self._chips(cpu)
        flash = machine.create(
            CfiFlash,
            name="mips_malta.bios",
            num_blocks=FLASH_SIZE // FLASH_BLOCK,
            sector_length=FLASH_BLOCK,
            big_endian=machine.order == "big",
            drive=self.config.drive("pflash", 0, 0),
        )
        self._flash = flash.region
        self._boot = Ram("bios.1fc", FLASH_SIZE, readonly=True)
        root.add(self._flash, FLASH)
        root.add(self._boot, BOOT)
        if self.config.kernel:
            self._start_kernel(self.config.kernel, cpu.bits)
            machine.at_reset.append(cpu.leave_reset)
        else:
            self._start_firmware()

    # Devices

    def _chips(self, cpu: MipsCpu) -> None:
        machine, config = self.machine, self.config
        create, root = machine.create, machine.memory.root
        fpga = create(MaltaFpga)
        root.add(fpga.registers, FPGA)
        uart = create(SerialMm, regshift=3, baudbase=CBUS_CLOCK // 16, chardev=config.serial(2))
        root.add(uart.region, CBUS_UART, 1)
        uart.irq.connect(cpu.line(CBUS_INTERRUPT))
        gt = create(Gt64120)
        gt.route = lambda slot, pin: (slot - PIIX4_SLOT + pin) % 4
        gt.irq.connect(cpu.line(CORE_HIGH))
        isa = create(Piix4Isa, gt.pci, addr=PIIX4_SLOT * 8, multifunction=True)
        isa.intr.connect(cpu.line(INTERRUPT))
        gt.acknowledge = isa.pic.acknowledge
        for pirq, pin in zip(gt.pirqs, isa.pirqs, strict=True):
            pirq.connect(pin)
        ide = create(Piix4Ide, gt.pci, addr=PIIX4_SLOT * 8 + 1)
        for line, number in zip(ide.irqs, IDE_IRQS, strict=True):
            line.connect(isa.isa_pins[number])
        plug_drives(ide.buses, config.drives)
        create(Uhci, gt.pci, addr=PIIX4_SLOT * 8 + 2)
        pm = create(Piix4Pm, gt.pci, addr=PIIX4_SLOT * 8 + 3, smb_io_base=SMBUS_PORT)
        pm.irq.connect(isa.isa_pins[SCI])
        self._memory_modules(pm)
        gt.pci.first_slot = PIIX4_SLOT + 8
        for number in range(2):
            create(IsaSerial, isa.isa, index=number, chardev=config.serial(number))
        for number, back_end in enumerate(config.parallels[:1]):
            create(IsaParallel, isa.isa, index=number, chardev=back_end)
        create(
            IsaFdc,
            isa.isa,
            drivea=config.drive("floppy", 0, 0),
            driveb=config.drive("floppy", 0, 1),
        )
        create(I8042, isa.isa)

    def _memory_modules(self, pm: Piix4Pm) -> None:
        """The EEPROMs on the SMBus, of which the first tells how much memory there is."""
        host = self.machine.create(Piix4Smbus)
        pm.smbus.add(host.registers, 0)
        chips = [
            self.machine.create(SmbusEeprom, host.smbus, address=EEPROM_ADDRESS + number)
            for number in range(EEPROMS)
        ]
        chips[0].contents[:] = spd_sdram(self.ram_size)

    # What runs first

    def _start_firmware(self) -> None:
        """Put the firmware into the flash, unless an image of the whole flash was given."""
        self.machine.at_reset.append(self._reset_firmware)
        if not self.config.drive("pflash", 0, 0):
            self._load_firmware()
        if self.machine.order == "little":
            # Firmware for both byte orders is kept in big-endian words.
            self._flash.write_bytes(0, _swapped(self._flash.read_bytes(0, FLASH_CODE)))

    def _load_firmware(self) -> None:
        """Put what -bios names into the flash."""
        name = self.config.firmware
        path = self.config.find(name or FIRMWARE[self.machine.order])
        if path is None:
            if name:
                raise OptionError(f"-bios: {quoted(name)} is not there")
            self.nothing_to_start = "give -kernel, -bios or -pflash"
            self._flash.write_bytes(0, bytes(FLASH_SIZE))  # instructions that do nothing
            return
        self._flash.write_bytes(0, load_file(path, "-bios", FLASH_SIZE))

    def _reset_firmware(self) -> None:
        """Show the flash at the boot address, with the revision register in it."""
        self._boot.write_bytes(0, self._flash.read_bytes(0, FLASH_SIZE))
        self._boot.write_bytes(REVISION_OFFSET, REVISION.to_bytes(4, self.machine.order))

    def _start_kernel(self, path: str, bits: int) -> None:
        """Have the kernel loaded at each reset, and the boot loader start it."""
        room = min(self.ram_size, LOW_RAM)
        kernel = load_kernel(path, self.machine.order, bits, room)
        self.machine.function_name = kernel.function_name
        roms = self.machine.roms
        roms += kernel.roms
        words = []
        if self.config.initrd:
            start, disk = self._initrd(kernel.end)
            roms.append(Rom(self.config.initrd, start, disk))
            words.append(f"rd_start={KSEG0 + start:#x} rd_size={len(disk)}")
        if self.config.append:
            words.append(self.config.append)
        block, arguments, environment = parameters(
            KSEG0 + PARAMETERS, (path, " ".join(words)), self._environment(), self.machine.order
        )
        if PARAMETERS + len(block) > PARAMETERS_END:
            raise OptionError(f"-append: {len(self.config.append)} characters are too many")
        roms.append(Rom("prom", PARAMETERS, block))
        code = self._loader(kernel.entry, arguments, environment)
        if self.config.drive("pflash", 0, 0):
            self._boot.write_bytes(0, self._flash.read_bytes(0, FLASH_SIZE))
        self._boot.write_bytes(0, code.bytes())
        self._boot.write_bytes(REVISION_OFFSET, REVISION.to_bytes(4, self.machine.order))

    def _initrd(self, kernel_end: int) -> tuple[int, bytes]:
        """Where the initial RAM disk goes, and it."""
        path, room = self.config.initrd, min(self.ram_size, LOW_RAM)
        disk = load_file(path, "-initrd", LOW_RAM)
        start = (room - RESERVED - len(disk) + 0xFFFF) & ~0xFFFF
        if start < max(kernel_end, PARAMETERS_END):
            raise OptionError(
                f"-initrd: {quoted(path)} ({len(disk)} bytes) does not fit beside the kernel into "
                f"{room // MIB} MiB of memory; give more (-m)"
            )
        return start, disk

    def _environment(self) -> list[tuple[str, str]]:
        """YAMON's environment."""
        seed = self.config.seed
        if seed is None and self.machine.icount is not None:
            seed = 0  # counted instructions are to be the same in each run
        chance = os.urandom(32) if seed is None else random.Random(seed).randbytes(32)
        return [
            ("memsize", str(min(self.ram_size, LOW_RAM))),
            ("ememsize", str(self.ram_size)),
            ("modetty0", "38400n8r"),
            ("rngseed", chance.hex()),
        ]

    def _loader(self, entry: int, arguments: int, environment: int) -> Code:
        """The boot loader."""
        code = Code(self.machine.order)
        code.skip(LOADER // 4)
        code.words += [0] * (LOADER // 4 - len(code.words))
        code.store_swapped(KSEG1 + 0x1400_0068, 0xDF)  # registers to 0x1be00000
        registers = KSEG1 + 0x1BE0_0000
        for offset, value in (
            (0x048, 0xC0),  # PCI I/O from 0x18000000
            (0x050, 0x40),
            (0x058, 0x80),  # PCI memory from 0x10000000 to 0x17ffffff
            (0x060, 0x3F),
            (0x080, 0xC1),  # and from 0x18200000 to 0x1bdfffff
            (0x088, 0x5E),
        ):
            code.store_swapped(registers + offset, value)
        # Interrupts: PIRQA and B to 10, C and D to 11, both level-triggered.
        code.store_swapped(registers + 0xCF8, CONFIG_ENABLE | PIIX4_SLOT << 11 | 0x60)
        code.store(registers + CONFIG_DATA, 0x0B0B0A0A)
        code.store_byte(KSEG1 + 0x1800_04D1, 0x0C)
        code.load(SP, KSEG0 + PARAMETERS - 64)
        if self.machine.semihosting is None:
            code.load(A0, 2)  # else the program asks the host for its arguments
        code.load(A1, arguments)
        code.load(A2, environment)
        code.load(A3, min(self.ram_size, LOW_RAM))
        code.jump(entry)
        return code


def _nothing(address: int, size: int, is_write: bool) -> int:
    """An access where nothing is: among the devices nobody minds, elsewhere it is an error."""
    if address < PAST_IO:
        return 0
    raise BusError


def _swapped(image: bytes) -> bytes:
    """`image`, whole words, with the bytes of each word turned around."""
    turned = bytearray(len(image))
    for byte in range(4):
        turned[byte::4] = image[3 - byte :: 4]
    return bytes(turned)
