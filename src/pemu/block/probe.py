"""Which format an image has, by how its file begins."""

from __future__ import annotations

PROBED = 512
"""Bytes of a file that decide."""

SIGNATURES = (
    ("qcow2", 0, b"QFI\xfb\0\0\0\2"),
    ("qcow2", 0, b"QFI\xfb\0\0\0\3"),
    ("qcow", 0, b"QFI\xfb\0\0\0\1"),
    ("qed", 0, b"QED\0"),
    ("vmdk", 0, b"KDMV"),
    ("vmdk", 0, b"COWD"),
    ("vmdk", 0, b"# Disk DescriptorFile"),
    ("vpc", 0, b"conectix"),
    ("vhdx", 0, b"vhdxfile"),
    ("vdi", 64, b"\x7f\x10\xda\xbe"),
    ("parallels", 0, b"WithoutFreeSpace"),
    ("parallels", 0, b"WithouFreSpacExt"),
    ("luks", 0, b"LUKS\xba\xbe"),
    ("bochs", 0, b"Bochs Virtual HD Image"),
    (
        "cloop",
        0,
        b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n",
    ),
)
"""Format, where its signature is, and what that is."""


def probe(head: bytes, name: str = "") -> str:
    """The format of a file `name` that begins with `head`; 'raw' where nothing tells."""
    for format, offset, signature in SIGNATURES:
        if head[offset : offset + len(signature)] == signature:
            return format
    return "dmg" if name.endswith(".dmg") else "raw"
