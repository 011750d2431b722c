"""Drivers: what the graph knows of each format, protocol and filter, and where to find it.

A driver's module has one `DRIVER`. It is imported when the driver is first needed, so that a tool
that reads a raw file imports nothing of qcow2.
"""

from __future__ import annotations

from pemu.block.creation import Creation
from pemu.block.error import ImageError
from pemu.block.image import Image
from pemu.block.opening import Opening
from pemu.modules import load
from pemu.options.error import listed, quoted, unknown
from pemu.options.keyval import Key
from pemu.records import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

FORMATS = {
    "luks": "pemu.block.formats.luks",
    "qcow2": "pemu.block.formats.qcow2",
    "raw": "pemu.block.formats.raw",
    "bochs": "pemu.block.formats.bochs",
    "cloop": "pemu.block.formats.cloop",
    "dmg": "pemu.block.formats.dmg",
    "parallels": "pemu.block.formats.parallels",
    "qcow": "pemu.block.formats.qcow",
    "qed": "pemu.block.formats.qed",
    "vdi": "pemu.block.formats.vdi",
    "vhdx": "pemu.block.formats.vhdx",
    "vmdk": "pemu.block.formats.vmdk",
    "vpc": "pemu.block.formats.vpc",
}
"""Formats, and the module of each."""

PROTOCOLS = {
    "file": "pemu.block.protocols.hostfiles",
    "host_device": "pemu.block.protocols.hostfiles",
    "fat": "pemu.block.protocols.vvfat",
    "vvfat": "pemu.block.protocols.vvfat",
    "http": "pemu.block.protocols.web",
    "https": "pemu.block.protocols.web",
    "ftp": "pemu.block.protocols.web",
    "ftps": "pemu.block.protocols.web",
    "nbd": "pemu.block.protocols.nbd",
    "null-aio": "pemu.block.protocols.null",
    "null-co": "pemu.block.protocols.null",
    "ssh": "pemu.block.protocols.ssh",
}
"""What images are kept in: `name:` before a file's name chooses one."""

FILTERS = {
    "blkdebug": "pemu.block.filters.debug",
    "blklogwrites": "pemu.block.filters.logwrites",
    "blkverify": "pemu.block.filters.verify",
    "copy-on-read": "pemu.block.filters.copy_on_read",
    "throttle": "pemu.block.filters.throttle",
}
"""What stands before another image."""

ABSENT = {
    "iscsi": "iSCSI",
    "gluster": "GlusterFS",
    "sheepdog": "Sheepdog",
    "nvme": "NVMe",
    "rbd": "Ceph",
    "nfs": "NFS",
    "host_cdrom": "A CD-ROM drive of the host; host_device reads its medium",
    "copy-before-write": "The filter copy-before-write",
    "snapshot-access": "The driver snapshot-access",
    "preallocate": "The filter preallocate",
    "blkreplay": "The filter blkreplay",
    "quorum": "The driver quorum",
    "replication": "The driver replication",
    "compress": "The filter compress",
    "vhost-vdpa": "vDPA",
}
"""What QEMU has and Pemu has not, as its makers write it."""


@dataclass(frozen=True)
class Driver:
    """A format, protocol or filter.

    open: makes an image from what it is given; what it has opened is closed for it where it fails.
    keys: its own keys of -drive and -blockdev, besides those of every node and of its children.
    children: the keys that stand for images ('file', 'backing', ...).
    create: makes a new image, where it can; creation: the keys of `-o` for that, in the order in
    which `create` prints them; 'size' may be among them to have a place there. Those that have
    defaults are always printed.
    amendment: the keys of `-o` that `Image.amend` takes.
    parse_name: of a protocol: the keys that a name like nbd://host/disk stands for.
    """

    name: str
    open: Callable[[Opening], Image]
    keys: Sequence[Key] = ()
    children: Sequence[str] = ("file",)
    create: Callable[[Creation], None] | None = None
    creation: Sequence[Key] = ()
    amendment: Sequence[Key] = ()
    parse_name: Callable[[str], dict[str, Any]] | None = None
    measure: Callable[[Image | None, int, Mapping[str, Any]], dict[str, int]] | None = None
    """(source or None, size, creation options): {'required': bytes, 'fully-allocated': bytes, ...}
    of a new image with those contents."""


def find_driver(name: str) -> Driver:
    """The driver called `name`. Raises ImageError."""
    module = FORMATS.get(name) or PROTOCOLS.get(name) or FILTERS.get(name)
    if module is None:
        if name in ABSENT:
            raise ImageError(f"{ABSENT[name]} ('{name}') is not supported yet")
        known = sorted((*FORMATS, *PROTOCOLS, *FILTERS))
        raise ImageError(
            str(
                unknown(f"Unknown driver {quoted(name)}", name, known, f"there are {listed(known)}")
            )
        )
    found = load(module)
    driver: Driver = found.DRIVERS[name] if hasattr(found, "DRIVERS") else found.DRIVER
    return driver
