"""VMware's disk images (VMDK): a descriptor and extents, in one file or in several."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, ClassVar

from pemu.block.creation import Creation
from pemu.block.driver import Driver
from pemu.block.error import ImageError
from pemu.block.formats.raw import Raw
from pemu.block.formats.vmdk_descriptor import (
    LARGEST,
    NO_PARENT,
    START,
    Descriptor,
    ExtentLine,
    new_descriptor,
)
from pemu.block.formats.vmdk_extent import (
    COMPRESSES,
    DEFLATE,
    GRAIN,
    MARKERS,
    TABLE,
    ZERO_GRAINS,
    Part,
    SparseExtent,
    SparseHeader,
    Zeros,
    open_sparse,
)
from pemu.block.formats.vmdk_sesparse import SeSparseExtent, open_sesparse
from pemu.block.image import SECTOR, Check, Extent, Image, Limits, damaged
from pemu.block.opening import Mode, Opening, resolve
from pemu.block.pieces import Buffers, Packed, Pieces, take
from pemu.block.table import write_entries
from pemu.options.keyval import Key
from pemu.options.types import Bool, Enum, Text

SUBFORMATS = (
    "monolithicSparse",
    "monolithicFlat",
    "twoGbMaxExtentSparse",
    "twoGbMaxExtentFlat",
    "streamOptimized",
)
ADAPTERS = ("ide", "buslogic", "lsilogic", "legacyESX")

READABLE = (
    *SUBFORMATS,
    "vmfs",
    "vmfsSparse",
    "custom",
    "2GbMaxExtentSparse",
    "fullDevice",
    "seSparse",
)
"""Types of images that can be opened, as createType has them."""

COWD = b'CID=0\nparentCID=ffffffff\ncreateType="vmfsSparse"\n'
"""The descriptor of an extent of an ESX server that is opened alone."""

GRAINS = (SparseExtent, SeSparseExtent)
"""Extents with tables."""

PART = 2 << 30
"""Bytes of an extent of twoGbMaxExtent*."""


class Vmdk(Image):
    """The extents put together.

    place: where in `file` the descriptor is, and its room, bytes; None if it is all of the file.
    lines: for each extent its kind and the name of its file.
    """

    format: ClassVar[str] = "vmdk"

    def __init__(
        self,
        file: Image,
        descriptor: Descriptor,
        place: tuple[int, int | None],
        extents: list[Image],
        lines: list[tuple[str, str]],
        *,
        readonly: bool,
    ) -> None:
        super().__init__(file.name, sum(one.size for one in extents), readonly=readonly)
        self.children["file"] = file
        for number, extent in enumerate(extents):
            self.children[f"extents.{number}"] = extent
        self.descriptor = descriptor
        self.extents = extents
        self._starts = list(accumulate((one.size for one in extents), initial=0))[:-1]
        self._place = place
        self._lines = lines
        self._renewed = False
        self._parent_checked = False
        self.backing_file = descriptor.parent
        self.backing_format = "vmdk" if descriptor.parent else ""
        self.writable = all(one.writable or isinstance(one, Zeros) for one in extents)

    def put_over(self, below: Image) -> None:
        """Have what no extent has come from `below`."""
        self.children["backing"] = below
        for start, extent in zip(self._starts, self.extents, strict=True):
            if isinstance(extent, GRAINS):
                extent.children["backing"] = Part(below, start)

    def _check_parent(self) -> None:
        """Raise OSError where the image below is no longer the one that this was made over."""
        below = self.backing
        if below is None or self._parent_checked:
            return
        if isinstance(below, Vmdk) and below.descriptor.cid != self.descriptor.parent_cid:
            raise OSError(
                f"'{below.name}' has been changed since '{self.name}' was made over it (content id "
                f"{below.descriptor.cid:x}, not {self.descriptor.parent_cid:x})"
            )
        self._parent_checked = True

    def _pieces(self, offset: int, length: int) -> Iterator[tuple[Image, int, int]]:
        """The pieces of a range: extent, offset there, length."""
        end = offset + length
        for start, extent in zip(self._starts, self.extents, strict=True):
            first, last = max(offset, start), min(end, start + extent.size)
            if first < last:
                yield extent, first - start, last - first

    def _read_into(self, offset: int, buffers: Buffers) -> None:
        self._check_parent()
        rest = list(buffers)
        for extent, at, length in self._pieces(offset, sum(map(len, buffers))):
            taken, rest = take(rest, length)
            extent.read_into(at, taken)

    def _write_from(self, offset: int, pieces: Pieces) -> None:
        self._begin()
        rest = [memoryview(piece) for piece in pieces]
        for extent, at, length in self._pieces(offset, sum(map(len, rest))):
            taken, rest = take(rest, length)
            extent.write_from(at, taken)

    def write_compressed(
        self, offset: int, data: bytes | memoryview, packed: Sequence[Packed] = ()
    ) -> None:
        self._begin()
        for extent, at, length in self._pieces(offset, len(data)):
            if length != len(data):
                raise damaged()
            extent.write_compressed(at, data)

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        self._begin()
        for extent, at, part in self._pieces(offset, length):
            extent.write_zeroes(at, part, unmap=unmap)

    def _begin(self) -> None:
        """Before the first write: images over this one must notice that it has changed."""
        self._check_parent()
        with self.lock:
            if not self._renewed:
                self._renew()
                self._renewed = True

    def _renew(self) -> None:
        offset, room = self._place
        file = self.children["file"]
        data = self.descriptor.renewed()
        if room is None:
            file.write(offset, data)
            file.truncate(len(data))
        elif len(data) <= room:
            file.write(offset, data.ljust(room, b"\0"))
        elif room:
            raise OSError("the descriptor has no room for another content id")

    def _status(self, offset: int, length: int) -> Extent:
        extent, at, part = next(self._pieces(offset, length))
        return extent.status(at, part)

    def flush(self) -> None:
        for extent in self.extents:
            extent.flush()
        if self._place[1] is None:
            super().flush()

    def limits(self) -> Limits:
        clusters = [one.cluster for one in self.extents if isinstance(one, GRAINS)]
        return Limits(cluster=max(clusters, default=0))

    def check_image(self, repair: str = "") -> Check:
        if repair:
            raise ImageError("This image format does not support checks")
        found = Check()
        for number, extent in enumerate(self.extents):
            if isinstance(extent, GRAINS):
                extent.check(number, found)
        return found

    def details(self) -> dict[str, Any]:
        extents = []
        for (kind, name), extent in zip(self._lines, self.extents, strict=True):
            sparse = extent if isinstance(extent, GRAINS) else None
            one: dict[str, Any] = {"compressed": True} if sparse and sparse.compressed else {}
            one |= {"virtual-size": extent.size, "filename": name}
            if sparse:
                one["cluster-size"] = sparse.cluster
            one["format"] = kind
            extents.append(one)
        return {
            "cid": self.descriptor.cid,
            "parent-cid": self.descriptor.parent_cid,
            "create-type": self.descriptor.create_type,
            "extents": extents,
        }

    def reopen(self, *, readonly: bool) -> None:
        if not readonly and not self.writable:
            super().reopen(readonly=readonly)
        for one in (self.children["file"], *self.extents):
            if one.writable:
                one.reopen(readonly=readonly)
        self.readonly = readonly

    def allocated(self) -> int | None:
        files = {id(one.file): one.file for one in self.extents if one.file is not None}
        files[id(self.file)] = self.children["file"]
        return sum(one.allocated() or 0 for one in files.values())


def _open(opening: Opening) -> Image:
    file = opening.file()
    readonly = opening.mode.readonly
    magic = file.read(0, min(4, file.size))
    if magic in (b"KDMV", b"COWD"):
        try:
            extent = open_sparse(file.retain(), readonly=readonly)
        except BaseException:
            file.close()
            raise
        opening.own(extent)
        offset, room = _place_of_descriptor(file, magic)
        text = file.read(offset, room) if room else COWD
        descriptor = Descriptor.parse(text)
        lines = [("", file.name)]
        image = Vmdk(
            file, descriptor, (offset, room), [extent], lines, readonly=readonly or extent.readonly
        )
    else:
        image = _open_text(opening, file)
    if image.descriptor.parent_cid != NO_PARENT and image.backing_file:
        below = opening.backing(image.backing_file, "vmdk")
        if below is not None:
            image.put_over(below)
    return image


def _place_of_descriptor(file: Image, magic: bytes) -> tuple[int, int]:
    if magic == b"COWD":
        return 0, 0
    header = SparseHeader.read(file, "the VMDK header")
    offset, room = header.descriptor * SECTOR, header.descriptor_size * SECTOR
    if not SECTOR <= offset <= file.size - room or not 0 < room <= LARGEST:
        raise ImageError("the VMDK descriptor is not within the file")
    return offset, room


def _open_text(opening: Opening, file: Image) -> Vmdk:
    """An image whose descriptor is a file of its own."""
    if file.size > LARGEST:
        raise ImageError(f"a VMDK descriptor of {file.size} bytes is longer than {LARGEST}")
    data = file.read(0, file.size)
    if START.encode() not in data[:4096]:
        raise ImageError("Image not in VMDK format")
    descriptor = Descriptor.parse(data)
    if descriptor.create_type not in READABLE:
        raise ImageError(f"Unsupported image type '{descriptor.create_type}'")
    extents: list[Image] = []
    lines = []
    locked = False
    for line in descriptor.extents:
        if line.access != "NOACCESS":
            extents.append(opening.own(_open_extent(opening, file, line)))
            lines.append((line.kind, extents[-1].name))
            locked = locked or line.access == "RDONLY"
    if not extents:
        raise ImageError("the VMDK descriptor names no extents")
    readonly = opening.mode.readonly or locked
    image = Vmdk(file, descriptor, (0, None), extents, lines, readonly=readonly)
    image.writable = image.writable and not locked
    return image


def _open_extent(opening: Opening, file: Image, line: ExtentLine) -> Image:
    if line.kind == "ZERO":
        return Zeros(line.sectors * SECTOR)
    if line.kind not in ("FLAT", "VMFS", "SPARSE", "VMFSSPARSE", "SESPARSE"):
        raise ImageError(f"Unsupported extent type '{line.kind}'")
    flat = line.kind in ("FLAT", "VMFS")
    mode = opening.mode.of_file(grows=not flat)
    try:
        held = opening.graph.open_protocol(resolve(line.name, file.name), mode)
    except OSError as error:
        raise ImageError(f"Could not open '{line.name}': {error.strerror or error}") from None
    try:
        if flat:
            return Flat(held, offset=line.offset * SECTOR, size=line.sectors * SECTOR)
        opened = open_sesparse if line.kind == "SESPARSE" else open_sparse
        extent = opened(held, readonly=opening.mode.readonly)
        if extent.size != line.sectors * SECTOR:
            extent.size = min(extent.size, line.sectors * SECTOR)
        return extent
    except BaseException:
        held.close()
        raise


class Flat(Raw):
    """An extent that is part of a file as it is."""

    def _status(self, offset: int, length: int) -> Extent:
        return Extent(length, offset=self.offset + offset, file=self.file).refined()


def _create(creation: Creation) -> None:
    options = creation.options
    kind = options["subformat"] or SUBFORMATS[0]
    _check_options(options, kind)
    parent, parent_cid = options["backing_file"] or "", NO_PARENT
    if parent:
        parent_cid = _cid_of(creation, parent)
    sectors = -(-creation.size // SECTOR)
    hardware = options["hwversion"] if options["hwversion"] != "undefined" else ""

    def describe(lines: list[ExtentLine]) -> bytes:
        text = new_descriptor(
            kind,
            lines,
            sectors=sectors,
            adapter=options["adapter_type"] or "ide",
            hardware=hardware or ("6" if options["compat6"] else "4"),
            tools=options["toolsversion"] or "2147483647",
            parent=parent,
            parent_cid=parent_cid,
        )
        return text.encode("utf-8", "surrogateescape")

    if kind in ("monolithicSparse", "streamOptimized"):
        line = ExtentLine("RW", sectors, "SPARSE", os.path.basename(creation.name))
        _create_sparse(creation, "", sectors, options, describe([line]))
        return
    lines = _create_extents(creation, kind, sectors)
    with creation.file() as file:
        file.write(0, describe(lines))


def _check_options(options: dict[str, Any], kind: str) -> None:
    """Raise ImageError for options that exclude each other."""
    flat = kind.endswith("Flat")
    if flat and options["backing_file"]:
        raise ImageError("Flat image can't have backing file")
    if flat and options["zeroed_grain"]:
        raise ImageError("Flat image can't enable zeroed grain")
    if options["compat6"] and options["hwversion"] not in ("", "undefined"):
        raise ImageError("compat6 cannot be enabled with hwversion set")


def _create_extents(creation: Creation, kind: str, sectors: int) -> list[ExtentLine]:
    """Make the files that the data is in, beside the descriptor's; return the lines about them."""
    flat = kind.endswith("Flat")
    whole = kind == "monolithicFlat"
    stem = os.path.basename(creation.name).removesuffix(".vmdk")
    lines: list[ExtentLine] = []
    letter, number, rest = "f" if flat else "s", 1, sectors
    while rest or not lines:
        part = rest if whole else min(rest, PART // SECTOR)
        name = f"{stem}-flat.vmdk" if whole else f"{stem}-{letter}{number:03}.vmdk"
        path = os.path.join(os.path.dirname(creation.name), name)
        if flat:
            creation.file(path, size=part * SECTOR).close()
        else:
            _create_sparse(creation, path, part, creation.options, b"")
        lines.append(ExtentLine("RW", part, "FLAT" if flat else "SPARSE", name))
        rest -= part
        number += 1
    return lines


def _create_sparse(
    creation: Creation, path: str, sectors: int, options: dict[str, Any], text: bytes
) -> None:
    """Make a sparse extent with all its tables; `text`: its descriptor."""
    tables = -(-sectors // (GRAIN * TABLE))
    directory = -(-tables * 4 // SECTOR)
    table = TABLE * 4 // SECTOR
    header = SparseHeader(
        capacity=sectors,
        copy_directory=21,
        directory=21 + directory + tables * table,
        overhead=0,
    )
    end = header.directory + directory + tables * table
    if end > 0xFFFFFFFF:
        raise ImageError(f"An image of {sectors * SECTOR} bytes is too large for VMDK")
    header.overhead = -(-end // GRAIN) * GRAIN
    if options["zeroed_grain"]:
        header.version, header.flags = 2, header.flags | ZERO_GRAINS
    if options["subformat"] == "streamOptimized":
        header.version, header.compression = 3, DEFLATE
        header.flags |= COMPRESSES | MARKERS
    if len(text) > header.descriptor_size * SECTOR:
        raise ImageError("the descriptor is too long; choose shorter names")
    with creation.file(path) as file:
        file.write(0, header.emit().ljust(SECTOR, b"\0") + text)
        file.truncate(header.overhead * SECTOR)
        for start in (header.copy_directory, header.directory):
            first = start + directory
            places = range(first, first + tables * table, table)
            write_entries(file, start * SECTOR, places, "I", "<")


def _cid_of(creation: Creation, parent: str) -> int:
    """The content id of the image below. Raises ImageError."""
    mode = Mode(readonly=True, backing=False)
    with creation.graph.open_name(resolve(parent, creation.name), mode=mode) as below:
        if not isinstance(below, Vmdk):
            raise ImageError("backing_file must be a vmdk image")
        return below.descriptor.cid


DRIVER = Driver(
    "vmdk",
    _open,
    children=("file", "backing"),
    create=_create,
    creation=(
        Key(
            "adapter_type",
            Enum(ADAPTERS),
            "Virtual adapter type, can be one of ide (default), lsilogic, buslogic or legacyESX",
        ),
        Key("backing_file", Text(), "File name of a base image"),
        Key("backing_fmt", Enum(("vmdk",)), "Must be 'vmdk' if present"),
        Key("compat6", Bool(), "VMDK version 6 image", default=False),
        Key("hwversion", Text(), "VMDK hardware version", default="undefined"),
        Key("toolsversion", Text(), "VMware guest tools version"),
        Key(
            "subformat",
            Enum(SUBFORMATS),
            "VMDK flat extent format, can be one of {monolithicSparse (default) | monolithicFlat | "
            "twoGbMaxExtentSparse | twoGbMaxExtentFlat | streamOptimized} ",
        ),
        Key(
            "zeroed_grain",
            Bool(),
            "Enable efficient zero writes using the zeroed-grain GTE feature",
        ),
    ),
)
