"""The same programs after a chroot: Pemu's own files are out of reach, and -L has lost its meaning.

The root directory is an overlay over the sysroot in a mount namespace of its own, so that nothing
changes for anybody else.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.linux.debian.sysroot import LIMIT, Debian, Done, good, outcome
from tests.linux.debian.test_debian_shell import SCRIPTS, comparable

SOURCES = SCRIPTS.parent / "debian"


class Chroot:
    """A root directory of a Debian system. `work`: the host's path of /work in it."""

    def __init__(self, debian: Debian, place: Path) -> None:
        self._debian = debian
        self._root = place / "root"
        upper = place / "upper"
        for path in (self._root, upper / "dev", upper / "proc", upper / "work", place / "scratch"):
            path.mkdir(parents=True)
        self.work = upper / "work"
        layers = f"lowerdir={debian.root},upperdir={upper},workdir={place / 'scratch'}"
        self._mounts = [
            ["mount", "-t", "overlay", "-o", layers, "overlay", str(self._root)],
            ["mount", "--rbind", "/dev", f"{self._root}/dev"],
            ["mount", "-t", "proc", "proc", f"{self._root}/proc"],
        ]

    def _inside(self, words: list[str]) -> Done:
        """Run a command of the host where the root directory is mounted."""
        script = " && ".join(map(shlex.join, [*self._mounts, ["exec", *words]]))
        return subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            env={**self._debian.environment, "PEMU_JIT": os.environ["PEMU_JIT"], "HOME": "/root"},
            timeout=LIMIT,
        )

    def check(self) -> None:
        """Skip the test where such a root directory cannot be made."""
        if os.geteuid():
            pytest.skip("chroot is for root only")
        tried = self._inside(["true"])
        if tried.returncode:
            pytest.skip(f"no mounts here: {tried.stderr.decode(errors='replace').strip()}")

    def run(self, *words: str) -> Done:
        """Run a command in /work of the root directory, as a user does without binfmt_misc."""
        program = str(self._root / "usr/sbin/chroot")
        emulator = [*self._debian.command, "-L", str(self._root), program, str(self._root)]
        return self._inside([*emulator, "/bin/sh", "-c", 'cd /work; exec "$@"', "sh", *words])


@pytest.fixture
def chroot(debian: Debian, tmp_path: Path) -> Chroot:
    made = Chroot(debian, tmp_path / "chroot")
    made.check()
    return made


@pytest.mark.parametrize("name", sorted(path.name for path in SCRIPTS.iterdir()))
def test_script_prints_what_it_prints_natively(name: str, debian: Debian, chroot: Chroot) -> None:
    shell = "bash" if name.endswith(".bash") else "dash"
    for place in (debian.work, chroot.work):
        shutil.copy(SCRIPTS / name, place)
    expected = comparable(debian.native(shell, name))
    assert comparable(chroot.run(shell, name)) == expected


def test_root_directory_is_the_new_one(chroot: Chroot) -> None:
    (chroot.work / "here").touch()
    assert good(chroot.run("ls", "/work")) == "here\n"
    assert good(chroot.run("readlink", "/proc/self/exe")) == "/usr/bin/readlink\n"
    assert good(chroot.run("sh", "-c", "cd /; pwd; cd ..; pwd -P")) == "/\n/\n"
    assert chroot.run("/usr/bin/nosuch").returncode == 127
    assert good(chroot.run("find", "/root", "/work", "-mindepth", "1")) == "/work/here\n"


def test_python_with_threads_processes_and_sockets(chroot: Chroot) -> None:
    shutil.copy(SOURCES / "many.py", chroot.work)
    assert good(chroot.run("python3", "many.py")) == "".join(
        f"{line}\n" for line in ("338350", "b'echoed'", "True", "b'6\\n'", "caught 15", "done")
    )


def test_compiler_makes_a_program_that_runs(debian: Debian, chroot: Chroot) -> None:
    shutil.copy(SOURCES / "program.c", chroot.work)
    good(chroot.run("gcc", "-O1", "program.c", "-o", "program", "-lm"))
    expected = outcome(debian.qemu(chroot.work / "program", "7", "x y"))
    found = outcome(chroot.run("./program", "7", "x y"))
    assert found == expected


def test_git_and_perl(chroot: Chroot) -> None:
    script = (
        "git config --global user.name a; git config --global user.email a@b;"
        "git init -q first && echo text > first/file && git -C first add file &&"
        "git -C first commit -q -m one && git clone -q first second 2>&1 &&"
        "git -C second log --format=%s && git -C second fsck --strict &&"
        "perl -MDigest::SHA=sha1_hex -e 'print sha1_hex(join q(), `cat second/file`), qq(\\n)'"
    )
    assert good(chroot.run("bash", "-c", script)).splitlines() == [
        "one",
        "aa785adca3fcdfe1884ae840e13c6d294a2414e8",
    ]
