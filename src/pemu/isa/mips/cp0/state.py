"""The registers of coprocessor 0 in the state, and the bits of Status, Cause and Debug.

Beside the architecture's registers there are some of its implementation's: the TLB's entries, how
Count follows the clock, and the interrupt lines.
"""

from __future__ import annotations

from pemu.engine.layout.state import Layout, Register
from pemu.engine.staging.architecture import System
from pemu.isa.mips.exceptions import ADDRESS_LOAD, ADDRESS_STORE, BUS_DATA, BUS_FETCH
from pemu.isa.mips.state import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pemu.engine.staging.builder import RegisterFile
    from pemu.engine.staging.values import Value
    from pemu.isa.mips.cp0.models import Control
    from pemu.isa.mips.state import Cpu

    class _Single:
        """A register that is not part of a file: read as a value, given a value or a number."""

        def __get__(self, cpu: SystemCpu, kind: type[SystemCpu]) -> Value: ...
        def __set__(self, cpu: SystemCpu, value: Value | int) -> None: ...

    class SystemCpu(Cpu):
        """What the meaning of a privileged instruction is handed."""

        index: _Single
        random: _Single
        entrylo0: _Single
        entrylo1: _Single
        context: _Single
        pagemask: _Single
        wired: _Single
        badvaddr: _Single
        entryhi: _Single
        compare: _Single
        status: _Single
        intctl: _Single
        srsctl: _Single
        srsmap: _Single
        cause: _Single
        epc: _Single
        ebase: _Single
        config: _Single
        watchlo: RegisterFile
        watchhi: RegisterFile
        xcontext: _Single
        framemask: _Single
        debug: _Single
        depc: _Single
        perf: RegisterFile
        perf_enabled: _Single
        perf_running: _Single
        perf_instructions: _Single
        perf_cycle: _Single
        perf_instruction: _Single
        errctl: _Single
        taglo: RegisterFile
        taghi: RegisterFile
        errorepc: _Single
        desave: _Single
        mvpcontrol: _Single
        vpecontrol: _Single
        tcstatus: _Single
        tlb_hi: RegisterFile
        tlb_mask: RegisterFile
        tlb_asid: RegisterFile
        tlb_lo0: RegisterFile
        tlb_lo1: RegisterFile
        tlb_slot: RegisterFile
        tlb_used: _Single
        tlb_next: _Single
        shadow: RegisterFile
        watch_active: _Single
        watch_hooks: _Single
        irq_lines: _Single
        cause_seen: _Single
        nmi_request: _Single
        debug_request: _Single
        timer_deadline: _Single
        count_base: _Single
        count_begun: _Single
        count_ns: _Single


# Status.
IE, EXL, ERL, KSU, UX, SX, KX = 1 << 0, 1 << 1, 1 << 2, 3 << 3, 1 << 5, 1 << 6, 1 << 7
KSU_SHIFT, IM_SHIFT = 3, 8
NMI, SR, TS, BEV, PX, MX = 1 << 19, 1 << 20, 1 << 21, 1 << 22, 1 << 23, 1 << 24
FR, CU0, CU1 = 1 << 26, 1 << 28, 1 << 29
STATUS_RESET = BEV | ERL
KERNEL, SUPERVISOR, USER = 0, 1, 2
"""Values of KSU."""

# Cause.
BD, TI, DC, IV, WP = 1 << 31, 1 << 30, 1 << 27, 1 << 23, 1 << 22
EXC_CODE_SHIFT, IP_SHIFT, CE_SHIFT = 2, 8, 28
TIMER_LINE = 7
"""Which of IP7..0 the timer and the performance counter interrupt by (IntCtl.IPTI, IPPCI)."""

# Debug (EJTAG).
DBD, DM, LSNM, DSS_ENABLE, DBP, DINT, DSS = (
    *(1 << 31, 1 << 30, 1 << 28, 1 << 8, 1 << 1, 1 << 5, 1 << 0),
)
DEBUG_CODE_SHIFT = 10
DEBUG_CAUSES = 0x3F | DBD | 0x1F << DEBUG_CODE_SHIFT

TLB_ENTRIES = 128
"""Entries of the TLB in the state: those of the model, and behind them the ones that are kept
although TLBWR has put others in their place (see `tlb`)."""

GLOBAL = 1 << 15
"""Bit of `tlb_asid`: the entry is there for every ASID."""

UNUSED = 0x7FFF
"""In `tlb_asid`: an entry that matches no address."""


