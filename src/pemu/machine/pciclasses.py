"""What the class codes of PCI functions are called."""

CLASSES = {
    0x0001: "VGA controller",
    0x0100: "SCSI controller",
    0x0101: "IDE controller",
    0x0106: "SATA controller",
    0x0108: "NVMe controller",
    0x0200: "Ethernet controller",
    0x0280: "Network controller",
    0x0300: "VGA controller",
    0x0380: "Display controller",
    0x0401: "Audio controller",
    0x0403: "Audio controller",
    0x0500: "RAM controller",
    0x0600: "Host bridge",
    0x0601: "ISA bridge",
    0x0604: "PCI bridge",
    0x0680: "Bridge",
    0x0700: "Serial port",
    0x0701: "Parallel port",
    0x0780: "Communication controller",
    0x0880: "System peripheral",
    0x0C03: "USB controller",
    0x0C05: "SMBus",
}
"""What a class code is called (PCI Code and ID Assignment Specification)."""


def class_name(code: int) -> str:
    """What a class code of 16 bits is called."""
    return CLASSES.get(code, f"Class {code:04x}")
