"""Scatter-gather lists: guest memory that a storage device fills or empties.

Where all of it is plain RAM, the worker thread that does the host's I/O reaches it directly; else
the data goes through a buffer.
"""

from __future__ import annotations

from collections.abc import Iterable

from pemu.machine.memory import AddressSpace


class GuestBuffers:
    """`length` bytes of guest memory in `pieces` of (address, length), for one transfer.

    to_guest: whether the transfer fills them. buffers: memory for `Backend.read` or `write`; when a
    transfer to the guest has been carried out, `finish` is called under the machine's lock.
    """

    def __init__(
        self,
        space: AddressSpace,
        device: object,
        pieces: Iterable[tuple[int, int]],
        *,
        to_guest: bool,
    ) -> None:
        self._space = space
        self._device = device
        self._pieces = _merged(pieces)
        self.length = sum(length for _, length in self._pieces)
        self._bounce: bytearray | None = None
        self.buffers: list[memoryview] = []
        for address, length in self._pieces:
            view = space.dma_view(address, length)
            if view is None:
                break
            self.buffers.append(view)
        else:
            return
        if to_guest:
            self._bounce = bytearray(self.length)
        else:
            parts = [space.dma_read(address, length, device) for address, length in self._pieces]
            self._bounce = bytearray(b"".join(parts))
        self.buffers = [memoryview(self._bounce)]

    def fill(self, data: bytes) -> None:
        """Put `data`, as long as the buffers, into them."""
        at = 0
        for view in self.buffers:
            view[:] = data[at : at + len(view)]
            at += len(view)
        self.finish()

    def finish(self) -> None:
        """Note that the buffers have been filled."""
        at = 0
        for address, length in self._pieces:
            if self._bounce is None:
                self._space.dma_written(address, length)
            else:
                data = bytes(self._bounce[at : at + length])
                self._space.dma_write(address, data, self._device)
            at += length


def _merged(pieces: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same memory with neighbours as one piece."""
    merged: list[tuple[int, int]] = []
    for address, length in pieces:
        if merged and sum(merged[-1]) == address:
            merged[-1] = (merged[-1][0], merged[-1][1] + length)
        else:
            merged.append((address, length))
    return merged
