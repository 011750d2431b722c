"""Answers of CD-ROM drives, for whatever bus they are on.

SCSI Multimedia Commands - 5 (MMC-5) and SCSI Primary Commands - 3 (SPC-3). A disc has one session
with one data track.
"""

from __future__ import annotations

from typing import NamedTuple

SECTOR = 2048

LEAD_OUT = 0xAA
_DATA_TRACK = 0x14
"""ADR 1, a data track without permission to copy."""

MOST_CD_SECTORS = 360_000
"""80 minutes of 75 sectors a second; what is larger is a DVD."""

PROFILE_CD, PROFILE_DVD = 0x0008, 0x0010

CURRENT, PERSISTENT = 1, 2


class Sense(NamedTuple):
    """Why a command failed: sense key, additional sense code and its qualifier."""

    key: int
    code: int
    qualifier: int = 0


NO_SENSE = Sense(0, 0)
NO_MEDIUM = Sense(2, 0x3A)
READ_ERROR = Sense(3, 0x11)
BAD_COMMAND = Sense(5, 0x20)
BAD_ADDRESS = Sense(5, 0x21)
BAD_FIELD = Sense(5, 0x24)
CANNOT_SAVE = Sense(5, 0x39)
REMOVAL_PREVENTED = Sense(5, 0x53, 0x02)
MEDIUM_CHANGED = Sense(6, 0x28)


def sense_data(sense: Sense) -> bytes:
    """REQUEST SENSE, in fixed format."""
    data = bytearray(18)
    data[0] = 0x70
    data[2], data[7], data[12], data[13] = sense.key, 10, sense.code, sense.qualifier
    return bytes(data)


def inquiry(vendor: str, product: str, version: str) -> bytes:
    """INQUIRY, the standard data."""
    data = bytes((5, 0x80, 0, 0x21, 31, 0, 0, 0))
    for text, length in ((vendor, 8), (product, 16), (version, 4)):
        data += text.encode("ascii", "replace")[:length].ljust(length)
    return data


def vital_data(page: int, serial: str, product: str) -> bytes | None:
    """INQUIRY, a page of vital product data; None where there is no such one."""
    if page == 0x00:
        body = bytes((0x00, 0x83))
    elif page == 0x83:
        name = f"{product:<40}{serial}".encode("ascii", "replace")[:60]
        body = bytes((2, 1, 0, len(name))) + name
    else:
        return None
    return bytes((5, page)) + len(body).to_bytes(2, "big") + body


def capacity(sectors: int) -> bytes:
    """READ CAPACITY."""
    return min(sectors - 1, 0xFFFFFFFF).to_bytes(4, "big") + SECTOR.to_bytes(4, "big")


def _address(sector: int, msf: bool) -> bytes:
    """An address on the disc, by number or as minute, second and frame."""
    if not msf:
        return sector.to_bytes(4, "big")
    seconds, frame = divmod(sector + 150, 75)
    minute, second = divmod(seconds, 60)
    return bytes((0, minute & 0xFF, second, frame))


def contents(sectors: int, *, msf: bool, format: int, first: int) -> bytes | None:
    """READ TOC/PMA/ATIP; None for what it cannot tell.

    format: 0 tracks, 1 sessions, 2 everything. first: the track from which on.
    """
    if format == 0:
        if first > 1 and first != LEAD_OUT:
            return None
        tracks = b""
        if first <= 1:
            tracks += bytes((0, _DATA_TRACK, 1, 0)) + _address(0, msf)
        tracks += bytes((0, _DATA_TRACK, LEAD_OUT, 0)) + _address(sectors, msf)
        return (len(tracks) + 2).to_bytes(2, "big") + b"\1\1" + tracks
    if format == 1:
        return b"\0\x0a\1\1" + bytes((0, _DATA_TRACK, 1, 0)) + _address(0, msf)
    if format == 2:
        points = (
            (0xA0, bytes((0, 1, 0, 0))),
            (0xA1, bytes((0, 1, 0, 0))),
            (0xA2, _address(sectors, True)),
            (1, _address(0, True)),
        )
        entries = b"".join(bytes((1, _DATA_TRACK, 0, p, 0, 0, 0)) + at for p, at in points)
        return (len(entries) + 2).to_bytes(2, "big") + b"\1\1" + entries
    return None


def profile(sectors: int) -> int:
    """What kind of disc it is; 0 without one."""
    if not sectors:
        return 0
    return PROFILE_DVD if sectors > MOST_CD_SECTORS else PROFILE_CD


