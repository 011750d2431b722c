"""Integer instructions on registers: arithmetic, logic, shifts, conditional moves, bit fields.

Source: MIPS Architecture For Programmers, volume II-A (MIPS32 and MIPS64, revision 5.04). 32-bit
operations on 64-bit registers use the low half of their operands and sign-extend their result.
Where the manual says UNPREDICTABLE the result is QEMU's.
"""

from __future__ import annotations

from pemu.isa.mips.exceptions import OVERFLOW, RESERVED_INSTRUCTION
from pemu.isa.mips.state import set_word, word
from pemu.isa.mips.table import MIPS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.staging.values import Value
    from pemu.isa.mips.state import Cpu


# Sums. `add` and its like trap on signed overflow and then write nothing.


def add_trapping(cpu: Cpu, a: Value, b: Value) -> Value:
    """Return a + b, after an overflow exception where the signed sum does not fit."""
    total = a + b
    cpu.trap(OVERFLOW, ((a ^ total) & (b ^ total)).slt(0))
    return total


def subtract_trapping(cpu: Cpu, a: Value, b: Value) -> Value:
    """Return a - b, after an overflow exception where the signed difference does not fit."""
    difference = a - b
    cpu.trap(OVERFLOW, ((a ^ b) & (a ^ difference)).slt(0))
    return difference


@MIPS.insn("000000 rs:5 rt:5 rd:5 00000 100000", "add {rd}, {rs}, {rt}")
def add(cpu: Cpu, rs: Value, rt: Value, rd: Value) -> None:
    set_word(cpu, rd, add_trapping(cpu, word(cpu, rs), word(cpu, rt)))


@MIPS.insn("000000 rs:5 rt:5 rd:5 00000 100001", "addu {rd}, {rs}, {rt}")
def addu(cpu: Cpu, rs: Value, rt: Value, rd: Value) -> None:
    set_word(cpu, rd, word(cpu, rs) + word(cpu, rt))


@MIPS.insn("000000 rs:5 rt:5 rd:5 00000 100010", "sub {rd}, {rs}, {rt}")
def sub(cpu: Cpu, rs: Value, rt: Value, rd: Value) -> None:
    set_word(cpu, rd, subtract_trapping(cpu, word(cpu, rs), word(cpu, rt)))


@MIPS.insn("000000 rs:5 rt:5 rd:5 00000 100011", "subu {rd}, {rs}, {rt}")
def subu(cpu: Cpu, rs: Value, rt: Value, rd: Value) -> None:
    set_word(cpu, rd, word(cpu, rs) - word(cpu, rt))


@MIPS.insn("001000 rs:5 rt:5 imm:16", "addi {rt}, {rs}, {imm:d}")
def addi(cpu: Cpu, rs: Value, rt: Value, imm: Value) -> None:
    set_word(cpu, rt, add_trapping(cpu, word(cpu, rs), imm.sext(32)))


@MIPS.insn("001001 rs:5 rt:5 imm:16", "addiu {rt}, {rs}, {imm:d}")
def addiu(cpu: Cpu, rs: Value, rt: Value, imm: Value) -> None:
    set_word(cpu, rt, word(cpu, rs) + imm.sext(32))


@MIPS.insn("000000 rs:5 rt:5 rd:5 00000 101100", "dadd {rd}, {rs}, {rt}", needs="mips3")
def dadd(cpu: Cpu, rs: Value, rt: Value, rd: Value) -> None:
    cpu.gpr[rd] = add_trapping(cpu, cpu.gpr[rs], cpu.gpr[rt])


@MIPS.insn("000000 rs:5 rt:5 rd:5 00000 101101", "daddu {rd}, {rs}, {rt}", needs="mips3")
def daddu(cpu: Cpu, rs: Value, rt: Value, rd: Value) -> None:
    cpu.gpr[rd] = cpu.gpr[rs] + cpu.gpr[rt]


@MIPS.insn("000000 rs:5 rt:5 rd:5 00000 101110", "dsub {rd}, {rs}, {rt}", needs="mips3")
def dsub(cpu: Cpu, rs: Value, rt: Value, rd: Value) -> None:
    cpu.gpr[rd] = subtract_trapping(cpu, cpu.gpr[rs], cpu.gpr[rt])


@MIPS.insn("000000 rs:5 rt:5 rd:5 00000 101111", "dsubu {rd}, {rs}, {rt}", needs="mips3")
def dsubu(cpu: Cpu, rs: Value, rt: Value, rd: Value) -> None:
    cpu.gpr[rd] = cpu.gpr[rs] - cpu.gpr[rt]


