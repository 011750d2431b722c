"""Encrypted qcow2 images: with a LUKS header in clusters of their own, and the old way with AES."""

from __future__ import annotations

from pemu.block.crypto.choices import AMENDMENT
from pemu.block.crypto.choices import CREATION as LUKS_CREATION
from pemu.block.crypto.ciphers import SectorCipher
from pemu.block.crypto.luks import READ, WRITE, Luks
from pemu.block.crypto.secrets import secret
from pemu.block.error import ImageError
from pemu.block.formats.qcow2.header import AES, LUKS, CryptExtension
from pemu.block.formats.qcow2.reading import Qcow2Reading
from pemu.block.formats.qcow2.words import read_padded
from pemu.block.tree import typed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def unlock(image: Qcow2Reading, options: Mapping[str, Any], objects: dict[str, Any], *,
           describe: bool) -> None:  # fmt: skip
    """Get the key of an encrypted image. describe: only what `details` tells is wanted.

    options: the keys of `encrypt`. Raises ImageError, OSError.
    """
    method = image.header.fields.crypt_method
    said = "aes" if method == AES else "luks"
    if options.get("format") not in (None, said):
        raise ImageError(
            f"Header reported '{said}' encryption format but options specify '{options['format']}'"
        )
    image.cipher_physical = method == LUKS
    image.keyless = True
    image.crypt_details = lambda: {"format": "aes"}
    header = _luks(image) if method == LUKS else None
    if header is not None:
        image.crypt_details = lambda: _details(header)
    if describe:
        return
    id = options.get("key-secret")
    if not id:
        raise ImageError("Parameter 'encrypt.key-secret' is required for cipher")
    passphrase = secret(objects, id)
    image.cipher = header.unlock(passphrase) if header is not None else _old_cipher(passphrase)
    image.keyless = False


def _details(luks: Luks) -> dict[str, Any]:
    """What `info` shows, in QEMU's order."""
    shown: dict[str, Any] = {}
    for key, value in luks.details().items():
        shown[key] = value
        if key == "uuid":
            shown["format"] = "luks"
    return shown


def make_encrypted(image: Qcow2Reading, options: dict[str, Any], passphrase: bytes) -> None:
    """Make a new image an encrypted one. options: values of the keys of creation."""
    metadata, header = image.metadata, image.header
    method = header.fields.crypt_method
    image.encrypted = True
    image.cipher_physical = method == LUKS
    if method == AES:
        image.cipher = _old_cipher(passphrase)
        return

    def reserve(length: int) -> tuple[READ, WRITE]:
        clusters = image.layout.clusters(length)
        place = metadata.take_table(clusters, "encryption-header")
        metadata.file.write(place, bytes(clusters * image.layout.cluster))
        header.crypt = CryptExtension(offset=place, length=length)
        return _access(image)

    values = {key.name: options[f"encrypt.{key.name}"] for key in LUKS_CREATION}
    _, image.cipher = Luks.create(values, passphrase, reserve)
    metadata.commit(accurate=True)
    metadata.write_header()


def amend_keys(image: Qcow2Reading, options: dict[str, Any], *, force: bool) -> None:
    """Change the key slots of an image. options: given keys of AMENDMENT. Raises ImageError.

    force: as `Image.amend`.
    """
    if image.header.fields.crypt_method != LUKS:
        raise ImageError("Only images with LUKS encryption have keys that can be changed")
    objects = image.secrets
    values = typed(options, AMENDMENT, "Encryption")
    _luks(image).amend(values, lambda id: secret(objects, id), image.key_secret, force=force)
    image.metadata.file.flush()


def _luks(image: Qcow2Reading) -> Luks:
    return Luks.parse(*_access(image))


def _access(image: Qcow2Reading) -> tuple[READ, WRITE]:
    """How the LUKS header in an image is read and written."""
    crypt, file = image.header.crypt, image.metadata.file
    assert crypt is not None
    start = crypt.offset

    def read(offset: int, length: int) -> bytes:
        return bytes(read_padded(file, start + offset, length))

    def write(offset: int, data: bytes) -> None:
        file.write(start + offset, data)

    return read, write


def _old_cipher(passphrase: bytes) -> SectorCipher:
    return SectorCipher("aes-128", "cbc", "plain64", "", passphrase[:16].ljust(16, b"\0"))
