"""What options of images refer to by an id: --object."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

from pemu.block.error import ImageError
from pemu.options.error import OptionError, quoted
from pemu.options.keyval import Group, Key, Select
from pemu.options.types import Enum, Id, Text

_SECRET = (
    Key("data", Text("data"), "the secret itself"),
    Key("file", Text("filename"), "file that has the secret"),
    Key("format", Enum(("raw", "base64")), "how it is written", default="raw"),
    Key("keyid", Text("id"), "secret with which it is encrypted (AES-256-CBC)"),
    Key("iv", Text("base64"), "initialization vector for that"),
)


def _secret(values: Mapping[str, Any], objects: Mapping[str, Any]) -> bytes:
    if (values["data"] is None) == (values["file"] is None):
        raise ImageError("'file' and 'data' are mutually exclusive; give one of them")
    if values["file"] is None:
        data = values["data"].encode("utf-8", "surrogateescape")
    else:
        try:
            with open(values["file"], "rb") as file:
                data = file.read()
        except OSError as error:
            raise ImageError(f"Unable to read {values['file']}: {error.strerror}") from None
    if values["keyid"] is not None:
        return _decrypted(data, values, objects)
    return _base64(data) if values["format"] == "base64" else data


def _base64(data: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(data.split()), validate=True)
    except ValueError:
        raise ImageError("Base64 data is not valid") from None


def _decrypted(data: bytes, values: Mapping[str, Any], objects: Mapping[str, Any]) -> bytes:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    key = objects.get(values["keyid"])
    if not isinstance(key, bytes):
        raise ImageError(f"No secret with id {quoted(values['keyid'])}")
    key = _base64(key) if len(key) != 32 else key
    if len(key) != 32:
        raise ImageError(f"Key should be 32 bytes in length, not {len(key)}")
    if values["iv"] is None:
        raise ImageError("IV is required to decrypt secret")
    vector = _base64(values["iv"].encode())
    if len(vector) != 16:
        raise ImageError(f"IV should be 16 bytes in length not {len(vector)}")
    if values["format"] == "base64":
        data = _base64(data)
    if len(data) % 16 or not data:
        raise ImageError("The encrypted secret is not a whole number of blocks of 16 bytes")
    decryptor = Cipher(algorithms.AES(key), modes.CBC(vector)).decryptor()
    plain = decryptor.update(data) + decryptor.finalize()
    padding = plain[-1]
    if not 1 <= padding <= 16:
        raise ImageError("Incorrect number of padding bytes found on decrypted data")
    return plain[:-padding]


KINDS: dict[str, tuple[tuple[Key, ...], Callable[[Mapping[str, Any], Mapping[str, Any]], Any]]] = {
    "secret": (_SECRET, _secret),
}
"""The keys of each kind of object, and what makes one of their values and the other objects."""

OBJECT = Group(
    "--object",
    (Key("id", Id(), "name of the object", required=True),),
    implied="qom-type",
    select=Select(
        "qom-type",
        lambda: tuple(KINDS),
        lambda kind: KINDS[kind][0] if kind in KINDS else None,
        "kind of object",
    ),
)


def add_object(objects: dict[str, Any], text: str) -> None:
    """Make what an --object option describes and note it under its id. Raises ImageError."""
    try:
        values = OBJECT.parse(text)
        if values["id"] in objects:
            raise ImageError(f"attempt to add duplicate property {quoted(values['id'])}")
        objects[values["id"]] = KINDS[values["qom-type"]][1](values, objects)
    except OptionError as error:
        raise ImageError(str(error)) from None