@MIPS.insn("011000 rs:5 rt:5 imm:16", "daddi {rt}, {rs}, {imm:d}", needs="mips3")
def daddi(cpu: Cpu, rs: Value, rt: Value, imm: Value) -> None:
    cpu.gpr[rt] = add_trapping(cpu, cpu.gpr[rs], imm.sext(cpu.arch.xlen))


@MIPS.insn("011001 rs:5 rt:5 imm:16", "daddiu {rt}, {rs}, {imm:d}", needs="mips3")
def daddiu(cpu: Cpu, rs: Value, rt: Value, imm: Value) -> None:
    cpu.gpr[rt] = cpu.gpr[rs] + imm.sext(cpu.arch.xlen)


# Comparisons and logic work on whole registers.


@MIPS.insn("000000 rs:5 rt:5 rd:5 00000 101010", "slt {rd}, {rs}, {rt}")
def slt(cpu: Cpu, rs: Value, rt: Value, rd: Value) -> None:
    cpu.gpr[rd] = cpu.gpr[rs].slt(cpu.gpr[rt]).zext(cpu.arch.xlen)


@MIPS.insn("000000 rs:5 rt:5 rd:5 00000 101011", "sltu {rd}, {rs}, {rt}")
def sltu(cpu: Cpu, rs: Value, rt: Value, rd: Value) -> None:
    cpu.gpr[rd] = cpu.gpr[rs].ult(cpu.gpr[rt]).zext(cpu.arch.xlen)


@MIPS.insn("001010 rs:5 rt:5 imm:16", "slti {rt}, {rs}, {imm:d}")
def slti(cpu: Cpu, rs: Value, rt: Value, imm: Value) -> None:
    xlen = cpu.arch.xlen
    cpu.gpr[rt] = cpu.gpr[rs].slt(imm.sext(xlen)).zext(xlen)


@MIPS.insn("001011 rs:5 rt:5 imm:16", "sltiu {rt}, {rs}, {imm:d}")
def sltiu(cpu: Cpu, rs: Value, rt: Value, imm: Value) -> None:
    xlen = cpu.arch.xlen
    cpu.gpr[rt] = cpu.gpr[rs].ult(imm.sext(xlen)).zext(xlen)


@MIPS.insn("000000 rs:5 rt:5 rd:5 00000 100100", "and {rd}, {rs}, {rt}")
def and_(cpu: Cpu, rs: Value, rt: Value, rd: Value) -> None:
    cpu.gpr[rd] = cpu.gpr[rs] & cpu.gpr[rt]


@MIPS.insn("000000 rs:5 rt:5 rd:5 00000 100101", "or {rd}, {rs}, {rt}")
def or_(cpu: Cpu, rs: Value, rt: Value, rd: Value) -> None:
    cpu.gpr[rd] = cpu.gpr[rs] | cpu.gpr[rt]


@MIPS.insn("000000 rs:5 rt:5 rd:5 00000 100110", "xor {rd}, {rs}, {rt}")
def xor(cpu: Cpu, rs: Value, rt: Value, rd: Value) -> None:
    cpu.gpr[rd] = cpu.gpr[rs] ^ cpu.gpr[rt]


@MIPS.insn("000000 rs:5 rt:5 rd:5 00000 100111", "nor {rd}, {rs}, {rt}")
def nor(cpu: Cpu, rs: Value, rt: Value, rd: Value) -> None:
    cpu.gpr[rd] = ~(cpu.gpr[rs] | cpu.gpr[rt])


@MIPS.insn("001100 rs:5 rt:5 imm:16", "andi {rt}, {rs}, {imm:x}")
def andi(cpu: Cpu, rs: Value, rt: Value, imm: Value) -> None:
    cpu.gpr[rt] = cpu.gpr[rs] & imm.zext(cpu.arch.xlen)


@MIPS.insn("001101 rs:5 rt:5 imm:16", "ori {rt}, {rs}, {imm:x}")
def ori(cpu: Cpu, rs: Value, rt: Value, imm: Value) -> None:
    cpu.gpr[rt] = cpu.gpr[rs] | imm.zext(cpu.arch.xlen)


@MIPS.insn("001110 rs:5 rt:5 imm:16", "xori {rt}, {rs}, {imm:x}")
def xori(cpu: Cpu, rs: Value, rt: Value, imm: Value) -> None:
    cpu.gpr[rt] = cpu.gpr[rs] ^ imm.zext(cpu.arch.xlen)


