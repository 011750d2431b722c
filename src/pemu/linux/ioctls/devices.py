"""Single devices: random numbers, clocks, tun, timer descriptors, name spaces.

Sources: the kernel's `linux/random.h`, `rtc.h`, `if_tun.h`, `timerfd.h`, `nsfs.h`.
"""

from __future__ import annotations

from pemu.linux.ioctls.request import (
    INT,
    LONG,
    U64,
    Request,
    coded,
    fills,
    nothing,
    reads,
    value,
)
from pemu.linux.ioctls.sockets import IFREQ_SHORT, interface
from pemu.linux.structs.layout import Struct

RTC_TIME = Struct("rtc_time", "int fields[9]")
RTC_ALARM = Struct("rtc_wkalrm", "uchar enabled", "uchar pending", (RTC_TIME, "time"))

REQUESTS: tuple[Request, ...] = (
    coded("RNDGETENTCNT", "r", "R", 0, INT, fills(INT)),
    coded("RNDADDTOENTCNT", "w", "R", 1, INT, reads(INT)),
    coded("RNDZAPENTCNT", "", "R", 4, None, nothing),
    coded("RNDCLEARPOOL", "", "R", 6, None, nothing),
    coded("RNDRESEEDCRNG", "", "R", 7, None, nothing),
    coded("RTC_AIE_ON", "", "p", 1, None, nothing),
    coded("RTC_AIE_OFF", "", "p", 2, None, nothing),
    coded("RTC_UIE_ON", "", "p", 3, None, nothing),
    coded("RTC_UIE_OFF", "", "p", 4, None, nothing),
    coded("RTC_PIE_ON", "", "p", 5, None, nothing),
    coded("RTC_PIE_OFF", "", "p", 6, None, nothing),
    coded("RTC_ALM_SET", "w", "p", 7, RTC_TIME, reads(RTC_TIME)),
    coded("RTC_ALM_READ", "r", "p", 8, RTC_TIME, fills(RTC_TIME)),
    coded("RTC_RD_TIME", "r", "p", 9, RTC_TIME, fills(RTC_TIME)),
    coded("RTC_SET_TIME", "w", "p", 10, RTC_TIME, reads(RTC_TIME)),
    coded("RTC_IRQP_READ", "r", "p", 11, LONG, fills(LONG)),
    coded("RTC_IRQP_SET", "w", "p", 12, LONG, value),
    coded("RTC_WKALM_SET", "w", "p", 15, RTC_ALARM, reads(RTC_ALARM)),
    coded("RTC_WKALM_RD", "r", "p", 16, RTC_ALARM, fills(RTC_ALARM)),
    coded("TFD_IOC_SET_TICKS", "w", "T", 0, U64, reads(U64)),
    coded("TUNSETNOCSUM", "w", "T", 200, INT, value),
    coded("TUNSETDEBUG", "w", "T", 201, INT, value),
    coded("TUNSETIFF", "w", "T", 202, INT, interface(IFREQ_SHORT)),
    coded("TUNSETPERSIST", "w", "T", 203, INT, value),
    coded("TUNSETOWNER", "w", "T", 204, INT, value),
    coded("TUNSETLINK", "w", "T", 205, INT, value),
    coded("TUNSETGROUP", "w", "T", 206, INT, value),
    coded("TUNGETFEATURES", "r", "T", 207, INT, fills(INT)),
    coded("TUNSETOFFLOAD", "w", "T", 208, INT, value),
    coded("TUNGETIFF", "r", "T", 210, INT, interface(IFREQ_SHORT)),
    coded("TUNGETSNDBUF", "r", "T", 211, INT, fills(INT)),
    coded("TUNSETSNDBUF", "w", "T", 212, INT, reads(INT)),
    coded("NS_GET_USERNS", "", 0xB7, 1, None, nothing),
    coded("NS_GET_PARENT", "", 0xB7, 2, None, nothing),
    coded("NS_GET_NSTYPE", "", 0xB7, 3, None, nothing),
    coded("NS_GET_OWNER_UID", "", 0xB7, 4, None, fills(INT)),
)
