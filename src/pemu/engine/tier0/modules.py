"""Tier 0: one native handler for each instruction, and the native translator that strings them.

A guest block becomes an array of ops {handler, operands}; each handler does its work and
tail-calls the next op's. The runtime of an architecture, with the handlers and the decoder of the
instructions that every program needs, is one module; those of others are modules of their own (see
`tier0parts`). All are compiled once and kept in the code cache.
"""

from __future__ import annotations

from typing import cast

from pemu.engine.host import x86_64 as host_x86_64
from pemu.engine.layout import context as c
from pemu.engine.layout import state as s
from pemu.engine.staging import fp
from pemu.engine.staging.builder import Procedure, with_registers
from pemu.engine.staging.function import ATTRIBUTES, PARAMETER_LIST, Function, handler
from pemu.engine.staging.insn import PatternError, bind
from pemu.engine.staging.values import StagingError
from pemu.engine.syscalls import call as native_call
from pemu.engine.system import privileged
from pemu.engine.tier0 import runtime, warm
from pemu.engine.tier0.decoder import TreeText
from pemu.engine.tier0.handlers import TargetBuilder, Tier0Builder, operand_places, stage_target
from pemu.engine.tier0.translator import translator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.engine.staging.architecture import Architecture
    from pemu.engine.staging.helper import Helper
    from pemu.engine.staging.insn import Insn


class _Module:
    """Collects the text of the tier 0 module."""

    def __init__(self, arch: Architecture) -> None:
        self.arch = arch
        self.functions: list[str] = []
        self.declarations: set[str] = set()
        self.helpers: dict[str, Helper] = {}
        self._handlers: dict[str, str] = {}
        self._targets: dict[str, str] = {}
        self._builder = with_registers(Tier0Builder, arch)
        self._target_builder = with_registers(TargetBuilder, arch)

    def add(self, text: str) -> None:
        self.functions.append(text)

    def add_function(self, function: Function) -> None:
        self.functions.append(function.text)
        self.declarations |= function.declarations

    def add_query(self, name: str, helper: Helper) -> None:
        """Define `name(state)`: calls a helper with the guest's floating-point status."""
        self.helpers[helper.name] = helper
        f = Function(f"hidden {helper.result} @{name}(ptr %state) nounwind strictfp")
        f.entry_lines.append("  %mx = alloca i32, align 4")
        host = fp.read_mxcsr(f, "%mx")
        fp.write_mxcsr(f, "%mx", f.raw_load(f.offset("%state", s.GUEST_MXCSR.offset), 32))
        result = f.op(f"call {helper.convention} {helper.result} @{helper.name}(ptr %state)")
        fp.write_mxcsr(f, "%mx", host)
        f.do(f"ret {helper.result} {result}")
        self.add_function(f)

    def stage(self, insn: Insn, features: frozenset[str]) -> tuple[str, int, str]:
        """Return (handler name, how it ends, name of its target function or '')."""
        builder = cast(Tier0Builder, self._builder(self.arch, features))
        values = {}
        for field, at, size in operand_places(insn):
            stored = builder.raw_load(builder.offset("%op", at), size * 8, align=1)
            if field.width == size * 8:
                values[field.name] = stored
            else:
                text = f"trunc nuw i{size * 8} {stored.ir} to i{field.width}"
                values[field.name] = builder.name(builder.op(text), field.width)
        try:
            bind(insn, builder, values)
        except StagingError as error:
            raise StagingError(f"{insn.name}: {error}") from error
        target = ""
        if builder.ending in (runtime.BRANCH, runtime.LIKELY, runtime.JUMP_REGISTER):
            targets = cast(TargetBuilder, self._target_builder(self.arch, features))
            staged = stage_target(targets, insn)
            if staged is not None:
                target = self._target_function(insn, *staged)
                if builder.ending == runtime.JUMP_REGISTER:
                    builder.ending = runtime.JUMP
                    builder.carry = "%carry"
            elif builder.ending != runtime.JUMP_REGISTER:
                raise StagingError(f"{insn.name}: target of a conditional branch in a register")
        body = builder.finish()
        self.declarations |= builder.declarations
        self.helpers.update(builder.helpers)
        name = self._handlers.get(body)
        if name is None:
            name = f"op_{insn.name}_{len(self._handlers)}"
            self._handlers[body] = name
            self.add(
                f"define internal preserve_nonecc void @{name}({PARAMETER_LIST}) "
                f"{ATTRIBUTES} {{\n{body}\n}}\n"
            )
        return name, builder.ending, target

    def _target_function(self, insn: Insn, lines: list[str], result: str) -> str:
        body = "\n".join(lines)
        name = self._targets.get(body)
        if name is None:
            name = f"target_{insn.name}"
            self._targets[body] = name
            unit = self.arch.insn_bytes * 8
            self.add(
                f"define internal i64 @{name}(i{unit} %word, i64 %pc) nounwind {{\n{body}\n"
                f"  ret i64 {result}\n}}\n"
            )
        return name

    def add_helpers(self) -> None:
        """Define the helpers that handlers (and helpers) call."""
        for text, declarations in helper_definitions(self.helpers, self.arch):
            self.add(text)
            self.declarations |= declarations

    def text(self, *more: str) -> str:
        return "\n".join(
            [
                *more,
                *sorted(self.declarations),
                *self.functions,
                '!0 = !{!"branch_weights", i32 1, i32 1000}',
            ]
        )