@MIPS.insn("001111 00000 rt:5 imm:16", "lui {rt}, {imm:x}")
def lui(cpu: Cpu, rt: Value, imm: Value) -> None:
    set_word(cpu, rt, imm.zext(32) << 16)


# Shifts. The patterns of rotations are those of right shifts with one more bit set; processors
# without rotations take no notice of that bit. Arithmetic right shifts may use whole registers, as
# their operand is sign-extended.


@MIPS.insn("000000 00000 rt:5 rd:5 sa:5 000000", "sll {rd}, {rt}, {sa:x}")
def sll(cpu: Cpu, rt: Value, rd: Value, sa: Value) -> None:
    set_word(cpu, rd, word(cpu, rt) << sa.zext(32))


@MIPS.insn("000000 0000- rt:5 rd:5 sa:5 000010", "srl {rd}, {rt}, {sa:x}")
def srl(cpu: Cpu, rt: Value, rd: Value, sa: Value) -> None:
    set_word(cpu, rd, word(cpu, rt).lshr(sa.zext(32)))


@MIPS.insn("000000 00000 rt:5 rd:5 sa:5 000011", "sra {rd}, {rt}, {sa:x}")
def sra(cpu: Cpu, rt: Value, rd: Value, sa: Value) -> None:
    cpu.gpr[rd] = cpu.gpr[rt].ashr(sa.zext(cpu.arch.xlen))


@MIPS.insn("000000 rs:5 rt:5 rd:5 00000 000100", "sllv {rd}, {rt}, {rs}")
def sllv(cpu: Cpu, rs: Value, rt: Value, rd: Value) -> None:
    set_word(cpu, rd, word(cpu, rt) << (word(cpu, rs) & 31))


@MIPS.insn("000000 rs:5 rt:5 rd:5 0000- 000110", "srlv {rd}, {rt}, {rs}")
def srlv(cpu: Cpu, rs: Value, rt: Value, rd: Value) -> None:
    set_word(cpu, rd, word(cpu, rt).lshr(word(cpu, rs) & 31))


@MIPS.insn("000000 rs:5 rt:5 rd:5 00000 000111", "srav {rd}, {rt}, {rs}")
def srav(cpu: Cpu, rs: Value, rt: Value, rd: Value) -> None:
    cpu.gpr[rd] = cpu.gpr[rt].ashr(cpu.gpr[rs] & 31)


@MIPS.insn(
    "000000 00001 rt:5 rd:5 sa:5 000010", "ror {rd}, {rt}, {sa:x}", needs="rotate", overrides="srl"
)
def rotr(cpu: Cpu, rt: Value, rd: Value, sa: Value) -> None:
    set_word(cpu, rd, word(cpu, rt).rotr(sa.zext(32)))


@MIPS.insn(
    "000000 rs:5 rt:5 rd:5 00001 000110", "rorv {rd}, {rt}, {rs}", needs="rotate", overrides="srlv"
)
def rotrv(cpu: Cpu, rs: Value, rt: Value, rd: Value) -> None:
    set_word(cpu, rd, word(cpu, rt).rotr(word(cpu, rs)))


def shift_left(cpu: Cpu, rd: Value, rt: Value, amount: Value) -> None:
    """rd = rt << amount (0 to 63), for doublewords."""
    cpu.gpr[rd] = cpu.gpr[rt] << amount.zext(cpu.arch.xlen)


def shift_right(cpu: Cpu, rd: Value, rt: Value, amount: Value) -> None:
    """rd = rt >> amount (0 to 63) with zeros, for doublewords."""
    cpu.gpr[rd] = cpu.gpr[rt].lshr(amount.zext(cpu.arch.xlen))


def shift_right_signed(cpu: Cpu, rd: Value, rt: Value, amount: Value) -> None:
    """rd = rt >> amount (0 to 63) with sign bits, for doublewords."""
    cpu.gpr[rd] = cpu.gpr[rt].ashr(amount.zext(cpu.arch.xlen))


def rotate_right(cpu: Cpu, rd: Value, rt: Value, amount: Value) -> None:
    """rd = rt rotated right by amount (0 to 63), for doublewords."""
    cpu.gpr[rd] = cpu.gpr[rt].rotr(amount.zext(cpu.arch.xlen))


@MIPS.insn("000000 00000 rt:5 rd:5 sa:5 111000", "dsll {rd}, {rt}, {sa:x}", needs="mips3")
def dsll(cpu: Cpu, rt: Value, rd: Value, sa: Value) -> None:
    shift_left(cpu, rd, rt, sa)


