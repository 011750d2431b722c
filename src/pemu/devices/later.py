"""QEMU's devices that Pemu does not have yet, so that messages can say so."""

from __future__ import annotations

LATER = {
    "network card": (
        "am79c970 e1000 i825 ne2k_ pcnet rocker rtl8139 sungem sunhme tulip usb-net "
        "virtio-net vmxnet3"
    ),
    "display": (
        "VGA ati-vga bochs-display cirrus-vga isa-cirrus-vga isa-vga qxl ramfb secondary-vga sm501 "
        "vhost-user-gpu vhost-user-vga virtio-gpu virtio-vga vmware-svga"
    ),
    "sound card": "AC97 ES1370 adlib cs4231a gus hda- ich9-intel-hda intel-hda sb16 usb-audio",
    "USB controller": (
        "ich9-ehci ich9-usb nec-usb-xhci pci-ohci piix3-usb qemu-xhci usb-ehci vt82c686b-usb"
    ),
    "USB device": "ccid u2f- usb-",
    "virtio device": "vhost- virtio-",
    "disk controller or drive": (
        "ahci am53c974 cfi.pflash02 dc390 emulated-sdcard esp ich9-ahci isa-ide lsi53c mega "
        "mptsas1068 nvme piix3-ide pvscsi sata scsi- sd-card sdhci sii3112 ssi-sd via-ide"
    ),
    "bridge": "dec-21154 i82801b11 ioh3420 ipmi pci-bridge pcie- pxb x3130 xio3130",
    "watchdog": "i6300esb ib700 wdt_",
    "device": (
        "amd-iommu edu guest-loader i8042-mouse ivshmem isa-debug isa-ipmi isa-tpm nvdimm pc-dimm "
        "pc-testdev pci-ipmi pci-serial pci-testdev pvpanic tpm- vfio- vmcoreinfo vmgenid"
    ),
}
"""Names of drivers, or how several begin, by what they are."""


def kind_of(driver: str) -> str:
    """What QEMU's device of a name is; empty for one that there is nowhere."""
    for kind, names in LATER.items():
        if driver.startswith(tuple(names.split())):
            return kind
    return ""
