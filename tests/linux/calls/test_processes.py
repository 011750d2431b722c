"""Processes and threads that cannot be made."""

from __future__ import annotations

import errno
import os
from types import SimpleNamespace

import pytest

from pemu.linux import signals
from pemu.linux.calls import process
from pemu.linux.mips.signals import SIGCHLD
from tests.linux.fakeguest import Guest, fails

THREAD = process._THREAD_FLAGS
VFORK = process.CLONE_VM | process.CLONE_VFORK | SIGCHLD


def test_vfork_that_fails_leaves_no_descriptors(
    o32: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fork() -> int:
        raise OSError(errno.EAGAIN, "no more processes")

    monkeypatch.setattr(process, "fork_host", fork)
    monkeypatch.setattr(signals, "set_host_mask", lambda *_: True)
    monkeypatch.setattr(signals, "apply_mask", lambda *_: None)
    o32.process.engine.before_fork = o32.process.engine.after_fork_parent = lambda: None
    before = len(os.listdir("/proc/self/fd"))
    with fails(errno.EAGAIN):
        o32.call("clone", VFORK, 0, 0, 0, 0)
    assert len(os.listdir("/proc/self/fd")) == before


def test_thread_that_finds_no_memory_is_none(o32: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    def attach() -> None:
        raise OSError(errno.ENOMEM, "no signal stack")

    made: list[SimpleNamespace] = []

    def new_cpu() -> SimpleNamespace:
        made.append(SimpleNamespace(copy_from=lambda _: None, attach=attach))
        return made[-1]

    monkeypatch.setattr(signals, "set_host_mask", lambda *_: True)
    monkeypatch.setattr(signals, "apply_mask", lambda *_: None)
    o32.process.engine.new_cpu, o32.process.engine.remove_cpu = new_cpu, made.remove
    with fails(errno.EAGAIN):
        o32.call("clone", THREAD, 0, 0, 0, 0)
    assert not made
