"""Every declared structure lies in memory as the cross compilers lay it out."""

from __future__ import annotations

from pathlib import Path

import pytest

from pemu.linux.calls import fsinfo, stat
from pemu.linux.ioctls import block, filesystems, request, sockets, terminals
from pemu.linux.structs import files as file_structs
from pemu.linux.structs import stat as stat_structs
from pemu.linux.structs import time as time_structs
from pemu.linux.structs.layout import Layout, Struct
from pemu.linux.types import iovec
from tests.linux.cross import COMPILERS, constants
from tests.linux.fakeguest import TARGETS

KERNEL = """
#define _SYS_SOCKET_H 1
#include <stddef.h>
struct sockaddr { unsigned short sa_family; char sa_data[14]; };
#include <asm/stat.h>
#include <asm/statfs.h>
#include <linux/fcntl.h>
#include <linux/stat.h>
#include <linux/time.h>
#include <linux/times.h>
#include <linux/utime.h>
#include <linux/uio.h>
#include <linux/openat2.h>
#include <linux/mount.h>
#include <linux/fs.h>
#include <linux/fiemap.h>
#include <linux/hdreg.h>
#include <linux/blkpg.h>
#include <linux/loop.h>
#include <linux/route.h>
#include <linux/if_arp.h>
#include <linux/if.h>
#include <linux/serial.h>
#include <asm/termios.h>
"""

ALL = tuple(TARGETS)
WORD4 = ("mips", "mipsel", "mipsn32", "mipsn32el")
O32 = ("mips", "mipsel")
N64 = ("mips64", "mips64el")

# Structure, its name in C, the targets it is for, fields that C names otherwise.
DECLARED: list[tuple[Struct, str, tuple[str, ...], dict[str, str]]] = [
    (stat_structs.STAT_O32, "struct stat", O32, {}),
    (stat_structs.STAT_64, "struct stat", N64, {}),
    (stat_structs.STAT_64, "struct stat64", O32, {}),
    (stat_structs.HOST_STAT, "struct stat", ("host",), {"pad": "", "unused": ""}),
    (stat_structs.STATX, "struct statx", ALL, {"pad0": "__spare0", "spare3": "__spare3"}),
    (stat_structs.STATFS, "struct statfs", ALL, {}),
    (stat_structs.STATFS, "struct statfs64", N64, {}),
    (stat_structs.STATFS64_32, "struct statfs64", WORD4, {"pad": "__pad"}),
    (stat_structs.HOST_STATFS, "struct statfs", ("host",), {}),
    (file_structs.FLOCK_32, "struct flock", WORD4, {"l_sysid": "", "l_pid": ""}),
    (file_structs.FLOCK_64, "struct flock", N64, {}),
    (file_structs.FLOCK_64, "struct flock64", WORD4, {}),
    (file_structs.FLOCK_64, "struct flock", ("host",), {}),
    (file_structs.F_OWNER_EX, "struct f_owner_ex", ALL, {}),
    (file_structs.OPEN_HOW, "struct open_how", ALL, {}),
    (time_structs.TIMEVAL, "struct __kernel_old_timeval", N64, {}),
    (time_structs.TIMESPEC64, "struct __kernel_timespec", ALL, {}),
    (time_structs.ITIMERSPEC64, "struct __kernel_itimerspec", ALL, {}),
    (time_structs.TMS, "struct tms", ALL, {}),
    (stat.UTIMBUF, "struct utimbuf", ALL, {}),
    (iovec.IOVEC, "struct iovec", ALL, {}),
    (fsinfo.MOUNT_ATTR, "struct mount_attr", ALL, {"userns_fd": "userns_fd"}),
    (filesystems.TRIM_RANGE, "struct fstrim_range", ALL, {}),
    (filesystems.CLONE_RANGE, "struct file_clone_range", ALL, {}),
    (filesystems.DEDUPE_RANGE, "struct file_dedupe_range", ALL, {}),
    (filesystems.DEDUPE_INFO, "struct file_dedupe_range_info", ALL, {}),
    (filesystems.FSXATTR, "struct fsxattr", ALL, {}),
    (filesystems.FIEMAP, "struct fiemap", ALL, {}),
    (
        filesystems.FIEMAP_EXTENT,
        "struct fiemap_extent",
        ALL,
        {"reserved64": "fe_reserved64", "reserved": "fe_reserved"},
    ),
    (block.GEOMETRY, "struct hd_geometry", ALL, {}),
    (block.PARTITION_ARGUMENT, "struct blkpg_ioctl_arg", ALL, {}),
    (block.PARTITION, "struct blkpg_partition", ALL, {}),
    (block.LOOP_INFO, "struct loop_info64", ALL, {}),
    (block.LOOP_CONFIG, "struct loop_config", ALL, {"reserved": "__reserved"}),
    (sockets.RTENTRY, "struct rtentry", ALL, {}),
    (sockets.ARPREQ, "struct arpreq", ALL, {}),
    (sockets.IFREQ, "struct ifreq", ALL, {"ifr_name": "ifr_ifrn", "ifr_map": "ifr_ifru"}),
    (sockets.IFMAP, "struct ifmap", ALL, {}),
    (sockets.IFCONF, "struct ifconf", ALL, {"ifc_buf": "ifc_ifcu"}),
    (terminals.TERMIOS, "struct termios", ALL, {}),
    (terminals.TERMIOS2, "struct termios2", ALL, {}),
    (terminals.TERMIO, "struct termio", ALL, {}),
    (terminals.WINSIZE, "struct winsize", ALL, {}),
    (terminals.SERIAL, "struct serial_struct", ALL, {"reserved_char": "reserved_char[0]"}),
    (terminals.RS485, "struct serial_rs485", ALL, {"fields": ""}),
    (terminals.SERIAL_COUNTERS, "struct serial_icounter_struct", ALL, {"counters": "cts"}),
]


