"""Load-linked and store-conditional, and memory barriers.

LL remembers the address and what it read; SC succeeds where the address is the same and memory
still (or again) holds that value, tested and written in one atomic step of the host. A value that
changed and changed back goes unnoticed, as in QEMU; LL/SC sequences of programs do not mind.
"""

from __future__ import annotations

from pemu.isa.mips.memory_access import demand_aligned, effective_address
from pemu.isa.mips.state import set_word, word
from pemu.isa.mips.table import MIPS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.staging.values import Value
    from pemu.isa.mips.state import Cpu


def load_linked(cpu: Cpu, base: Value, offset: Value, size: int) -> Value:
    """Load `size` bytes and remember where and what."""
    address = effective_address(cpu, base, offset)
    demand_aligned(cpu, address, size, store=False)
    value = cpu.load(address, size)
    cpu.llbit = cpu.const(1, 8)
    cpu.lladdr = address
    cpu.llvalue = value.sext(cpu.arch.xlen)
    return value


def store_conditional(cpu: Cpu, base: Value, offset: Value, new: Value, rt: Value) -> None:
    """Store `new` if the link holds, and write to rt whether it did."""
    address = effective_address(cpu, base, offset)
    demand_aligned(cpu, address, new.width // 8, store=True)
    stored = cpu.var(1)
    expected = cpu.llvalue.trunc(new.width)
    with cpu.if_(cpu.llbit.ne(0) & cpu.lladdr.eq(address)):
        stored.value = cpu.compare_exchange(address, expected, new)
    cpu.llbit = cpu.const(0, 8)
    cpu.gpr[rt] = stored.value.zext(cpu.arch.xlen)


@MIPS.insn("110000 base:5 rt:5 offset:16", "ll {rt}, {offset:d}({base})", needs="mips2")
def ll(cpu: Cpu, base: Value, rt: Value, offset: Value) -> None:
    set_word(cpu, rt, load_linked(cpu, base, offset, 4))


@MIPS.insn("110100 base:5 rt:5 offset:16", "lld {rt}, {offset:d}({base})", needs="mips3")
def lld(cpu: Cpu, base: Value, rt: Value, offset: Value) -> None:
    cpu.gpr[rt] = load_linked(cpu, base, offset, 8)


@MIPS.insn("111000 base:5 rt:5 offset:16", "sc {rt}, {offset:d}({base})", needs="mips2")
def sc(cpu: Cpu, base: Value, rt: Value, offset: Value) -> None:
    store_conditional(cpu, base, offset, word(cpu, rt), rt)


@MIPS.insn("111100 base:5 rt:5 offset:16", "scd {rt}, {offset:d}({base})", needs="mips3")
def scd(cpu: Cpu, base: Value, rt: Value, offset: Value) -> None:
    store_conditional(cpu, base, offset, cpu.gpr[rt], rt)


@MIPS.insn("000000 000000000000000 stype:5 001111", "sync {stype:x}", needs="mips2")
def sync(cpu: Cpu) -> None:
    """Order all accesses, whatever lighter kind of barrier `stype` asks for."""
    cpu.fence()
