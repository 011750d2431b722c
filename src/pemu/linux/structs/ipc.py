"""Structures of System V IPC: what IPC_STAT and its like exchange.

The layouts that IPC_64 selects, and the older ones without it. Source: Linux uapi `linux/ipc.h`,
`shm.h`, `sem.h`, `msg.h` and the `asm/*buf.h` of MIPS and x86.
"""

from __future__ import annotations

from pemu.linux.structs.layout import Layout, Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PERM = Struct(
    "ipc64_perm",
    "u32 key",
    "u32 uid",
    "u32 gid",
    "u32 cuid",
    "u32 cgid",
    "u32 mode",
    "u16 seq",
    "u16 pad",
    "ulong unused1",
    "ulong unused2",
)
OLD_PERM = Struct(
    "ipc_perm",
    "u32 key",
    "u32 uid",
    "u32 gid",
    "u32 cuid",
    "u32 cgid",
    "u32 mode",
    "u16 seq",
)

_SHM_START = ((PERM, "perm"), "ulong segsz", "ulong atime", "ulong dtime", "ulong ctime")
_SHM_MIDDLE = ("int cpid", "int lpid", "ulong nattch")
_SHM_64 = Struct("shmid_ds", *_SHM_START, *_SHM_MIDDLE, "ulong unused1", "ulong unused2")
_SHM_32 = Struct(
    "shmid_ds",
    *_SHM_START,
    *_SHM_MIDDLE,
    "u16 atime_high",
    "u16 dtime_high",
    "u16 ctime_high",
    "u16 unused1",
)
_SHM_OLD = Struct(
    "shmid_ds",
    (OLD_PERM, "perm"),
    "int segsz",
    "long atime",
    "long dtime",
    "long ctime",
    "int cpid",
    "int lpid",
    "u16 nattch",
    "u16 unused1",
    "ptr unused2",
    "ptr unused3",
)

_SEM_64 = Struct(
    "semid_ds",
    (PERM, "perm"),
    "ulong otime",
    "ulong ctime",
    "ulong nsems",
    "ulong unused1",
    "ulong unused2",
)
_SEM_32 = Struct(
    "semid_ds",
    (PERM, "perm"),
    "ulong otime",
    "ulong ctime",
    "ulong nsems",
    "ulong otime_high",
    "ulong ctime_high",
)
_SEM_OLD = Struct(
    "semid_ds",
    (OLD_PERM, "perm"),
    "long otime",
    "long ctime",
    "ptr base",
    "ptr pending",
    "ptr pending_last",
    "ptr undo",
    "u16 nsems",
)
_SEM_HOST = Struct(
    "semid_ds",
    (PERM, "perm"),
    "ulong otime",
    "ulong unused1",
    "ulong ctime",
    "ulong unused2",
    "ulong nsems",
    "ulong unused3",
    "ulong unused4",
)

_MSG_END = (
    *("ulong cbytes", "ulong qnum", "ulong qbytes", "int lspid", "int lrpid"),
    *("ulong unused1", "ulong unused2"),
)
_MSG_64 = Struct("msqid_ds", (PERM, "perm"), "ulong stime", "ulong rtime", "ulong ctime", *_MSG_END)
_MSG_32_LITTLE = Struct(
    "msqid_ds",
    (PERM, "perm"),
    "ulong stime",
    "ulong stime_high",
    "ulong rtime",
    "ulong rtime_high",
    "ulong ctime",
    "ulong ctime_high",
    *_MSG_END,
)
_MSG_32_BIG = Struct(
    "msqid_ds",
    (PERM, "perm"),
    "ulong stime_high",
    "ulong stime",
    "ulong rtime_high",
    "ulong rtime",
    "ulong ctime_high",
    "ulong ctime",
    *_MSG_END,
)
_MSG_OLD = Struct(
    "msqid_ds",
    (OLD_PERM, "perm"),
    "ptr first",
    "ptr last",
    "long stime",
    "long rtime",
    "long ctime",
    "ulong lcbytes",
    "ulong lqbytes",
    "u16 cbytes",
    "u16 qnum",
    "u16 qbytes",
    "int lspid",
    "int lrpid",
)

SEMINFO = Struct("seminfo", "int values[10]")
MSGINFO = Struct("msginfo", "int values[7]", "u16 msgseg")
SHMINFO = Struct("shminfo", "ulong values[9]")
SHMINFO_OLD = Struct("shminfo", "int values[5]")
SHM_INFO = Struct("shm_info", "int used_ids", "ulong values[5]")


class Kind:
    """One of the three kinds of objects: its structure on both sides."""

    __slots__ = ("_32", "_64", "_old", "host")

    def __init__(self, wide: Struct, little: Struct, big: Struct, old: Struct, host: Struct):
        self._64 = wide
        self._32 = {"little": little, "big": big}
        self._old = old
        self.host: Layout = host.host()

    def guest(self, word: int, order: str, new: bool) -> Layout:
        """The guest's layout; `new`: with IPC_64."""
        if not new:
            return self._old.layout(word, order)
        return (self._64 if word == 8 else self._32[order]).layout(word, order)

    def to_guest(self, data: bytes, layout: Layout) -> bytes:
        """What IPC_STAT gives, in `layout`."""
        values = self.host.unpack(data).__dict__
        fields: dict[str, Any] = {}
        for name in layout.names:
            if name.endswith("_high"):
                fields[name] = values[name[:-5]] >> 32
            elif name in values and not name.startswith("unused"):
                fields[name] = values[name]
        perm = values["perm"]
        fields["perm"] = {name: getattr(perm, name) for name in OLD_PERM.host().names}
        if "lcbytes" in layout.names:
            fields["lcbytes"], fields["lqbytes"] = values["cbytes"], values["qbytes"]
            for name in ("cbytes", "qnum", "qbytes"):
                fields[name] = min(values[name], 0xFFFF)
        return layout.pack(fields)

    def to_host(self, data: bytes, layout: Layout) -> bytes:
        """What IPC_SET takes: owner, mode and, for a queue, its largest size."""
        values = layout.unpack(data).__dict__
        perm = values["perm"]
        fields: dict[str, Any] = {
            "perm": {name: getattr(perm, name) for name in ("uid", "gid", "mode")}
        }
        if "qbytes" in values:
            fields["qbytes"] = values["qbytes"] or values.get("lqbytes", 0)
        return self.host.pack(fields)


SHM = Kind(_SHM_64, _SHM_32, _SHM_32, _SHM_OLD, _SHM_64)
SEM = Kind(_SEM_64, _SEM_32, _SEM_32, _SEM_OLD, _SEM_HOST)
MSG = Kind(_MSG_64, _MSG_32_LITTLE, _MSG_32_BIG, _MSG_OLD, _MSG_64)
