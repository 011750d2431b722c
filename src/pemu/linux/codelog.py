"""The log items of -d about a program's code. Imported only where one of them is wanted."""

from __future__ import annotations

from pemu.isa.mips.codelog import RUN, CodeLog
from pemu.linux.programs.symbols import Symbols

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.linux.process import Process, Thread


def observe(process: Process) -> None:
    """Have the code of a process logged, before its first block is translated."""
    symbols = Symbols(process.mem, process.target)
    code = CodeLog(process.engine, process.log, symbols.function, 2 * process.target.word)
    numbers: dict[int, int] = {}

    def run(thread: Thread) -> None:
        code.run(thread.cpu, numbers.setdefault(thread.tid, len(numbers)))

    if process.log.items & RUN:
        process.hooks.append(run)
