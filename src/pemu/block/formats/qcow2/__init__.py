"""qcow2, QEMU's own format: versions 2 and 3 with everything that QEMU 7.2 makes of them.

| module | |
|---|---|
| `header`, `layout`, `words` | structures, sizes and tables on disk |
| `refcounts`, `metadata` | the tables in memory, and the order in which they are written |
| `mapping` | which clusters are where, and in what state |
| `reading`, `writing`, `compression` | contents |
| `opening`, `creation` | the driver |
"""

from __future__ import annotations

from pemu.block.formats.qcow2.opening import DRIVER

__all__ = ["DRIVER"]
