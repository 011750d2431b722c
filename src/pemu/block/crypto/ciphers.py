"""Ciphers of sectors: 512 bytes each, with an initialization vector from the sector's number."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pemu.block.crypto.choices import GENERATORS, KEY_BYTES, MODES
from pemu.block.error import ImageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm, modes

SECTOR = 512

MISSING = ("cast5-128", "serpent-128", "serpent-192", "serpent-256") + (
    "twofish-128",
    "twofish-192",
    "twofish-256",
)
"""Ciphers that QEMU has besides."""

Vector = Callable[[int], bytes]


class SectorCipher:
    """Encrypts and decrypts whole sectors; for several threads.

    cipher: of KEY_BYTES. mode: of MODES. generator: of GENERATORS; its hash for 'essiv'.
    key: twice as long for 'xts'. Raises ImageError for what is not supported.
    """

    def __init__(self, cipher: str, mode: str, generator: str, hash: str, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers import algorithms

        check_cipher(cipher, mode, generator)
        wanted = key_bytes(cipher, mode)
        if len(key) != wanted:
            raise ImageError(f"a key of {cipher} in {mode} mode has {wanted} bytes, not {len(key)}")
        if mode == "xts" and key[: wanted // 2] == key[wanted // 2 :]:
            raise ImageError("the two halves of an XTS key must not be equal")
        self._algorithm: BlockCipherAlgorithm = algorithms.AES(key)
        self._mode = mode
        self._vector = _vector(generator, hash, key)

    def encrypt(self, sector: int, data: bytes | memoryview) -> bytes:
        """`data`, whole sectors from number `sector` on, encrypted."""
        return self._run(sector, data, encrypts=True)

    def decrypt(self, sector: int, data: bytes | memoryview) -> bytes:
        """What `encrypt` made `data` of."""
        return self._run(sector, data, encrypts=False)

    def _run(self, sector: int, data: bytes | memoryview, *, encrypts: bool) -> bytes:
        from cryptography.hazmat.primitives.ciphers import Cipher, modes

        def mode(number: int) -> modes.Mode:
            if self._mode == "ecb":
                return modes.ECB()
            vector = self._vector(number)
            return modes.XTS(vector) if self._mode == "xts" else modes.CBC(vector)

        pieces = []
        for at in range(0, len(data), SECTOR):
            cipher: Any = Cipher(self._algorithm, mode(sector))  # its type depends on the mode
            context = cipher.encryptor() if encrypts else cipher.decryptor()
            pieces.append(context.update(data[at : at + SECTOR]))
            sector += 1
        return b"".join(pieces)


def key_bytes(cipher: str, mode: str) -> int:
    """Bytes of a key."""
    return KEY_BYTES[cipher] * (2 if mode == "xts" else 1)


def check_cipher(cipher: str, mode: str, generator: str) -> None:
    """Raise ImageError unless there is such a cipher of sectors."""
    if cipher not in KEY_BYTES:
        if cipher in MISSING:
            raise ImageError(f"Cipher '{cipher}' is not supported yet")
        raise ImageError(
            f"Algorithm '{cipher}' is not supported; use one of {', '.join(KEY_BYTES)}"
        )
    if mode not in MODES:
        raise ImageError(f"Mode '{mode}' is not supported; use one of {', '.join(MODES)}")
    if mode == "xts" and cipher == "aes-192":
        raise ImageError("aes-192 cannot be used in xts mode; use aes-256")
    if generator not in GENERATORS:
        raise ImageError(
            f"IV generator '{generator}' is not supported; use one of {', '.join(GENERATORS)}"
        )


def digest(name: str, data: bytes) -> bytes:
    """The hash `name` of `data`. Raises ImageError where this host has no such hash."""
    try:
        return hashlib.new(name, data).digest()
    except ValueError:
        raise ImageError(f"Hash '{name}' is not supported on this host") from None


def _vector(generator: str, hash: str, key: bytes) -> Vector:
    if generator == "plain":
        return lambda number: struct.pack("<QQ", number & 0xFFFFFFFF, 0)
    if generator == "plain64":
        return lambda number: struct.pack("<QQ", number & (1 << 64) - 1, 0)
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    salt = digest(hash, key)
    if len(salt) not in KEY_BYTES.values():
        raise ImageError(f"Hash '{hash}' makes no key of AES; use sha256 for ivgen-hash-alg")
    cipher = Cipher(algorithms.AES(salt), modes.ECB())
    return lambda number: cipher.encryptor().update(struct.pack("<QQ", number, 0))
