"""The system's name and state, randomness, identity and prctl."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from pemu.linux.calls import prctl, random, system
from pemu.linux.structs.layout import Struct
from tests.linux.fakeguest import Guest, GuestError

U32 = Struct("u32", "u32 value")


def uname(guest: Guest) -> list[str]:
    place = guest.alloc(6 * 65)
    guest.call("uname", place)
    data = guest.mem.read(place, 6 * 65)
    return [data[i : i + 65].split(b"\0")[0].decode() for i in range(0, len(data), 65)]


def test_uname_names_the_guest_s_machine(guest: Guest) -> None:
    names = uname(guest)
    assert names[0] == "Linux"
    assert names[1] == socket.gethostname()
    assert names[2] == os.uname().release
    assert names[4] == ("mips" if guest.target.abi == "o32" else "mips64")


def test_release_can_be_chosen(guest: Guest) -> None:
    guest.process.options.uname = "4.19.0-test"
    assert uname(guest)[2] == "4.19.0-test"


def test_machine_is_32_bit_under_the_personality_for_that(guest: Guest) -> None:
    old = guest.call("personality", 0xFFFFFFFF)
    guest.call("personality", 8)
    try:
        assert uname(guest)[4] == "mips"
    finally:
        guest.call("personality", old)


def test_personality_bits_about_memory_are_told_but_not_the_host_s(guest: Guest) -> None:
    old = guest.call("personality", 0x0400000)
    try:
        assert guest.call("personality", 0xFFFFFFFF) == 0x0400000
        with open("/proc/self/personality") as file:
            assert int(file.read(), 16) == 0
    finally:
        guest.call("personality", old)


def test_sysinfo_counts_the_host_s_memory(guest: Guest) -> None:
    place = guest.alloc(128)
    guest.call("sysinfo", place)
    info = guest.get(system.SYSINFO, place)
    with open("/proc/meminfo") as file:
        kib = int(file.readline().split()[1])
    assert info.totalram * info.mem_unit // 1024 == pytest.approx(kib, abs=8)
    assert info.uptime > 0
    assert info.procs > 0


def test_sysfs_names_kinds_of_file_systems(guest: Guest) -> None:
    index = guest.call("sysfs", 1, b"proc", 0)
    name = guest.alloc(64)
    guest.call("sysfs", 2, index, name)
    assert guest.mem.read_cstr(name) == b"proc"
    assert guest.call("sysfs", 3, 0, 0) > index


def test_ustat_of_a_device_that_is_not_there(guest: Guest) -> None:
    with pytest.raises(GuestError) as error:
        guest.call("ustat", 0xFFFFF, guest.alloc(32))
    assert error.value.errno in (errno.EINVAL, errno.ENOSYS)


def test_reboot_is_not_permitted(guest: Guest) -> None:
    with pytest.raises(GuestError) as error:
        guest.call("reboot", 0xFEE1DEAD, 672274793, 0x89ABCDEF, 0)
    assert error.value.errno == errno.EPERM


def test_random_bytes_differ(guest: Guest) -> None:
    place = guest.alloc(64)
    assert guest.call("getrandom", place, 64, 0) == 64
    first = guest.mem.read(place, 64)
    guest.call("getrandom", place, 64, 1)
    assert guest.mem.read(place, 64) != first


def test_random_bytes_with_a_seed_are_the_same_in_every_run(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest.process.options.seed = 42
    seen = []
    for _ in range(2):
        monkeypatch.setattr(random, "_generator", None)
        place = guest.alloc(32)
        assert guest.call("getrandom", place, 16, 0) == 16
        assert guest.call("getrandom", place + 16, 16, 0) == 16
        seen.append(guest.mem.read(place, 32))
    assert seen[0] == seen[1]
    assert seen[0][:16] != seen[0][16:]


def test_process_numbers_are_the_host_s(guest: Guest) -> None:
    assert guest.call("getpid") == os.getpid()
    assert guest.call("getppid") == os.getppid()
    assert guest.call("getpgid", 0) == os.getpgid(0)
    assert guest.call("getsid", 0) == os.getsid(0)
    assert guest.call("getuid") == os.getuid()


def test_groups_are_the_host_s(guest: Guest) -> None:
    groups = os.getgroups()
    assert guest.call("getgroups", 0, 0) == len(groups)
    place = guest.alloc(4 * max(len(groups), 1))
    assert guest.call("getgroups", len(groups) + 3, place) == len(groups)
    assert [guest.mem.u32(place + 4 * i) for i in range(len(groups))] == groups
    with pytest.raises(GuestError) as error:
        guest.call("getgroups", -1, place)
    assert error.value.errno == errno.EINVAL


def test_three_user_ids_are_the_host_s(guest: Guest) -> None:
    places = [guest.out(U32) for _ in range(3)]
    guest.call("getresuid", *places)
    assert tuple(guest.get(U32, place).value for place in places) == os.getresuid()


def test_capabilities_are_the_host_s(guest: Guest) -> None:
    header = guest.alloc(8)
    guest.mem.put_u32(header, 0x20080522)
    guest.mem.put_u32(header + 4, 0)
    data = guest.alloc(24)
    guest.call("capget", header, data)
    low, high = guest.mem.u32(data), guest.mem.u32(data + 12)
    with open("/proc/self/status") as file:
        text = next(line for line in file if line.startswith("CapEff"))
    assert high << 32 | low == int(text.split()[1], 16)


def test_unknown_capability_version_is_answered_with_a_known_one(guest: Guest) -> None:
    header = guest.alloc(8)
    guest.mem.put_u32(header, 1)
    guest.mem.put_u32(header + 4, 0)
    assert guest.call("capget", header, 0) == 0
    assert guest.mem.u32(header) == 0x20080522


def test_thread_name_is_set_and_told(guest: Guest) -> None:
    old = guest.alloc(16)
    guest.call("prctl", 16, old)
    try:
        guest.call("prctl", 15, b"a name that is too long")
        place = guest.alloc(16)
        guest.call("prctl", 16, place)
        assert guest.mem.read_cstr(place) == b"a name that is "
    finally:
        guest.call("prctl", 15, old)


def test_death_signal_has_the_guest_s_number(guest: Guest) -> None:
    place = guest.out(U32)
    guest.call("prctl", 1, 18)  # SIGCHLD
    guest.call("prctl", 2, place)
    assert guest.get(U32, place).value == 18
    guest.call("prctl", 1, 0)


def test_subreaper_is_told(guest: Guest) -> None:
    place = guest.out(U32)
    guest.call("prctl", 37, place)
    assert guest.get(U32, place).value == 0


@pytest.mark.parametrize("option", [22, 59, 65, 0x53564D41, 9999])
def test_operations_that_would_bind_pemu_are_unknown(guest: Guest, option: int) -> None:
    with pytest.raises(GuestError) as error:
        guest.call("prctl", option, 1, 0, 0, 0)
    assert error.value.errno == errno.EINVAL


def test_floating_point_mode_is_told_and_switched(guest: Guest) -> None:
    guest.cpu.mode = 0
    assert guest.call("prctl", prctl.PR_GET_FP_MODE) == 0
    assert guest.call("prctl", prctl.PR_SET_FP_MODE, 0) == 0
    if guest.target.abi == "o32":
        assert guest.call("prctl", prctl.PR_SET_FP_MODE, 1) == 0
        assert guest.cpu.mode == 1
        guest.process.options.cpu = "4Kc"
        guest.cpu.mode = 0
    with pytest.raises(GuestError) as error:
        guest.call("prctl", prctl.PR_SET_FP_MODE, 1)
    assert error.value.errno == errno.EOPNOTSUPP
