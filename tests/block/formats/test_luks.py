"""LUKS images, exchanged with qemu-img and qemu-io."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from pemu.block.error import ImageError
from pemu.block.graph import Graph
from pemu.block.image import Image
from pemu.block.opening import Mode
from tests.patience import run_tool

SIZE = 1 << 20

VARIANTS: list[dict[str, str]] = [
    {},
    {"cipher-alg": "aes-128", "cipher-mode": "cbc", "ivgen-alg": "plain64", "hash-alg": "sha1"},
    {"cipher-alg": "aes-256", "cipher-mode": "cbc", "ivgen-alg": "essiv"},
    {"cipher-alg": "aes-128", "cipher-mode": "xts", "ivgen-alg": "plain", "hash-alg": "sha512"},
    {"cipher-alg": "aes-256", "cipher-mode": "ecb", "hash-alg": "sha224"},
]


def graph(**more: bytes) -> Graph:
    made = Graph()
    made.objects.update({"s0": b"first passphrase", **more})
    return made


def opened(path: Path, key: str = "s0", **more: bytes) -> Image:
    return graph(**more).open_name(str(path), format="luks", options={"key-secret": key})


def tool(name: str, *words: str) -> str:
    if not shutil.which(name):
        pytest.skip(f"{name} (package qemu-utils) is missing")
    done = run_tool([name, *words])
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def theirs(path: Path) -> list[str]:
    """Words that have a tool of QEMU open the image."""
    return [
        *("--object", "secret,id=s0,data=first passphrase"),
        *("--image-opts", f"driver=luks,key-secret=s0,file.filename={path}"),
    ]


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_qemu_reads_what_was_written(tmp_path: Path, options: dict[str, str]) -> None:
    path, data = tmp_path / "disk", random.Random(1).randbytes(SIZE)
    graph().create("luks", str(path), SIZE, {"key-secret": "s0", "iter-time": 10, **options})
    image = opened(path)
    image.write(0, data[:5000])
    image.write(5000, data[5000:])
    assert image.read(1, 9000) == data[1:9001]
    details = image.details()
    image.close()
    tool("qemu-img", "convert", "-O", "raw", *theirs(path), str(tmp_path / "raw"))
    assert (tmp_path / "raw").read_bytes() == data
    info = json.loads(tool("qemu-img", "info", "--output=json", str(path)))
    assert info["format-specific"] == {"type": "luks", "data": details}


@pytest.mark.parametrize("options", VARIANTS[:3:2], ids=str)
def test_what_qemu_wrote_is_read(tmp_path: Path, options: dict[str, str]) -> None:
    path = tmp_path / "disk"
    said = "".join(f",{key}={value}" for key, value in options.items())
    tool("qemu-img", "create", "-f", "luks", "--object", "secret,id=s0,data=first passphrase",
         "-o", f"key-secret=s0,iter-time=10{said}", str(path), str(SIZE))  # fmt: skip
    tool("qemu-io", "-c", "write -P 7 1000 3000", *theirs(path))
    image = opened(path)
    assert image.size == SIZE
    assert image.read(1000, 3000) == b"\7" * 3000
    image.close()


def made(path: Path) -> Path:
    graph().create("luks", str(path), SIZE, {"key-secret": "s0", "iter-time": 10})
    return path


def amend(path: Path, options: dict[str, Any]) -> None:
    image = opened(path, s1=b"second")
    try:
        list(image.amend(options))
    finally:
        image.close()


def test_passphrases_are_added_and_erased(tmp_path: Path) -> None:
    path = made(tmp_path / "disk")
    with pytest.raises(ImageError, match="Invalid password"):
        opened(path, "s1", s1=b"second")
    amend(path, {"state": "active", "new-secret": "s1", "iter-time": 10})
    opened(path, "s1", s1=b"second").close()
    image = opened(path, "s1", s1=b"second")
    list(image.amend({"state": "inactive", "old-secret": "s0"}))
    image.close()
    with pytest.raises(ImageError, match="Invalid password"):
        opened(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "'state' is missing"),
        ({"state": "active"}, "'new-secret' is required"),
        ({"state": "active", "new-secret": "s1", "keyslot": 0}, "overwrite active keyslot 0"),
        ({"state": "inactive"}, "either explicit keyslot index"),
        ({"state": "inactive", "keyslot": 3}, "already erased"),
        ({"state": "inactive", "keyslot": 0}, "the only active keyslot 0"),
        ({"state": "inactive", "old-secret": "s1"}, "No keyslots match given"),
        ({"state": "active", "new-secret": "s9"}, "No secret with id 's9'"),
    ],
)
def test_amendments_that_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    path = made(tmp_path / "disk")
    before = path.read_bytes()
    with pytest.raises(ImageError, match=message):
        amend(path, options)
    assert path.read_bytes() == before


def test_description_needs_no_key(tmp_path: Path) -> None:
    path = made(tmp_path / "disk")
    with pytest.raises(ImageError, match="'key-secret' is required"):
        graph().open_name(str(path), format="luks")
    image = graph().open_name(str(path), mode=Mode(readonly=True, describe=True))
    assert (image.format, image.encrypted, image.size) == ("luks", True, SIZE)
    image.close()


def test_damaged_headers_are_refused(tmp_path: Path) -> None:
    """Every byte of the header is changed: the image opens, or says what is wrong."""
    path = made(tmp_path / "disk")
    good = path.read_bytes()
    chance = random.Random(2)
    for at in range(592):
        data = bytearray(good)
        data[at] ^= chance.randrange(1, 256)
        path.write_bytes(data)
        try:
            image = graph().open_name(str(path), format="luks", mode=Mode(describe=True))
            image.close()
        except ImageError:
            pass
    path.write_bytes(good[:300])
    with pytest.raises(ImageError):
        graph().open_name(str(path), format="luks", mode=Mode(describe=True))