def helper_definitions(
    helpers: dict[str, Helper], arch: Architecture
) -> list[tuple[str, set[str]]]:
    """Return (definition, declarations) of each helper, and of those that they call.

    Helpers that are no procedures are for what seldom happens, and some are long: they are compiled
    in the quickest way.
    """
    result = []
    pending = list(helpers.values())
    seen = set(helpers)
    while pending:
        helper = pending.pop(0)
        parameters = ", ".join(
            ["ptr %state", *(f"{kind} %a{i}" for i, kind in enumerate(helper.parameters))]
        )
        header = (
            f"internal {helper.convention} {helper.result} @{helper.name}({parameters}) "
            "noinline nounwind strictfp cold"
        )
        operands = [f"%a{i}" for i in range(len(helper.parameters))]
        if isinstance(helper, Procedure):
            cpu = privileged.system_builder(arch)
            helper.stage(cpu, operands)
            result.append((cpu.definition(header), cpu.declarations))
            more = [inner for name, inner in cpu.helpers.items() if name not in seen]
            seen.update(inner.name for inner in more)
            pending += more
            continue
        function = Function(f"{header} optnone")
        helper.body(function, *operands)
        result.append((function.text, function.declarations))
    return result


def base_text(arch: Architecture) -> str:
    """Return the IR text of tier 0's base: runtime, decoder and handlers of the base."""
    module = _Module(arch)
    for text in (
        runtime.dispatch(arch),
        runtime.tier0_entry(),
        runtime.region_entry(arch),
        runtime.block_entry(arch),
        runtime.stale_block(arch),
        runtime.link_miss(arch),
        *runtime.block_ends(arch),
        *runtime.exits(arch),
        *native_call.functions(arch),
        runtime.lock_functions(),
        *warm.functions(arch),
        _reserved(),
    ):
        module.add(text)
    if arch.system is not None:
        staged = privileged.functions(arch, arch.system)
        for text in staged.texts:
            module.add(text)
        module.declarations |= staged.declarations
        module.helpers.update(staged.helpers)
    _decoder(module, "internal", "", arch.features)
    module.add_function(translator(arch))
    module.add(_function_table(arch))
    module.add_helpers()
    return module.text(host_x86_64.ASSEMBLY, host_x86_64.SIGNAL_HANDLERS)


def part_text(arch: Architecture, part: str, features: frozenset[str]) -> str:
    """Return the IR text of a part of tier 0: decoder, handlers and queries.

    `features`: those of the translation mode that the part depends on.
    """
    module = _Module(arch)
    _decoder(module, "hidden", part, arch.features | features)
    for name, query in arch.source().queries.get(part, {}).items():
        module.add_query(name, query(arch.xlen))
    module.add_helpers()
    for name in c.SYSTEM_FUNCTION_NAMES:
        if any(f"@{name}" in text for text in module.functions):
            module.add(runtime.forward(name))
    return module.text()


def _function_table(arch: Architecture) -> str:
    """`pemu_functions(ctx)`: fill in the context's table of functions."""
    f = Function("void @pemu_functions(ptr %ctx) nounwind")
    names = c.FUNCTION_NAMES if arch.system is None else c.SYSTEM_FUNCTION_NAMES
    for index, name in enumerate(names):
        f.do(f"store ptr @{name}, ptr {f.offset('%ctx', c.FUNCTIONS + 8 * index)}, align 8")
    f.do("ret void")
    return f.text


class _Features(frozenset[str]):
    """What an instruction's meaning may ask for; `hidden`: features of modes that it may not."""

    hidden: frozenset[str]

    def __contains__(self, feature: object) -> bool:
        if feature in self.hidden:
            raise StagingError(f"its part does not declare that it depends on {feature}")
        return super().__contains__(feature)


RESERVED_INSTRUCTION = 10
"""Exception code for a word that is no instruction (MIPS RI; other sets map it)."""