@MIPS.insn("000000 0000- rt:5 rd:5 sa:5 111010", "dsrl {rd}, {rt}, {sa:x}", needs="mips3")
def dsrl(cpu: Cpu, rt: Value, rd: Value, sa: Value) -> None:
    shift_right(cpu, rd, rt, sa)


@MIPS.insn("000000 00000 rt:5 rd:5 sa:5 111011", "dsra {rd}, {rt}, {sa:x}", needs="mips3")
def dsra(cpu: Cpu, rt: Value, rd: Value, sa: Value) -> None:
    shift_right_signed(cpu, rd, rt, sa)


@MIPS.insn("000000 00000 rt:5 rd:5 sa:5 111100", "dsll32 {rd}, {rt}, {sa:x}", needs="mips3")
def dsll32(cpu: Cpu, rt: Value, rd: Value, sa: Value) -> None:
    shift_left(cpu, rd, rt, sa.zext(6) + 32)


@MIPS.insn("000000 0000- rt:5 rd:5 sa:5 111110", "dsrl32 {rd}, {rt}, {sa:x}", needs="mips3")
def dsrl32(cpu: Cpu, rt: Value, rd: Value, sa: Value) -> None:
    shift_right(cpu, rd, rt, sa.zext(6) + 32)


@MIPS.insn("000000 00000 rt:5 rd:5 sa:5 111111", "dsra32 {rd}, {rt}, {sa:x}", needs="mips3")
def dsra32(cpu: Cpu, rt: Value, rd: Value, sa: Value) -> None:
    shift_right_signed(cpu, rd, rt, sa.zext(6) + 32)


@MIPS.insn("000000 rs:5 rt:5 rd:5 00000 010100", "dsllv {rd}, {rt}, {rs}", needs="mips3")
def dsllv(cpu: Cpu, rs: Value, rt: Value, rd: Value) -> None:
    shift_left(cpu, rd, rt, cpu.gpr[rs].trunc(6))


@MIPS.insn("000000 rs:5 rt:5 rd:5 0000- 010110", "dsrlv {rd}, {rt}, {rs}", needs="mips3")
def dsrlv(cpu: Cpu, rs: Value, rt: Value, rd: Value) -> None:
    shift_right(cpu, rd, rt, cpu.gpr[rs].trunc(6))


@MIPS.insn("000000 rs:5 rt:5 rd:5 00000 010111", "dsrav {rd}, {rt}, {rs}", needs="mips3")
def dsrav(cpu: Cpu, rs: Value, rt: Value, rd: Value) -> None:
    shift_right_signed(cpu, rd, rt, cpu.gpr[rs].trunc(6))


@MIPS.insn(
    "000000 00001 rt:5 rd:5 sa:5 111010",
    "dror {rd}, {rt}, {sa:x}",
    needs="mips3 rotate",
    overrides="dsrl",
)
def drotr(cpu: Cpu, rt: Value, rd: Value, sa: Value) -> None:
    rotate_right(cpu, rd, rt, sa)


@MIPS.insn(
    "000000 00001 rt:5 rd:5 sa:5 111110",
    "dror32 {rd}, {rt}, {sa:x}",
    needs="mips3 rotate",
    overrides="dsrl32",
)
def drotr32(cpu: Cpu, rt: Value, rd: Value, sa: Value) -> None:
    rotate_right(cpu, rd, rt, sa.zext(6) + 32)


@MIPS.insn(
    "000000 rs:5 rt:5 rd:5 00001 010110",
    "drorv {rd}, {rt}, {rs}",
    needs="mips3 rotate",
    overrides="dsrlv",
)
def drotrv(cpu: Cpu, rs: Value, rt: Value, rd: Value) -> None:
    rotate_right(cpu, rd, rt, cpu.gpr[rs].trunc(6))


# Conditional moves. Condition codes are registers of 8 bits that hold 0 or 1.


def move_if(cpu: Cpu, rd: Value, rs: Value, condition: Value) -> None:
    """rd = rs where `condition`, one bit, holds."""
    cpu.gpr[rd] = condition.select(cpu.gpr[rs], cpu.gpr[rd])


@MIPS.insn("000000 rs:5 rt:5 rd:5 00000 001010", "movz {rd}, {rs}, {rt}", needs="mips4_32")
def movz(cpu: Cpu, rs: Value, rt: Value, rd: Value) -> None:
    move_if(cpu, rd, rs, cpu.gpr[rt].eq(0))


