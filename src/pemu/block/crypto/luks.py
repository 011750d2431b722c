"""LUKS headers, version 1: which cipher, and key slots from which a passphrase gets the key.

Source: LUKS1 On-Disk Format Specification, version 1.2.3.
"""

from __future__ import annotations

import hashlib
import os
import struct
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pemu.block.crypto.choices import HASHES, SLOTS
from pemu.block.crypto.ciphers import SECTOR, SectorCipher, check_cipher, digest, key_bytes
from pemu.block.error import ImageError
from pemu.block.structure import U16, U32, Annotated, Structure

STRIPES = 4000
"""Pieces into which a key is split, so that it is lost with any of them."""

MOST_ITERATIONS = 100_000_000
"""Of deriving a key: more is taken for damage, as it would take minutes."""

_ALIGNMENT = 4096
_ACTIVE, _INACTIVE = 0x00AC71F3, 0x0000DEAD
_MAGIC = b"LUKS\xba\xbe"
_DIGEST, _SALT = 20, 32
_FEWEST_ITERATIONS = 1000

READ = Callable[[int, int], bytes]
WRITE = Callable[[int, bytes], object]


class _Header(Structure, byte_order=">"):
    magic: Annotated[bytes, 6] = _MAGIC
    version: U16 = 1
    cipher: Annotated[bytes, 32]
    mode: Annotated[bytes, 32]
    hash: Annotated[bytes, 32]
    payload: U32
    """Sectors of 512 bytes."""
    key_bytes: U32
    digest: Annotated[bytes, _DIGEST]
    salt: Annotated[bytes, _SALT]
    iterations: U32
    uuid: Annotated[bytes, 40]


class _Slot(Structure, byte_order=">"):
    active: U32
    iterations: U32
    salt: Annotated[bytes, _SALT]
    material: U32
    """Where the split key is, in sectors of 512 bytes."""
    stripes: U32


