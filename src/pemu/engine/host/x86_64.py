"""What depends on the host being x86-64 Linux: entry and exit stubs, signals, system calls.

Sources: System V ABI AMD64 supplement; Linux `asm/sigcontext.h`, `asm-generic/ucontext.h`; LLVM
language reference, `preserve_nonecc` (arguments in R12 R13 R14 R15 RDI RSI RDX RCX R8 R9).
"""

from __future__ import annotations

from pemu.engine.layout import state as s
from pemu.engine.layout.context import CODE_END, CODE_START
from pemu.engine.layout.exits import EXIT_FAULT, FAULT_BUS

PARAMETERS = 10
"""Arguments of a handler or region that this host passes in registers, none of them spilled."""

ALTSTACK_BYTES = 65536
"""Size and alignment of a guest thread's signal stack; its lowest word holds the state pointer."""

INTERRUPTED = -512
"""Result of a system call that the guest's signals kept from happening (Linux's ERESTARTSYS)."""

OWN_SIGNALS = 1 << 6 | 1 << 10
"""SIGBUS and SIGSEGV in a set: the engine needs them, whatever the guest masks."""

DEFAULT_MXCSR = 0x1F80

KICK_CODE = -0x504D
"""si_code of a SIGBUS that only sets the exit flag, and ends a system call's waiting."""

# Offsets in the ucontext that a signal handler receives.
_RDI, _RAX, _RCX, _RIP, _ERROR, _SIGMASK = 104, 144, 152, 168, 192, 296

_ASSEMBLY = f"""
.text
.globl pemu_enter
.p2align 4
pemu_enter:
  pushq %rbx
  pushq %rbp
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  pushq %rdi
  movq %rsp, {s.HOST_SP.offset}(%rdi)
  stmxcsr {s.HOST_MXCSR.offset}(%rdi)
  ldmxcsr {s.GUEST_MXCSR.offset}(%rdi)
pemu_again:
  movq %rdi, %r13
  movq {s.MEMORY_BASE.offset}(%rdi), %r14
  callq pemu_dispatch
  popq %rdi
pemu_leave:
  stmxcsr {s.GUEST_MXCSR.offset}(%rdi)
  ldmxcsr {s.HOST_MXCSR.offset}(%rdi)
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbp
  popq %rbx
  retq

.globl pemu_fault_landing
.p2align 4
pemu_fault_landing:
  movq {s.HOST_SP.offset}(%rdi), %rsp
  addq $8, %rsp
  cld
  jmp pemu_leave

.globl pemu_unwind
.p2align 4
pemu_unwind:
  movq {s.HOST_SP.offset}(%rdi), %rsp
  jmp pemu_again

.globl pemu_restorer
.p2align 4
pemu_restorer:
  movl $15, %eax
  syscall

.globl pemu_syscall
.globl pemu_syscall_end
.globl pemu_syscall_interrupted
.p2align 4
pemu_syscall:
  movq %rsi, %rax
  movq %rdx, %r10
  pushq %rbx
  movq %rdi, %rbx
  movq (%r10), %rdi
  movq 8(%r10), %rsi
  movq 16(%r10), %rdx
  movq 32(%r10), %r8
  movq 40(%r10), %r9
  movq 24(%r10), %r10
  movl $0, {s.CALL_BEGUN.offset}(%rbx)
  xorl %ecx, %ecx
pemu_syscall_start:
  cmpl $0, {s.EXIT_FLAG.offset}(%rbx)
  jne pemu_syscall_interrupted
  syscall
pemu_syscall_end:
  popq %rbx
  retq
pemu_syscall_interrupted:
  movq ${INTERRUPTED}, %rax
  popq %rbx
  retq
.globl pemu_syscall_start

.globl pemu_copy
.globl pemu_copy_end
.globl pemu_copy_failed
.p2align 4
pemu_copy:
  movq %rdx, %rcx
  rep movsb
pemu_copy_end:
  xorl %eax, %eax
  retq
pemu_copy_failed:
  movq %rcx, %rax
  retq
"""

