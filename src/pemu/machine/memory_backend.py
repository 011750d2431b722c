"""Where on the host a machine's RAM is: -object memory-backend-..., -mem-path, -mem-prealloc."""

from __future__ import annotations

import os
from typing import Any

from pemu.options.error import OptionError, quoted
from pemu.options.keyval import Group, Key, Select, split
from pemu.options.types import Bool, Size, Text

_ANY = (
    Key("size", Size(), "bytes", required=True),
    Key("share", Bool(), "what the guest writes is in the file", default=False),
    Key("prealloc", Bool(), "take the memory from the host at the start", default=False),
)
_FILE = (Key("mem-path", Text(empty=False), "a file, or a directory for one", required=True),)
KINDS = {
    "memory-backend-file": (*_ANY, *_FILE),
    "memory-backend-memfd": _ANY,
    "memory-backend-ram": _ANY,
}

OBJECT = Group(
    "-object",
    (Key("id", Text(empty=False), "name of the object", required=True),),
    implied="qom-type",
    select=Select("qom-type", lambda: tuple(KINDS), KINDS.get, "kind of object"),
)


class MemoryBackend:
    """Host memory.

    path: of a file, or of a directory for a file without a name; empty for memory alone. size:
    bytes, 0 for what the machine needs. share: whether the file is to have what the guest writes.
    prealloc: whether the host is to give all of it at once.
    """

    def __init__(
        self, path: str = "", *, size: int = 0, share: bool = False, prealloc: bool = False
    ) -> None:
        self.path = path
        self.size = size
        self.share = share
        self.prealloc = prealloc

    def allocate(self, name: str, size: int) -> int:
        """A descriptor of `size` bytes, which are zeros, or what the file has. Raises OptionError.

        name: what lists of the host's open files show.
        """
        try:
            file = self._open(name, size)
            if self.prealloc and size:
                os.posix_fallocate(file, 0, size)
        except (OSError, OverflowError) as error:
            what = f"cannot set up guest memory {name} of {size} bytes"
            why = getattr(error, "strerror", None) or error
            if self.path:
                raise OptionError(f"{what} in {quoted(self.path)} ({why})") from None
            raise OptionError(f"{what} ({why}); give less with -m") from None
        return file

    def _open(self, name: str, size: int) -> int:
        if not self.path or os.path.isdir(self.path):
            return self._nameless(name, size)
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        there = os.fstat(file).st_size
        if 0 < there < size:
            os.close(file)
            raise OptionError(
                f"mem-path: {quoted(self.path)} has {there} bytes, the machine's memory {size}"
            )
        if not there:
            os.truncate(file, size)
        if self.share:
            return file
        import shutil

        copy = self._nameless(name, size)
        with os.fdopen(file, "rb") as source, os.fdopen(os.dup(copy), "wb") as target:
            shutil.copyfileobj(source, target)
        os.truncate(copy, size)
        return copy

    def _nameless(self, name: str, size: int) -> int:
        if not self.path or not os.path.isdir(self.path):
            file = os.memfd_create(f"pemu-{name}")
        else:
            import tempfile

            with tempfile.TemporaryFile(dir=self.path) as made:
                file = os.dup(made.fileno())
        try:
            os.ftruncate(file, size)
        except BaseException:
            os.close(file)
            raise
        return file


def is_memory_backend(text: str) -> bool:
    """Whether an -object option is one of these."""
    kind = "" if text.startswith("{") else dict(split(text, "qom-type")).get("qom-type")
    return (kind or "").startswith("memory-backend-")


def backends(texts: list[str]) -> dict[str, MemoryBackend]:
    """What -object options make, by their ids. Raises OptionError."""
    made: dict[str, MemoryBackend] = {}
    for text in texts:
        try:
            given: dict[str, Any] = OBJECT.parse(text)
            if given["id"] in made:
                raise OptionError(f"attempt to add duplicate property {quoted(given['id'])}")
        except OptionError as error:
            raise error.within(f"-object {text}") from None
        made[given["id"]] = MemoryBackend(
            given.get("mem-path", ""),
            size=given["size"],
            share=given["share"],
            prealloc=given["prealloc"],
        )
    return made
