"""Files of the host that go into a machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from pemu.machine.files import load_file
from pemu.options.error import OptionError


def test_firmware_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(bytes(10))
    with pytest.raises(OptionError, match="larger than 9 bytes"):
        load_file(str(path), "-bios", 9)