ASSEMBLY = "\n".join(
    f'module asm "{line.strip()}"' for line in _ASSEMBLY.splitlines() if line.strip()
)
"""Module-level assembly.

`pemu_enter(state)`: run native code until it exits. `pemu_unwind(state)`: leave whatever functions
are at work and go on at the state's pc. `pemu_syscall(state, number, arguments)`: a
system call that a signal cannot slip past: a handler that finds the thread between the test of
the exit flag and the instruction sends it to `pemu_syscall_interrupted`. Both when the call had not
begun and when the kernel would make it again the instruction is still to be executed; rcx, which
it sets, tells which (CALL_BEGUN). `pemu_copy(to, from, n)`:
copy bytes; returns 0, or how many were left when a page was missing.
"""


def _inside(start: str, end: str, label: str) -> str:
    return f"""
  %{label}_lo = icmp uge i64 %rip, ptrtoint (ptr @{start} to i64)
  %{label}_hi = icmp ult i64 %rip, ptrtoint (ptr @{end} to i64)
  %{label} = and i1 %{label}_lo, %{label}_hi
"""


def _field(name: str, field: s.Field) -> str:
    return f"  %{name} = getelementptr i8, ptr %state, i64 {field.offset}\n"


_OWN_STATE = f"""\
  %sp = call i64 asm sideeffect "movq %rsp, $0", "=r"()
  %bottom = and i64 %sp, {-ALTSTACK_BYTES}
  %bottom_at = inttoptr i64 %bottom to ptr
  %state = load ptr, ptr %bottom_at
"""
"""%state: of the thread that handles a signal, by its signal stack."""

_LEAVE_SOON = f"""\
{_field("exit_flag", s.EXIT_FLAG)}  store volatile i32 1, ptr %exit_flag
  %rip_at = getelementptr i8, ptr %context, i64 {_RIP}
  %rip = load i64, ptr %rip_at
{_inside("pemu_syscall_start", "pemu_syscall_end", "in_call")}
  br i1 %in_call, label %divert, label %done
divert:
  %rcx_at = getelementptr i8, ptr %context, i64 {_RCX}
  %rcx = load i64, ptr %rcx_at
  %begun = icmp ne i64 %rcx, 0
  %begun32 = zext i1 %begun to i32
{_field("call_begun", s.CALL_BEGUN)}  store i32 %begun32, ptr %call_begun
  store i64 ptrtoint (ptr @pemu_syscall_interrupted to i64), ptr %rip_at
  ret void
done:
  ret void
"""
"""The end of a handler: the thread leaves native code, and a system call that has not been made."""

