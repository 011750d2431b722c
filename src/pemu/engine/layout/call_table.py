"""Layout of the table of system calls that native code makes (see `syscalls.call`).

Both who fills the table and who generates the code that reads it include this. Byte offsets;
integers are the host's.
"""

from __future__ import annotations

ENTRY = 128
"""Bytes of an entry; entries stand in order of their call's number."""

HOST_NUMBER = 0  # u16: the host's call, or one of those that generated code makes itself
COUNT = 2  # u8: arguments
FLAGS = 3  # u8
STACK_WORDS = 4  # u8: words to take from the guest's stack
RESULT = 5  # u8: what becomes of the result
RESULT_SLOT = 6  # u8, for RESULT_STORED: slot of the address
ARGUMENTS = 8
RESULT_PROGRAM = 104  # u64, for RESULT_BITS: host address of a table of bits; see CHOOSES

_INSIDE = (
    *("change_mask", "change_action", "read_clock", "map", "unmap", "protect", "break"),
    *("change_directory", "change_to_descriptor", "change_stack"),
)
FIRST_INSIDE = 0x8000
INSIDE = {name: FIRST_INSIDE + index for index, name in enumerate(_INSIDE)}
"""Numbers beside the host's for what generated code does itself, by functions `pemu_...` of the
state and the arguments: `syscalls.call`, `syscalls.signals`, `syscalls.mappings`."""

DESCRIPTORS = 1 << 16
"""File descriptors that the table of special ones covers. The byte that follows is for the current
directory: not 0 if paths that begin there may be Python's business."""

PRESENT, CHOOSES, CONVERTS, FAILURES, SUCCESSES = 1, 2, 4, 8, 16
"""Flags.

CHOOSES: the entry stands for several; the word in slot RESULT_SLOT decides. COUNT pairs of u64,
word and address of the entry, lie at the address in ARGUMENTS; in RESULT_PROGRAM that for
other words, or 0. CONVERTS: there is something to do after the call. FAILURES: the call changes
nothing, and Python makes it again to convert the result if it succeeds. SUCCESSES: Python makes it
again if it fails.
"""

RESULT_PLAIN, RESULT_BITS, RESULT_STORED = range(3)
"""RESULT_STORED: the result goes to guest memory as 64 bits, and the call's own result is 0."""

ARGUMENT = 16
KIND = 0  # u8
SLOT = 1  # u8: the register or stack word that holds the argument
OTHER = 2  # u8: the slot of the argument that says how much; NONE: SIZE does
SIZE = 4  # u32: bytes, or how many at most
PROGRAM = 8  # u64: host address of a table, or a number

NONE = 255
MOST_ARGUMENTS = 6

(
    SIGNED,
    UNSIGNED,
    WIDE,  # 64 bits in two slots: SLOT has the low half, OTHER the high one
    CONSTANT,  # PROGRAM is the argument
    DESCRIPTOR,
    NULL,  # a pointer that only Python converts
    POINTER,  # memory that the host reads as it is; SIZE or OTHER: bytes
    WRITTEN,  # memory that it writes
    PATH,
    PLAIN_PATH,  # a path that is never looked up elsewhere
    BITS,  # PROGRAM: a table of bits
    NUMBERS,  # PROGRAM: a table of numbers
    ENTERING,  # structures to convert for the call; PROGRAM: moves; OTHER or SIZE: how many
    LEAVING,  # structures to convert after the call
    BOTH,
    RESULTING,  # as LEAVING, as many as the result over DIVISOR says, at most OTHER and SIZE
    VECTORS,  # an array of `struct iovec`; OTHER: how many
    WRITTEN_VECTORS,
    MESSAGE,  # a `struct msghdr`; PROGRAM: moves, followed by those of a vector; SIZE: see below
    FILLED_MESSAGE,
    LIMITED,  # a signed number, at most SIZE
    SWAPPED,  # 32 bits in the order in which the guest's memory has them
    MILLISECONDS,  # a time limit, see `syscalls.call`
    INTERVAL,  # a pointer to one; PROGRAM: moves; SIZE: units of the second number in a second
    EXACTLY,  # a number that must be SIZE; PROGRAM is the argument
    WAITING,  # a pointer to SIZE bytes that only count while the call waits: it waits in Python;
    # PROGRAM: the index of its time limit, and TIME_POINTER if that is a pointer
    PAGES,  # the start of whole pages that are mapped and hold no code; OTHER: bytes
    ROOM,  # a pointer to SIZE bytes that the call fills for nobody
    UNITS,  # an unsigned number that counts SIZE bytes each
    ONE_OF,  # as NUMBERS, but only those in the table
    SIZED,  # a pointer to 32 bits that must be SIZE, and that the call does not change
    PATCHED,  # as WRITTEN; after the call PROGRAM, a patch, replaces a part
    REGISTER,  # what the general register SIZE holds
    FOUND,  # as LEAVING, unless the result is 0
) = range(34)

TIME_POINTER = 16

MESSAGE_NAMES = 1
"""In the SIZE of a MESSAGE: the address it names needs no conversion."""

# Moves: a header, then the fields.
GUEST_BYTES = 0  # u16
HOST_BYTES = 2  # u16
FIELDS = 4  # u16
DIVISOR = 6  # u16: what the count is to be divided by, rounded up
REFUSED = 8  # u32: bits that a field with CHECKED must not have
HEADER = 16

FIELD = 8
GUEST_AT = 0  # u16
HOST_AT = 2  # u16
GUEST_WIDTH = 4  # u8: bytes
HOST_WIDTH = 5  # u8
HOW = 6  # u8

FIELD_SIGNED, FIELD_BYTES, FIELD_ENTERS, FIELD_LEAVES, FIELD_CHECKED = 1, 2, 4, 8, 16
FIELD_ERROR, FIELD_STATUS = 32, 64
"""FIELD_BYTES: not a number: never swapped. FIELD_ENTERS, FIELD_LEAVES: which way it is moved.
FIELD_CHECKED: not with bits that REFUSED has. FIELD_ERROR: leaves as the guest's error number.
FIELD_STATUS: leaves with the guest's signal numbers, as a process's status."""

# Tables of bits: u32 known bits, u32 rows, then rows of u32 mask, u32 value, u32 result.
# Tables of numbers: u32 0, u32 rows, then rows of u32 value, u32 result.
TABLE_HEADER = 8
BITS_ROW = 12
NUMBERS_ROW = 8

# Patches: u32 offset, u32 size, then the bytes.
PATCH_HEADER = 8

SCRATCH = 6144
"""Bytes of converted structures in one call, guest's and host's; who needs more goes to Python."""

VECTORS_MAX = 64
PAGES_MAX = 1 << 26
"""Bytes whose pages native code looks through before a call about memory."""
PATH_ROOM = 1024
"""Bytes of a path that native code looks up under the prefix."""

WRITTEN_MAX = 1 << 22
"""Bytes whose pages native code looks through for translated code."""
