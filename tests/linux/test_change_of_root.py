"""After a change of the root directory Pemu's own files are out of reach: nothing may need them."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

import pemu
from pemu.linux.calls.dirs import LATE, own_modules
from tests.conftest import Run, need
from tests.linux.test_call_programs import COMPILERS, compile_program

SOURCE = Path(__file__).resolve().parent.parent / "programs" / "root" / "change_root.c"


@pytest.mark.parametrize("target", COMPILERS)
def test_program_changes_root_and_namespaces(target: str, pemu: Run, tmp_path: Path) -> None:
    compile_program(need("gcc"), SOURCE, tmp_path / "native", "-static")
    compile_program(COMPILERS[target], SOURCE, tmp_path / "guest", "-static")
    for place in ("native-root", "guest-root"):
        (tmp_path / place).mkdir()
    native = subprocess.run(
        [tmp_path / "native", tmp_path / "native-root"],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    guest = pemu(target, tmp_path / "guest", tmp_path / "guest-root", timeout=600)
    assert guest.stdout.splitlines() == native.stdout.splitlines()
    assert guest.stderr == ""
    assert guest.returncode == 0


def late_imports(paths: Iterable[str]) -> set[str]:
    """What some of Pemu's modules import within functions."""
    late: set[str] = set()
    for path in paths:
        text = Path(pemu.__path__[0], path).read_text()
        for function in ast.walk(ast.parse(text)):
            if isinstance(function, ast.FunctionDef):
                for node in ast.walk(function):
                    if isinstance(node, ast.Import):
                        late.update(name.name for name in node.names)
                    elif isinstance(node, ast.ImportFrom) and node.module:
                        late.add(node.module)
    return late


def test_modules_imported_late_are_listed() -> None:
    late = {name.partition(".")[0] for name in late_imports(own_modules())}
    # `start` has what every run of a guest has imported before its first instruction.
    start = "import sys, pemu.cli.user, pemu.linux.main; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {start}"],
        capture_output=True,
        text=True,
        check=True,
    )
    missing = late - set(run.stdout.split()) - {"pemu", "importlib", *LATE}
    assert not missing, "to be added to LATE in pemu.linux.calls.dirs"
