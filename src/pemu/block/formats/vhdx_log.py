"""The log of VHDX images: what a program that was cut off wanted to write, and is done now."""

from __future__ import annotations

from pemu.block.error import ImageError
from pemu.block.formats.vhdx_layout import MIB, Guid, Header, is_whole
from pemu.block.image import Image
from pemu.block.structure import U32, U64, Annotated, Structure

SECTOR = 4096
MOST_CHECKED = 64 * MIB
"""Bytes of entries that are looked at, if the log is not shorter: more are no log. Checksums take
0.1 s for 1 MiB, and logs have 1 MiB mostly."""


class EntryHeader(Structure, byte_order="<"):
    """Before the descriptors of an entry; what is to be written follows them."""

    signature: Annotated[bytes, 4]
    checksum: U32
    length: U32
    tail: U32
    sequence: U64
    count: U32
    reserved: U32
    guid: Guid
    flushed_offset: U64
    last_offset: U64


class Descriptor(Structure, byte_order="<"):
    """One of an entry's writes: a sector ('desc'), or zeros ('zero')."""

    signature: Annotated[bytes, 4]
    trailing: Annotated[bytes, 4]
    leading: U64
    """The sector's first bytes; of zeros, how many."""
    offset: U64
    sequence: U64


def replay(file: Image, header: Header) -> int:
    """Write what the log of an image has; how many entries that was. Raises ImageError, OSError."""
    entries = _entries(file, header)
    chain = _chain(entries, header.log_length)
    for data in chain:
        _apply(file, data)
    if chain:
        file.flush()
    return len(chain)


def is_pending(file: Image, header: Header) -> bool:
    """Whether there is anything to replay. Raises ImageError, OSError."""
    return bool(_chain(_entries(file, header), header.log_length))


def _read(file: Image, header: Header, offset: int, length: int) -> bytes:
    """Bytes of the log, which goes on at its beginning."""
    first = min(length, header.log_length - offset)
    data = file.read(header.log_offset + offset, first)
    return data + file.read(header.log_offset, length - first)


def _entries(file: Image, header: Header) -> dict[int, bytes]:
    """All valid entries, by where in the log they begin."""
    found = {}
    checked, most = 0, min(2 * header.log_length, MOST_CHECKED)  # old entries may be written over
    for offset in range(0, header.log_length, SECTOR):
        head = EntryHeader.parse(_read(file, header, offset, EntryHeader.SIZE))
        if head.signature != b"loge" or head.guid != header.log_guid:
            continue
        if not SECTOR <= head.length <= header.log_length or head.length % SECTOR:
            continue
        if not head.sequence or head.tail >= header.log_length or head.tail % SECTOR:
            continue
        checked += head.length
        if checked > most:
            raise ImageError("the VHDX log is damaged: its entries overlap")
        data = _read(file, header, offset, head.length)
        if is_whole(data):
            found[offset] = data
    return found


def _chain(entries: dict[int, bytes], length: int) -> list[bytes]:
    """The entries of the newest sequence that is whole, in their order."""
    heads = {offset: EntryHeader.parse(data) for offset, data in entries.items()}
    for last in sorted(heads, key=lambda one: -heads[one].sequence):
        chain, at, sequence = [], heads[last].tail, None
        while at in heads and (sequence is None or heads[at].sequence == sequence + 1):
            sequence = heads[at].sequence
            chain.append(entries[at])
            if at == last:
                return chain
            at = (at + heads[at].length) % length
    return []


def _apply(file: Image, entry: bytes) -> None:
    """Carry out the writes of an entry."""
    head = EntryHeader.parse(entry)
    start = EntryHeader.SIZE + head.count * Descriptor.SIZE
    sector = -(-start // SECTOR) * SECTOR
    if start > len(entry):
        raise ImageError("a VHDX log entry is damaged")
    if head.last_offset > file.size + (1 << 32):
        raise ImageError(f"a VHDX log entry wants a file of {head.last_offset} bytes")
    if file.size < head.last_offset:
        file.truncate(head.last_offset)
    for number in range(head.count):
        place = EntryHeader.SIZE + number * Descriptor.SIZE
        one = Descriptor.parse(entry, "a VHDX log descriptor", place)
        if one.sequence != head.sequence:
            raise ImageError("a VHDX log descriptor belongs to another entry")
        if one.signature == b"zero":
            if one.offset % SECTOR or one.offset + one.leading > file.size:
                raise ImageError("a VHDX log descriptor is damaged")
            file.write_zeroes(one.offset, one.leading)
            continue
        data = entry[sector : sector + SECTOR]
        sector += SECTOR
        if one.signature != b"desc" or data[:4] != b"data" or one.offset % SECTOR:
            raise ImageError("a VHDX log descriptor is damaged")
        if one.offset + SECTOR > max(file.size, head.last_offset) + SECTOR:
            raise ImageError("a VHDX log descriptor is damaged")
        if data[4:8] + data[-4:] != _halves(head.sequence):
            raise ImageError("a VHDX log sector belongs to another entry")
        leading = one.leading.to_bytes(8, "little")
        file.write(one.offset, leading + data[8:-4] + one.trailing)


def _halves(sequence: int) -> bytes:
    """An entry's number as its sectors have it: upper half, lower half."""
    data = sequence.to_bytes(8, "little")
    return data[4:] + data[:4]