def configuration(sectors: int, *, kind: int, first: int, locked: bool) -> bytes:
    """GET CONFIGURATION. kind: 0 all features, 1 current ones, 2 the one numbered `first`."""
    current = profile(sectors)
    profiles = b"".join(
        one.to_bytes(2, "big") + bytes((int(one == current), 0))
        for one in (PROFILE_DVD, PROFILE_CD)
    )
    features = (
        (0x0000, CURRENT | PERSISTENT, profiles),
        (0x0001, 2 << 2 | CURRENT | PERSISTENT, (2).to_bytes(4, "big") + bytes((1, 0, 0, 0))),
        # Tray, can eject, can lock
        (0x0003, CURRENT | PERSISTENT, bytes((0x29 | (2 if locked else 0), 0, 0, 0))),
        (0x0010, CURRENT if sectors else 0, SECTOR.to_bytes(4, "big") + bytes((0, 1, 0, 0))),
        (0x001E, 2 << 2 | (CURRENT if current == PROFILE_CD else 0), bytes(4)),
        (0x001F, CURRENT if current == PROFILE_DVD else 0, bytes(4)),
    )
    body = b""
    for number, flags, data in features:
        wanted = number == first if kind == 2 else number >= first
        if wanted and (kind != 1 or flags & CURRENT):
            body += number.to_bytes(2, "big") + bytes((flags, len(data))) + data
    head = bytes(2) + current.to_bytes(2, "big")
    return (len(head) + len(body)).to_bytes(4, "big") + head + body


def event_status(wanted: int, *, polled: bool, present: bool, open: bool, event: int) -> bytes:
    """GET EVENT STATUS NOTIFICATION, for events of the medium, class 4."""
    supported = 1 << 4
    if not polled or not wanted & supported:
        return bytes((0, 2, 0x80, supported))
    return bytes((0, 6, 4, supported, event, (1 if open else 0) | (2 if present else 0), 0, 0))


def disc_information() -> bytes:
    """READ DISC INFORMATION: a finalized disc with one session of one track."""
    data = bytearray(34)
    data[1], data[2] = 32, 0x0E
    data[3:7] = bytes((1, 1, 1, 1))
    data[7] = 0x20  # unrestricted use
    data[16:24] = b"\xff" * 8
    return bytes(data)


def track_information(sectors: int) -> bytes:
    """READ TRACK INFORMATION of the only track."""
    data = bytearray(36)
    data[1], data[2], data[3], data[5], data[6] = 34, 1, 1, 4, 1
    data[24:28] = min(sectors, 0xFFFFFFFF).to_bytes(4, "big")
    return bytes(data)


def mechanism_status(open: bool) -> bytes:
    """MECHANISM STATUS, of a drive without a changer."""
    return bytes((0, 0x10 if open else 0, 0, 0, 0, 1, 0, 0))


def mode_pages(page: int, *, locked: bool) -> bytes | None:
    """MODE SENSE: the pages (0x3F for all), current values; None where there is no such one."""
    capabilities = bytearray(22)
    capabilities[0], capabilities[1] = 0x2A, 20
    capabilities[2] = 0x3B  # reads CD-R, CD-RW, DVD-ROM, DVD-R
    capabilities[4] = 0x71  # composite audio, mode 2 forms 1 and 2, multi-session
    capabilities[5] = 0x60  # bar codes, unique codes
    capabilities[6] = 0x29 | (2 if locked else 0)  # tray, ejects, locks
    capabilities[8:10] = (706).to_bytes(2, "big")  # KiB a second
    capabilities[10:12] = (2).to_bytes(2, "big")
    capabilities[12:14] = (512).to_bytes(2, "big")
    capabilities[14:16] = (706).to_bytes(2, "big")
    pages = {
        0x01: bytes((0x01, 6, 0, 5, 0, 0, 0, 0)),
        0x0E: bytes((0x0E, 14, 4, 0, 0, 0, 0, 75, 1, 255, 2, 255, 0, 0, 0, 0)),
        0x2A: bytes(capabilities),
    }
    if page == 0x3F:
        return b"".join(pages.values())
    return pages.get(page)


def medium_type(sectors: int, open: bool) -> int:
    """What MODE SENSE says of the medium."""
    if open:
        return 0x71
    return 0x01 if sectors else 0x70


def mode_sense(body: bytes, medium: int) -> bytes:
    """MODE SENSE (10): the header before the pages."""
    return (len(body) + 6).to_bytes(2, "big") + bytes((medium, 0, 0, 0, 0, 0)) + body


def dvd_structure(sectors: int, format: int, layer: int) -> bytes | None:
    """READ DVD STRUCTURE: what a pressed disc of one layer has; None for what it has not."""
    if format == 0x00 and layer == 0:
        data = bytearray(2048)
        data[0:4] = bytes((1, 0x0F, 1, 0))
        data[5:8] = (0x30000).to_bytes(3, "big")
        data[9:12] = (0x30000 + sectors - 1 & 0xFFFFFF).to_bytes(3, "big")
    elif format == 0x01:
        data = bytearray(4)  # no copyright protection
    elif format == 0x04:
        data = bytearray(2048)
    else:
        return None
    return (len(data) + 2).to_bytes(2, "big") + bytes(2) + bytes(data)
