"""Structures as the compilers of each ABI lay them out."""

from __future__ import annotations

from pathlib import Path

import pytest

from pemu.linux.calls import limits, messages, mqueue, system, timex
from pemu.linux.sockets.netlink import TCP_INFO
from pemu.linux.structs import ipc as ipc_structs
from pemu.linux.structs import time as time_structs
from pemu.linux.structs.byteorder import size
from pemu.linux.structs.layout import Struct
from pemu.linux.structs.sigevent import SIGEVENT
from pemu.linux.types import sockets as socket_types
from tests.linux.cross import COMPILERS, constants
from tests.linux.fakeguest import TARGETS

Case = tuple[Struct, str, dict[str, str]]

STRUCTURES: dict[str, list[Case]] = {
    "linux/time.h": [
        (time_structs.TIMESPEC, "struct timespec", {"tv_sec": "tv_sec", "tv_nsec": "tv_nsec"}),
        (time_structs.TIMEVAL, "struct timeval", {"tv_usec": "tv_usec"}),
        (time_structs.TIMEZONE, "struct timezone", {"tz_dsttime": "tz_dsttime"}),
        (time_structs.ITIMERSPEC, "struct itimerspec", {"it_value": "it_value"}),
        (time_structs.ITIMERVAL, "struct itimerval", {"it_value": "it_value"}),
        (
            time_structs.TIMESPEC64,
            "struct __kernel_timespec",
            {"tv_sec": "tv_sec", "tv_nsec": "tv_nsec"},
        ),
        (
            time_structs.ITIMERSPEC64,
            "struct __kernel_itimerspec",
            {"it_value": "it_value"},
        ),
    ],
    "linux/times.h": [(time_structs.TMS, "struct tms", {"tms_cstime": "tms_cstime"})],
    "linux/timex.h": [
        (
            timex.TIMEX64,
            "struct __kernel_timex",
            {"status": "status", "time": "time", "shift": "shift", "tai": "tai"},
        ),
        (
            timex.TIMEX,
            "struct timex",
            {"status": "status", "time": "time", "shift": "shift", "tai": "tai"},
        ),
    ],
    "linux/resource.h": [
        (
            time_structs.RUSAGE,
            "struct rusage",
            {"ru_stime": "ru_stime", "ru_maxrss": "ru_maxrss", "ru_nivcsw": "ru_nivcsw"},
        ),
        (limits.RLIMIT, "struct rlimit", {"rlim_max": "rlim_max"}),
        (limits.RLIMIT64, "struct rlimit64", {"rlim_max": "rlim_max"}),
    ],
    "linux/mqueue.h": [(mqueue.MQ_ATTR, "struct mq_attr", {"mq_curmsgs": "mq_curmsgs"})],
    "sys/socket.h": [
        (
            socket_types.MSGHDR,
            "struct msghdr",
            {name: name for name in socket_types.MSGHDR.host().names},
        ),
        (messages.MMSGHDR, "struct mmsghdr", {"msg_len": "msg_len"}),
    ],
    "linux/shm.h": [
        (ipc_structs.SHM_INFO, "struct shm_info", {"values": "shm_tot"}),
        (ipc_structs.SHMINFO, "struct shminfo64", {}),
        (ipc_structs.SHMINFO_OLD, "struct shminfo", {}),
        (ipc_structs.PERM, "struct ipc64_perm", {"mode": "mode", "seq": "seq"}),
        (ipc_structs.OLD_PERM, "struct ipc_perm", {"mode": "mode", "seq": "seq"}),
    ],
    "linux/sem.h": [(ipc_structs.SEMINFO, "struct seminfo", {})],
    "linux/msg.h": [(ipc_structs.MSGINFO, "struct msginfo", {"msgseg": "msgseg"})],
}


def evaluate(
    target: str, headers: list[str], expressions: dict[str, str], folder: Path
) -> dict[str, int]:
    """The values of constant expressions by name."""
    # Kernel headers want nothing of unistd.h, and n32 has no C library here that it would fit.
    text = "#define _GNU_SOURCE 1\n#define _UNISTD_H 1\n#include <stddef.h>\n"
    text += "".join(f"#include <{header}>\n" for header in headers)
    values = constants(target, text, list(expressions.values()), folder)
    return dict(zip(expressions, values, strict=True))


def order(target: str) -> tuple[int, str]:
    if target == "host":
        return 8, "little"
    _, big_endian, word, _ = TARGETS[target]
    return word, "big" if big_endian else "little"


