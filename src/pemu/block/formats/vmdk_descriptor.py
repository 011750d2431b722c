"""The text that describes a VMDK image: its identity, its extents, the image below."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field

from pemu.block.error import ImageError
from pemu.options.error import quoted

START = "# Disk DescriptorFile"
LARGEST = 1 << 20
"""Bytes of a descriptor: more is no text."""

NO_PARENT = 0xFFFFFFFF

MOST_EXTENTS = 4096
MOST_SECTORS = 1 << 54

_EXTENT = re.compile(r'(RW|RDONLY|NOACCESS)\s+(\d+)\s+(\w+)(?:\s+"([^"\n]*)"(?:\s+(\d+))?)?')


@dataclass
class ExtentLine:
    """One extent. sectors: how long; offset: where in a flat file it begins, in sectors."""

    access: str
    sectors: int
    kind: str
    name: str = ""
    offset: int = 0

    def text(self) -> str:
        """The line in a descriptor."""
        end = f" {self.offset}" if self.kind == "FLAT" else ""
        return f'{self.access} {self.sectors} {self.kind} "{self.name}"{end}\n'


@dataclass
class Descriptor:
    """What a descriptor says; `text` is all of it."""

    text: str
    cid: int = 0
    parent_cid: int = NO_PARENT
    create_type: str = ""
    parent: str = ""
    extents: list[ExtentLine] = field(default_factory=list)

    @classmethod
    def parse(cls, data: bytes) -> Descriptor:
        """Raises ImageError."""
        text = data.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
        found = cls(text)
        found.cid = _number(text, "CID", 0)
        found.parent_cid = _number(text, "parentCID", NO_PARENT)
        found.create_type = _value(text, "createType")
        found.parent = _value(text, "parentFileNameHint")
        if not found.create_type:
            raise ImageError("invalid VMDK image descriptor")
        found.extents = _extents(text)
        return found

    def renewed(self) -> bytes:
        """The descriptor with another content id: the contents have changed."""
        cid = self.cid
        while cid in (self.cid, NO_PARENT):
            cid = random.getrandbits(32)
        self.cid = cid
        self.text = re.sub(r"(?m)^CID[ \t]*=.*$", f"CID={cid:08x}", self.text, count=1)
        return self.text.encode("utf-8", "surrogateescape")


def _value(text: str, key: str) -> str:
    found = re.search(rf'(?m)^{key}[ \t]*=[ \t]*"?([^"\r\n]*)"?', text)
    return found[1].strip() if found else ""


def _number(text: str, key: str, default: int) -> int:
    said = _value(text, key)
    if not said:
        return default
    try:
        return int(said, 16) & 0xFFFFFFFF
    except ValueError:
        raise ImageError(f"{key}={said} is no content id") from None


def _extents(text: str) -> list[ExtentLine]:
    lines = []
    for line in text.splitlines():
        if not line.strip().startswith(("RW ", "RDONLY ", "NOACCESS ")):
            continue
        found = _EXTENT.match(line.strip())
        if found is None:
            raise ImageError(f"Invalid extent line: {quoted(line[:80])}")
        access, sectors, kind, name, offset = found.groups()
        if kind in ("FLAT", "VMFS") and name is None:
            raise ImageError(f"Invalid extent line: {quoted(line[:80])}")
        if len(sectors) > 18 or int(sectors) > MOST_SECTORS or len(offset or "") > 18:
            raise ImageError(f"Invalid extent line: {quoted(line[:80])}")
        lines.append(ExtentLine(access, int(sectors), kind, name or "", int(offset or 0)))
    if len(lines) > MOST_EXTENTS:
        raise ImageError(f"{len(lines)} extents are more than {MOST_EXTENTS}")
    return lines


def new_descriptor(
    create_type: str, extents: list[ExtentLine], *, sectors: int, adapter: str, hardware: str,
    tools: str, parent: str, parent_cid: int,
) -> str:  # fmt: skip
    """The text of a new image's descriptor. sectors: of the whole disk."""
    heads = 16 if adapter == "ide" else 255
    hint = f'parentFileNameHint="{parent}"\n' if parent else ""
    return (
        f"{START}\n"
        "version=1\n"
        f"CID={random.getrandbits(31):08x}\n"
        f"parentCID={parent_cid:x}\n"
        f'createType="{create_type}"\n'
        f"{hint}\n"
        "# Extent description\n"
        f"{''.join(one.text() for one in extents)}\n"
        "# The Disk Data Base\n"
        "#DDB\n\n"
        f'ddb.virtualHWVersion = "{hardware}"\n'
        f'ddb.geometry.cylinders = "{sectors // (63 * heads)}"\n'
        f'ddb.geometry.heads = "{heads}"\n'
        'ddb.geometry.sectors = "63"\n'
        f'ddb.adapterType = "{adapter}"\n'
        f'ddb.toolsVersion = "{tools}"\n'
    )
