"""Sockets and network interfaces.

A `struct ifreq` is a name and a union whose member depends on the request; its size is 32 bytes
with a 32-bit word, 40 with a 64-bit one. Left out: SIOCETHTOOL, bridges, wireless.
Sources: the kernel's `asm/sockios.h`, `linux/sockios.h`, `linux/if.h`, `linux/route.h`,
`linux/if_arp.h`.
"""

from __future__ import annotations

from pemu.linux.hostcalls import HostBuffer
from pemu.linux.ioctls.request import (
    INT,
    Code,
    Request,
    changes,
    coded,
    fills,
    host_ioctl,
    host_ioctl_with,
    reads,
    same,
)
from pemu.linux.structs.layout import Struct
from pemu.linux.structs.time import TIMESPEC, TIMEVAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.linux.ioctls.request import Action
    from pemu.linux.process import Thread

SOCKADDR = Struct("sockaddr", "u16 sa_family", "char sa_data[14]")
IFMAP = Struct(
    "ifmap", "ulong mem_start", "ulong mem_end", "u16 base_addr", "uchar irq", "uchar dma",
    "uchar port",
)  # fmt: skip

IFREQ_ADDRESS = Struct("ifreq", "char ifr_name[16]", (SOCKADDR, "ifr_addr"))
IFREQ_INT = Struct("ifreq", "char ifr_name[16]", "int ifr_ivalue")
IFREQ_SHORT = Struct("ifreq", "char ifr_name[16]", "s16 ifr_flags")
IFREQ_MAP = Struct("ifreq", "char ifr_name[16]", (IFMAP, "ifr_map"))
IFREQ = IFREQ_MAP
"""The one with the largest member."""
IFREQ_NAME = Struct("ifreq", "char ifr_name[16]", "char ifr_newname[16]")
IFCONF = Struct("ifconf", "int ifc_len", "ptr ifc_buf")
RTENTRY = Struct(
    "rtentry", "ulong rt_pad1", (SOCKADDR, "rt_dst"), (SOCKADDR, "rt_gateway"),
    (SOCKADDR, "rt_genmask"), "u16 rt_flags", "s16 rt_pad2", "ulong rt_pad3", "ptr rt_pad4",
    "s16 rt_metric", "ptr rt_dev", "ulong rt_mtu", "ulong rt_window", "u16 rt_irtt",
)  # fmt: skip
ARPREQ = Struct(
    "arpreq", (SOCKADDR, "arp_pa"), (SOCKADDR, "arp_ha"), "int arp_flags",
    (SOCKADDR, "arp_netmask"), "char arp_dev[16]",
)  # fmt: skip
TIME64 = Struct("time64", "s64 seconds", "s64 fraction")
INTERFACE_LIMIT = 4096


def interface(member: Struct) -> Action:
    """A request with a `struct ifreq` of which `member` is used; the rest stays as it is."""

    def action(t: Thread, fd: int, number: int, argument: int) -> int:
        guest, host = member.of(t.mem), member.host()
        whole = t.mem.read(argument, guest.size)
        content = member.convert(whole, guest, host)
        buffer = HostBuffer(IFREQ.host().size, content)
        result = host_ioctl(t, fd, number, buffer.address)
        if result >= 0:
            out = member.convert(buffer.raw[: host.size], host, guest)
            if out != whole:
                t.mem.write(argument, out)
        return result

    return action


