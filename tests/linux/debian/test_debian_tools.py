"""Larger programs of Debian do their work, as under QEMU or as is known."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import random
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.linux.debian.sysroot import Debian, Done, good, outcome

SOURCES = Path(__file__).resolve().parents[2] / "programs" / "debian"


def good_output(done: Done) -> str:
    """The output of a program that ended well, whatever it said of its progress."""
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def text(size: int) -> bytes:
    """Bytes that can be compressed about as well as a program's source."""
    chance = random.Random(size)
    letters = "etaoinshrdlu_;(){}"
    words = ["".join(chance.choices(letters, k=chance.randrange(2, 9))) for _ in range(999)]
    lines = (" ".join(chance.choices(words, k=8)) for _ in range(size // 40))
    return "\n".join(lines).encode()[:size]


# Compression.


@pytest.mark.parametrize(
    ("line", "unpack"),
    [
        ("gzip -n -6", gzip.decompress),
        ("pigz -n -p 3 -b 128", gzip.decompress),
        ("bzip2 -9", bz2.decompress),
        ("xz -2", lzma.decompress),
        ("xz -2 -T 3 --block-size=300KiB", lzma.decompress),
        ("zstd -q -5", None),
        ("zstd -q -3 -T3", None),
    ],
)
def test_compression_and_back(
    line: str, unpack: Callable[[bytes], bytes] | None, debian: Debian
) -> None:
    content = text(2_000_000) + random.Random(1).randbytes(300_000)
    program, *words = line.split()
    packed = debian.pemu(program, *words, "-c", input=content)
    assert (packed.returncode, packed.stderr) == (0, b"")
    if unpack is not None:
        assert unpack(packed.stdout) == content
    if "-p" not in words:  # blocks of pigz end where its threads happen to be
        assert packed.stdout == debian.qemu(program, *words, "-c", input=content).stdout
    unpacked = debian.pemu(program, "-d", "-c", input=packed.stdout)
    assert (unpacked.returncode, unpacked.stderr) == (0, b"")
    assert unpacked.stdout == content


@pytest.mark.parametrize("program", ["gzip", "bzip2", "xz"])
def test_damaged_archive_is_refused(program: str, debian: Debian) -> None:
    packed = bytearray(debian.native(program, "-c", input=text(100_000)).stdout)
    packed[len(packed) // 2] ^= 0x55
    results = [
        outcome(run(program, "-d", "-t", input=bytes(packed))) for run in (debian.qemu, debian.pemu)
    ]
    assert results[0][0] != 0
    assert results[1] == results[0]


# OpenSSL.


@pytest.mark.parametrize("name", ["md5", "sha1", "sha256", "sha512", "sha3-256", "blake2b512"])
def test_openssl_digest(name: str, debian: Debian) -> None:
    content = text(300_001)
    found = good(debian.pemu("openssl", "dgst", "-r", f"-{name}", input=content)).split()[0]
    python = {"sha3-256": "sha3_256", "blake2b512": "blake2b"}.get(name, name)
    assert found == hashlib.new(python, content).hexdigest()


CIPHERS = (
    *("aes-128-cbc", "aes-256-ctr", "aes-192-ecb", "camellia-256-cbc", "chacha20"),
    *("aria-128-cfb", "des-ede3-cbc", "sm4-ofb"),
)


@pytest.mark.parametrize("name", CIPHERS)
def test_openssl_cipher_and_back(name: str, debian: Debian) -> None:
    content = text(200_003)
    words = ["enc", f"-{name}", "-K", "0123456789abcdef" * 4, "-iv", "fedcba9876543210" * 2]
    key_bytes = {"128": 16, "192": 24, "256": 32}.get(name.split("-")[1] if "-" in name else "", 0)
    key_bytes = key_bytes or {"chacha20": 32, "des-ede3-cbc": 24, "sm4-ofb": 16}[name]
    words[3] = words[3][: 2 * key_bytes]
    words[5] = words[5][:16] if name == "des-ede3-cbc" else words[5]
    if name.endswith("ecb"):
        del words[4:]
    secret = debian.pemu("openssl", *words, input=content)
    assert (secret.returncode, secret.stderr) == (0, b"")
    assert secret.stdout == debian.qemu("openssl", *words, input=content).stdout
    assert debian.pemu("openssl", *words, "-d", input=secret.stdout).stdout == content


@pytest.mark.parametrize("kind", ["RSA", "EC", "ED25519"])
def test_openssl_signs_and_verifies(kind: str, debian: Debian) -> None:
    options = {
        "RSA": ["-pkeyopt", "rsa_keygen_bits:1024"],
        "EC": ["-pkeyopt", "ec_paramgen_curve:P-256"],
        "ED25519": [],
    }[kind]
    (debian.work / "text").write_bytes(text(5000))
    made = debian.pemu("openssl", "genpkey", "-quiet", "-algorithm", kind, *options, "-out", "key")
    assert made.returncode == 0
    good(debian.pemu("openssl", "pkey", "-in", "key", "-pubout", "-out", "public"))
    words = ("-rawin", "-in", "text")
    good(debian.pemu("openssl", "pkeyutl", "-sign", "-inkey", "key", *words, "-out", "signature"))
    check = ("pkeyutl", "-verify", "-pubin", "-inkey", "public", "-sigfile", "signature", *words)
    assert "Verified Successfully" in good(debian.pemu("openssl", *check))
    with (debian.work / "text").open("ab") as file:
        file.write(b"x")
    for run in (debian.pemu, debian.qemu):
        assert "Verification Failure" in outcome(run("openssl", *check))[1]


def test_openssl_speed(debian: Debian) -> None:
    kinds = ("sha256", "aes-128-cbc", "ecdsap256")
    output = good_output(
        debian.pemu("openssl", *"speed -mr -seconds 1 -bytes 1024".split(), *kinds)
    )
    figures = re.findall(r"^\+F\d?:.*:([\d.]+)$", output, re.M)
    assert len(figures) == 3
    assert all(float(figure) > 0 for figure in figures)


# Databases, compilers, version control.


def test_sqlite_script(debian: Debian) -> None:
    script = (SOURCES / "database.sql").read_bytes()
    results = []
    for run in (debian.qemu, debian.pemu):
        debian.fresh()
        results.append(outcome(run("sqlite3", "-batch", "file.db", input=script)))
        assert (debian.work / "file.db").stat().st_size > 100_000
    assert results[0][0] == 1  # some statements fail, as they should
    assert results[1] == results[0]


@pytest.mark.parametrize(
    ("compiler", "source", "options"),
    [
        ("gcc", "program.c", ("-O2", "-g")),
        ("gcc", "program.c", ("-O0", "-static", "-pthread")),
        ("g++", "program.cc", ("-O1", "-std=c++17", "-pthread")),
    ],
)
def test_compiler_makes_a_program_that_runs(
    compiler: str, source: str, options: tuple[str, ...], debian: Debian
) -> None:
    program = debian.work / "program"
    good(debian.pemu(compiler, *options, SOURCES / source, "-o", program, "-lm"))
    results = [outcome(run(program, "7", "x y")) for run in (debian.qemu, debian.pemu)]
    assert results[0][0] == 3
    assert results[1] == results[0]


def test_compiler_reports_errors(debian: Debian) -> None:
    (debian.work / "bad.c").write_text("int main(void) { return undeclared + ; }\n")
    done = debian.pemu("gcc", "-c", "bad.c")
    assert done.returncode == 1
    assert b"bad.c:1:" in done.stderr
    assert b"undeclared" in done.stderr


def test_make_builds_in_parallel(debian: Debian) -> None:
    for number in range(4):
        (debian.work / f"f{number}.c").write_text(f"int f{number}(void) {{ return {number}; }}\n")
    (debian.work / "main.c").write_text(
        "int f0(void), f1(void), f2(void), f3(void);\n"
        "int main(void) { return f0() + f1() + f2() + f3(); }\n"
    )
    (debian.work / "Makefile").write_text(
        "OBJECTS := $(patsubst %.c,%.o,$(wildcard *.c))\n"
        "prog: lib.a main.o ; $(CC) -o $@ main.o lib.a\n"
        "lib.a: $(filter-out main.o,$(OBJECTS)) ; $(AR) rcs $@ $^\n"
    )
    assert good(debian.pemu("make", "-j", "3")).count("cc ") == 6
    assert debian.pemu(debian.work / "prog").returncode == 6
    assert "up to date" in good(debian.pemu("make", "prog"))


def test_git_repository_over_a_local_path(debian: Debian) -> None:
    def git(*words: str | Path) -> str:
        config = ("-c", "user.name=A B", "-c", "user.email=a@b", "-c", "init.defaultBranch=main")
        return good_output(debian.pemu("git", *config, *words))

    git("init", "-q", "first")
    first = debian.work / "first"
    for number in range(30):
        (first / f"file{number}").write_bytes(text(2000 + number))
    git("-C", first, "add", ".")
    git("-C", first, "commit", "-q", "-m", "one")
    (first / "file3").write_text("changed\n")
    git("-C", first, "commit", "-q", "-a", "-m", "two")
    git("-C", first, "checkout", "-q", "-b", "side", "HEAD~")
    (first / "new").write_text("new\n")
    git("-C", first, "add", "new")
    git("-C", first, "commit", "-q", "-m", "side")
    git("-C", first, "merge", "-q", "-m", "merged", "main")
    git("clone", "-q", f"file://{first}", "second")
    second = debian.work / "second"
    assert git("-C", second, "log", "--format=%s %an", "--topo-order").splitlines() == [
        "merged A B",
        "two A B",
        "side A B",
        "one A B",
    ]
    assert "changed" in git("-C", second, "show", "origin/side:file3")
    git("-C", second, "gc", "-q")
    git("-C", second, "fsck", "--full", "--strict")
    assert git("-C", second, "status", "--porcelain") == ""
    assert git("-C", first, "rev-parse", "side") == git("-C", second, "rev-parse", "HEAD")
    native = subprocess.run(["git", "-C", str(second), "fsck", "--full"], capture_output=True)
    assert native.returncode == 0
