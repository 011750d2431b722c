"""What the MIPS architecture leaves undefined and can be told from the instructions alone.

Source: MIPS32 and MIPS64 Architecture for Programmers, volume II, release 2 ("Restrictions").
Not for running programs: only -d guest_errors asks.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.staging.insn import Insn

_RA = 31
_LINKING = ("bgezal", "bgezall", "bltzal", "bltzall")
_COUNTING = ("clo", "clz", "dclo", "dclz")
_INSERTING = ("ins", "dins", "dinsu")


def transfers_control(insn: Insn) -> bool:
    """True for a branch or jump, which must not stand in a delay slot."""
    return (
        ":branch}" in insn.assembly
        or ":jump" in insn.assembly
        or insn.name.removesuffix("_hb") in ("jr", "jalr", "eret", "deret")
    )


def undefined(insn: Insn, word: int, in_slot: bool) -> str:
    """Why the effect of an instruction is unpredictable; '' if it is not.

    `in_slot`: it stands in a delay slot.
    """
    fields = {field.name: field.of(word) for field in insn.fields}
    name = insn.name.removesuffix("_hb")
    if in_slot and transfers_control(insn):
        return f"{insn.mnemonic} in a delay slot"
    if name == "jalr" and fields["rs"] == fields["rd"]:
        return f"{insn.mnemonic} through the register that it writes"
    if name in _LINKING and fields["rs"] == _RA:
        return f"{insn.mnemonic} that tests ra, which it writes"
    if name in _COUNTING and word >> 16 & 31 != fields["rd"]:
        return f"{insn.mnemonic} whose rt and rd fields differ"
    if name == "ext" and fields["lsb"] + fields["msbd"] > 31:
        return f"{insn.mnemonic} beyond bit 31"
    if name in _INSERTING and fields["msb"] < fields["lsb"]:
        return f"{insn.mnemonic} of no bits"
    return ""
