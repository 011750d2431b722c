"""VHDX: logs that other programs have left behind."""

from __future__ import annotations

import itertools
import shutil
import uuid
from pathlib import Path

import pytest

from pemu.block.error import ImageError
from pemu.block.formats import vhdx_layout as layout
from pemu.block.formats.vhdx_log import Descriptor, EntryHeader
from pemu.block.opening import Mode
from tests.block.formats.exchange import create, open_image, qemu
from tests.block.mutation import Field, entries, exercise, fields_of, mutations, tangles

SIZE = 6 << 20
LOG = 1 << 20
BAT = 2 << 20
DATA = 4 << 20


def entry(log: bytes, sequence: int, tail: int, file_size: int, place: int, sector: bytes) -> bytes:
    """An entry of the log that writes one sector, and zeros after it."""
    descriptors = [
        Descriptor(
            signature=b"desc",
            trailing=sector[-4:],
            leading=int.from_bytes(sector[:8], "little"),
            offset=place,
            sequence=sequence,
        ),
        Descriptor(
            signature=b"zero", trailing=bytes(4), leading=4096, offset=place + 4096,
            sequence=sequence,
        ),
    ]  # fmt: skip
    number = sequence.to_bytes(8, "little")
    head = EntryHeader(
        signature=b"loge", checksum=0, length=8192, tail=tail, sequence=sequence, count=2,
        reserved=0, guid=log, flushed_offset=file_size, last_offset=file_size,
    )  # fmt: skip
    first = head.emit() + b"".join(one.emit() for one in descriptors)
    second = b"data" + number[4:] + sector[8:-4] + number[:4]
    return layout.sealed(first.ljust(4096, b"\0") + second)


def image_with_log(path: Path) -> None:
    """An image whose log connects a block, in the second of two entries."""
    create("vhdx", path, SIZE, {"block_size": "1M"})
    data = bytearray(path.read_bytes())
    data += b"logged".ljust(1 << 20, b"x")
    log = uuid.uuid4().bytes_le
    header = layout.Header.parse(data, offset=layout.HEADERS[1])
    header.log_guid, header.sequence = log, 9
    data[layout.HEADERS[1] : layout.HEADERS[1] + 4096] = header.sealed()
    table = (DATA | 6).to_bytes(8, "little")
    for number, sector in enumerate((b"\xff" * 4096, table.ljust(4096, b"\0"))):
        place = LOG + 4096 + number * 8192
        data[place : place + 8192] = entry(log, 5 + number, 4096, len(data), BAT, sector)
    path.write_bytes(data)


def test_log_is_replayed_as_qemu_does(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    image_with_log(ours)
    shutil.copy(ours, theirs)
    image = open_image(ours)
    assert image.read(0, 6) == b"logged"
    assert image.read(1 << 20, 512) == bytes(512)
    image.close()
    qemu("qemu-img", "check", "-q", "-r", "all", theirs)
    assert ours.read_bytes()[BAT:] == theirs.read_bytes()[BAT:]
    qemu("qemu-io", "-r", "-c", f"read -P 120 512 {(1 << 20) - 512}", ours)


def test_image_with_a_log_is_not_read_without_replaying_it(tmp_path: Path) -> None:
    image_with_log(tmp_path / "disk")
    before = (tmp_path / "disk").read_bytes()
    with pytest.raises(ImageError, match="contains a log that needs to be replayed"):
        open_image(tmp_path / "disk", mode=Mode(readonly=True))
    assert (tmp_path / "disk").read_bytes() == before


def test_entry_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    image_with_log(tmp_path / "disk")
    data = bytearray((tmp_path / "disk").read_bytes())
    data[LOG + 4096 + 8192 + 5000] ^= 1
    (tmp_path / "disk").write_bytes(data)
    image = open_image(tmp_path / "disk")
    with pytest.raises(OSError, match="Input/output error"):
        image.read(0, 6)
    image.close()


def log_fields() -> list[Field]:
    """Those of both entries, and the beginnings of their sectors."""
    found = []
    for number in range(2):
        at = LOG + 4096 + number * 8192
        found += fields_of(EntryHeader, at, f"entry {number}: ")
        for which in range(2):
            place = at + EntryHeader.SIZE + which * Descriptor.SIZE
            found += fields_of(Descriptor, place, f"entry {number} descriptor {which}: ")
        found += entries(f"entry {number} sector", at + 4096, 4, 3)
    return found


def seal_entries(data: bytearray) -> None:
    for number in range(2):
        at = LOG + 4096 + number * 8192
        length = EntryHeader.parse(data, offset=at).length
        if 4096 <= length <= 1 << 20:
            data[at : at + length] = layout.sealed(bytes(data[at : at + length]))


@pytest.mark.parametrize("count", [20, pytest.param(1000, marks=pytest.mark.slow)])
def test_logs_that_lie(tmp_path: Path, count: int) -> None:
    image_with_log(tmp_path / "disk")
    data = (tmp_path / "disk").read_bytes()
    changes = itertools.chain(  # not a list: each is as long as the image
        mutations(data, log_fields(), 1, count // 50), tangles(data, log_fields(), 1, count)
    )
    for number, (what, changed) in enumerate(changes):
        whole = bytearray(changed)
        if number % 4 and len(changed) == len(data):
            seal_entries(whole)
        exercise("vhdx", bytes(whole), what, writes=bool(number % 8), seed=number)


def test_log_of_overlapping_entries_takes_no_time(tmp_path: Path) -> None:
    """Each sector claims to begin an entry as long as the log."""
    image_with_log(tmp_path / "disk")
    data = bytearray((tmp_path / "disk").read_bytes())
    head = EntryHeader.parse(data, offset=LOG + 4096)
    head.length = 1 << 20
    for at in range(LOG, LOG + (1 << 20), 4096):
        data[at : at + EntryHeader.SIZE] = head.emit()
    (tmp_path / "disk").write_bytes(data)
    with pytest.raises(ImageError, match="its entries overlap"):
        open_image(tmp_path / "disk")


def test_checksum_is_that_of_the_standard() -> None:
    assert layout.crc32c(b"123456789") == 0xE3069283


def test_fixed_image_has_its_blocks_in_order(tmp_path: Path) -> None:
    create("vhdx", tmp_path / "disk", SIZE, {"subformat": "fixed", "block_size": "1M"})
    image = open_image(tmp_path / "disk")
    assert image.status(0, SIZE) == (SIZE, True, False, True, 4 << 20, image.file, False)
    image.close()
