"""Layout of the engine's context: what all guest threads of a process share, for native code.

Byte offsets of 8-byte fields from the context's start, in the order of their use.
"""

from __future__ import annotations

BLOCK_TABLE = 0  # host address of the hash table of blocks (pointers to block headers)
BLOCK_MASK = 8  # entries of that table, minus one
ARENA_NEXT = 16  # next free byte for blocks
ARENA_END = 24
LOCK = 32  # 1 while a thread inserts a block
PAGE_FLAGS = 40  # host address of the guest page flags (memory.AddressSpace)
HOT_THRESHOLD = 48  # block executions before a block is reported as hot
CODE_START = 56  # host range that all generated code lies in
CODE_END = 64
PARTS = 72  # host address of the decoders of tier 0's parts, see `tier0parts`
MAX_INSNS = 136  # instructions in a block at most (1 when single-stepping)
HOOK_COUNT = 144
HOOKS = 152  # host address of hooked guest addresses, 8 bytes each
OPTIONS = 160  # the OPTION_ bits below
HOT_RING = 168  # host address of a ring of hot block headers
HOT_HEAD = 176  # entries ever written to it
CALLS = 184  # host address of the table of native system calls, CALL_ENTRY bytes each
CALL_BASE = 192  # number of the first
CALL_COUNT = 200
ERRNO_MAP = 208  # host address of guest error numbers by host error number, 2 bytes each
MEMORY_LIMIT = 216  # size of guest memory in bytes
BLOCK_COUNT = 224  # blocks ever translated
EPOCH = 232  # code generation; grows when all code is thrown away
WARM_TABLE = 240  # host address of the table of stored regions (regionstore), 0 if not used
WARM_MASK = 248
WARM_COUNT = 256  # stored regions put to use
DESCRIPTOR_FLAGS = 264  # host address of a byte for each file descriptor, not 0 if special
COPY = 272  # host address of the process's `pemu_copy`
SYSCALL = 280  # host address of the process's `pemu_syscall`
PATH_PREFIX = 288  # host address of the directory (u64 length, bytes) where absolute paths may lie
WARM_IMAGE = 296  # host addresses of the stored regions' index,
WARM_MODULES = 304  # of the modules' table in it,
WARM_CODE = 312  # and of their code
SIGNALS = 320  # host address of what `syscalls.signals` has to know about signals
CLOCK = 328  # host address of the C library's clock_gettime, which asks no kernel
RAM_BASE = 336  # host address that translated code's addresses (CODE_AT) count from
PHYSICAL_MAP = 344  # host address of the map of guest-physical pages (tlb_table)
PHYSICAL_PAGES = 352  # pages in it
DEVICE_LOAD = 360  # host address of what makes loads that are no memory's (machinecpu)
CLOCK_OFFSET = 368  # added to the host's monotonic clock: virtual time, ns
MAPPINGS = 376  # host address of what Python and native code share about mappings (`pages`)
PAGE_TABLE = 384  # host address of the hash table by pages of code: lists of blocks in one page
SCATTERED = 392  # the list of blocks that have, or stand for, code in other pages, too
WATCHES = 400  # host address of watched ranges of guest-virtual addresses, WATCH_BYTES each
WATCH_COUNT = 408
WATCHING = 416  # 1: accesses to them leave native code (EXIT_WATCH); 0: they are let pass
ON_EXCEPTION = 424  # host address of what is told of exceptions (`runtime.report`), 0 for nothing
ON_FILL = 432  # the same for translated addresses
DEVICE_STORE = 440  # the same for stores
NATIVE_DEVICES = 448  # host address of the tables of accesses that need no Python, or 0
DEVICE_LOCK = 456  # host addresses of the semaphore that is taken for them,
LOCK_TRY = 464  # and of the C library's functions that try to take it
LOCK_POST = 472  # and give it back
FUNCTIONS = 480  # host addresses of runtime functions for compiled regions, see FUNCTION_NAMES
SIZE = 1024

FUNCTION_NAMES = (
    "pemu_tier0",
    "pemu_link",
    "pemu_dispatch",
    "pemu_leave_region",
    "pemu_native_call",
    "pemu_jump_miss",
    "pemu_raise",
    "pemu_system_call",
    "pemu_flush",
    "pemu_reserved",
)
"""Runtime functions that compiled regions and parts of tier 0 reach through the context, in order
from FUNCTIONS."""