@MIPS.insn("000000 rs:5 rt:5 rd:5 00000 001011", "movn {rd}, {rs}, {rt}", needs="mips4_32")
def movn(cpu: Cpu, rs: Value, rt: Value, rd: Value) -> None:
    move_if(cpu, rd, rs, cpu.gpr[rt].ne(0))


@MIPS.insn("000000 rs:5 cc:3 00 rd:5 00000 000001", "movf {rd}, {rs}, {cc}", needs="mips4_32 fpu")
def movf(cpu: Cpu, rs: Value, cc: Value, rd: Value) -> None:
    move_if(cpu, rd, rs, cpu.fcc[cc].eq(0))


@MIPS.insn("000000 rs:5 cc:3 01 rd:5 00000 000001", "movt {rd}, {rs}, {cc}", needs="mips4_32 fpu")
def movt(cpu: Cpu, rs: Value, cc: Value, rd: Value) -> None:
    move_if(cpu, rd, rs, cpu.fcc[cc].ne(0))


# Counts of leading bits. The rt field repeats rd.


@MIPS.insn("011100 rs:5 ----- rd:5 00000 100000", "clz {rd}, {rs}", needs="mips32")
def clz(cpu: Cpu, rs: Value, rd: Value) -> None:
    set_word(cpu, rd, word(cpu, rs).clz())


@MIPS.insn("011100 rs:5 ----- rd:5 00000 100001", "clo {rd}, {rs}", needs="mips32")
def clo(cpu: Cpu, rs: Value, rd: Value) -> None:
    set_word(cpu, rd, (~word(cpu, rs)).clz())


@MIPS.insn("011100 rs:5 ----- rd:5 00000 100100", "dclz {rd}, {rs}", needs="mips64")
def dclz(cpu: Cpu, rs: Value, rd: Value) -> None:
    cpu.gpr[rd] = cpu.gpr[rs].clz()


@MIPS.insn("011100 rs:5 ----- rd:5 00000 100101", "dclo {rd}, {rs}", needs="mips64")
def dclo(cpu: Cpu, rs: Value, rd: Value) -> None:
    cpu.gpr[rd] = (~cpu.gpr[rs]).clz()


# Bytes and halfwords inside a register.


@MIPS.insn("011111 00000 rt:5 rd:5 00010 100000", "wsbh {rd}, {rt}", needs="mips32r2")
def wsbh(cpu: Cpu, rt: Value, rd: Value) -> None:
    value = word(cpu, rt)
    set_word(cpu, rd, (value.lshr(8) & 0x00FF00FF) | ((value & 0x00FF00FF) << 8))


@MIPS.insn("011111 00000 rt:5 rd:5 10000 100000", "seb {rd}, {rt}", needs="mips32r2")
def seb(cpu: Cpu, rt: Value, rd: Value) -> None:
    cpu.gpr[rd] = cpu.gpr[rt].trunc(8).sext(cpu.arch.xlen)


@MIPS.insn("011111 00000 rt:5 rd:5 11000 100000", "seh {rd}, {rt}", needs="mips32r2")
def seh(cpu: Cpu, rt: Value, rd: Value) -> None:
    cpu.gpr[rd] = cpu.gpr[rt].trunc(16).sext(cpu.arch.xlen)


@MIPS.insn("011111 00000 rt:5 rd:5 00010 100100", "dsbh {rd}, {rt}", needs="mips64r2")
def dsbh(cpu: Cpu, rt: Value, rd: Value) -> None:
    value = cpu.gpr[rt]
    cpu.gpr[rd] = (value.lshr(8) & 0x00FF00FF00FF00FF) | ((value & 0x00FF00FF00FF00FF) << 8)


@MIPS.insn("011111 00000 rt:5 rd:5 00101 100100", "dshd {rd}, {rt}", needs="mips64r2")
def dshd(cpu: Cpu, rt: Value, rd: Value) -> None:
    value = cpu.gpr[rt]
    value = (value.lshr(16) & 0x0000FFFF0000FFFF) | ((value & 0x0000FFFF0000FFFF) << 16)
    cpu.gpr[rd] = value.rotr(32)


# Bit fields. `lsb` is the field's lowest bit; extractions encode its size less one (msbd),
# insertions its highest bit (msb). A field that leaves the register is a reserved instruction.