@dataclass
class Luks:
    """A header. `read(offset, length)` and `write(offset, data)` reach it, in bytes."""

    header: _Header
    slots: list[_Slot]
    cipher: str
    mode: str
    generator: str
    generator_hash: str
    hash: str
    read: READ
    write: WRITE

    @property
    def payload(self) -> int:
        """Where the contents begin, in bytes."""
        return self.header.payload * SECTOR

    @classmethod
    def parse(cls, read: READ, write: WRITE) -> Luks:
        """The header that `read` gives. Raises ImageError, OSError."""
        data = read(0, _Header.SIZE + SLOTS * _Slot.SIZE)
        header = _Header.parse(data, "the LUKS header")
        if header.magic != _MAGIC:
            raise ImageError("Volume is not in LUKS format")
        if header.version != 1:
            raise ImageError(f"LUKS version {header.version} is not supported")
        slots = [
            _Slot.parse(data, "a LUKS key slot", _Header.SIZE + i * _Slot.SIZE)
            for i in range(SLOTS)
        ]
        name, mode, hash = (_text(one) for one in (header.cipher, header.mode, header.hash))
        block, _, rest = mode.partition("-")
        generator, _, generator_hash = rest.partition(":")
        size = header.key_bytes // (2 if block == "xts" else 1)
        cipher = name if "-" in name else f"{name}-{size * 8}"
        check_cipher(cipher, block, generator or "plain")
        if key_bytes(cipher, block) != header.key_bytes:
            raise ImageError(f"LUKS header: {header.key_bytes} bytes of key do not fit {cipher}")
        if hash not in HASHES:
            raise ImageError(f"Hash '{hash}' is not supported; use one of {', '.join(HASHES)}")
        luks = cls(
            header, slots, cipher, block, generator or "plain", generator_hash, hash, read, write
        )
        luks._check()
        return luks

    @property
    def _sectors(self) -> int:
        """Sectors of a slot's key material."""
        return -(-self.header.key_bytes * STRIPES // SECTOR)

    def _check(self) -> None:
        """Raise ImageError where places or counts cannot be."""
        if not 1 <= self.header.iterations <= MOST_ITERATIONS:
            raise ImageError(f"LUKS header: {self.header.iterations} iterations of the master key")
        sectors = self._sectors
        start = -(-(_Header.SIZE + SLOTS * _Slot.SIZE) // SECTOR)
        places = []
        for i, slot in enumerate(self.slots):
            if slot.active not in (_ACTIVE, _INACTIVE):
                raise ImageError(f"Keyslot {i} state (active/disable) is corrupted")
            if slot.stripes != STRIPES:
                raise ImageError(f"Keyslot {i} is corrupted (stripes {slot.stripes} != {STRIPES})")
            if slot.active == _ACTIVE and not 1 <= slot.iterations <= MOST_ITERATIONS:
                raise ImageError(f"Keyslot {i} is corrupted ({slot.iterations} iterations)")
            if slot.material < start:
                raise ImageError(f"Keyslot {i} is overlapping the LUKS header")
            if slot.material + sectors > self.header.payload:
                raise ImageError(f"Keyslot {i} is overlapping with the encrypted payload")
            places.append(slot.material)
        places.sort()
        for one, other in zip(places, places[1:], strict=False):
            if other - one < sectors:
                raise ImageError("Keyslots are overlapping in the header")

    @classmethod
    def create(
        cls,
        options: dict[str, Any],
        passphrase: bytes,
        reserve: Callable[[int], tuple[READ, WRITE]],
    ) -> tuple[Luks, SectorCipher]:
        """Make and write a header with one key slot.

        options: values of CREATION. reserve(bytes): makes room for it. Raises ImageError, OSError.
        """
        cipher = options["cipher-alg"] or "aes-256"
        mode = options["cipher-mode"] or "xts"
        generator = options["ivgen-alg"] or "plain64"
        generator_hash = options["ivgen-hash-alg"] or "sha256"
        hash = options["hash-alg"] or "sha256"
        check_cipher(cipher, mode, generator)
        size = key_bytes(cipher, mode)
        unit = _ALIGNMENT // SECTOR
        sectors = -(-size * STRIPES // _ALIGNMENT) * unit
        said = f"{mode}-{generator}" + (f":{generator_hash}" if generator == "essiv" else "")
        header = _Header(
            cipher=cipher.partition("-")[0].encode(),
            mode=said.encode(),
            hash=hash.encode(),
            payload=unit + SLOTS * sectors,
            key_bytes=size,
            digest=b"",
            salt=os.urandom(_SALT),
            iterations=0,
            uuid=str(uuid.uuid4()).encode(),
        )
        slots = [
            _Slot(active=_INACTIVE, iterations=0, salt=b"", material=unit + i * sectors,
                  stripes=STRIPES)
            for i in range(SLOTS)
        ]  # fmt: skip
        key = os.urandom(size)
        made = SectorCipher(cipher, mode, generator, generator_hash, key)
        read, write = reserve(header.payload * SECTOR)
        luks = cls(header, slots, cipher, mode, generator, generator_hash, hash, read, write)
        milliseconds = options["iter-time"] or 2000
        header.iterations = max(_iterations(hash, _DIGEST, milliseconds) // 8, _FEWEST_ITERATIONS)
        header.digest = _derive(hash, key, header.salt, header.iterations, _DIGEST)
        luks._fill(0, key, passphrase, milliseconds)
        return luks, made

    def unlock(self, passphrase: bytes) -> SectorCipher:
        """The cipher of the contents. Raises ImageError for a wrong passphrase."""
        return self._sector_cipher(self._find_key(passphrase))

    def _find_key(self, passphrase: bytes) -> bytes:
        for slot in self.slots:
            if slot.active == _ACTIVE:
                key = self._open(slot, passphrase)
                if key is not None:
                    return key
        raise ImageError("Invalid password, cannot unlock any keyslot")

    def _sector_cipher(self, key: bytes) -> SectorCipher:
        return SectorCipher(self.cipher, self.mode, self.generator, self.generator_hash, key)

    def _open(self, slot: _Slot, passphrase: bytes) -> bytes | None:
        """The master key if `passphrase` is that of the slot."""
        size = self.header.key_bytes
        derived = _derive(self.hash, passphrase, slot.salt, slot.iterations, size)
        material = self.read(slot.material * SECTOR, self._sectors * SECTOR)
        try:
            split = self._sector_cipher(derived).decrypt(0, material)[: size * STRIPES]
        except ImageError:  # halves of an XTS key that happen to be equal
            return None
        key = _merge(self.hash, split, size)
        header = self.header
        found = _derive(self.hash, key, header.salt, header.iterations, _DIGEST)
        return key if found == header.digest else None

    def _fill(self, index: int, key: bytes, passphrase: bytes, milliseconds: int) -> None:
        """Have slot `index` give `key` for `passphrase`."""
        slot, size = self.slots[index], self.header.key_bytes
        slot.salt = os.urandom(_SALT)
        slot.iterations = max(_iterations(self.hash, size, milliseconds), _FEWEST_ITERATIONS)
        derived = _derive(self.hash, passphrase, slot.salt, slot.iterations, size)
        split = _split(self.hash, key)
        split += bytes(-len(split) % SECTOR)
        self.write(slot.material * SECTOR, self._sector_cipher(derived).encrypt(0, split))
        slot.active = _ACTIVE
        self._write_header()

    def _erase(self, index: int) -> None:
        """Make slot `index` give nothing any more."""
        slot = self.slots[index]
        slot.active, slot.iterations, slot.salt = _INACTIVE, 0, b""
        self._write_header()
        for _ in range(3):
            self.write(slot.material * SECTOR, os.urandom(self._sectors * SECTOR))

    def _write_header(self) -> None:
        self.write(0, self.header.emit() + b"".join(slot.emit() for slot in self.slots))

    def amend(
        self,
        options: dict[str, Any],
        secret: Callable[[str], bytes],
        key_secret: str,
        *,
        force: bool = False,
    ) -> None:
        """Change key slots. options: values of AMENDMENT; secret(id): a passphrase.

        key_secret: the passphrase by which the image was opened. force: slots in use may be
        overwritten, and the last one may be erased. Raises ImageError.
        """
        if options["state"] == "active":
            self._activate(options, secret, key_secret, force=force)
        elif options["state"] == "inactive":
            self._deactivate(options, secret, force=force)
        else:
            raise ImageError("Parameter 'state' is missing; write state=active or state=inactive")

    def _activate(
        self,
        options: dict[str, Any],
        secret: Callable[[str], bytes],
        key_secret: str,
        *,
        force: bool,
    ) -> None:
        if not options["new-secret"]:
            raise ImageError("'new-secret' is required to activate a keyslot")
        if options["old-secret"]:
            raise ImageError("'old-secret' must not be given when activating keyslots")
        index = options["keyslot"]
        if index is None:
            free = [i for i, slot in enumerate(self.slots) if slot.active != _ACTIVE]
            if not free:
                raise ImageError("Can't add a keyslot - all keyslots are in use")
            index = free[0]
        elif self.slots[index].active == _ACTIVE and not force:
            raise ImageError(
                f"Refusing to overwrite active keyslot {index} - please erase it first"
            )
        key = self._find_key(secret(key_secret))
        self._fill(index, key, secret(options["new-secret"]), options["iter-time"] or 2000)

    def _deactivate(
        self, options: dict[str, Any], secret: Callable[[str], bytes], *, force: bool
    ) -> None:
        if options["new-secret"]:
            raise ImageError("'new-secret' must not be given when erasing keyslots")
        if options["iter-time"]:
            raise ImageError("'iter-time' must not be given when erasing keyslots")
        active = {i for i, slot in enumerate(self.slots) if slot.active == _ACTIVE}
        index, old = options["keyslot"], options["old-secret"]
        if index is None and not old:
            raise ImageError(
                "To erase keyslot(s), either explicit keyslot index or the password currently "
                "contained in them must be given"
            )
        chosen = active if index is None else {index} & active
        if old:
            passphrase = secret(old)
            chosen = {i for i in chosen if self._open(self.slots[i], passphrase) is not None}
            if not chosen:
                raise ImageError("No keyslots match given (old) password for erase operation")
        elif not chosen:
            raise ImageError(f"Given keyslot {index} is already erased (inactive)")
        if chosen == active and not force:
            if old:
                what = (
                    "All the active keyslots match the (old) password that was given and erasing "
                )
                what += "them"
            else:
                what = f"Attempt to erase the only active keyslot {index} which"
            raise ImageError(
                f"{what} will erase all the data in the image irreversibly - refusing operation; "
                "--force allows it"
            )
        for one in sorted(chosen):
            self._erase(one)

    def details(self) -> dict[str, Any]:
        """What `info` shows."""
        slots: list[dict[str, Any]] = []
        for slot in self.slots:
            shown: dict[str, Any] = {"active": slot.active == _ACTIVE}
            if slot.active == _ACTIVE:
                shown["iters"] = slot.iterations
            shown["key-offset"] = slot.material * SECTOR
            if slot.active == _ACTIVE:
                shown["stripes"] = slot.stripes
            slots.append(shown)
        return {
            "ivgen-alg": self.generator,
            "hash-alg": self.hash,
            "cipher-alg": self.cipher,
            "uuid": _text(self.header.uuid),
            **({"ivgen-hash-alg": self.generator_hash} if self.generator == "essiv" else {}),
            "cipher-mode": self.mode,
            "slots": slots,
            "payload-offset": self.payload,
            "master-key-iters": self.header.iterations,
        }


def header_bytes(cipher: str, mode: str) -> int:
    """Bytes of a header with its key slots."""
    material = -(-key_bytes(cipher, mode) * STRIPES // _ALIGNMENT) * _ALIGNMENT
    return _ALIGNMENT + SLOTS * material


def _text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode("ascii", "replace")


def _derive(hash: str, secret: bytes, salt: bytes, iterations: int, length: int) -> bytes:
    try:
        salt = salt.ljust(_SALT, b"\0")
        return hashlib.pbkdf2_hmac(hash, secret, salt, iterations, length)
    except ValueError:
        raise ImageError(f"Hash '{hash}' is not supported on this host") from None


def _iterations(hash: str, length: int, milliseconds: int) -> int:
    """Iterations that take this host so long."""
    count = 1 << 13
    while True:
        start = time.process_time()
        _derive(hash, b"passphrase", b"salt", count, length)
        spent = time.process_time() - start
        if spent >= 0.02:
            return min(int(count * milliseconds / 1000 / spent), MOST_ITERATIONS)
        count *= 2


def _split(hash: str, key: bytes) -> bytes:
    """Anti-forensic split: all but the last stripe are random."""
    pieces, mixed = [], bytes(len(key))
    for _ in range(STRIPES - 1):
        piece = os.urandom(len(key))
        pieces.append(piece)
        mixed = _diffuse(hash, _xor(mixed, piece))
    return b"".join(pieces) + _xor(mixed, key)


def _merge(hash: str, split: bytes, size: int) -> bytes:
    """What `_split` split."""
    mixed = bytes(size)
    for at in range(0, size * (STRIPES - 1), size):
        mixed = _diffuse(hash, _xor(mixed, split[at : at + size]))
    return _xor(mixed, split[size * (STRIPES - 1) : size * STRIPES])


def _diffuse(hash: str, data: bytes) -> bytes:
    size = len(digest(hash, b""))
    pieces = []
    for number, at in enumerate(range(0, len(data), size)):
        piece = data[at : at + size]
        pieces.append(digest(hash, struct.pack(">I", number) + piece)[: len(piece)])
    return b"".join(pieces)


def _xor(one: bytes, other: bytes) -> bytes:
    mixed = int.from_bytes(one, "little") ^ int.from_bytes(other, "little")
    return mixed.to_bytes(len(one), "little")
