"""Perl passes tests of its own: those of its source package that need nothing from its build."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from scripts.debian_sysroot import ARCHITECTURES
from tests.linux.debian.sysroot import Debian

FILES = (
    *("base/cond", "base/if", "base/lex", "base/num", "base/pat", "base/rs", "base/term"),
    *(
        "base/translate",
        "base/while",
        "cmd/elsif",
        "cmd/for",
        "cmd/mod",
        "cmd/subval",
        "cmd/switch",
    ),
    *("comp/cmdopt", "comp/fold", "comp/hints", "comp/multiline", "comp/parser", "comp/proto"),
    *("io/argv", "io/dup", "io/fs", "io/open", "io/pipe", "io/print", "io/say", "io/socket"),
    *("io/tell", "io/utf8", "mro/basic", "mro/next_method"),
    *("op/64bitint", "op/alarm", "op/append", "op/arith2", "op/array", "op/attrs", "op/auto"),
    *("op/bop", "op/chop", "op/chr", "op/closure", "op/defer", "op/die_exit", "op/do", "op/each"),
    *("op/eval", "op/exec", "op/exp", "op/fork", "op/glob", "op/goto", "op/hash", "op/heredoc"),
    *("op/inc", "op/index", "op/infnan", "op/int", "op/join", "op/kill0", "op/lc", "op/list"),
    *("op/local", "op/method", "op/numconvert", "op/numify", "op/oct", "op/pack"),
    *("op/pos", "op/pow", "op/print", "op/rand", "op/range", "op/readline", "op/ref", "op/repeat"),
    *("op/reverse", "op/sleep", "op/sort", "op/splice", "op/split", "op/sprintf", "op/sprintf2"),
    *(
        "op/srand",
        "op/stat",
        "op/state",
        "op/sub",
        "op/substr",
        "op/switch",
        "op/sysio",
        "op/taint",
    ),
    *("op/tie", "op/time", "op/tr", "op/undef", "op/unlink", "op/vec", "op/wantarray", "op/write"),
    *("re/pat", "re/qr", "re/reg_eval", "re/regexp", "re/subst", "re/substT"),
    *("uni/lower", "uni/method", "uni/sprintf", "uni/tr_utf8", "uni/variables"),
)


@pytest.fixture(scope="module")
def tree(sysroot: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that looks to the tests like the source tree that perl was built in."""
    if not (sysroot / "usr/src/perl/t").is_dir():
        pytest.skip(f"no tests of perl in {sysroot}: remove it to have it made anew")
    root = tmp_path_factory.mktemp("perl")
    shutil.copytree(sysroot / "usr/src/perl/t", root / "t")
    libraries = sysroot / "usr/lib" / ARCHITECTURES[sysroot.name]
    version = next((sysroot / "usr/share/perl").glob("[0-9]*.[0-9]*")).name
    for place in (
        libraries / "perl-base",
        libraries / "perl" / version,
        sysroot / "usr/share/perl" / version,
    ):
        shutil.copytree(place, root / "lib", dirs_exist_ok=True)
    for link in (root / "perl", root / "t" / "perl"):
        link.symlink_to(sysroot / "usr/bin/perl")
    return root / "t"


@pytest.mark.parametrize("name", FILES)
def test_perl_passes_its_own_test(name: str, tree: Path, debian: Debian) -> None:
    first = (tree / f"{name}.t").read_text(errors="replace").partition("\n")[0]
    options = re.findall(r" (-[wTt]+)", first) if first.startswith("#!") else []
    done = debian.pemu("perl", *options, f"{name}.t", cwd=tree)
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    if any(line.startswith("1..0") for line in lines):
        pytest.skip(next(line for line in lines if line.startswith("1..0")))
    failed = [x for x in lines if x.startswith("not ok") and "# TODO" not in x.upper()]
    assert failed == []
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    planned = [int(line[3:].split()[0]) for line in lines if re.match(r"1\.\.\d", line)]
    assert planned == [sum(bool(re.match(r"(not )?ok\b", line)) for line in lines)]
