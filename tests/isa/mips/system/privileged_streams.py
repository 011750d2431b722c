"""Random privileged programs that log what they see, to be run on two processors.

A program is a sequence of operations in a mapped page of the user segment, so that it goes on in
every mode. All exceptions are logged (vector, EPC, Cause, BadVAddr, Context, EntryHi, Status, and
XContext), and the instruction that raised one is skipped. `syscall` brings kernel mode back.

Registers: k1 points to the log, k0 and t8 are the handler's, t9 and v0 hold operands;
s0 to s7 are what programs calculate with.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from pemu.isa.mips.cp0.models import Control
from tests.isa.mips.system import words as w

LOG, LOG_BYTES = 0x100000, 0x100000
FRAMES, FRAME_COUNT = 0x400000, 64
CODE_VIRTUAL, CODE_PHYSICAL, CODE_MASK = 0x00400000, 0x600000, 0x7E000
BEV, EXL, KX_SX_UX, SUPERVISOR, USER, CU0 = 1 << 22, 2, 0xE0, 0x08, 0x10, 1 << 28

V0, T8, T9, K0, K1, S0 = 2, 24, 25, 26, 27, 16

VECTORS = (0x000, 0x080, 0x100, 0x180, 0x200)
_HANDLER = 0x1000
"""Where the handler's common part is, from the start of memory and of the ROM."""

_LOGGED = (w.EPC, w.CAUSE, w.BADVADDR, w.CONTEXT, w.ENTRYHI, w.STATUS)

_STORED = (
    *(w.INDEX, w.ENTRYLO0, w.ENTRYLO1, w.CONTEXT, w.PAGEMASK, w.WIRED, w.BADVADDR, w.ENTRYHI),
    *(w.STATUS, w.CAUSE, w.EPC, w.PRID, w.CONFIG, w.ERROREPC),
)


