"""Python passes tests of its own."""

from __future__ import annotations

import pytest

from tests.linux.debian.sysroot import Debian

MODULES = (
    *("test_array", "test_bz2", "test_bytes", "test_complex", "test_decimal", "test_dict"),
    *(
        "test_exceptions",
        "test_fcntl",
        "test_float",
        "test_fork1",
        "test_generators",
        "test_hashlib",
    ),
    *("test_int", "test_json", "test_long", "test_lzma", "test_math", "test_mmap", "test_os"),
    *("test_pickle", "test_poll", "test_posix", "test_pty", "test_queue", "test_random", "test_re"),
    *("test_resource", "test_select", "test_signal", "test_socket", "test_statistics"),
    *("test_struct", "test_subprocess", "test_thread", "test_threading", "test_time"),
    *("test_unicode", "test_wait4", "test_zlib"),
)

LEFT_OUT = {
    # "/" is the directory of -L where it is named, and the host's where it is listed as ".": as
    # under QEMU.
    "test_os": ["test_listdir"],
    # Processor time of the process: includes that of the thread that compiles.
    "test_time": ["test_process_time"],
}
"""Tests that cannot pass, and why."""


@pytest.mark.parametrize("module", MODULES)
def test_python_passes_its_own_test(module: str, debian: Debian) -> None:
    words = [word for name in LEFT_OUT.get(module, ()) for word in ("-i", name)]
    done = debian.pemu("python3", "-m", "test", "-W", *words, module)
    assert done.returncode == 0, (done.stdout + done.stderr).decode("utf-8", "replace")
