"""LLVM as a function from IR text to a linked blob. Imported only when something must be compiled.

Importing llvmlite costs more than running a short guest program from a warm code cache does.
"""

from __future__ import annotations

import os
import threading
from typing import Any

import llvmlite.binding as llvm
from llvmlite.binding import ffi

from pemu.engine.code.link import Blob, link

TRIPLE = "x86_64-unknown-linux-gnu"

LOCK = threading.Lock()
"""Held while LLVM works; `fork` takes it first, so that a child never inherits it held."""

# llvmlite's own lock too, which the end of any of its objects takes, whichever thread that is in.
os.register_at_fork(
    before=ffi.lib._lock.__enter__,
    after_in_parent=ffi.lib._lock.__exit__,
    after_in_child=ffi.lib._lock.__exit__,
)

_machines: dict[int, Any] = {}


def _machine(level: int) -> Any:
    if not _machines:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        llvm.initialize_native_asmparser()
        # Of two guest accesses merged into one nobody could tell which has faulted.
        llvm.set_option("", "-enable-tail-merge=0")
    if level not in _machines:
        _machines[level] = llvm.Target.from_triple(TRIPLE).create_target_machine(
            cpu=llvm.get_host_cpu_name(),
            features=llvm.get_host_cpu_features().flatten(),
            opt=level,
            reloc="pic",
            codemodel="small",
        )
    return _machines[level]


def _optimize(module: Any, machine: Any) -> None:
    options = llvm.create_pipeline_tuning_options(speed_level=1)
    builder = llvm.create_pass_builder(machine, options)
    passes = llvm.create_new_function_pass_manager()
    passes.add_sroa_pass()
    passes.add_instruction_combine_pass()
    passes.add_simplify_cfg_pass()
    for function in module.functions:
        if not function.is_declaration:
            passes.run(function, builder)


def compile_ir(text: str, *, level: int = 1) -> Blob:
    """Compile LLVM IR text for this host and link it.

    `level`: LLVM code generation level, 0 to 3.
    """
    with LOCK:
        machine = _machine(level)
        module = llvm.parse_assembly(text)
        _optimize(module, machine)
        image = machine.emit_object(module)
    return link(image)


def assembly(text: str, *, level: int = 1) -> str:
    """Return the host assembly text of a module (for logs)."""
    with LOCK:
        machine = _machine(level)
        module = llvm.parse_assembly(text)
        _optimize(module, machine)
        return str(machine.emit_assembly(module))


def optimized(text: str) -> str:
    """Return a module as LLVM's passes leave it (for logs)."""
    with LOCK:
        module = llvm.parse_assembly(text)
        _optimize(module, _machine(1))
        return str(module)


def host_name() -> str:
    """Name and features of the host processor, and LLVM's version: part of cache keys."""
    version = ".".join(map(str, llvm.llvm_version_info))
    features = llvm.get_host_cpu_features().flatten()
    return f"LLVM {version} {llvm.get_host_cpu_name()} {features}"
