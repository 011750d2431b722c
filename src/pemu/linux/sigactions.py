"""What a guest process does at each signal: a table that native code reads and changes too."""

from __future__ import annotations

import ctypes
import struct

from pemu.engine.layout.signal_table import ACTION, SIGNALS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

SIG_DFL, SIG_IGN = 0, 1

_ROW = struct.Struct("<QQ16s")


class Action:
    """What a guest has chosen for a signal: handler address (or SIG_DFL, SIG_IGN), flags, mask."""

    __slots__ = ("flags", "handler", "mask")

    def __init__(self, handler: int, flags: int, mask: int) -> None:
        self.handler = handler
        self.flags = flags
        self.mask = mask


class Actions:
    """The actions by the guest's signal number, from 1; SIG_DFL for those that nobody has set."""

    __slots__ = ("_rows", "address")

    def __init__(self) -> None:
        self._rows = (ctypes.c_char * (ACTION * SIGNALS))()
        self.address = ctypes.addressof(self._rows)

    def __getitem__(self, signo: int) -> Action:
        handler, flags, mask = _ROW.unpack_from(self._rows, ACTION * (signo - 1))
        return Action(handler, flags, int.from_bytes(mask, "little"))

    def __setitem__(self, signo: int, action: Action) -> None:
        mask = action.mask.to_bytes(16, "little")
        _ROW.pack_into(self._rows, ACTION * (signo - 1), action.handler, action.flags, mask)

    def __iter__(self) -> Iterator[int]:
        """The signals whose action is another than SIG_DFL without flags and mask."""
        default = bytes(ACTION)
        data = self._rows.raw
        for index in range(SIGNALS):
            if data[ACTION * index : ACTION * (index + 1)] != default:
                yield index + 1

    def reset(self, signo: int) -> None:
        """Forget what was chosen for a signal."""
        self[signo] = Action(SIG_DFL, 0, 0)
