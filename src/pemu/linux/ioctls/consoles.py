"""Virtual consoles and their keyboards; sources: the kernel's `linux/kd.h`, `linux/vt.h`."""

from __future__ import annotations

from pemu.linux.ioctls.request import CHAR, INT, Request, fills, nothing, reads, same, value
from pemu.linux.structs.layout import Struct

VT_STAT = Struct("vt_stat", "ushort v_active", "ushort v_signal", "ushort v_state")
VT_SIZES = Struct("vt_sizes", "ushort v_rows", "ushort v_cols", "ushort v_scrollsize")

REQUESTS: tuple[Request, ...] = (
    same("KIOCSOUND", 0x4B2F, value),
    same("KDMKTONE", 0x4B30, value),
    same("KDGETLED", 0x4B31, fills(CHAR)),
    same("KDSETLED", 0x4B32, value),
    same("KDGKBTYPE", 0x4B33, fills(CHAR)),
    same("KDSETMODE", 0x4B3A, value),
    same("KDGETMODE", 0x4B3B, fills(INT)),
    same("KDGKBMODE", 0x4B44, fills(INT)),
    same("KDSKBMODE", 0x4B45, value),
    same("KDGKBMETA", 0x4B62, fills(INT)),
    same("KDSKBMETA", 0x4B63, value),
    same("KDGKBLED", 0x4B64, fills(CHAR)),
    same("KDSKBLED", 0x4B65, value),
    same("VT_OPENQRY", 0x5600, fills(INT)),
    same("VT_GETSTATE", 0x5603, fills(VT_STAT)),
    same("VT_RELDISP", 0x5605, value),
    same("VT_ACTIVATE", 0x5606, value),
    same("VT_WAITACTIVE", 0x5607, value),
    same("VT_DISALLOCATE", 0x5608, value),
    same("VT_RESIZE", 0x5609, reads(VT_SIZES)),
    same("VT_LOCKSWITCH", 0x560B, nothing),
    same("VT_UNLOCKSWITCH", 0x560C, nothing),
)
