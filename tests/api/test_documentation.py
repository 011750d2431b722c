"""The examples of docs/python-api.md do what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, need

TEXT = (ROOT / "docs" / "python-api.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```\n```text\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture(scope="session")
def hello(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the program that the examples are about."""
    folder = tmp_path_factory.mktemp("examples")
    found = re.search(r"```c\n(.*?)```", TEXT, re.DOTALL)
    assert found is not None
    (folder / "hello.c").write_text(found[1])
    compiler = need("mips-linux-gnu-gcc")
    subprocess.run([compiler, "-O1", "-static", "-o", "hello", "hello.c"], cwd=folder, check=True)
    return folder


@pytest.mark.parametrize("example", range(len(EXAMPLES)))
def test_example_prints_what_is_shown(hello: Path, example: int) -> None:
    code, expected = EXAMPLES[example]
    paths = [str(ROOT / "src"), *sys.path]
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=hello,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stderr == ""
    assert done.stdout == expected


def test_every_public_name_is_documented() -> None:
    import pemu

    missing = [name for name in pemu.api.__all__ if name.endswith("Error") and name not in TEXT]
    methods = [name for name in vars(pemu.Program) if not name.startswith("_")]
    assert [*missing, *(name for name in methods if name not in TEXT)] == []
