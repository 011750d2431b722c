"""Forks of a process with several threads."""

from __future__ import annotations

import importlib
import os
import signal
import threading
from pathlib import Path

import pytest

from pemu.engine.host.forking import fork
from tests.patience import LONG

MODULE = """
import sys
sys.begun.set()
sys.let_go.wait()
"""


def test_child_imports_what_another_thread_was_importing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, let_go = threading.Event(), threading.Event()
    monkeypatch.setattr("sys.begun", begun, raising=False)
    monkeypatch.setattr("sys.let_go", let_go, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "slowly_imported.py").write_text(MODULE)
    importing = threading.Thread(target=importlib.import_module, args=["slowly_imported"])
    importing.start()
    assert begun.wait(LONG)
    threading.Timer(0.3, let_go.set).start()
    pid = fork()
    if not pid:
        signal.alarm(int(LONG))
        importlib.import_module("slowly_imported")
        os._exit(7)
    importing.join(LONG)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
