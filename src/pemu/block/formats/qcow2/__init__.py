"""qcow2, QEMU's own format: versions 2 and 3 with everything that QEMU 7.2 makes of them.

| module | |
|---|---|
| `header`, `layout`, `words` | structures, sizes and tables on disk |
| `refcounts`, `metadata` | the tables in memory, and the order in which they are written |
| `mapping` | which clusters are where, and in what state |
| `reading`, `writing`, `clearing`, `compression` | contents, each a layer of the image's class |
| `snapshots`, `bitmaps` | what is kept besides, further layers |
| `image` | the whole |
| `check`, `amending` | looking for errors and repairing them; changes of what was chosen |
| `encryption` | keys and the LUKS header |
| `opening`, `creation`, `measuring` | the driver |
"""

from __future__ import annotations

from pemu.block.formats.qcow2.opening import DRIVER

__all__ = ["DRIVER"]
