"""DSP: magnitudes, precision expansion, replication (encoding table ABSQ_S.PH).

"Left" lanes are the more significant half, "left alternate" ones the odd ones.
"""

from __future__ import annotations

from pemu.isa.mips.dsp.lanes import SIGNED, UNSIGNED, Lanes
from pemu.isa.mips.dsp.unit import OVERFLOW_ADD, declare, operand, set_register, settle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pemu.engine.staging.values import Value
    from pemu.isa.mips.dsp.unit import Meaning
    from pemu.isa.mips.state import Cpu

    UnaryOperation = Callable[[Cpu, Value], Value]


def magnitudes(width: int) -> UnaryOperation:
    """Absolute value of each lane; that of the most negative saturates."""

    def run(cpu: Cpu, a: Value) -> Value:
        exact = Lanes.split(a, width).widen(SIGNED).abs()
        return settle(cpu, exact, SIGNED, True, OVERFLOW_ADD)

    return run


def expand(width: int, part: Callable[[Lanes], Lanes], shift: int) -> UnaryOperation:
    """Widen some of the lanes to twice their width and shift them left."""
    return lambda cpu, a: (part(Lanes.split(a, width)).widen(UNSIGNED) << shift).join()


def replicate(width: int) -> UnaryOperation:
    """Put the least significant lane into all."""
    return lambda cpu, a: Lanes.splat(a.trunc(width), a.width // width).join()


def reverse_halfword(cpu: Cpu, a: Value) -> Value:
    """Reverse the order of the low 16 bits."""
    return a.trunc(16).bitreverse().zext(a.width)


def _rd_rt(operation: UnaryOperation) -> Callable[[int], Meaning]:
    def sized(size: int) -> Meaning:
        def meaning(cpu: Cpu, rt: Value, rd: Value) -> None:
            set_register(cpu, rd, operation(cpu, operand(cpu, rt, size)))

        return meaning

    return sized


def _rd_immediate(width: int) -> Callable[[int], Meaning]:
    def sized(size: int) -> Meaning:
        def meaning(cpu: Cpu, imm: Value, rd: Value) -> None:
            set_register(cpu, rd, Lanes.splat(imm.sext(width), size // width).join())

        return meaning

    return sized


FUNCTIONS = "010010 010110"

# The 64-bit forms of precequ (precequ.qh.obl in the manual) and preceq.l.pwl have other names in
# binutils, which are kept here.
for _op, _mnemonics, _needs, _operation in (
    ("00001", "absq_s.qb absq_s.ob", "dspr2", magnitudes(8)),
    ("00011", "replv.qb replv.ob", "dsp", replicate(8)),
    ("00100", "precequ.ph.qbl precequ.pw.qhl", "dsp", expand(8, Lanes.left, 7)),
    ("00101", "precequ.ph.qbr precequ.pw.qhr", "dsp", expand(8, Lanes.right, 7)),
    ("00110", "precequ.ph.qbla precequ.pw.qhla", "dsp", expand(8, Lanes.odd, 7)),
    ("00111", "precequ.ph.qbra precequ.pw.qhra", "dsp", expand(8, Lanes.even, 7)),
    ("01001", "absq_s.ph absq_s.qh", "dsp", magnitudes(16)),
    ("01011", "replv.ph replv.qh", "dsp", replicate(16)),
    ("01100", "preceq.w.phl preceq.pw.qhl", "dsp", expand(16, Lanes.left, 16)),
    ("01101", "preceq.w.phr preceq.pw.qhr", "dsp", expand(16, Lanes.right, 16)),
    ("01110", "- preceq.pw.qhla", "dsp", expand(16, Lanes.odd, 16)),
    ("01111", "- preceq.pw.qhra", "dsp", expand(16, Lanes.even, 16)),
    ("10001", "absq_s.w absq_s.pw", "dsp", magnitudes(32)),
    ("10011", "- replv.pw", "dsp", replicate(32)),
    ("10100", "- preceq.s.l.pwl", "dsp", expand(32, Lanes.left, 32)),
    ("10101", "- preceq.s.l.pwr", "dsp", expand(32, Lanes.right, 32)),
    ("11011", "bitrev -", "dsp", reverse_halfword),
    ("11100", "preceu.ph.qbl preceu.qh.obl", "dsp", expand(8, Lanes.left, 0)),
    ("11101", "preceu.ph.qbr preceu.qh.obr", "dsp", expand(8, Lanes.right, 0)),
    ("11110", "preceu.ph.qbla preceu.qh.obla", "dsp", expand(8, Lanes.odd, 0)),
    ("11111", "preceu.ph.qbra preceu.qh.obra", "dsp", expand(8, Lanes.even, 0)),
):
    declare(
        *(FUNCTIONS, _op, _mnemonics, _needs, "00000 rt:5 rd:5", "{rd}, {rt}"),
        _rd_rt(_operation),
    )

for _op, _mnemonics, _fields, _operands, _width in (
    ("00010", "repl.qb repl.ob", "00 imm:8 rd:5", "{rd}, {imm:x}", 8),
    ("01010", "repl.ph repl.qh", "imm:10 rd:5", "{rd}, {imm:d}", 16),
    ("10010", "- repl.pw", "imm:10 rd:5", "{rd}, {imm:d}", 32),
):
    declare(FUNCTIONS, _op, _mnemonics, "dsp", _fields, _operands, _rd_immediate(_width))
