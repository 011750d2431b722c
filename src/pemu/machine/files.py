"""Files of the host that go into a machine: firmware, kernels, contents of ROMs."""

from __future__ import annotations

from pemu.options.error import OptionError, quoted


def load_file(path: str, what: str, limit: int) -> bytes:
    """The contents of a user's file of at most `limit` bytes. Raises OptionError.

    what: how the message calls it, such as '-bios'.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise OptionError(f"{what}: {quoted(path)} cannot be read ({error.strerror})") from None
    if len(data) > limit:
        raise OptionError(f"{what}: {quoted(path)} is larger than {limit} bytes, the room for it")
    return data