SIGNAL_HANDLERS = f"""
@pemu_syscall_start = external hidden global i8
@pemu_syscall_end = external hidden global i8
@pemu_syscall_interrupted = external hidden global i8
@pemu_copy = external hidden global i8
@pemu_copy_end = external hidden global i8
@pemu_copy_failed = external hidden global i8
@pemu_fault_landing = external hidden global i8

define void @pemu_on_fault(i32 %signal, ptr %info, ptr %context) nounwind {{
  %code_at = getelementptr i8, ptr %info, i64 8
  %si_code = load i32, ptr %code_at
  %sent = icmp sle i32 %si_code, 0
  br i1 %sent, label %by_somebody, label %by_access
by_somebody:
  %kick = icmp eq i32 %si_code, {KICK_CODE}
  br i1 %kick, label %kicked, label %sent_signal
sent_signal:
  tail call void @pemu_on_signal(i32 %signal, ptr %info, ptr %context)
  ret void
kicked:
  tail call void @pemu_on_kick(ptr %context)
  ret void
by_access:
  %rip_at = getelementptr i8, ptr %context, i64 {_RIP}
  %rip = load i64, ptr %rip_at
{_inside("pemu_copy", "pemu_copy_end", "in_copy")}
  br i1 %in_copy, label %copying, label %real
copying:
  store i64 ptrtoint (ptr @pemu_copy_failed to i64), ptr %rip_at
  ret void
real:
{_OWN_STATE}  %ctx_at = getelementptr i8, ptr %state, i64 {s.CONTEXT.offset}
  %ctx = load ptr, ptr %ctx_at
  %lo_at = getelementptr i8, ptr %ctx, i64 {CODE_START}
  %lo = load i64, ptr %lo_at
  %hi_at = getelementptr i8, ptr %ctx, i64 {CODE_END}
  %hi = load i64, ptr %hi_at
  %above = icmp uge i64 %rip, %lo
  %below = icmp ult i64 %rip, %hi
  %in_code = and i1 %above, %below
  br i1 %in_code, label %guest, label %host
guest:
{_field("fault_pc", s.FAULT_HOST_PC)}  store i64 %rip, ptr %fault_pc
  %addr_at = getelementptr i8, ptr %info, i64 16
  %addr = load i64, ptr %addr_at
{_field("exit_address", s.EXIT_ADDRESS)}  store i64 %addr, ptr %exit_address
  %error_at = getelementptr i8, ptr %context, i64 {_ERROR}
  %error = load i64, ptr %error_at
  %shifted = lshr i64 %error, 1
  %write = and i64 %shifted, 1
  %is_bus = icmp eq i32 %signal, 7
  %bus = select i1 %is_bus, i64 {FAULT_BUS}, i64 0
  %code = or i64 %write, %bus
{_field("exit_code", s.EXIT_CODE)}  store i64 %code, ptr %exit_code
{_field("exit_reason", s.EXIT_REASON)}  store i32 {EXIT_FAULT}, ptr %exit_reason
  %rdi_at = getelementptr i8, ptr %context, i64 {_RDI}
  store ptr %state, ptr %rdi_at
  store i64 ptrtoint (ptr @pemu_fault_landing to i64), ptr %rip_at
  ret void
host:
  %signal64 = zext i32 %signal to i64
  %act = alloca [4 x i64]
  store [4 x i64] zeroinitializer, ptr %act
  %r = call i64 asm sideeffect "movq $$8, %r10; movl $$13, %eax; syscall",
    "={{rax}},{{rdi}},{{rsi}},{{rdx}},~{{r10}},~{{rcx}},~{{r11}},~{{memory}}"
    (i64 %signal64, ptr %act, i64 0)
  ret void
}}

define internal void @pemu_on_kick(ptr %context) nounwind {{
{_OWN_STATE}{_LEAVE_SOON}}}

define void @pemu_on_signal(i32 %signal, ptr %info, ptr %context) nounwind {{
{_OWN_STATE}{_field("siginfo", s.SIGINFO)}  %copied = load [16 x i64], ptr %info
  store [16 x i64] %copied, ptr %siginfo
{_field("pending", s.SIGNAL_PENDING)}  store i32 1, ptr %pending
  %mask_at = getelementptr i8, ptr %context, i64 {_SIGMASK}
  store i64 {~OWN_SIGNALS}, ptr %mask_at
{_LEAVE_SOON}}}
"""
"""C functions for `sigaction` with SA_SIGINFO and SA_ONSTACK, every signal masked.

`pemu_on_fault`: SIGSEGV and SIGBUS. A fault of generated code becomes an exit with reason FAULT;
one of `pemu_copy` a short copy; any other gets the default action. `pemu_on_signal`: any other
signal: recorded in the state of the thread, which leaves native code soon with all signals but
SIGSEGV and SIGBUS still masked. A SIGBUS with `KICK_CODE` leaves record and mask alone.

Those of one engine serve the whole process: `pemu_copy` and `pemu_syscall` must be that engine's
too; all else they find through the state of the thread.
"""
