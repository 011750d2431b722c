#!/usr/bin/env python3
"""Make a sysroot: Debian packages of a foreign architecture with all that they depend on.

    scripts/debian_sysroot.py mipsel [DIRECTORY] [--packages PACKAGE...]

It is used as `pemu-mipsel -L DIRECTORY DIRECTORY/usr/bin/python3` or with chroot (docs/testing.md).
Without DIRECTORY it goes where the tests and benchmarks look for it: $PEMU_SYSROOTS, or
pemu-sysroots in the user's cache directory, each with one directory an architecture.

apt-get works on a state directory of its own, so neither the host's list of architectures nor its
packages change, and no privileges are needed. Packages are unpacked, not installed: their scripts
do not run. The little of their work that programs rely on is done here: /bin and its like are
links into /usr, the default alternatives (awk, cc, ...) exist, and so do /etc/passwd and its like.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

ARCHITECTURES = {"mipsel": "mipsel-linux-gnu", "mips64el": "mips64el-linux-gnuabi64"}
"""Those that Pemu runs programs of, and what their directories of libraries are called."""

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

PACKAGES = (
    *("bash", "dash", "busybox", "coreutils", "diffutils", "findutils", "grep", "sed", "gawk"),
    *("base-files", "base-passwd", "bc", "bsdextrautils", "debianutils", "file", "hostname"),
    *("libc-bin", "mount", "ncurses-base", "ncurses-bin", "procps", "util-linux", "xxd"),
    *("bzip2", "gzip", "pigz", "tar", "xz-utils", "zstd", "git", "make", "openssl", "sqlite3"),
    *("gcc", "g++", "libc6-dev", "perl", "python3", "libpython3.11-testsuite"),
)
"""What the tests and benchmarks with real programs use."""

SOURCES = {"perl": "t"}
"""Source packages of which one directory is unpacked below /usr/src: tests in no package."""

MERGED = ("bin", "lib", "lib32", "lib64", "libo32", "sbin")
"""Links into /usr, as in every installed Debian 12."""

ALTERNATIVES = {"awk": "gawk", "c++": "g++", "cc": "gcc", "pager": "more"}
"""Commands in /usr/bin that the packages' scripts would make, and what they lead to."""

TEMPLATES = {"passwd": "passwd.master", "group": "group.master"}
"""Files in /etc that the script of base-passwd would copy from /usr/share/base-passwd."""


def default_directory(architecture: str) -> Path:
    """Where the sysroot of an architecture is looked for."""
    if given := os.environ.get("PEMU_SYSROOTS"):
        return Path(given, architecture)
    cache = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(cache) if cache.startswith("/") else Path.home() / ".cache"
    return base / "pemu-sysroots" / architecture


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
    for place in ("cache/archives/partial", "lists/lists/partial", "sources"):
        (state / place).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    (state / "sources.list").write_text(
        f"deb [signed-by={KEYRING} arch={architecture}] {mirror} {suite} main\n"
        f"deb-src [signed-by={KEYRING}] {mirror} {suite} main\n"
    )
    apt = ["apt-get", "-q", *apt_options(state, architecture)]
    subprocess.run([*apt, "update"], check=True)
    subprocess.run([*apt, "install", "-y", "--download-only", *packages], check=True)
    for package in SOURCES:
        if package in packages:
            command = [*apt, "source", "--download-only", package]
            subprocess.run(command, check=True, cwd=state / "sources")


def extract(archive: Path, root: Path) -> None:
    """Unpack a package; directories that are links here stay so."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE) as deb:
        command = ["tar", "-x", "-C", str(root), "--keep-directory-symlink"]
        subprocess.run(command, check=True, stdin=deb.stdout)
    if deb.returncode:
        raise subprocess.CalledProcessError(deb.returncode, deb.args)


def unpack(state: Path, root: Path) -> int:
    """Unpack all packages fetched and return their number."""
    archives = sorted((state / "cache" / "archives").glob("*.deb"))
    for name in MERGED:
        (root / "usr" / name).mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(f"usr/{name}")
    for archive in archives:
        extract(archive, root)
    for package, directory in SOURCES.items():
        for archive in (state / "sources").glob(f"{package}_*.orig.tar.*"):
            place = root / "usr" / "src" / package
            place.mkdir(parents=True, exist_ok=True)
            words = [
                "tar",
                "-x",
                "-C",
                str(place),
                "-f",
                str(archive),
                "--strip-components=1",
                "--wildcards",
                f"*/{directory}/*",
            ]
            subprocess.run(words, check=True)
    return len(archives)


def configure(root: Path) -> None:
    """Do what programs rely on of the packages' installation."""
    for name, target in ALTERNATIVES.items():
        link = root / "usr" / "bin" / name
        if not link.exists() and link.with_name(target).exists():
            link.symlink_to(target)
    for name, source in TEMPLATES.items():
        template = root / "usr" / "share" / "base-passwd" / source
        if template.exists():
            shutil.copyfile(template, root / "etc" / name)


def make_links_relative(root: Path) -> None:
    """Let absolute symbolic links point into the sysroot, also when it is not the root."""
    for directory, subdirectories, files in os.walk(root):
        for name in (*subdirectories, *files):
            path = Path(directory, name)
            if path.is_symlink() and (target := os.readlink(path)).startswith("/"):
                inside = os.path.relpath(root / target.lstrip("/"), directory)
                path.unlink()
                path.symlink_to(inside)


def make(root: Path, architecture: str, suite: str, mirror: str, packages: list[str]) -> int:
    """Make the sysroot `root`, whole or not at all; returns the number of packages."""
    state = root.with_name(f"{root.name}.apt")
    new = root.with_name(f"{root.name}.new")
    download(state, architecture, suite, mirror, packages)
    shutil.rmtree(new, ignore_errors=True)
    count = unpack(state, new)
    configure(new)
    make_links_relative(new)
    new.rename(root)
    return count


def main() -> int:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("architecture", choices=ARCHITECTURES)
    parser.add_argument("directory", nargs="?", type=Path, help="must not exist yet")
    parser.add_argument("--packages", nargs="+", default=PACKAGES, help="instead of the usual ones")
    parser.add_argument("--suite", default="bookworm", help="Debian release (bookworm has both)")
    parser.add_argument("--mirror", default="http://deb.debian.org/debian")
    given = parser.parse_args()
    for tool in ("apt-get", "dpkg-deb", "tar"):
        if shutil.which(tool) is None:
            print(f"debian_sysroot.py: {tool} is not installed; this needs Debian or Ubuntu")
            return 1
    if not Path(KEYRING).exists():
        print(f"debian_sysroot.py: no {KEYRING}; install the package debian-archive-keyring")
        return 1
    root = (given.directory or default_directory(given.architecture)).resolve()
    if root.exists():
        print(f"debian_sysroot.py: {root} exists already; remove it to have it made anew")
        return 1
    packages = list(given.packages)
    try:
        count = make(root, given.architecture, given.suite, given.mirror, packages)
    except subprocess.CalledProcessError as error:
        print(f"debian_sysroot.py: {error.cmd[0]} failed with status {error.returncode}")
        return 1
    print(f"{count} packages in {root}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
