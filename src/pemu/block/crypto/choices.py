"""What can be chosen of encryption: the keys of `-o`, and what they may be."""

from __future__ import annotations

from pemu.options.keyval import Key
from pemu.options.types import Enum, Int, Text

KEY_BYTES = {"aes-128": 16, "aes-192": 24, "aes-256": 32}
"""Ciphers, and the bytes of their keys."""

MODES = ("ecb", "cbc", "xts")
GENERATORS = ("plain", "plain64", "essiv")
"""What the initialization vector is: the number in 32 or in 64 bits, or that encrypted."""

HASHES = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512", "ripemd160")

SLOTS = 8
"""Key slots of a LUKS header."""

CREATION = (
    Key("key-secret", Text(), "ID of the secret that provides the keyslot passphrase"),
    Key("cipher-alg", Enum(tuple(KEY_BYTES)), "Name of encryption cipher algorithm"),
    Key("cipher-mode", Enum(MODES), "Name of encryption cipher mode"),
    Key("ivgen-alg", Enum(GENERATORS), "Name of IV generator algorithm"),
    Key("ivgen-hash-alg", Enum(HASHES), "Name of IV generator hash algorithm"),
    Key("hash-alg", Enum(HASHES), "Name of encryption hash algorithm"),
    Key("iter-time", Int(maximum=1 << 32), "Time to spend in PBKDF in milliseconds"),
)
"""Keys of `-o` of a format with a LUKS header."""

AMENDMENT = (
    Key(
        "state",
        Enum(("active", "inactive")),
        "Select new state of affected keyslots (active/inactive)",
    ),
    Key("new-secret", Text(), "New secret to set in the matching keyslots. Empty string to erase"),
    Key("old-secret", Text(), "Select all keyslots that match this password"),
    Key("keyslot", Int(maximum=SLOTS - 1), "Select a single keyslot to modify explicitly"),
    Key("iter-time", Int(maximum=1 << 32), "Time to spend in PBKDF in milliseconds"),
)
"""Keys of `amend -o`."""
