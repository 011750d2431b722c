"""Pages of guest memory: the byte that describes each, for Python and for native code.

`AddressSpace.flags` holds one for every 4 KiB of guest addresses; 0 where nothing is mapped.
"""

from __future__ import annotations

PAGE = 4096

READ, WRITE, EXEC, CODE, TRACK, MAPPED, VOLATILE = 1, 2, 4, 8, 16, 32, 64
"""READ, WRITE, EXEC: what the guest may do. CODE: there are translations of the page. TRACK: they
are to be dropped before it is written. VOLATILE: code on the page changes so often (or changes
itself) that writes are not noticed any more; the guest's own cache instructions and calls tell when
it has changed."""

MOST_CHANGES = 32
"""Writes to a page with translated code that are noticed before it counts as VOLATILE."""

# What Python and native code share about an address space: offsets of 8-byte fields.
BUSY = 0  # not 0: Python changes mappings, or looks at them
PAGE_SIZE = 8  # the guest's, in bytes
SEARCH_END = 16  # what is free of what `map` gives out lies below
MAP_TOP = 24  # end of what `map` gives out
MAP_MINIMUM = 32  # and its beginning
LIMIT = 40  # end of what programs may map at all
BREAK_START = 48  # where the heap begins
BREAK = 56  # where it ends
SHARED_BYTES = 64
