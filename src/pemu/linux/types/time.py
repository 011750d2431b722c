"""Argument types of times that the host cannot have as they are."""

from __future__ import annotations

from pemu.linux.structs.time import TIMESPEC64, host_timespec
from pemu.linux.types.pointers import StructType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.linux.abi import Abi, Decoder
    from pemu.linux.native_argument import Native
    from pemu.linux.types.base import Argument


class _Timespec64In(StructType):
    """A TIMESPEC64 that a 32-bit guest gives, or NULL: the upper half of its tv_nsec is padding."""

    __slots__ = ()

    def direct(self, abi: Abi) -> bool:
        return False

    def host(self, argument: Argument) -> Decoder:
        get = self.decode(argument)
        return lambda t, regs: host_timespec(t.mem, get(t, regs), TIMESPEC64) or 0

    def native(self, argument: Argument) -> Native | None:
        return None


InTimespec64 = _Timespec64In(TIMESPEC64, True, False)