def layout(struct: Struct, target: str) -> Layout:
    if target == "host":
        return struct.host()
    _, big_endian, word, _ = TARGETS[target]
    return struct.layout(word, "big" if big_endian else "little")


@pytest.mark.parametrize("target", COMPILERS)
def test_declared_layouts_are_the_compilers(target: str, tmp_path: Path) -> None:
    expressions = []
    expected = []
    for struct, name, targets, renamed in DECLARED:
        if target not in targets:
            continue
        found = layout(struct, target)
        expressions.append(f"sizeof({name})")
        expected.append((f"sizeof({name})", found.size))
        for field, offset in found.offsets.items():
            member = renamed.get(field, field)
            if member:
                expressions.append(f"offsetof({name}, {member})")
                expected.append((f"offsetof({name}, {member})", offset))
    values = constants(target, KERNEL, expressions, tmp_path)
    assert list(zip(expressions, values, strict=True)) == expected


IOCTL_HEADERS = """
#include <stddef.h>
typedef int pid_t;
#include <asm/ioctls.h>
#include <asm/termios.h>
#include <linux/sockios.h>
#include <linux/fs.h>
#include <linux/fiemap.h>
#include <linux/blkpg.h>
#include <linux/hdreg.h>
#include <linux/loop.h>
#include <linux/kd.h>
#include <linux/vt.h>
#include <linux/random.h>
#include <linux/rtc.h>
#include <linux/if_tun.h>
#include <linux/nsfs.h>
#include <linux/serial.h>
#define TFD_IOC_SET_TICKS _IOW('T', 0, __u64)
"""


MADE_OTHERWISE = frozenset(("TCGETA", "TCSETA", "TCSETAW", "TCSETAF"))
"""Requests that the host gets in another form."""


@pytest.mark.parametrize("target", COMPILERS)
def test_ioctl_numbers_are_the_headers(target: str, tmp_path: Path) -> None:
    from pemu.linux.ioctls import modules, requests

    word = 8 if target == "host" else TARGETS[target][2]
    wanted = [
        (found.name, found.host_number() if target == "host" else number)
        for module in modules()
        for number, found in requests(module, word).items()
        if target != "host" or found.name not in MADE_OTHERWISE
    ]
    values = constants(target, IOCTL_HEADERS, [name for name, _ in wanted], tmp_path)
    assert list(zip([name for name, _ in wanted], values, strict=True)) == wanted


def test_structure_reads_back_what_was_written() -> None:
    inner = Struct("inner", "u8 a", "u64 b")
    outer = Struct("outer", "char c", (inner, "one"), (inner, "two", 2), "u16 d[3]", "char e[4]")
    for word in (4, 8):
        for order in ("big", "little"):
            found = outer.layout(word, order)
            data = found.pack(
                {
                    "c": b"x",
                    "one": {"a": 1, "b": 1 << 63},
                    "two": ({"a": 2, "b": 3}, {"a": 255, "b": 4}),
                    "d": (1, 2, 0x1FFFF),
                    "e": b"ab",
                }
            )
            record = found.unpack(data)
            assert (record.one.b, record.two[1].a, record.d, record.e) == (
                1 << 63,
                255,
                (1, 2, 0xFFFF),
                b"ab\0\0",
            )


def test_unknown_field_is_an_error() -> None:
    with pytest.raises(KeyError, match="tv_foo"):
        request.INT.host().pack({"tv_foo": 1})
