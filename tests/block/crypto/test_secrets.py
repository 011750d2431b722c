"""Secrets from options and files, plain and encrypted."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from pemu.block.crypto.secrets import secret
from pemu.block.objects import add_object
from pemu.options.error import OptionError

KEY, IV = bytes(range(32)), bytes(range(16))


def given(*texts: str) -> dict[str, Any]:
    objects: dict[str, Any] = {}
    for text in texts:
        add_object(objects, text if text.startswith("{") else f"secret,{text}")
    return objects


def encrypted(data: bytes) -> str:
    padding = 16 - len(data) % 16
    encryptor = Cipher(algorithms.AES(KEY), modes.CBC(IV)).encryptor()
    packed = encryptor.update(data + bytes([padding]) * padding)
    return base64.b64encode(packed).decode()


def test_secret_is_given_in_many_ways(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"from a file")
    master = base64.b64encode(KEY).decode()
    iv = base64.b64encode(IV).decode()
    objects = given(
        "id=a,data=plain,,text",
        f"id=b,file={tmp_path / 'file'}",
        f"id=c,data={base64.b64encode(b'packed').decode()},format=base64",
        f"id=k,data={master},format=base64",
        '{"qom-type": "secret", "id": "j", "data": "by JSON"}',
        f"id=d,data={encrypted(b'sealed')},format=base64,keyid=k,iv={iv}",
    )
    values = [secret(objects, id) for id in "abcdj"]
    assert values == [b"plain,text", b"from a file", b"packed", b"sealed", b"by JSON"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data=x", "'id' is missing"),
        ("id=a", "exactly one of"),
        ("id=a,data=x,file=y", "exactly one of"),
        ("id=a,file=/none/x", "Unable to read /none/x: No such file"),
        ("id=a,data=***,format=base64", "not valid base64"),
        ("id=a,data=x,keyid=b", "No secret with id 'b'"),
        ("id=a,data=x,iv=b", "needs 'keyid'"),
    ],
)
def test_mistakes_are_named(text: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        given(text)


def test_id_is_used_once() -> None:
    with pytest.raises(OptionError, match="duplicate property 'a'"):
        given("id=a,data=x", "id=a,data=y")
