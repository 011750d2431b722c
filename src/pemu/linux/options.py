"""What a Linux program is run under: the options of user mode, and what processes hand on."""

from __future__ import annotations

from pemu.log import Log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class UserOptions:
    """What the command line of user mode asked for.

    program: host path of the program to run.
    gdb: where a gdb server waits, a TCP port or the path of a socket; empty for none (-g).
    prefix: absolute path of the directory with the guest's loader and libraries; empty for none.
    stack_size: bytes of the guest's main stack, 0 for its limit (-s).
    cpu: name of the processor model; empty for the target's default (-cpu).
    uname: what uname() says is the kernel's release; empty for the host's (-r).
    guest_base: host address of guest address 0, None for any (-B).
    reserved_va: bytes of address space the guest may use, 0 for all (-R).
    log_items, log_file, log_ranges: the items of -d, the template of -D, the ranges of -dfilter;
        `log` is the open log.
    page_size: bytes of a page as the host would have them (-p).
    singlestep: make every block one instruction long (-singlestep).
    strace: log system calls (-strace).
    seed: seed of what the guest takes for random, None for none (-seed).
    jit_mode: 'auto', 'tier0' (never use LLVM on regions) or 'tier1' (compile all code at once).
    cache, cache_dir, cache_size: use the code cache; its directory, empty for the user's own; its
        limit in bytes, 0 for the default.
    child_command, child_environ: how a guest's execve() of a program for the same target is
        executed: first words of the command, and its environment.
    control: descriptor of the socket by which `pemu.api` controls the program, -1 for none.
    child: this process runs what another one under Pemu has passed to execve().
    called: the path that was passed to execve(), which may be a script's; empty for `program`.
    ignored: host signals, bit n-1 for signal n, that were ignored when the process started.
    """

    __slots__ = (
        "argv0",
        "cache",
        "cache_dir",
        "cache_size",
        "called",
        "child",
        "child_command",
        "child_environ",
        "control",
        "cpu",
        "gdb",
        "guest_base",
        "ignored",
        "jit",
        "jit_mode",
        "log",
        "log_file",
        "log_ranges",
        "log_items",
        "page_size",
        "prefix",
        "program",
        "reserved_va",
        "seed",
        "singlestep",
        "stack_size",
        "strace",
        "trace",
        "uname",
    )

    def __init__(self) -> None:
        self.program = ""
        self.gdb = ""
        self.prefix = ""
        self.stack_size = 0
        self.cpu = ""
        self.argv0: str | None = None
        self.uname = ""
        self.guest_base: int | None = None
        self.reserved_va = 0
        self.log_items: tuple[str, ...] = ()
        self.log_file = ""
        self.log_ranges: list[tuple[int, int]] = []
        self.log = Log()
        self.page_size = 4096
        self.singlestep = False
        self.strace = False
        self.seed: int | None = None
        self.trace: list[dict[str, Any]] = []
        self.jit: list[dict[str, Any]] = []
        self.jit_mode = "auto"
        self.cache = True
        self.cache_dir = ""
        self.cache_size = 0
        self.child = False
        self.called = ""
        self.child_command: Callable[[], list[str]] = list
        self.child_environ: Callable[[list[bytes]], list[bytes]] = list
        self.ignored = 0
        self.control = -1