def list_interfaces(t: Thread, fd: int, number: int, argument: int) -> int:
    """SIOCGIFCONF: an array of names and addresses; without a buffer, how long it would be."""
    given = IFCONF.read(t.mem, argument)
    guest_size, host_size = IFREQ.size(t.mem), IFREQ.host().size
    count = min(max(given.ifc_len, 0) // guest_size, INTERFACE_LIMIT)
    inner = HostBuffer(max(count * host_size, 1))
    asked = {
        "ifc_len": count * host_size if given.ifc_buf else 0,
        "ifc_buf": inner.address if given.ifc_buf else 0,
    }
    content = IFCONF.host().pack(asked)
    buffer = HostBuffer(len(content), content)
    result = host_ioctl(t, fd, number, buffer.address)
    if result < 0:
        return result
    count = IFCONF.host().unpack(buffer.raw).ifc_len // host_size
    if given.ifc_buf:
        out = b""
        for i in range(count):
            part = inner.raw[i * host_size : (i + 1) * host_size]
            found = IFREQ_ADDRESS.host().unpack(part)
            item = IFREQ_ADDRESS.of(t.mem).pack(found.__dict__)
            out += item.ljust(guest_size, b"\0")
        t.mem.write(given.ifc_buf, out)
    IFCONF.write(t.mem, argument, ifc_len=count * guest_size, ifc_buf=given.ifc_buf)
    return result


def change_route(t: Thread, fd: int, number: int, argument: int) -> int:
    """The device's name is a pointer inside the structure."""
    fields = RTENTRY.read(t.mem, argument).__dict__
    name = HostBuffer(17)
    if fields["rt_dev"]:
        name = HostBuffer(17, t.mem.read_cstr(fields["rt_dev"], 16))
        fields["rt_dev"] = name.address
    content = RTENTRY.host().pack(fields)
    return host_ioctl_with(t, fd, number, content)


REQUESTS: tuple[Request, ...] = (
    Request("FIOGETOWN", Code("r", "f", 123, INT), 0x8903, fills(INT)),
    Request("FIOSETOWN", Code("w", "f", 124, INT), 0x8901, reads(INT)),
    Request("SIOCATMARK", Code("r", "s", 7, INT), 0x8905, fills(INT)),
    Request("SIOCSPGRP", Code("w", "s", 8, INT), 0x8902, reads(INT)),
    Request("SIOCGPGRP", Code("r", "s", 9, INT), 0x8904, fills(INT)),
    same("SIOCGSTAMP_OLD", 0x8906, fills(TIMEVAL)),
    same("SIOCGSTAMPNS_OLD", 0x8907, fills(TIMESPEC)),
    coded("SIOCGSTAMP_NEW", "r", 0x89, 6, TIME64, fills(TIME64)),
    coded("SIOCGSTAMPNS_NEW", "r", 0x89, 7, TIME64, fills(TIME64)),
    same("SIOCADDRT", 0x890B, change_route),
    same("SIOCDELRT", 0x890C, change_route),
    same("SIOCGIFNAME", 0x8910, interface(IFREQ_INT)),
    same("SIOCGIFCONF", 0x8912, list_interfaces),
    same("SIOCGIFFLAGS", 0x8913, interface(IFREQ_SHORT)),
    same("SIOCSIFFLAGS", 0x8914, interface(IFREQ_SHORT)),
    same("SIOCGIFADDR", 0x8915, interface(IFREQ_ADDRESS)),
    same("SIOCSIFADDR", 0x8916, interface(IFREQ_ADDRESS)),
    same("SIOCGIFDSTADDR", 0x8917, interface(IFREQ_ADDRESS)),
    same("SIOCSIFDSTADDR", 0x8918, interface(IFREQ_ADDRESS)),
    same("SIOCGIFBRDADDR", 0x8919, interface(IFREQ_ADDRESS)),
    same("SIOCSIFBRDADDR", 0x891A, interface(IFREQ_ADDRESS)),
    same("SIOCGIFNETMASK", 0x891B, interface(IFREQ_ADDRESS)),
    same("SIOCSIFNETMASK", 0x891C, interface(IFREQ_ADDRESS)),
    same("SIOCGIFMETRIC", 0x891D, interface(IFREQ_INT)),
    same("SIOCSIFMETRIC", 0x891E, interface(IFREQ_INT)),
    same("SIOCGIFMTU", 0x8921, interface(IFREQ_INT)),
    same("SIOCSIFMTU", 0x8922, interface(IFREQ_INT)),
    same("SIOCSIFNAME", 0x8923, interface(IFREQ_NAME)),
    same("SIOCSIFHWADDR", 0x8924, interface(IFREQ_ADDRESS)),
    same("SIOCGIFHWADDR", 0x8927, interface(IFREQ_ADDRESS)),
    same("SIOCADDMULTI", 0x8931, interface(IFREQ_ADDRESS)),
    same("SIOCDELMULTI", 0x8932, interface(IFREQ_ADDRESS)),
    same("SIOCGIFINDEX", 0x8933, interface(IFREQ_INT)),
    same("SIOCGIFTXQLEN", 0x8942, interface(IFREQ_INT)),
    same("SIOCSIFTXQLEN", 0x8943, interface(IFREQ_INT)),
    same("SIOCGIFMAP", 0x8970, interface(IFREQ_MAP)),
    same("SIOCSIFMAP", 0x8971, interface(IFREQ_MAP)),
    same("SIOCDARP", 0x8953, reads(ARPREQ)),
    same("SIOCGARP", 0x8954, changes(ARPREQ)),
    same("SIOCSARP", 0x8955, reads(ARPREQ)),
)