def extract(cpu: Cpu, value: Value, lsb: Value, msbd: Value) -> Value:
    """Return the msbd + 1 bits of `value` from bit lsb on; both 8 bits wide."""
    width = value.width
    cpu.trap(RESERVED_INSTRUCTION, (lsb + msbd).ugt(width - 1))
    ones = cpu.const(-1, width).lshr((width - 1 - msbd).zext(width))
    return value.lshr(lsb.zext(width)) & ones


def insert(cpu: Cpu, into: Value, field: Value, lsb: Value, msb: Value) -> Value:
    """Return `into` with bits lsb to msb replaced by the low bits of `field`."""
    width = into.width
    cpu.trap(RESERVED_INSTRUCTION, msb.ult(lsb))
    lsb = lsb.zext(width)
    below = cpu.const(-1, width) << lsb
    mask = cpu.const(-1, width).lshr(width - 1 - msb.zext(width)) & below
    return (into & ~mask) | ((field << lsb) & mask)


@MIPS.insn(
    "011111 rs:5 rt:5 msbd:5 lsb:5 000000", "ext {rt}, {rs}, {lsb:x}, {msbd:x+1}", needs="mips32r2"
)
def ext(cpu: Cpu, rs: Value, rt: Value, msbd: Value, lsb: Value) -> None:
    set_word(cpu, rt, extract(cpu, word(cpu, rs), lsb.zext(8), msbd.zext(8)))


@MIPS.insn(
    "011111 rs:5 rt:5 msb:5 lsb:5 000100",
    "ins {rt}, {rs}, {lsb:x}, {msb:x+1-lsb}",
    needs="mips32r2",
)
def ins(cpu: Cpu, rs: Value, rt: Value, msb: Value, lsb: Value) -> None:
    set_word(cpu, rt, insert(cpu, word(cpu, rt), word(cpu, rs), lsb, msb))


@MIPS.insn(
    "011111 rs:5 rt:5 msbd:5 lsb:5 000011", "dext {rt}, {rs}, {lsb:x}, {msbd:x+1}", needs="mips64r2"
)
def dext(cpu: Cpu, rs: Value, rt: Value, msbd: Value, lsb: Value) -> None:
    cpu.gpr[rt] = extract(cpu, cpu.gpr[rs], lsb.zext(8), msbd.zext(8))


@MIPS.insn(
    "011111 rs:5 rt:5 msbd:5 lsb:5 000001",
    "dext {rt}, {rs}, {lsb:x}, {msbd:x+33}",
    needs="mips64r2",
)
def dextm(cpu: Cpu, rs: Value, rt: Value, msbd: Value, lsb: Value) -> None:
    cpu.gpr[rt] = extract(cpu, cpu.gpr[rs], lsb.zext(8), msbd.zext(8) + 32)


@MIPS.insn(
    "011111 rs:5 rt:5 msbd:5 lsb:5 000010",
    "dext {rt}, {rs}, {lsb:x+32}, {msbd:x+1}",
    needs="mips64r2",
)
def dextu(cpu: Cpu, rs: Value, rt: Value, msbd: Value, lsb: Value) -> None:
    cpu.gpr[rt] = extract(cpu, cpu.gpr[rs], lsb.zext(8) + 32, msbd.zext(8))


@MIPS.insn(
    "011111 rs:5 rt:5 msb:5 lsb:5 000111",
    "dins {rt}, {rs}, {lsb:x}, {msb:x+1-lsb}",
    needs="mips64r2",
)
def dins(cpu: Cpu, rs: Value, rt: Value, msb: Value, lsb: Value) -> None:
    cpu.gpr[rt] = insert(cpu, cpu.gpr[rt], cpu.gpr[rs], lsb, msb)


@MIPS.insn(
    "011111 rs:5 rt:5 msb:5 lsb:5 000101",
    "dins {rt}, {rs}, {lsb:x}, {msb:x+33-lsb}",
    needs="mips64r2",
)
def dinsm(cpu: Cpu, rs: Value, rt: Value, msb: Value, lsb: Value) -> None:
    cpu.gpr[rt] = insert(cpu, cpu.gpr[rt], cpu.gpr[rs], lsb.zext(6), msb.zext(6) + 32)


@MIPS.insn(
    "011111 rs:5 rt:5 msb:5 lsb:5 000110",
    "dins {rt}, {rs}, {lsb:x+32}, {msb:x+1-lsb}",
    needs="mips64r2",
)
def dinsu(cpu: Cpu, rs: Value, rt: Value, msb: Value, lsb: Value) -> None:
    cpu.gpr[rt] = insert(cpu, cpu.gpr[rt], cpu.gpr[rs], lsb.zext(6) + 32, msb.zext(6) + 32)