def _reserved() -> str:
    f = handler("pemu_reserved", "hidden ")
    f.put(s.EXIT_CODE, RESERVED_INSTRUCTION)
    f.put(s.EXIT_ADDRESS, 0)
    f.tail("@pemu_raise")
    return f.text


def _decoder(module: _Module, linkage: str, part: str, features: frozenset[str]) -> None:
    """`pemu_decode(word, op, target, pc)`: fill in an op, return how the instruction ends.

    The base's decoder tells only which part has to decode the words of the others.
    """
    arch = module.arch
    unit = arch.insn_bytes * 8
    parts = list(arch.parts)
    insns = arch.source().select(features if part else features.union(*arch.modes))
    if part:
        insns = [insn for insn in insns if arch.part(insn) == part]
    hidden = frozenset().union(*arch.modes) - arch.parts.get(part, frozenset())
    for insn in insns:
        if arch.part(insn) == part and (insn.needs | insn.unless) & hidden:
            raise PatternError(f"{insn.name} depends on a mode that its part does not declare")
    staged = _Features(features)
    staged.hidden = hidden
    leaves = 0

    def group(insn: Insn) -> str:
        return "" if part else arch.part(insn)

    def leaf(insn: Insn | None) -> list[str]:
        nonlocal leaves
        leaves += 1
        if insn is None:
            return ["  store ptr @pemu_reserved, ptr %out, align 8", f"  ret i32 {runtime.STOP}"]
        if group(insn):
            return [f"  ret i32 {runtime.ELSEWHERE + parts.index(group(insn))}"]
        name, ending, target = module.stage(insn, staged)
        lines = [f"  store ptr @{name}, ptr %out, align 8"]
        for number, (field, at, size) in enumerate(operand_places(insn)):
            prefix = f"%f{leaves}_{number}"
            mask = (1 << field.width) - 1
            lines += [
                f"  {prefix}s = lshr i{unit} %word, {field.low}",
                f"  {prefix}m = and i{unit} {prefix}s, {mask}",
                f"  {prefix}p = getelementptr i8, ptr %out, i64 {at}",
            ]
            stored = f"{prefix}m"
            if size * 8 != unit:
                lines.append(f"  {prefix}t = trunc i{unit} {prefix}m to i{size * 8}")
                stored = f"{prefix}t"
            lines.append(f"  store i{size * 8} {stored}, ptr {prefix}p, align 1")
        if target:
            lines += [
                f"  %g{leaves} = call i64 @{target}(i{unit} %word, i64 %pc)",
                f"  store i64 %g{leaves}, ptr %target, align 8",
            ]
        return [*lines, f"  ret i32 {ending}"]

    tree = TreeText(unit, leaf, group)
    tree.build(insns)
    body = "\n".join(tree.lines)
    module.add(
        f"define {linkage} i32 @pemu_decode(i{unit} %word, ptr %out, ptr %target, i64 %pc) "
        f"nounwind {{\n{body}\n}}\n"
    )


EXPORTS = (
    "pemu_enter",
    "pemu_syscall",
    "pemu_copy",
    "pemu_on_fault",
    "pemu_on_signal",
    "pemu_restorer",
    "pemu_functions",
    "pemu_enter_region",
    "pemu_stale_block",
    "pemu_enter_block",
    "pemu_tier0",
    "pemu_end_branch",
    "pemu_end_jump",
    "pemu_end_register",
    "pemu_end_next",
    "pemu_end_branch_next",
    "pemu_jump_miss",
    "pemu_hook",
    "pemu_reserved",
    "pemu_lock",
    "pemu_unlock",
    "pemu_invalidate",
)
"""Symbols of the module that Python code uses."""

SYSTEM_EXPORTS = (
    "pemu_translate_address",
    "pemu_enter_exception",
    "pemu_take_interrupt",
    "pemu_update_mode",
    "pemu_flush_tlb",
    "pemu_set_context",
)
"""Those of whole processors beside them."""


def compile_tier0(
    arch: Architecture, part: str, features: frozenset[str]
) -> tuple[bytes, dict[str, int]]:
    """Compile a part of an architecture's tier 0, or its base ("").

    `features`: those of the translation mode that the part depends on. Returns (code, offsets of
    its symbols: `EXPORTS`, or the decoder and the queries).
    """
    from pemu.engine.code.llvm import compile_ir

    if part:
        blob = compile_ir(part_text(arch, part, features))
        exports = ("pemu_decode", *arch.source().queries.get(part, {}))
    else:
        blob = compile_ir(base_text(arch))
        exports = (*EXPORTS, *(SYSTEM_EXPORTS if arch.system else ()))
    assert not blob.data
    return blob.code, {name: blob.symbols[name] for name in exports}
