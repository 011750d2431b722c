"""Fixtures for tests of Linux user mode."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.linux.fakeguest import TARGETS, Guest


@pytest.fixture(params=TARGETS)
def guest(request: pytest.FixtureRequest) -> Iterator[Guest]:
    """A guest thread without a processor, of each target in turn."""
    made = Guest(request.param)
    yield made
    made.close()


@pytest.fixture
def o32() -> Iterator[Guest]:
    """A big-endian o32 guest thread without a processor."""
    made = Guest("mips")
    yield made
    made.close()
