"""Fixtures for tests of system calls."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from pemu.linux import fdtable
from pemu.linux.target import TARGETS
from tests.linux.fakeguest import Guest


def make(name: str) -> Guest:
    made = Guest(name)
    made.target = made.process.target = TARGETS[name]
    made.process.options = SimpleNamespace(child=False, seed=None, uname="", cpu="")
    made.process.threads = {made.tid: made}
    made.thread.sigmask = 0
    made.thread.saved_mask = None
    return made


@pytest.fixture(params=TARGETS)
def guest(request: pytest.FixtureRequest) -> Iterator[Guest]:
    """A guest thread without a processor, of each target in turn."""
    made = make(request.param)
    yield made
    made.close()


@pytest.fixture(params=["mips", "mipsel"])
def o32(request: pytest.FixtureRequest) -> Iterator[Guest]:
    """A guest thread of o32, of either byte order."""
    made = make(request.param)
    yield made
    made.close()


@pytest.fixture(params=["mips", "mipsel", "mipsn32", "mipsn32el"])
def narrow(request: pytest.FixtureRequest) -> Iterator[Guest]:
    """A guest thread of an ABI with a 32-bit long."""
    made = make(request.param)
    yield made
    made.close()


@pytest.fixture(params=["mips", "mips64", "mips64el"])
def sample(request: pytest.FixtureRequest) -> Iterator[Guest]:
    """A guest thread of an ABI that differs from the host in another way each."""
    made = make(request.param)
    yield made
    made.close()


@pytest.fixture
def descriptors_closed() -> Iterator[None]:
    """Descriptors that the test leaves open are closed after it, and known no more."""
    before = set(os.listdir("/proc/self/fd"))
    yield
    for name in set(os.listdir("/proc/self/fd")) - before:
        try:
            os.close(int(name))
        except OSError:
            continue
        fdtable.forget(int(name))
