"""Threads of Pemu's own and the guest's signals."""

from __future__ import annotations

import signal

from pemu.engine.host.masking import with_own_descriptors


def test_helping_thread_takes_no_signals() -> None:
    blocked: set[int] = set()
    with_own_descriptors(lambda: blocked.update(signal.pthread_sigmask(signal.SIG_BLOCK, [])))
    faults = {signal.SIGBUS, signal.SIGSEGV}
    assert blocked >= signal.valid_signals() - faults - {signal.SIGKILL, signal.SIGSTOP}
    assert not blocked & faults
