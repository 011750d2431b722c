"""Secrets, as `-object secret` and `--object secret` give them."""

from __future__ import annotations

import base64

from pemu.block.error import ImageError
from pemu.options.keyval import Key
from pemu.options.types import Enum, Text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

LONGEST = 1 << 20
"""Bytes of a file with a secret: more is a mistake."""

KEYS = (
    Key("data", Text("data"), "the secret itself"),
    Key("file", Text("filename", empty=False), "file that has the secret"),
    Key("format", Enum(("raw", "base64")), "how it is written", default="raw"),
    Key("keyid", Text("id", empty=False), "secret with which it is encrypted (AES-256-CBC)"),
    Key("iv", Text("base64", empty=False), "initialization vector for that"),
)
"""The keys of a secret."""


def secret(objects: Mapping[str, Any], id: str) -> bytes:
    """The secret called `id`. Raises ImageError."""
    found = objects.get(id)
    if not isinstance(found, bytes):
        raise ImageError(f"No secret with id '{id}'; give --object secret,id={id},file=...")
    return found


def make_secret(given: Mapping[str, Any], objects: Mapping[str, Any]) -> bytes:
    """The secret that values of KEYS describe, among other objects. Raises ImageError."""
    if (given["data"] is None) == (given["file"] is None):
        raise ImageError("secret: exactly one of 'data' and 'file' must be given")
    data = (
        _file(given["file"]) if given["file"] else given["data"].encode("utf-8", "surrogateescape")
    )
    if given["keyid"]:
        return _decrypted(objects, given, data)
    if given["iv"]:
        raise ImageError("secret: 'iv' needs 'keyid', the secret that encrypts this one")
    return _unpacked(data, "data") if given["format"] == "base64" else data


def _file(name: str) -> bytes:
    try:
        with open(name, "rb") as file:
            data = file.read(LONGEST + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ImageError(f"Unable to read {name}: {reason}") from None
    if len(data) > LONGEST:
        raise ImageError(f"Unable to read {name}: a secret has at most {LONGEST} bytes")
    return data


def _unpacked(text: bytes | str, what: str) -> bytes:
    try:
        words = "".join((text if isinstance(text, str) else text.decode("ascii")).split())
        return base64.b64decode(words, validate=True)
    except ValueError:
        raise ImageError(f"secret: '{what}' is not valid base64") from None


def _decrypted(objects: Mapping[str, Any], given: Mapping[str, Any], data: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    key = secret(objects, given["keyid"])
    key = _unpacked(key, given["keyid"]) if len(key) != 32 else key
    iv = _unpacked(given["iv"] or "", "iv")
    packed = _unpacked(data, "data") if given["format"] == "base64" else data
    if len(key) != 32:
        raise ImageError(f"Key should be 32 bytes in length, and is {len(key)}")
    if len(iv) != 16:
        raise ImageError(f"IV should be 16 bytes in length instead of {len(iv)}")
    if not packed or len(packed) % 16:
        raise ImageError("secret: what is encrypted must be whole blocks of 16 bytes")
    plain = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor().update(packed)
    padding = plain[-1]
    if not 1 <= padding <= 16 or plain[-padding:] != bytes([padding]) * padding:
        raise ImageError(f"secret: it cannot be decrypted with '{given['keyid']}'")
    return plain[:-padding]


OBJECTS = {"secret": (KEYS, make_secret)}