@pytest.mark.parametrize("target", COMPILERS)
@pytest.mark.parametrize("header", STRUCTURES)
def test_structures_lie_as_the_compiler_puts_them(header: str, target: str, tmp_path: Path) -> None:
    if header == "sys/socket.h" and "n32" in target:
        pytest.skip("the C library for n32 is not installed")
    expressions = {}
    expected = {}
    for struct, name, fields in STRUCTURES[header]:
        layout = struct.layout(*order(target))
        expressions[name] = f"sizeof({name})"
        expected[name] = layout.size
        for field, c_field in fields.items():
            expressions[f"{name} {field}"] = f"offsetof({name}, {c_field})"
            expected[f"{name} {field}"] = layout.offsets[field]
    assert evaluate(target, [header], expressions, tmp_path) == expected


@pytest.mark.parametrize("target", COMPILERS)
@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize(
    ("kind", "header", "prefix", "fields"),
    [
        ("SHM", "shm", "shm", ("segsz", "atime", "ctime", "cpid", "nattch")),
        ("SEM", "sem", "sem", ("otime", "ctime", "nsems")),
        ("MSG", "msg", "msg", ("stime", "rtime", "ctime", "cbytes", "qbytes", "lspid")),
    ],
)
def test_ipc_structures_lie_as_the_compiler_puts_them(
    kind: str,
    header: str,
    prefix: str,
    fields: tuple[str, ...],
    new: bool,
    target: str,
    tmp_path: Path,
) -> None:
    structure: ipc_structs.Kind = getattr(ipc_structs, kind)
    if target == "host":
        if not new:
            pytest.skip("the host's older structures are not used")
        layout = structure.host
    else:
        layout = structure.guest(*order(target), new)
    if kind == "MSG" and new and "n32" in target:
        pytest.skip("what the uapi header shows n32 programs is not what their kernel entry has")
    name = f"struct {'msqid' if kind == 'MSG' else kind.lower() + 'id'}{'64' if new else ''}_ds"
    expressions = {"size": f"sizeof({name})"}
    expected = {"size": layout.size}
    for field in fields:
        expressions[field] = f"offsetof({name}, {prefix}_{field})"
        expected[field] = layout.offsets[field]
    for field in layout.names:
        # The uapi header does not show n32 programs the upper halves that their kernel entry has.
        if field.endswith("_high") and "n32" not in target:
            expressions[field] = f"offsetof({name}, {prefix}_{field})"
            expected[field] = layout.offsets[field]
    assert evaluate(target, [f"linux/{header}.h"], expressions, tmp_path) == expected


@pytest.mark.parametrize("target", COMPILERS)
def test_sigevent_and_sysinfo_lie_as_the_compiler_puts_them(target: str, tmp_path: Path) -> None:
    word, byte_order = order(target)
    event = SIGEVENT.layout(word, byte_order).offsets
    info = system.SYSINFO.layout(word, byte_order).offsets
    expected = {
        "signo": event["signo"],
        "notify": event["notify"],
        "thread": event["thread"],
        "procs": info["procs"],
        "totalhigh": info["totalhigh"],
        "mem_unit": info["mem_unit"],
    }
    expressions = {
        "signo": "offsetof(struct sigevent, sigev_signo)",
        "notify": "offsetof(struct sigevent, sigev_notify)",
        "thread": "offsetof(struct sigevent, _sigev_un._tid)",
        "procs": "offsetof(struct sysinfo, procs)",
        "totalhigh": "offsetof(struct sysinfo, totalhigh)",
        "mem_unit": "offsetof(struct sysinfo, mem_unit)",
    }
    headers = ["linux/types.h", "asm/siginfo.h", "linux/sysinfo.h"]
    assert evaluate(target, headers, expressions, tmp_path) == expected


@pytest.mark.parametrize("target", COMPILERS)
def test_records_without_words_have_the_compiler_s_sizes(target: str, tmp_path: Path) -> None:
    expressions = {
        "tcp_info": "offsetof(struct tcp_info, tcpi_snd_wnd)",
        "epoll_event": "sizeof(struct epoll_event)",
        "sembuf": "sizeof(struct sembuf)",
        "siginfo": "sizeof(struct signalfd_siginfo)",
    }
    headers = ["linux/tcp.h", "linux/eventpoll.h", "linux/sem.h", "linux/signalfd.h"]
    expected = {
        "tcp_info": size(TCP_INFO.replace("2HI", "")) - 12,
        "epoll_event": 12 if target == "host" else 16,
        "sembuf": 6,
        "siginfo": 128,
    }
    assert evaluate(target, headers, expressions, tmp_path) == expected
