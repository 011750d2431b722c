#!/usr/bin/env python3
"""Unpack Debian packages of a foreign architecture into a directory, with all they depend on.

    scripts/debian-sysroot.py mipsel DIRECTORY [PACKAGE...]

makes a sysroot to be used as `pemu-mipsel -L DIRECTORY DIRECTORY/usr/bin/python3`, or with chroot.
apt-get works on a state directory of its own, so neither the host's list of architectures nor its
packages change, and no privileges are needed. Packages are unpacked, not installed: their scripts
do not run; what those would have linked (/usr/bin/awk and other alternatives) is missing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

PACKAGES = (
    *("bash", "dash", "coreutils", "busybox", "findutils", "grep", "sed", "gawk", "diffutils"),
    *("gzip", "bzip2", "xz-utils", "tar", "make", "procps", "strace", "file", "bc"),
    *("perl", "python3", "libpython3-stdlib", "sqlite3", "openssl", "git", "gcc", "g++"),
    "libc6-dev",
)
"""What the tests and benchmarks with real programs use."""


def apt_options(state: Path, architecture: str) -> list[str]:
    """Options that keep apt-get away from the host's own state."""
    values = {
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Sandbox::User": "",
        "APT::Install-Recommends": "false",
        "Acquire::Languages": "none",
        "Debug::NoLocking": "true",
        "Dir::Cache": state / "cache",
        "Dir::Etc::sourcelist": state / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::Etc::preferences": "-",
        "Dir::Etc::preferencesparts": "-",
        "Dir::State": state / "lists",
        "Dir::State::status": state / "status",
    }
    return [word for name, value in values.items() for word in ("-o", f"{name}={value}")]


def download(state: Path, architecture: str, suite: str, mirror: str, packages: list[str]) -> None:
    """Fetch the packages and what they depend on into the state directory."""
    for place in ("cache/archives/partial", "lists/lists/partial"):
        (state / place).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    (state / "sources.list").write_text(
        f"deb [signed-by={KEYRING} arch={architecture}] {mirror} {suite} main\n"
    )
    apt = ["apt-get", "-q", *apt_options(state, architecture)]
    subprocess.run([*apt, "update"], check=True)
    subprocess.run([*apt, "install", "-y", "--download-only", *packages], check=True)


def unpack(state: Path, root: Path) -> int:
    """Unpack all packages fetched and return their number."""
    archives = sorted((state / "cache" / "archives").glob("*.deb"))
    root.mkdir(parents=True, exist_ok=True)
    for archive in archives:
        subprocess.run(["dpkg-deb", "-x", archive, root], check=True)
    return len(archives)


def make_links_relative(root: Path) -> None:
    """Let absolute symbolic links point into the sysroot, also when it is not the root."""
    for directory, subdirectories, files in os.walk(root):
        for name in (*subdirectories, *files):
            path = Path(directory, name)
            if path.is_symlink() and (target := os.readlink(path)).startswith("/"):
                inside = os.path.relpath(root / target.lstrip("/"), directory)
                path.unlink()
                path.symlink_to(inside)


def main() -> int:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("architecture", choices=("mipsel", "mips64el"))
    parser.add_argument("directory", type=Path)
    parser.add_argument("packages", nargs="*", default=PACKAGES)
    parser.add_argument("--suite", default="bookworm", help="Debian release (bookworm has both)")
    parser.add_argument("--mirror", default="http://deb.debian.org/debian")
    given = parser.parse_args()
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            print(f"debian-sysroot.py: {tool} is not installed; this needs Debian or Ubuntu")
            return 1
    if not Path(KEYRING).exists():
        print(f"debian-sysroot.py: no {KEYRING}; install the package debian-archive-keyring")
        return 1
    root = given.directory.resolve()
    state = root.with_name(f"{root.name}.apt")
    try:
        download(state, given.architecture, given.suite, given.mirror, list(given.packages))
        count = unpack(state, root)
    except subprocess.CalledProcessError as error:
        print(f"debian-sysroot.py: {error.cmd[0]} failed with status {error.returncode}")
        return 1
    make_links_relative(root)
    print(f"{count} packages in {root}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
