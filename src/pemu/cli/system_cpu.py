"""How the processors of a machine are made from -cpu, -jit and -singlestep."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from pemu.cli.system_options import SystemOptions
from pemu.engine.code.cache import DEFAULT_LIMIT, CodeCache, default_directory
from pemu.machine.control import Vcpu
from pemu.machine.machine import Hosting, Machine
from pemu.machine.target import Target
from pemu.options.error import OptionError

LEAST_CODE = 4
"""MiB of compiled code that there is room for in any case: a few batches of the compiler."""


def maker(
    machine: Machine, target: Target, options: SystemOptions, cache: CodeCache | None
) -> Callable[[str], Vcpu]:
    """What makes a processor of a model for `machine`; OptionError for a model that is not there.

    What processors need is imported when the first one is made. cache: where their code is kept.
    """

    def make(model: str) -> Vcpu:
        from pemu.isa.mips.models import UnknownModel, UnsupportedModel
        from pemu.machine.mips import MipsProcessor

        machine.semihosting = _semihosting(options)
        try:
            processor = MipsProcessor(
                machine,
                model,
                bits=target.bits,
                cache=cache,
                mode=_jit(options).get("mode", "auto"),
            )
        except (UnknownModel, UnsupportedModel) as error:
            raise OptionError(f"-cpu: {error}") from None
        # What a machine runs is found by its code; the name only keeps different ones apart.
        software = options.kernel or options.bios or (options.drives or [("", "")])[0][1]
        processor.engine.open_regions(f"machine {software}", "")
        for given in options.accel:
            if given["tb-size"]:
                processor.engine.code.limit = max(given["tb-size"], LEAST_CODE) << 20
            if given["one-insn-per-tb"]:
                options.singlestep = True
        if options.log_items:
            processor.choose_log()
        if options.singlestep:
            processor.engine.set_single_step(True)
        return processor

    return make


def _semihosting(options: SystemOptions) -> Hosting | None:
    """What -semihosting and -semihosting-config ask for."""
    if not options.semihosting or not options.semihosting[-1]["enable"]:
        return None
    from pemu.machine.mips_semihosting import Semihosting

    arguments = [text for given in options.semihosting for text in given["arg"]]
    if not arguments and options.kernel:
        arguments = [options.kernel, *(options.append or "").split()]
    return Semihosting(arguments, user=options.semihosting[-1]["userspace"])


def _jit(options: SystemOptions) -> dict[str, Any]:
    """What all -jit together say."""
    jit: dict[str, Any] = {}
    for given in options.jit:
        jit |= {key: value for key, value in given.items() if value is not None}
    return jit


def code_cache(options: SystemOptions) -> CodeCache | None:
    """The code cache; None where there is none, or no directory for it."""
    jit = _jit(options)
    if not jit.get("cache", True):
        return None
    directory = jit.get("cache-dir")
    if not directory and os.geteuid() == os.getuid():
        directory = default_directory(dict(os.environ))
    if not directory:
        return None
    try:
        return CodeCache(directory, jit.get("cache-size") or DEFAULT_LIMIT)
    except OSError:  # no current directory that a path could begin at
        return None
