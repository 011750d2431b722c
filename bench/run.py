"""The benchmark's command line: which programs are run how often, and the table of results."""

from __future__ import annotations

import argparse
import math
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from bench.catalogue import CATALOGUE, COMPILERS, GOALS, build
from bench.each_call import report_calls
from bench.measure import ROOT, Comparison, Failed, compare
from bench.real import REAL, Sysroot
from scripts.debian_sysroot import ARCHITECTURES, default_directory

HEADER = (
    "| program | target | QEMU | cold | ratio | warm | ratio | QEMU MiB | Pemu MiB |",
    "|---|---|--:|--:|--:|--:|--:|--:|--:|",
)


def arguments(words: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    names = [program.name for program in CATALOGUE] + [program.name for program in REAL]
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Time Pemu beside qemu-user, in turn, and print a Markdown table.",
        epilog="cold: Pemu with an empty code cache; warm: with what such a run left in it. Ratios "
        "are Pemu's time divided by QEMU's.",
    )
    parser.add_argument("programs", nargs="*", metavar="program", help=f"of {', '.join(names)}")
    parser.add_argument("-t", "--targets", default="mips,mipsel,mips64el", help="separated by ','")
    parser.add_argument("-n", "--repeat", type=int, default=3, help="runs of each kind (3)")
    parser.add_argument("-w", "--warm-only", action="store_true", help="run cold only once")
    parser.add_argument("-c", "--cpu-time", action="store_true", help="compare processor seconds")
    parser.add_argument(
        *("-e", "--each-call"),
        action="store_true",
        help="instead: what each system call costs; programs: beginnings of names",
    )
    parser.add_argument("-s", "--sysroots", type=Path, help="directory with a sysroot a target")
    parser.add_argument("-o", "--output", type=Path, help="write the table to this file too")
    given = parser.parse_args(words)
    unknown = set() if given.each_call else set(given.programs) - set(names)
    if unknown:
        parser.error(f"no such program: {', '.join(sorted(unknown))} (of {', '.join(names)})")
    given.targets = given.targets.split(",")
    for target in given.targets:
        if target not in COMPILERS:
            parser.error(f"no such target: {target} (of {', '.join(COMPILERS)})")
    return given


def geometric_mean(values: Iterable[float]) -> float:
    """The n-th root of the product."""
    logarithms = [math.log(value) for value in values]
    return math.exp(sum(logarithms) / len(logarithms))


def seconds(value: float) -> str:
    """Three digits that matter."""
    return f"{value * 1000:.0f} ms" if value < 0.5 else f"{value:.2f} s"


class Report:
    """Collects results, printing each row when it is known."""

    def __init__(self, clock: str) -> None:
        self.clock = clock
        self.lines: list[str] = []
        self.ratios: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self.failures = 0
        for line in HEADER:
            self.say(line)

    def say(self, line: str) -> None:
        """Print a line now and keep it."""
        print(line, flush=True)
        self.lines.append(line)

    def add(self, name: str, group: str, target: str, result: Comparison) -> None:
        """Add a program's row."""
        qemu, cold, warm = (
            samples.seconds(self.clock) for samples in (result.qemu, result.cold, result.warm)
        )
        self.ratios[group].append((cold / qemu, warm / qemu))
        cells = (
            *(name, target, seconds(qemu)),
            *(seconds(cold), f"{cold / qemu:.2f}", seconds(warm), f"{warm / qemu:.2f}"),
            *(f"{result.qemu.peak:.0f}", f"{result.warm.peak:.0f}"),
        )
        self.say(f"| {' | '.join(cells)} |")

    def fail(self, name: str, target: str, error: Failed) -> None:
        """Note that a program has no figures."""
        self.failures += 1
        self.say(f"| {name} | {target} | {error} | | | | | | |")

    def summary(self) -> None:
        """Print the geometric means and what they should be."""
        self.say("")
        self.say("| group | runs | cold | goal | warm | goal |")
        self.say("|---|--:|--:|--:|--:|--:|")
        for group, ratios in self.ratios.items():
            means = [geometric_mean(pair[kind] for pair in ratios) for kind in (0, 1)]
            goals = [f"{goal}" if goal else "" for goal in GOALS.get(group, (None, None))]
            self.say(
                f"| {group} | {len(ratios)} | {means[0]:.2f} | {goals[0]} | {means[1]:.2f} "
                f"| {goals[1]} |"
            )


def main(words: list[str] | None = None) -> int:
    """Run what the command line asks for; returns 1 if a program could not be measured."""
    given = arguments(words)
    if given.each_call:
        return report_calls(given.targets, given.programs, given.repeat)
    report = Report("cpu" if given.cpu_time else "wall")
    directory = ROOT / "build" / "bench"
    how = {"repeat": given.repeat, "cold": not given.warm_only}
    for program in CATALOGUE:
        if given.programs and program.name not in given.programs:
            continue
        for target in given.targets:
            try:
                path = build(program.name, target, directory)
                report.add(
                    *(program.name, program.group, target),
                    compare(target, [], [str(path)], **how),
                )
            except Failed as error:
                report.fail(program.name, target, error)
    wanted = [real for real in REAL if not given.programs or real.name in given.programs]
    for target in given.targets if wanted else ():
        place = given.sysroots / target if given.sysroots else default_directory(target)
        sysroot = Sysroot(target, place, directory)
        if target in ARCHITECTURES and not sysroot.present:
            print(f"no real programs for {target}: scripts/debian_sysroot.py {target} unpacks them")
        if not sysroot.present:
            continue
        for real in wanted:
            try:
                report.add(real.name, "real", target, sysroot.compare(real, **how))
            except Failed as error:
                report.fail(real.name, target, error)
    report.summary()
    if given.output:
        given.output.write_text("\n".join(report.lines) + "\n")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
