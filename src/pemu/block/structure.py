"""Structures on disk and on the wire: fields declared once, from which parsing and writing derive.

class Header(Structure, byte_order=">"):
    magic: Annotated[bytes, 4]
    version: U32
    size: U64

header = Header.parse(data, "header")   # ImageError where data is too short
Header(magic=b"ABCD", version=1, size=0).emit()
Header.SIZE, Header.OFFSETS["version"]
"""

from __future__ import annotations

import struct
import sys

from pemu.block.error import ImageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated, Any, ClassVar, Self, dataclass_transform

    from pemu.block.image import Image
else:

    class Annotated:
        """As typing.Annotated; of what it is given, the width of the field is left."""

        def __class_getitem__(cls, item):
            return item[1]

    def dataclass_transform(**options):
        """Only type checkers care."""
        return lambda cls: cls


U8 = Annotated[int, "B"]
U16 = Annotated[int, "H"]
U32 = Annotated[int, "I"]
U64 = Annotated[int, "Q"]
"""Unsigned integers of 8 to 64 bits."""


@dataclass_transform(kw_only_default=True)
class Structure:
    """The base of all structures: fields follow each other without gaps.

    A field is one of `U8` to `U64`, or `Annotated[bytes, n]` for n bytes. byte_order: '<', '>'.
    SIZE: bytes of the whole. OFFSETS: where each field begins, in bytes.
    """

    SIZE: ClassVar[int]
    OFFSETS: ClassVar[dict[str, int]]
    FORMATS: ClassVar[dict[str, str]]
    """Each field's format as `struct` writes it, byte order included."""
    CODE: ClassVar[struct.Struct]
    """The whole, for what must be fast."""

    def __init_subclass__(cls, *, byte_order: str, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        names = vars(sys.modules[cls.__module__])
        code = byte_order
        cls.OFFSETS, cls.FORMATS = {}, {}
        for name, annotation in cls.__annotations__.items():
            width: str | int = eval(annotation, names)
            piece = width if isinstance(width, str) else f"{width}s"
            cls.OFFSETS[name] = struct.calcsize(code)
            cls.FORMATS[name] = byte_order + piece
            code += piece
        cls.CODE = struct.Struct(code)
        cls.SIZE = cls.CODE.size

    if not TYPE_CHECKING:

        def __init__(self, **values):
            for name in self.OFFSETS:
                setattr(self, name, values.pop(name) if name in values else getattr(self, name))
            if values:
                raise TypeError(f"{type(self).__name__} has no field {min(values)}")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.OFFSETS)
        return f"{type(self).__name__}({values})"

    @classmethod
    def parse(cls, data: bytes | bytearray | memoryview, what: str = "", offset: int = 0) -> Self:
        """The structure at `offset` bytes into `data`; `what` names it in errors.

        Raises ImageError where `data` ends before the structure does.
        """
        if offset < 0 or len(data) - offset < cls.SIZE:
            raise ImageError(
                f"{what or cls.__name__} is cut short: {max(len(data) - offset, 0)} bytes of "
                f"{cls.SIZE}"
            )
        values = cls.CODE.unpack_from(data, offset)
        return cls(**dict(zip(cls.OFFSETS, values, strict=True)))

    @classmethod
    def read(cls, file: Image, what: str = "", offset: int = 0) -> Self:
        """The structure at `offset` bytes into `file`. Raises as `parse` does, and OSError."""
        length = min(cls.SIZE, max(file.size - offset, 0))
        return cls.parse(file.read(offset, length), what)

    def emit(self) -> bytes:
        """The bytes that `parse` reads again."""
        return self.CODE.pack(*(getattr(self, name) for name in self.OFFSETS))

    def emit_field(self, name: str) -> bytes:
        """The bytes of one field, which belong at OFFSETS[name]."""
        return struct.pack(self.FORMATS[name], getattr(self, name))


__all__ = ["U8", "U16", "U32", "U64", "Annotated", "Structure"]
