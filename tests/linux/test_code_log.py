"""The log items of -d about code, on a small program that needs no system files."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import TARGETS, Run, need
from tests.linux.cross import COMPILERS

SOURCE = """
 .globl __start
 .set noreorder
 .type __start, @function
 .type twice, @function
__start:
 li $8, 3
loop:
 addiu $8, $8, -1
 addu $16, $16, $8
 bnez $8, loop
 addiu $17, $17, 1
 bal twice
 move $4, $16
 bnezl $0, loop
 li $18, 99
 lui $9, 0x3fc0
 mtc1 $9, $f2
 cvt.d.s $f4, $f2
 move $15, $sp
 sw $9, -16($15)
 lw $10, -16($15)
 mult $9, $9
 mflo $11
 break_point:
 move $15, $0
 li $4, 0
 li $2, EXIT
 syscall
 .size __start, .-__start
twice:
 jr $31
 addu $2, $4, $4
 .size twice, .-twice
"""

EXIT_NUMBERS = {"mips": 4001, "mips64": 5058, "mipsn32": 6058}


def build(target: str, folder: Path, source: str = SOURCE) -> Path:
    """Assemble a program for `target`."""
    compiler, options = COMPILERS[target]
    path, output = folder / "program.S", folder / "program"
    path.write_text(source)
    number = EXIT_NUMBERS[target.removesuffix("el")]
    command = [need(compiler), *options, f"-DEXIT={number}", "-mno-abicalls", "-fno-pic"]
    command += ["-static", "-nostdlib", "-w", "-o", str(output), str(path)]
    subprocess.run(command, check=True)
    return output


@pytest.fixture(scope="module", params=TARGETS)
def program(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """A target, and the program for it."""
    return request.param, build(request.param, tmp_path_factory.mktemp(request.param))


def address_of(program: tuple[str, Path], symbol: str) -> int:
    nm = need(COMPILERS[program[0]][0].replace("gcc", "nm"))
    listing = subprocess.run([nm, program[1]], capture_output=True, text=True, check=True).stdout
    found = re.search(rf"^(\w+) \w {symbol}$", listing, re.MULTILINE)
    assert found is not None
    return int(found[1], 16)


def traced(log: str) -> list[tuple[int, int]]:
    """(pc, flags) of each line of `exec`."""
    lines = re.findall(r"^Trace \d+: 0x\w+ \[\w+/(\w+)/(\w+)/\w+\]", log, re.MULTILINE)
    return [(int(pc, 16), int(flags, 16)) for pc, flags in lines]


def dumps(log: str) -> list[tuple[str, ...]]:
    """Each dump of `cpu`: pc, HI, LO, and the general registers by number.

    QEMU names registers as o32 does for every ABI, so names are left out.
    """
    states = []
    for dump in re.split(r"^(?=pc=)", log, flags=re.MULTILINE)[1:]:
        found = re.findall(r"^(?:GPR\d\d:)(.*)$", dump, re.MULTILINE)
        values = re.findall(r" ([0-9a-f]{8,16})\b", " ".join(found))
        states.append((*re.findall(r"(?:pc|HI|LO)=0x(\w+)", dump), *values))
    return states


def test_in_asm_shows_each_block_once_with_its_symbol(pemu: Run, program: tuple[str, Path]) -> None:
    log = pemu(program[0], "-d", "in_asm", program[1]).stderr
    digits = 16 if program[0].startswith("mips64") else 8
    start = address_of(program, "__start")
    blocks = log.split("----------------\n")[1:]
    assert blocks[0].startswith(f"IN: __start\n0x{start:0{digits}x}:  li\t")
    function = [block for block in blocks if block.startswith("IN: twice\n")]
    assert len(function) == 1
    assert re.search(r"jr\tra\n0x\w+:  addu\tv0,a0,a0\n\n$", function[0])


@pytest.mark.parametrize("program", ["mips", "mipsel"], indirect=True)
def test_in_asm_reads_as_qemu_writes_it(pemu: Run, qemu: Run, program: tuple[str, Path]) -> None:
    def lines(run: Run) -> dict[str, str]:
        log = run(program[0], "-d", "in_asm", program[1]).stderr
        return dict(re.findall(r"^(0x\w+):  (.*)$", log, re.MULTILINE))

    assert lines(pemu) == lines(qemu)


def test_op_names_handlers_and_operands(pemu: Run, program: tuple[str, Path]) -> None:
    log = pemu(program[0], "-jit", "mode=tier0", "-d", "op", program[1]).stderr
    start = address_of(program, "loop")
    digits = 16 if program[0].startswith("mips64") else 8
    after = start + 16
    assert f" ---- {start:0{digits}x}\n addiu imm=0xffff rs=0x8 rt=0x8\n" in log
    assert "(delay slot)\n addiu imm=0x1 rs=0x11 rt=0x11\n" in log
    assert f"\n pemu_end_branch taken={start:#x} next={after:#x}\n" in log


def test_op_shows_what_is_compiled_as_llvm_ir(pemu: Run, program: tuple[str, Path]) -> None:
    log = pemu(program[0], "-jit", "mode=tier1,cache=off", "-d", "op", program[1]).stderr
    assert "\nOP: regions 0x" in log
    assert "\ndefine " in log


def test_out_asm_shows_host_code_with_addresses_and_sizes(
    pemu: Run, program: tuple[str, Path]
) -> None:
    log = pemu(program[0], "-jit", "mode=tier1,cache=off", "-d", "out_asm", program[1]).stderr
    assert re.search(r"^OUT: \w+ at 0x\w+ \[size=\d+\]\n  -- guest block 0x", log, re.MULTILINE)
    assert re.search(r"^  -- guest addr 0x\w+\n\t\w+", log, re.MULTILINE)
    assert log.count("\tretq") >= 1


def test_exec_shows_blocks_in_the_order_of_qemu_with_singlestep(
    pemu: Run, qemu: Run, program: tuple[str, Path]
) -> None:
    words = (program[0], "-singlestep", "-d", "exec,nochain", program[1])
    # A delay slot is a block of its own under QEMU, told by bits of the flags.
    expected = [pc for pc, flags in traced(qemu(*words).stderr) if not flags & 0x803800]
    assert [pc for pc, _ in traced(pemu(*words).stderr)] == expected


def test_exec_shows_every_run_of_a_block_though_blocks_are_chained(
    pemu: Run, program: tuple[str, Path]
) -> None:
    loop = address_of(program, "loop")
    log = pemu(program[0], "-d", "exec", program[1]).stderr
    assert [pc for pc, _ in traced(log)].count(loop) == 2  # the first time it is part of a block
    assert re.search(r"\] twice$", log, re.MULTILINE)


def test_cpu_shows_the_registers_that_qemu_has(
    pemu: Run, qemu: Run, program: tuple[str, Path]
) -> None:
    words = (program[0], "-singlestep", "-d", "cpu,nochain", program[1])

    def states(run: Run) -> list[tuple[str, ...]]:
        # Registers 15 and 29 point into the stack, whose place is the emulator's choice.
        return [
            (*state[: 3 + 15], *state[3 + 16 : 3 + 29], *state[3 + 30 :])
            for state in dumps(run(*words).stderr)
        ]

    expected, shown = states(qemu), states(pemu)
    places = {pc for pc, *_ in shown}
    assert len(shown) > 20
    assert [state for state in expected if state[0] in places] == shown


def test_fpu_adds_the_registers_that_qemu_has(
    pemu: Run, qemu: Run, program: tuple[str, Path]
) -> None:
    words = (program[0], "-singlestep", "-d", "cpu,fpu,nochain", program[1])

    def last(run: Run) -> dict[str, str]:
        # QEMU shows the other columns as if they were whole numbers.
        lines = re.findall(r"^ *(f\d+): w:(\w+ d:\w+) ", run(*words).stderr, re.MULTILINE)
        return dict(lines)

    shown = last(pemu)
    assert shown["f2"].startswith("3fc00000 ")
    assert shown["f4"].endswith(" d:3ff8000000000000")
    assert shown == last(qemu)


def test_page_shows_the_mapped_program(pemu: Run, program: tuple[str, Path]) -> None:
    log = pemu(program[0], "-d", "page", program[1]).stderr
    start = address_of(program, "__start")
    digits = 16 if program[0].startswith("mips64") else 8
    assert f"\nentry       0x{start:0{digits}x}\n" in log
    ranges = re.findall(r"^(\w+)-(\w+) (\w+) ([rwx-]{3})$", log, re.MULTILINE)
    (access,) = [prot for first, last, _, prot in ranges if int(first, 16) <= start < int(last, 16)]
    assert access == "r-x"
    assert all(int(last, 16) - int(first, 16) == int(size, 16) for first, last, size, _ in ranges)


def test_guest_errors_names_a_branch_in_a_delay_slot(pemu: Run, tmp_path: Path) -> None:
    source = " .globl __start\n .set noreorder\n__start:\n b __start\n wrong: b __start\n nop\n"
    program = build("mips", tmp_path, source)
    wrong = address_of(("mips", program), "wrong")
    log = pemu("mips", "-d", "guest_errors", program).stderr
    assert f"unpredictable: beq in a delay slot at pc {wrong:#010x}\n" in log


def test_guest_errors_is_silent_about_a_good_program(pemu: Run, program: tuple[str, Path]) -> None:
    assert pemu(program[0], "-d", "guest_errors", program[1]).stderr == ""


def test_items_add_up_in_a_file(pemu: Run, program: tuple[str, Path], tmp_path: Path) -> None:
    done = pemu(program[0], "-d", "in_asm,exec,page", "-D", tmp_path / "log%d", program[1])
    assert done.stderr == ""
    (log,) = tmp_path.glob("log*")
    assert log.name[3:].isdigit()
    text = log.read_text()
    assert text.index("entry  ") < text.index("IN: __start") < text.index("Trace 0: ")


@pytest.mark.parametrize("prefix", ["PEMU", "QEMU"])
def test_variables_choose_items_and_file(pemu: Run, tmp_path: Path, prefix: str) -> None:
    program, log = build("mips", tmp_path), tmp_path / "log"
    env = {f"{prefix}_LOG": "exec", f"{prefix}_LOG_FILENAME": str(log)}
    assert pemu("mips", program, env=env).stderr == ""
    assert log.read_text().startswith("Trace 0: ")


def test_unknown_item_is_answered_with_the_nearest(pemu: Run, tmp_path: Path) -> None:
    done = pemu("mips", "-d", "exec,in_asn", tmp_path)
    assert done.returncode == 1
    assert done.stderr == "pemu-mips: -d: unknown log item 'in_asn'; did you mean 'in_asm'?\n"


def test_a_filter_leaves_out_other_code(pemu: Run, tmp_path: Path) -> None:
    program = build("mips", tmp_path)
    twice = address_of(("mips", program), "twice")
    places = f"{twice:#x}+4,{twice - 0x400:#x}..{twice - 0x300:#x}"
    log = pemu("mips", "-d", "in_asm,exec,cpu,op", "-dfilter", places, program).stderr
    assert re.findall("^IN: (.*)$", log, re.MULTILINE) == ["twice"]
    assert {pc for pc, _ in traced(log)} == {twice}
    assert {int(state[0], 16) for state in dumps(log)} == {twice}


def test_help_lists_every_item(pemu: Run) -> None:
    done = pemu("mips", "-d", "help")
    assert done.returncode == 1
    items = "out_asm in_asm op op_opt op_ind int exec cpu fpu mmu pcall cpu_reset".split()
    items += "unimp guest_errors page nochain plugin strace".split()
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == [*items, "trace:PATTERN"]


def test_trace_events_are_items_too(pemu: Run, tmp_path: Path) -> None:
    program = build("mips", tmp_path)
    log = pemu("mips", "-d", "trace:guest_user_syscall", program).stderr
    assert re.match(r"guest_user_syscall cpu=\d+ num=0x0000000000000fa1 arg1=", log)


def test_int_shows_exceptions_by_name(pemu: Run, tmp_path: Path) -> None:
    source = " .globl __start\n__start:\n break 5\n"
    program = build("mips", tmp_path, source)
    start = address_of(("mips", program), "__start")
    log = pemu("mips", "-d", "int", program).stderr
    assert re.match(rf"exception 9 \(break, argument 0x\w+\) at pc {start:#x}\n", log)