class MipsSystem(System):
    """The system architecture of a MIPS processor (made by `system`).

    `control`: its coprocessor 0. `functions`: those of a `System`.
    """

    __slots__ = ("control",)

    def __init__(self, control: Control, **functions: Any) -> None:
        super().__init__(
            misaligned=(ADDRESS_LOAD, ADDRESS_STORE),
            bus_error=(BUS_DATA, BUS_FETCH),
            jump_bits=28,
            **functions,
        )
        self.control = control


def control_of(cpu: Cpu) -> Control:
    """The coprocessor 0 that an instruction is staged for."""
    system = cpu.arch.system
    assert isinstance(system, MipsSystem)
    return system.control


def system_layout(xlen: int, control: Control) -> Layout:
    """Return the state of a whole processor with `xlen` bits a register."""
    return Layout(
        (
            *layout(xlen, "o32" if xlen == 32 else "n64").registers,
            *_architectural(xlen, "mt" in control.model.features),
            *_hidden(xlen, control.shadow_sets),
        )
    )


def _architectural(xlen: int, threads: bool) -> Iterator[Register]:
    """The registers of coprocessor 0 in the order of their numbers.

    `threads`: those of the multithreading extension, too.
    """

    def registers(width: int, names: str) -> Iterator[Register]:
        return (Register(name, width, group="system", memory=True) for name in names.split())

    def eight(name: str, width: int) -> Register:
        names = tuple(f"{name}{index}" for index in range(8))
        return Register(name, width, 8, group="system", names=names, memory=True)

    yield from registers(32, "index random")
    yield from registers(xlen, "entrylo0 entrylo1 context")
    yield from registers(32, "pagemask wired srsconf0 srsconf1 srsconf2 srsconf3 srsconf4")
    yield from registers(xlen, "badvaddr entryhi")
    yield from registers(32, "compare status intctl srsctl srsmap cause")
    yield from registers(xlen, "epc ebase")
    yield from registers(32, "config")
    yield eight("watchlo", xlen)
    yield eight("watchhi", 32)
    yield from registers(xlen, "xcontext")
    yield from registers(32, "framemask debug")
    yield from registers(xlen, "depc")
    yield eight("perf", 32)
    yield from registers(32, "errctl")
    yield eight("taglo", 32)
    yield eight("taghi", 32)
    yield from registers(xlen, "errorepc desave")
    if threads:
        yield from registers(32, "mvpcontrol vpecontrol vpeconf0 vpeschedule vpeschefback vpeopt")
        yield from registers(32, "tcstatus tcbind tchalt tccontext tcschedule tcschefback")
        yield from registers(xlen, "tcrestart")


def _hidden(xlen: int, shadow_sets: int) -> tuple[Register, ...]:
    """What the implementation keeps beside the architecture's registers."""

    def hidden(name: str, width: int, count: int = 0) -> Register:
        return Register(name, width, count, group="hidden", memory=True)

    return (
        hidden("tlb_hi", xlen, TLB_ENTRIES),
        hidden("tlb_lo0", xlen, TLB_ENTRIES),
        hidden("tlb_lo1", xlen, TLB_ENTRIES),
        hidden("tlb_mask", 32, TLB_ENTRIES),
        hidden("tlb_asid", 16, TLB_ENTRIES),
        # Of an entry that was kept: which of the model's entries it was.
        hidden("tlb_slot", 8, TLB_ENTRIES),
        hidden("tlb_used", 32),
        hidden("tlb_next", 32),
        hidden("shadow", xlen, 32 * shadow_sets),
        # Bit n is set if watch register n watches anything.
        hidden("watch_active", 32),
        # Not 0: watch registers have changed that compare fetches, and the machine has to look.
        hidden("watch_hooks", 32),
        # Performance counters that are to count in some mode; that count now; instructions.
        hidden("perf_enabled", 32),
        hidden("perf_running", 32),
        hidden("perf_instructions", 32),
        # Cycles and instructions that had been run when they were last looked at.
        hidden("perf_cycle", 64),
        hidden("perf_instruction", 64),
        # Hardware interrupts: IP2 and up from bit 0 on. Native code only reads it.
        hidden("irq_lines", 32),
        # Cause when interrupts were looked for last.
        hidden("cause_seen", 32),
        # Not 0: an NMI, the debug interrupt is asked for. Taken once.
        hidden("nmi_request", 32),
        hidden("debug_request", 32),
        # Virtual time in ns at which Count reaches Compare; all ones: not before a new Compare.
        hidden("timer_deadline", 64),
        # What Count is at virtual time 0 (while it stands still: what it is), ns in between.
        hidden("count_base", 32),
        hidden("count_begun", 32),  # 1: the guest has looked at Count since the reset
        hidden("count_ns", 32),
    )
