"""Fixtures of tests with whole boards."""

from __future__ import annotations

import pytest


@pytest.fixture
def linux_boots(jit: str) -> None:
    """Skips tests that boot Linux where all that it runs would be compiled first."""
    if jit == "tier1":
        pytest.skip("with --jit tier1 it takes many minutes until Linux is up")
