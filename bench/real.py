"""Real programs from Debian, unpacked by scripts/debian_sysroot.py, with inputs made here."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.catalogue import PROGRAMS
from bench.measure import Comparison, Failed, Samples, compare
from scripts.debian_sysroot import ARCHITECTURES

SETTLE = 8
"""Runs until the hot code of these programs is in the cache: each adds what it has time for."""

COMPILER = "usr/lib/gcc/{triple}/12/cc1"


@dataclass(frozen=True)
class Real:
    """A program of the sysroot; `arguments` may name the inputs {text} and {code}.

    `throughput`: reads units a second from the output, for a program that runs for a given time;
    its inverse then counts as the run's time.
    """

    name: str
    path: str
    arguments: tuple[str, ...]
    throughput: Callable[[bytes], float] | None = None


def openssl_throughput(output: bytes) -> float:
    """Geometric mean of the figures in the output of `openssl speed -mr`."""
    figures = []
    for line in output.decode().splitlines():
        kind, *fields = line.split(":")
        if kind == "+F":
            figures.append(float(fields[-1]))
        elif kind == "+F2":
            figures += [float(field) for field in fields[2:4]]
    if not figures:
        raise Failed("openssl speed printed no figures")
    return math.exp(sum(math.log(figure) for figure in figures) / len(figures))


REAL = (
    Real(
        "openssl",
        "usr/bin/openssl",
        (
            *("speed", "-mr", "-seconds", "1", "-bytes", "8192"),
            *("sha256", "sha512", "aes-128-cbc", "camellia-128-cbc", "rsa1024"),
        ),
        openssl_throughput,
    ),
    Real("xz", "usr/bin/xz", ("-k", "-c", "-6", "{text}")),
    Real("python3", "usr/bin/python3", ("-S", str(PROGRAMS / "script.py"), "8")),
    Real(
        "sqlite3",
        "usr/bin/sqlite3",
        ("-batch", ":memory:", f".read {PROGRAMS / 'queries.sql'}"),
    ),
    Real("gcc", COMPILER, ("-quiet", "-O2", "{code}", "-o", "/dev/stdout")),
)


def write_text(path: Path) -> None:
    """Write 2 MB of text that compresses about as well as a program's source."""
    chance = random.Random(1)
    syllables = [a + b for a in "bcdfglmnprst" for b in ("a", "e", "io", "un", "er")]
    words = ["".join(chance.choices(syllables, k=chance.randrange(1, 5))) for _ in range(3000)]
    weights = [1 / (rank + 1) for rank in range(len(words))]
    text = " ".join(chance.choices(words, weights, k=320_000))
    path.write_text("\n".join(text[at : at + 90] for at in range(0, len(text), 90)))


def write_code(path: Path) -> None:
    """Write a C file of many functions, with nothing included."""
    chance = random.Random(2)
    lines = ["struct node { struct node *next; unsigned key, data[8]; };"]
    for number in range(160):
        cases = "\n".join(
            f"    case {case}: sum {chance.choice(('+=', '^=', '-='))} n->data[{case % 8}] "
            f"{chance.choice(('*', '&', '|', '>>'))} {chance.randrange(1, 31)}u; break;"
            for case in range(chance.randrange(4, 14))
        )
        calls = f"f{chance.randrange(number)}(n->next, depth - 1)" if number else "depth"
        lines.append(
            f"""unsigned f{number}(struct node *n, int depth)
{{
  unsigned sum = depth * {chance.randrange(1, 1000)}u, table[16];
  if (!n || depth <= 0) return sum;
  for (int i = 0; i < 16; i++) table[i] = n->data[i & 7] * i + sum;
  while (n->next && n->key % {chance.randrange(2, 9)}u) {{
    switch (n->key % 16) {{
{cases}
    default: sum += table[n->key & 15];
    }}
    for (unsigned j = 0; j < n->data[1] % 32; j++) sum = sum * 31 + table[(j + sum) & 15];
    n = n->next;
  }}
  return sum + {calls};
}}"""
        )
    path.write_text("\n".join(lines) + "\n")


class Sysroot:
    """Programs of one target. `root`: where its packages were unpacked."""

    def __init__(self, target: str, root: Path, inputs: Path) -> None:
        self.target = target
        self.root = root
        self.inputs = inputs

    @property
    def present(self) -> bool:
        """True if there is such a sysroot."""
        return self.target in ARCHITECTURES and self.root.is_dir()

    def _input(self, name: str, write: Callable[[Path], None]) -> Path:
        path = self.inputs / name
        if not path.exists():
            self.inputs.mkdir(parents=True, exist_ok=True)
            write(path)
        return path

    def compare(self, real: Real, *, repeat: int, cold: bool) -> Comparison:
        """Measure one program; raises Failed."""
        names = {
            "triple": ARCHITECTURES[self.target],
            "text": self._input("text", write_text),
            "code": self._input("code.c", write_code),
        }
        path = self.root / real.path.format_map(names)
        if not path.exists():
            raise Failed(f"{path} is not in the sysroot")
        result = compare(
            self.target,
            ["-L", str(self.root)],
            [str(path), *(word.format_map(names) for word in real.arguments)],
            repeat=repeat,
            cold=cold,
            settle=SETTLE,
            same_output=real.throughput is None,
        )
        if real.throughput is not None:
            for samples in (result.qemu, result.cold, result.warm):
                _invert(samples, real.throughput)
        return result


def _invert(samples: Samples, throughput: Callable[[bytes], float]) -> None:
    """Count the time for 10**8 units of work as the time of a run."""
    for run in samples.runs:
        run.wall = run.cpu = 1e8 / throughput(run.output)
