"""The luks format: an encrypted disk behind a LUKS header."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pemu.block.creation import Creation
from pemu.block.crypto.choices import AMENDMENT, CREATION
from pemu.block.crypto.ciphers import SECTOR, SectorCipher
from pemu.block.crypto.luks import Luks, header_bytes
from pemu.block.crypto.secrets import secret
from pemu.block.driver import Driver
from pemu.block.error import ImageError
from pemu.block.image import Extent, Image, Limits
from pemu.block.opening import Opening
from pemu.block.pieces import Buffers, Pieces
from pemu.block.tree import typed
from pemu.options.keyval import Key
from pemu.options.types import Text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.block.opening import Opener

_PIECE = 1 << 18
"""Bytes that are encrypted at a time."""


class LuksImage(Image):
    """What is behind the header `luks` in `file`. cipher: None where it is only described."""

    format: ClassVar[str] = "luks"

    def __init__(
        self, graph: Opener, file: Image, luks: Luks, cipher: SectorCipher | None, key_secret: str
    ) -> None:
        size = file.size - luks.payload
        if size < 0:
            raise ImageError(f"'{file.name}' ends before the contents begin ({luks.payload})")
        super().__init__(file.name, size, readonly=file.readonly)
        self.children["file"] = self._file = file
        self.encrypted = True
        self._graph = graph
        self._luks = luks
        self._cipher = cipher
        self._key_secret = key_secret

    def _sectors(self) -> SectorCipher:
        if self._cipher is None:
            raise OSError("the image was opened without its key")
        return self._cipher

    def _read_into(self, offset: int, buffers: Buffers) -> None:
        cipher = self._sectors()
        for view in buffers:
            done = 0
            while done < len(view):
                start = (offset + done) // SECTOR * SECTOR
                inside = offset + done - start
                length = min(-(-(inside + len(view) - done) // SECTOR) * SECTOR, _PIECE)
                data = self._file.read(self._luks.payload + start, length)
                plain = cipher.decrypt(start // SECTOR, data)[inside : inside + len(view) - done]
                view[done : done + len(plain)] = plain
                done += len(plain)
            offset += len(view)

    def _write_from(self, offset: int, pieces: Pieces) -> None:
        data = b"".join(pieces)
        end = offset + len(data)
        first, last = offset // SECTOR * SECTOR, -(-end // SECTOR) * SECTOR
        if (first, last) == (offset, end):
            self._put(offset, memoryview(data))
            return
        with self.lock:  # of those that share a sector, one after the other
            head = self.read(first, offset - first)
            tail = self.read(end, min(last, self.size) - end)
            self._put(first, memoryview(head + data + tail))

    def _put(self, offset: int, data: memoryview) -> None:
        cipher = self._sectors()
        for at in range(0, len(data), _PIECE):
            sealed = cipher.encrypt((offset + at) // SECTOR, data[at : at + _PIECE])
            self._file.write(self._luks.payload + offset + at, sealed)

    def _status(self, offset: int, length: int) -> Extent:
        return Extent(length)

    def truncate(self, size: int, *, preallocation: str = "off") -> None:
        self._file.truncate(self._luks.payload + size, preallocation=preallocation)
        self.size = size

    def amend(
        self, options: Mapping[str, Any], *, force: bool = False
    ) -> Iterator[tuple[int, int]]:
        values = typed(options, AMENDMENT, "Format 'luks'")
        objects = self._graph.objects
        self._luks.amend(values, lambda id: secret(objects, id), self._key_secret, force=force)
        self._file.flush()
        yield 1, 1

    def limits(self) -> Limits:
        return Limits(alignment=SECTOR)

    def details(self) -> dict[str, Any]:
        return self._luks.details()


def _open(opening: Opening) -> Image:
    file = opening.file()
    luks = Luks.parse(file.read, file.write)
    id = opening.options["key-secret"] or ""
    cipher = None
    if not opening.mode.describe:
        if not id:
            raise ImageError("Parameter 'key-secret' is required for cipher")
        cipher = luks.unlock(secret(opening.graph.objects, id))
    return LuksImage(opening.graph, file, luks, cipher, id)


def _create(creation: Creation) -> None:
    options = creation.options
    if not options["key-secret"]:
        raise ImageError("Parameter 'key-secret' is required for cipher")
    passphrase = secret(creation.graph.objects, options["key-secret"])
    mode = str(creation.protocol.pop("preallocation", "off"))
    file = creation.file()
    try:
        size = -(-creation.size // SECTOR) * SECTOR

        def reserve(header: int) -> tuple[Any, Any]:
            file.truncate(header + size, preallocation=mode)
            return file.read, file.write

        Luks.create(options, passphrase, reserve)
        file.flush()
    finally:
        file.close()


def _measure(source: Image | None, size: int, options: Mapping[str, Any]) -> dict[str, int]:
    cipher = options.get("cipher-alg") or "aes-256"
    mode = options.get("cipher-mode") or "xts"
    total = size + header_bytes(cipher, mode)
    return {"required": total, "fully-allocated": total}


DRIVER = Driver(
    "luks",
    _open,
    keys=(Key("key-secret", Text(empty=False), "id of the secret with the passphrase"),),
    create=_create,
    creation=CREATION,
    amendment=AMENDMENT,
    measure=_measure,
)
