"""An open qcow2 image."""

from __future__ import annotations

from pemu.block.formats.qcow2.reading import Qcow2Reading


class Qcow2(Qcow2Reading):
    """A qcow2 image with all that it can do."""
