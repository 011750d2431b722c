"""What each frequent system call costs under QEMU and under Pemu: `python -m bench --each-call`."""

from __future__ import annotations

from bench.catalogue import build
from bench.measure import ROOT, Failed, once, pemu_command, qemu_command

MILLISECONDS = "20"
"""How long the program repeats each call at least."""


def _costs(output: bytes) -> dict[str, int]:
    """Nanoseconds by name from the program's lines."""
    return {
        name: int(cost)
        for name, cost in (line.split() for line in output.decode().split("\n") if line)
    }


def _least(command: list[str], repeat: int) -> dict[str, int]:
    """The least cost of each call in several runs: other programs only make a run slower."""
    least: dict[str, int] = {}
    for _ in range(repeat):
        for name, cost in _costs(once(command).output).items():
            least[name] = min(cost, least.get(name, cost))
    return least


def report_calls(targets: list[str], names: list[str], repeat: int) -> int:
    """Print a table a target of calls whose names begin with one of `names`, dearest ratio first.

    Returns 1 if a target could not be measured.
    """
    status = 0
    for target in targets:
        try:
            program = [str(build("each_call", target, ROOT / "build" / "bench"))]
            program += [MILLISECONDS, *names]
            qemu = _least([*qemu_command(target), *program], repeat)
            pemu = _least([*pemu_command(target), *program], repeat)
        except Failed as error:
            print(f"{target}: {error}")
            status = 1
            continue
        print(f"| {target} | QEMU ns | Pemu ns | ratio |\n|---|--:|--:|--:|")
        for name in sorted(qemu, key=lambda name: -pemu[name] / max(qemu[name], 1)):
            ratio = pemu[name] / max(qemu[name], 1)
            print(f"| {name} | {qemu[name]} | {pemu[name]} | {ratio:.2f} |")
    return status