class Stream:
    """Makes one program for a processor."""

    def __init__(self, seed: int, control: Control) -> None:
        self.random = random.Random(seed)
        self.bits = control.model.bits
        self.entries = control.tlb
        self.debug_unit = "mips32" in control.model.features
        self.virtual_bits = control.virtual_bits
        self.modes = [bits for bits in (SUPERVISOR, USER) if bits & control.status_mask]
        self.words: list[int] = []
        self.boot = 0

    # Pieces.

    def move_to(self, rt: int, rd: int, sel: int = 0) -> int:
        return (w.dmtc0 if self.bits == 64 else w.mtc0)(rt, rd, sel)

    def move_from(self, rt: int, rd: int, sel: int = 0) -> int:
        return (w.dmfc0 if self.bits == 64 else w.mfc0)(rt, rd, sel)

    def save(self, rt: int) -> list[int]:
        """Append a register to the log."""
        size = self.bits // 8
        store = 0xFC000000 if self.bits == 64 else 0xAC000000
        return [store | K1 << 21 | rt << 16, w.addiu(K1, K1, size)]

    def constant(self, rt: int, value: int) -> list[int]:
        """Load a constant of as many bits as a register has."""
        if self.bits == 32:
            return w.li(rt, value)
        parts = [value >> shift & 0xFFFF for shift in (48, 32, 16, 0)]
        shift = 0x00000038 | rt << 16 | rt << 11 | 16 << 6  # dsll
        return [
            w.lui(rt, parts[0]),
            w.ori(rt, rt, parts[1]),
            shift,
            w.ori(rt, rt, parts[2]),
            shift,
            w.ori(rt, rt, parts[3]),
        ]

    # Addresses: each TLB entry has a range of its own in three segments, so none overlap.

    def range_of(self, entry: int) -> int:
        """A random one of the addresses where an entry's range begins."""
        starts = [0x20000000, 0xC0000000]
        if self.bits == 64:
            starts = [0x20000000, 0xFFFFFFFFC0000000]
            starts += [1 << 40 - 4, 0x4000000000000000, 0xC000000000000000]
        return self.random.choice(starts) + (entry << 23)

    def address(self) -> int:
        """An address to access: mostly in a range of an entry."""
        pick = self.random.random()
        offset = self.random.randrange(0, 1 << 23) & ~7
        if pick < 0.7:
            return self.range_of(self.random.randrange(self.entries)) + (offset & 0xFFFFF)
        if pick < 0.8:
            return self.unmapped() + FRAMES + (offset & 0x3FFF8)
        if pick < 0.9 or self.bits == 32:
            return self.unmapped() + FRAMES + (offset & 0x3FFF8) + self.random.randrange(4)
        return self.random.choice(
            (
                1 << self.virtual_bits,
                (1 << self.virtual_bits) - 8,
                0x4000000000000000 | 1 << self.virtual_bits,
                0xC000000000000000 | 1 << self.virtual_bits,
                0x9000001000000000,
                0xFFFFFFFF7FFFFFF8,
                0x0000000080000000,
                0xFFFFFFFE00000000 | offset,
            )
        )

    def unmapped(self) -> int:
        """The start of a random unmapped segment."""
        if self.bits == 32:
            return self.random.choice((0x80000000, 0xA0000000))
        return self.random.choice(
            (0xFFFFFFFF80000000, 0xFFFFFFFFA0000000, 0x9000000000000000, 0x9800000000000000)
        )

    # Operations.

    def write_entry(self) -> list[int]:
        r = self.random
        entry = r.randrange(1, self.entries)
        mask = r.choice((0, 0, 0, 0x6000, 0x1E000, 0x7E000))
        start = self.range_of(entry) + (r.randrange(8) << 13)
        low = [
            (FRAMES >> 6) + (r.randrange(FRAME_COUNT) << 6) | r.randrange(8) << 3 | r.randrange(8)
            for _ in range(2)
        ]
        if r.random() < 0.5:
            low = [value | 1 for value in low]
        words = []
        for register, value in (
            (w.PAGEMASK, mask),
            (w.ENTRYHI, start & ~0x1FFF | r.randrange(4)),
            (w.ENTRYLO0, low[0]),
            (w.ENTRYLO1, low[1]),
            (w.INDEX, entry),
        ):
            words += [*self.constant(T9, value), self.move_to(T9, register)]
        return [*words, w.TLBWI]

    def set_asid(self) -> list[int]:
        value = self.range_of(self.random.randrange(self.entries)) & ~0x1FFF
        value |= self.random.randrange(4)
        return [*self.constant(T9, value), self.move_to(T9, w.ENTRYHI)]

    def probe(self) -> list[int]:
        words = [*self.set_asid(), w.TLBP, self.move_from(V0, w.INDEX)]
        return [*words, *self.save(V0)]

    def read_entry(self) -> list[int]:
        entry = self.random.randrange(self.entries)
        words = [*self.constant(T9, entry), w.mtc0(T9, w.INDEX), w.TLBR]
        for register in (w.ENTRYHI, w.ENTRYLO0, w.ENTRYLO1, w.PAGEMASK):
            words += [self.move_from(V0, register), *self.save(V0)]
        return words

    def access(self) -> list[int]:
        register = S0 + self.random.randrange(8)
        words = self.constant(T9, self.address())
        load = self.random.choice((0x80, 0x84, 0x8C, 0xC0 if False else 0x90)) << 24
        store = self.random.choice((0xA0, 0xA4, 0xAC)) << 24
        kind = load if self.random.random() < 0.6 else store
        words.append(kind | T9 << 21 | register << 16)
        return words

    def access_in_slot(self) -> list[int]:
        *before, access = self.access()
        return [*before, w.beq(0, 0, 1), access]

    def register_write(self) -> list[int]:
        r = self.random
        register = r.choice((w.ENTRYLO0, w.ENTRYLO1, w.CONTEXT, w.PAGEMASK, w.CAUSE, w.ERROREPC))
        move = r.choice((self.move_to, w.mtc0))
        bits = 32 if move is w.mtc0 else self.bits
        value = r.choice((r.getrandbits(bits), r.getrandbits(31), (1 << bits) - 1, 0))
        if register == w.CAUSE:
            value &= 0x00800300
        if value >> bits - 1:
            value |= -1 << bits & (1 << self.bits) - 1
        return [*self.constant(T9, value), move(T9, register)]

    def register_read(self) -> list[int]:
        register = self.random.choice(_STORED)
        move = self.random.choice((self.move_from, w.mfc0))
        return [move(V0, register), *self.save(V0)]

    def status_write(self) -> list[int]:
        value = self.random.choice((0, BEV)) | self.random.getrandbits(8) << 8
        if self.bits == 64:
            value |= self.random.choice((0, KX_SX_UX, KX_SX_UX, self.random.getrandbits(3) << 5))
        self.boot = value & ~EXL
        return [*self.constant(T9, value), w.mtc0(T9, w.STATUS)]

    def other_mode(self) -> list[int]:
        """Go to supervisor or user mode, run something there, and come back."""
        inside: list[int] = []
        for _ in range(self.random.randrange(1, 5)):
            inside += self.random.choice((self.access, self.access, self.access_in_slot))()
        if self.random.random() < 0.3:
            inside.append(self.random.choice((w.TLBP, w.ERET, w.mfc0(V0, w.PRID), w.WAIT)))
        return self.in_mode(self.random.choice(self.modes), inside)

    def in_mode(self, mode: int, inside: Sequence[int], before: Sequence[int] = ()) -> list[int]:
        """Run words in supervisor or user mode, after some in kernel mode, and come back."""
        words = [
            *before,
            w.mfc0(V0, w.STATUS),
            w.ori(V0, V0, mode | EXL),
            w.mtc0(V0, w.STATUS),
        ]
        here = CODE_VIRTUAL + 4 * (len(self.words) + len(words) + 4)
        words += [*w.li(T9, here), w.mtc0(T9, w.EPC), w.ERET]
        return [*words, *inside, w.SYSCALL]

    def coprocessors(self) -> list[int]:
        """Make some coprocessors usable, others not, and use one of them."""
        r = self.random
        address = self.unmapped() + FRAMES + (r.randrange(1 << 18) & ~7)
        words = [
            *self.constant(T9, self.boot & 0x0FFFFFFF | r.getrandbits(3) << 29),
            w.mtc0(T9, w.STATUS),
            *self.constant(T9, address),
        ]
        for _ in range(r.randrange(1, 4)):
            kind = r.randrange(3)
            if kind == 0:  # loads and stores of coprocessors 1 and 2
                opcode = r.choice((0xC4, 0xC8, 0xD4, 0xD8, 0xE4, 0xE8, 0xF4, 0xF8)) << 24
                words.append(opcode | T9 << 21 | 2 * r.randrange(16) << 16 | 8 * r.randrange(16))
            elif kind == 1:  # mfc1, cfc1
                words.append(0x44000000 | V0 << 16 | r.choice((0, 2 << 21)) | 31 << 11)
            else:  # a reserved function of coprocessors 1 and 3
                words.append(r.choice((0x4600003B, 0x4C00003F, 0x4C000001)))
        return [*words, *self.save(V0)]

    def lent_coprocessor(self) -> list[int]:
        """A program that may use coprocessor 0."""
        status = self.boot & 0x0FFFFFFF
        before = [*self.constant(T9, status | CU0), w.mtc0(T9, w.STATUS)]
        inside = [w.mfc0(V0, w.PRID), w.TLBP, w.mfc0(V0, w.INDEX)]
        words = self.in_mode(self.random.choice(self.modes), inside, before)
        return [*words, *self.save(V0), *self.constant(T9, status), w.mtc0(T9, w.STATUS)]

    def linked(self) -> list[int]:
        """LL and SC, with what comes between them now and then, and LLAddr."""
        r = self.random
        sure = r.random() < 0.5
        address = (0x80000000 + FRAMES + 64) if sure else self.address() & ~7
        if sure and self.bits == 64:
            address |= 0xFFFFFFFF << 32
        offset = r.choice((0, 0, 4, 8))
        words = [
            *self.constant(T9, address),
            0xC0000000 | T9 << 21 | V0 << 16,  # ll v0, (t9)
            *self.save(V0),
            w.addiu(V0, 0, r.randrange(100)),
        ]
        if sure:
            words += [w.mfc0(V0, w.LLADDR), *self.save(V0), w.addiu(V0, 0, 5)]
        if r.random() < 0.2:
            words.append(w.SYSCALL)
        words.append(0xE0000000 | T9 << 21 | V0 << 16 | offset)  # sc v0, offset(t9)
        return [*words, *self.save(V0)]

    def hardware_registers(self) -> list[int]:
        """Read one by RDHWR, in the kernel and as a program."""
        r = self.random
        number = r.choice((0, 1, 3, 5))
        read = 0x7C00003B | V0 << 16 | number << 11
        words = [*self.constant(T9, r.getrandbits(4)), w.mtc0(T9, 7), w.addiu(V0, 0, 7)]
        words += [read, *self.save(V0)]
        return self.in_mode(r.choice(self.modes), [w.addiu(V0, 0, 8), read, *self.save(V0)], words)

    def break_point(self) -> list[int]:
        """One for the debug unit, in the kernel or in a program. QEMU knows no DBD."""
        if self.random.random() < 0.5:
            return [w.SDBBP]
        return self.in_mode(self.random.choice(self.modes), [w.SDBBP, w.DERET])

    def trap(self) -> list[int]:
        return [self.random.choice((w.SYSCALL, w.BREAK, 0x00000034, 0x4C00003F))]

    def program(self, count: int) -> None:
        """Fill `words` with `count` operations and the end."""
        choices: Sequence[tuple[Callable[[], list[int]], int]] = (
            (self.write_entry, 6),
            (self.set_asid, 2),
            (self.probe, 2),
            (self.read_entry, 2),
            (self.access, 8),
            (self.access_in_slot, 2),
            (self.register_write, 2),
            (self.register_read, 3),
            (self.status_write, 1),
            (self.other_mode, 3),
            (self.trap, 1),
            (self.coprocessors, 1),
            (self.lent_coprocessor, 1),
            (self.linked, 1),
            (self.hardware_registers, 1),
            (self.break_point, 1 if self.debug_unit else 0),
        )
        operations = [operation for operation, _ in choices]
        weights = [weight for _, weight in choices]
        for _ in range(count):
            self.words += self.random.choices(operations, weights)[0]()
        for entry in range(1, self.entries):
            self.words += [*self.constant(T9, entry), w.mtc0(T9, w.INDEX), w.TLBR]
            for register in (w.ENTRYHI, w.ENTRYLO0, w.ENTRYLO1, w.PAGEMASK):
                self.words += [self.move_from(V0, register), *self.save(V0)]
        for register in range(S0, S0 + 8):
            self.words += self.save(register)
        self.words += [w.lui(T9, 0xA000 + (LOG >> 16)), w.addiu(V0, 0, 1), w.sw(V0, T9)]
        self.words += w.stop()

    # Memory.

    def handler(self) -> list[int]:
        """Log everything, and go on after the instruction that raised the exception."""
        words = self.save(K0)
        for register in (*_LOGGED, *((w.XCONTEXT,) if self.bits == 64 else ())):
            words += [self.move_from(K0, register), *self.save(K0)]
        return [
            *words,
            w.mfc0(K0, w.CAUSE),
            self.move_from(T8, w.EPC),
            0x04000000 | K0 << 21 | 1 << 16 | 2,  # bgez k0: not in a delay slot
            w.addiu(T8, T8, 4),
            w.addiu(T8, T8, 4),
            w.NOP,
            self.move_to(T8, w.EPC),
            0x30000000 | K0 << 21 | K0 << 16 | 0x7C,  # andi k0, k0, 0x7c
            w.addiu(K0, K0, -(8 << 2)),
            0x14000000 | K0 << 21 | 4,  # bne k0, zero: no system call
            w.mfc0(K0, w.STATUS),
            w.addiu(T8, 0, ~0x18),
            K0 << 21 | T8 << 16 | K0 << 11 | 0x24,  # and k0, k0, t8
            w.mtc0(K0, w.STATUS),
            w.ERET,
        ]

    def debug_handler(self) -> list[int]:
        """The same for debug mode, which break points enter."""
        return [
            w.mfc0(K0, w.DEBUG),
            *self.save(K0),
            self.move_from(T8, w.DEPC),
            *self.save(T8),
            w.addiu(T8, T8, 4),
            self.move_to(T8, w.DEPC),
            w.DERET,
        ]

    def images(self) -> tuple[list[tuple[int, list[int]]], list[tuple[int, list[int]]]]:
        """(address, words) of what lies in the ROM (from its start), and in memory."""
        rom: list[tuple[int, list[int]]] = []
        ram: list[tuple[int, list[int]]] = []
        for vector in VECTORS:
            for image, base in ((rom, 0x200), (ram, 0)):
                words = w.beq(0, 0, (_HANDLER - base - vector) // 4 - 1)
                image.append((base + vector, [words, w.addiu(K0, 0, base + vector)]))
        rom.append((_HANDLER, self.handler()))
        rom.append((0x480, self.debug_handler()))
        ram.append((_HANDLER, self.handler()))
        start = [*self.constant(K1, (-1 << 32 | 0xA0000000 + LOG + 64) & (1 << self.bits) - 1)]
        start += w.set_cp0(w.STATUS, BEV | (KX_SX_UX if self.bits == 64 else 0))
        for register, value in (
            (w.WIRED, 0),
            (w.PAGEMASK, CODE_MASK),
            (w.ENTRYHI, CODE_VIRTUAL),
            (w.ENTRYLO0, CODE_PHYSICAL >> 6 | 0x1F),
            (w.ENTRYLO1, 1),
            (w.INDEX, 0),
        ):
            start += w.set_cp0(register, value)
        start += [w.TLBWI]
        # No entry matches anything before it is written.
        for entry in range(1, self.entries):
            start += w.set_cp0(w.INDEX, entry)
            start += w.set_cp0(w.ENTRYHI, 0x80000000 + (entry << 13))
            start += w.set_cp0(w.ENTRYLO0, 0) + w.set_cp0(w.ENTRYLO1, 0)
            start += [*w.set_cp0(w.PAGEMASK, 0), w.TLBWI]
        for register in (w.CONTEXT, w.ENTRYHI, w.BADVADDR, w.INDEX):
            start += w.set_cp0(register, 0)
        for register in range(S0, S0 + 8):
            start += w.li(register, 0x01010101 * register)
        start += [*w.li(T9, CODE_VIRTUAL), w.jr(T9), w.NOP]
        rom.append((0, [w.beq(0, 0, 0x7FF), w.NOP]))
        rom.append((0x2000, start))
        ram.append((CODE_PHYSICAL, self.words))
        ram.append((FRAMES, [FRAMES + 4 * n for n in range(FRAME_COUNT * 1024)]))
        return rom, ram
