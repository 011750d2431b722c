"""Devices, by what they do; docs/adding-a-device.md says how to add one.

`DRIVERS` is how a device is found by its name without importing all of them: driver name to
"module:class", the module below this package. One line each, in order of names.
"""

DRIVERS: dict[str, str] = {
    "cfi.pflash01": "storage.cfi_flash:CfiFlash",
    "floppy": "storage.floppy_drive:Floppy",
    "gt64120": "pci.gt64120:Gt64120",
    "gt64120_pci": "pci.gt64120:Gt64120Pci",
    "i8042": "input.i8042:I8042",
    "i8257": "dma.i8237:I8237",
    "ide-cd": "storage.ide_cd:IdeCd",
    "ide-hd": "storage.ide_hd:IdeDisk",
    "isa-fdc": "storage.floppy:IsaFdc",
    "isa-i8259": "irq.i8259:I8259",
    "isa-parallel": "misc.parallel:IsaParallel",
    "isa-pit": "timer.i8254:I8254",
    "isa-serial": "serial.ns16550a:IsaSerial",
    "loader": "misc.loader:GenericLoader",
    "malta-fpga": "misc.maltafpga:MaltaFpga",
    "mc146818rtc": "timer.mc146818:Mc146818",
    "piix4-ide": "storage.piix4_ide:Piix4Ide",
    "piix4-isa": "pci.piix4:Piix4Isa",
    "piix4-smbus": "i2c.piix4_smbus:Piix4Smbus",
    "piix4-usb-uhci": "usb.uhci:Uhci",
    "PIIX4_PM": "pci.piix4:Piix4Pm",
    "ps2-kbd": "input.ps2:Ps2Keyboard",
    "ps2-mouse": "input.ps2:Ps2Mouse",
    "serial-mm": "serial.ns16550a:SerialMm",
    "smbus-eeprom": "i2c.eeprom:SmbusEeprom",
}