SYSTEM_FUNCTION_NAMES = (
    *FUNCTION_NAMES,
    "pemu_poll",
    "pemu_enter_block",
    "pemu_raise_here",
    "pemu_slow_load",
    "pemu_slow_store",
    "pemu_slow_pointer",
    "pemu_region_load",
    "pemu_region_store",
    "pemu_region_pointer",
    "pemu_update_mode",
    "pemu_flush_line",
    "pemu_flush_tlb",
    "pemu_flush_page",
    "pemu_set_context",
    "pemu_clock",
    "pemu_blame",
    "pemu_exit",
)
"""The same for whole processors."""

HOT_RING_ENTRIES = 4096

WATCH_FIRST, WATCH_LAST, WATCH_KINDS = 0, 8, 16
"""Offsets in a watched range: its first and last address; bit n is set if ACCESS_ n is watched."""

WATCH_BYTES = 24

OPTION_NO_CHAIN = 1
OPTION_REPORT_BLOCKS = 2  # leave native code at each new block
OPTION_HOOK_BLOCKS = 4  # each new block begins with a hook

# A block: header, then ops. Offsets in the header.
TAG = 0  # what it is found by: guest pc, or PLACE_TAG and CODE_AT, and the translation mode
FAST_ENTRY = 8  # native entry for compiled regions; `pemu_tier0` until a region is installed
NEXT = 16  # next block with the same hash
BLOCK_PC = 24  # guest address; on a whole processor it counts from `state.CODE_BASE`
COUNTER = 32  # i32: executions left before the block is hot
GUEST_BYTES = 36  # i32: bytes of guest code, delay slot included
STATUS = 40  # i32, see below
BYTES = 44  # i32: size of the block in the arena
ENTRY = 48  # which entry of its region the block is
REGION = 56  # host address of the record of its region, if that is a stored one
CODE_AT = 64  # where its guest code lies, from RAM_BASE on; in user mode the guest address
SECOND_AT = 72  # the same for a delay slot on the page after, 0 if there is none
PAGE_NEXT = 80  # next block of the same list for dropping blocks (PAGE_TABLE, SCATTERED)
BASE = 88  # what BLOCK_PC counted from when the block was translated
HEADER = 96

VALID, STALE, COMPILED, WARM, INNER, HEATED, SINGLE, FLOATING, SPREAD = (1 << n for n in range(9))
"""Bits of STATUS. FLOATING: the block serves all guest-virtual addresses where its page appears;
the others appear at one address, which always leads to the same memory, and count from 0. SPREAD:
the stored region in its place has code in other pages, too."""

PLACE_TAG = 1
"""Bit of a floating block's tag."""

OP = 16
"""Bytes of an op: handler (8), operands (6), slot of the op in its block (1), place (1)."""

OPERANDS = 8
SLOT = 14
PLACE = 15  # instruction index in the block; bit 7: in a delay slot (of the branch at that index)

# A block's last op, when it ends in a known place: op, two chains, two addresses.
CHAIN_TAKEN, CHAIN_NEXT, PC_TAKEN, PC_NEXT = 16, 24, 32, 40
NEAR_TAKEN, NEAR_NEXT, ABSOLUTE = OPERANDS, OPERANDS + 1, OPERANDS + 2
"""Bytes in such an op, for whole processors: 1 if an address is on the block's own page; 1 if a
floating block goes to an address that is not at a fixed distance from it (`System.jump_bits`). The
addresses count from `state.CODE_BASE`, but for those."""
MISSES = CHAIN_NEXT  # where a register decides: how often it was not the block in CHAIN_TAKEN
END_BYTES = 48

MAX_BLOCK_INSNS = 64

MODE_SHIFT = 44
"""Where the translation mode stands in a block's tag, above every guest address that is used."""

MMU_SHIFT = 4
"""Where a whole processor's translation mode has the number of its way to translate addresses."""

BLOCK_TABLE_ENTRIES = 1 << 19

MACHINE_FOLD = 19
"""Whole processors: by how much a tag is shifted and combined with itself, for a place in the table
of blocks, whose number begins with bit 2."""

PAGE_TABLE_ENTRIES = 1 << 15
