"""Start a guest program: from a command line to a running process."""

from __future__ import annotations

import errno
import os
import sys
import time

from pemu.engine.code.cache import DEFAULT_LIMIT, CodeCache, default_directory
from pemu.engine.engine import Engine
from pemu.engine.memory.process import AddressSpace
from pemu.isa.mips.cpu import architecture
from pemu.linux import fdtable, title
from pemu.linux.execute import begin
from pemu.linux.process import Process, Thread
from pemu.linux.programs.elf import ElfError
from pemu.linux.programs.scripts import find_program
from pemu.linux.running import run_thread
from pemu.linux.signals import adopt_ignored, watch_fatal
from pemu.linux.target import TARGETS
from pemu.options.error import OptionError, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from pemu.engine.vcpu import Cpu
    from pemu.linux.options import UserOptions
    from pemu.linux.target import Target


CODE_ITEMS = ("cpu", "exec", "fpu", "guest_errors", "in_asm", "op", "op_opt", "out_asm")
"""The log items about code, which `pemu.isa.mips.codelog` writes."""


def run_user(
    target_name: str, options: UserOptions, argv: list[bytes], environ: list[bytes]
) -> NoReturn:
    """Run a program as `options` say; ends with the guest's exit status. Raises OptionError."""
    # A thread that comes back from native code must not wait the usual 5 ms for another's Python.
    sys.setswitchinterval(0.0002)
    target = TARGETS[target_name]
    process, thread = start(target, options, argv, environ)
    called = os.fsencode(options.called or options.program)
    title.show(called, process.argv, process.environ)
    watch_fatal(process)
    if options.gdb:
        from pemu.linux.debugging.debugger import attach

        place, options.gdb = options.gdb, ""  # what is executed later runs without gdb
        attach(process, thread, place)
    if options.control >= 0:
        from pemu.linux.debugging.control import attach as attach_control

        descriptor, options.control = options.control, -1
        attach_control(process, thread, descriptor)
    run_thread(thread)
    # The first thread has ended before others: they end the process.
    while True:
        time.sleep(1 << 20)


def _cache(options: UserOptions) -> CodeCache | None:
    """The code cache, which is handed on to what the guest executes."""
    if not options.cache:
        return None
    directory = options.cache_dir
    if not directory and os.geteuid() == os.getuid():
        directory = default_directory(dict(os.environ))
    if not directory:
        return None
    try:
        cache = CodeCache(directory, options.cache_size or DEFAULT_LIMIT)
    except OSError:  # no current directory that a path could begin at
        return None
    options.jit.append({"cache-dir": cache.directory})
    return cache


def start(
    target: Target, options: UserOptions, argv: list[bytes], environ: list[bytes]
) -> tuple[Process, Thread]:
    """Make a process with its first thread, ready to run. Raises OptionError."""
    program = options.program
    arch = architecture(options.cpu or target.default_cpu, target.big_endian, target.abi)
    try:
        memory = AddressSpace(
            arch.address_bits,
            target.big_endian,
            options.page_size,
            options.reserved_va,
            options.guest_base,
        )
    except OSError as error:
        raise OptionError(
            f"the host gives no address space for the guest ({error.strerror}); try another -B"
        ) from error
    engine = Engine(arch, memory, cache=_cache(options), mode=options.jit_mode)
    process = Process(target, memory, engine, options)
    _observe(process)
    if options.log.fd > 2:
        fdtable.claim(options.log.fd)
    cpu = engine.new_cpu()
    cpu.attach()
    _load(process, cpu, program, argv, environ)
    if options.ignored:
        adopt_ignored(process, options.ignored)
    thread = Thread(process, cpu)
    process.threads[thread.tid] = thread
    if options.child:
        from pemu.linux.translators import adopt_inherited

        adopt_inherited(thread)
    _native_calls(process)
    if options.singlestep:
        engine.set_single_step(True)
    return process, thread


def _load(
    process: Process, cpu: Cpu, program: str, argv: list[bytes], environ: list[bytes]
) -> None:
    """Load the first program. Raises OptionError."""
    name = os.fsencode(program)
    host = b""
    try:
        host, argv, _ = find_program(process.prefix, name, name, argv)
        called = os.fsencode(process.options.called) or name
        begin(process, cpu, os.fsdecode(host), called, argv, environ)
    except OSError as error:
        where = f"{quoted(program)} cannot be run: "
        remedy = ""
        if error.filename and error.filename != name:
            where += f"its interpreter {quoted(os.fsdecode(error.filename))}: "
            remedy = "; give the directory with the guest's programs by -L"
        elif error.errno == errno.EACCES:
            remedy = "; give a file that may be executed (chmod +x)"
        raise OptionError(f"{where}{error.strerror}{remedy}") from error
    except ElfError as error:
        where = program
        if host != name:
            where += f": its interpreter {os.fsdecode(host)}"
        raise OptionError(f"{where}: {error}", error.status) from error


def _observe(process: Process) -> None:
    """Have what -d and -trace ask for logged."""
    log = process.log
    if log.enabled("strace") or log.events:
        from pemu.linux.strace import Tracer

        process.tracer = Tracer(process.options.child)
    if not log.items.isdisjoint(CODE_ITEMS):
        from pemu.linux.codelog import observe

        observe(process)
    elif log.enabled("nochain"):
        process.engine.set_options(chain=False)


def _native_calls(process: Process) -> None:
    """Hand the engine the system calls that native code makes without asking.

    Not where calls are observed, nor with -seed, which changes what getrandom does, nor with a
    debugger, which stops threads between calls.
    """
    options = process.options
    if process.tracer is not None or options.seed is not None or options.gdb:
        return
    from pemu.linux.nativecalls import install
    from pemu.linux.signals import describe
    from pemu.linux.syscall import table_for

    install(table_for(process.target), process)
    describe(process)
