"""Declared structures."""

from __future__ import annotations

import pytest

from pemu.block.error import ImageError
from pemu.block.structure import U8, U16, U32, U64, Annotated, Structure


class Sample(Structure, byte_order=">"):
    magic: Annotated[bytes, 3]
    kind: U8
    count: U16
    size: U32
    end: U64 = 9


def test_fields_follow_each_other() -> None:
    sample = Sample(magic=b"abc", kind=1, count=0x203, size=4)
    data = b"abc\1\2\3\0\0\0\4\0\0\0\0\0\0\0\x09"
    assert (sample.emit(), Sample.SIZE, Sample.OFFSETS["size"]) == (data, 18, 6)
    assert Sample.parse(b"x" + data, offset=1) == sample
    assert sample.emit_field("count") == b"\2\3"


@pytest.mark.parametrize(("length", "offset"), [(17, 0), (0, 0), (18, 1), (18, -1)])
def test_data_that_is_too_short(length: int, offset: int) -> None:
    with pytest.raises(ImageError, match="The head is cut short"):
        Sample.parse(bytes(length), "The head", offset)
