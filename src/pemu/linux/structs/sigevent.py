"""`struct sigevent`: how a timer or a message queue tells the guest."""

from __future__ import annotations

import struct

from pemu.linux.mips.signals import guest_to_host_signal
from pemu.linux.structs.layout import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.linux.process import Thread

SIGEV_SIGNAL, SIGEV_NONE, SIGEV_THREAD, SIGEV_THREAD_ID = 0, 1, 2, 4

SIGEVENT = Struct("sigevent", "ulong value", "int signo", "int notify", "int thread")
_HOST = struct.Struct("<Qiii44x")


def host_sigevent(t: Thread, address: int) -> bytes:
    """The guest's sigevent at `address` as the host has it.

    The value passes as the number that it is in the guest, whether int or pointer: a handler's
    siginfo gets the same bytes back.
    """
    event = SIGEVENT.read(t.mem, address)
    signal = event.signo
    if event.notify & ~SIGEV_THREAD_ID == SIGEV_SIGNAL:
        signal = guest_to_host_signal(signal)
    return _HOST.pack(event.value, signal, event.notify, event.thread)
