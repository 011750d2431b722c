"""The guest ABIs of user mode, as data."""

from __future__ import annotations


class Target:
    """A guest ABI: what `pemu-<name>` runs.

    `word`: bytes of a long and of a pointer; `xlen`: bits of a register.
    """

    __slots__ = (
        "abi",
        "big_endian",
        "default_cpu",
        "elf_class",
        "name",
        "uname_machine",
        "word",
        "xlen",
    )

    def __init__(self, name: str, abi: str, big_endian: bool) -> None:
        self.name = name
        self.abi = abi
        self.big_endian = big_endian
        self.word = 8 if abi == "n64" else 4
        self.xlen = 32 if abi == "o32" else 64
        self.elf_class = 2 if abi == "n64" else 1
        self.default_cpu = "24Kf" if abi == "o32" else "5KEf"
        self.uname_machine = "mips" if abi == "o32" else "mips64"


TARGETS = {
    target.name: target
    for target in (
        Target("mips", "o32", True),
        Target("mipsel", "o32", False),
        Target("mips64", "n64", True),
        Target("mips64el", "n64", False),
        Target("mipsn32", "n32", True),
        Target("mipsn32el", "n32", False),
    )
}
