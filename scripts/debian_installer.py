#!/usr/bin/env python3
"""Fetch the kernel and initial RAM disk of Debian 12's installer for the Malta board.

    scripts/debian_installer.py mipsel [DIRECTORY]

They are what the package debian-installer-12-netboot-mipsel or -mips64el has for it; `vmlinuz` and
`initrd.gz` go to DIRECTORY. Without it they go where the tests look for them: $PEMU_INSTALLERS, or
pemu-installers in the user's cache directory, each with one directory an architecture. As with
debian_sysroot.py, nothing of the host's packages changes, and no privileges are needed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from scripts.debian_sysroot import ARCHITECTURES, KEYRING, download, extract

IMAGES = "usr/lib/debian-installer/images/12"


def default_directory(architecture: str) -> Path:
    """Where the installer of an architecture is looked for."""
    if given := os.environ.get("PEMU_INSTALLERS"):
        return Path(given, architecture)
    cache = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(cache) if cache.startswith("/") else Path.home() / ".cache"
    return base / "pemu-installers" / architecture


def fetch(place: Path, architecture: str, suite: str, mirror: str) -> None:
    """Put both files into the directory `place`, which is made, both or neither."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as name:
        state, root, new = Path(name, "apt"), Path(name, "root"), Path(name, "new")
        download(
            state, architecture, suite, mirror, [f"debian-installer-12-netboot-{architecture}"]
        )
        root.mkdir()
        for archive in (state / "cache" / "archives").glob("debian-installer-*.deb"):
            extract(archive, root)
        board = root / IMAGES / architecture / "malta"
        kernel, disk = next(board.glob("vmlinuz*")), board / "initrd.gz"
        new.mkdir()
        shutil.copyfile(kernel, new / "vmlinuz")
        shutil.copyfile(disk, new / "initrd.gz")
        new.rename(place)


def main() -> int:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("architecture", choices=ARCHITECTURES)
    parser.add_argument("directory", nargs="?", type=Path, help="must not exist yet")
    parser.add_argument("--suite", default="bookworm", help="Debian release (bookworm has both)")
    parser.add_argument("--mirror", default="http://deb.debian.org/debian")
    given = parser.parse_args()
    for tool in ("apt-get", "dpkg-deb", "tar"):
        if shutil.which(tool) is None:
            print(f"debian_installer.py: {tool} is not installed; this needs Debian or Ubuntu")
            return 1
    if not Path(KEYRING).exists():
        print(f"debian_installer.py: no {KEYRING}; install the package debian-archive-keyring")
        return 1
    place = (given.directory or default_directory(given.architecture)).resolve()
    if place.exists():
        print(f"debian_installer.py: {place} exists already; remove it to have it made anew")
        return 1
    try:
        fetch(place, given.architecture, given.suite, given.mirror)
    except subprocess.CalledProcessError as error:
        print(f"debian_installer.py: {error.cmd[0]} failed with status {error.returncode}")
        return 1
    except StopIteration:
        print("debian_installer.py: the package has no kernel for the Malta board")
        return 1
    print(f"the installer's kernel and RAM disk are in {place}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
