"""`pemu-img`: makes, converts, checks and changes disk images, with qemu-img's command line."""

from __future__ import annotations

import sys

from pemu.cli import outcome
from pemu.cli.switches import parse
from pemu.modules import load
from pemu.options.error import OptionError, unknown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType
    from typing import NoReturn

PROGRAM = "pemu-img"

COMMANDS = (
    "amend",
    "bench",
    "bitmap",
    "check",
    "commit",
    "compare",
    "convert",
    "create",
    "dd",
    "info",
    "map",
    "measure",
    "rebase",
    "resize",
    "snapshot",
)

_HINT = f"\nTry '{PROGRAM} --help' for more information"


def entry() -> NoReturn:
    """Be the console command `pemu-img`."""
    outcome.leave(main(sys.argv[1:]))


def main(words: Sequence[str]) -> int:
    """Run the command line `words` (without the program's name) and return the exit status."""
    return outcome.run(PROGRAM, lambda: _run(words))


def _run(words: Sequence[str]) -> int:
    given = parse(words, "h|help V|version T|trace=", _HINT, mixed=False)
    if "h" in given:
        return outcome.show(_usage())
    if "V" in given:
        from pemu.version import VERSION

        return outcome.show(f"{PROGRAM} version {VERSION}")
    if "T" in given:
        outcome.fail(PROGRAM, "warning: -T has no effect: Pemu's image tools have no trace events")
    if not given.words:
        raise OptionError(f"Not enough arguments{_HINT}")
    name, *rest = given.words
    if name not in COMMANDS:
        raise unknown(f"Command not found: {name}", name, COMMANDS, "-h lists the commands")
    status: int = _module(name).run(rest)
    return status


def _module(name: str) -> ModuleType:
    return load(f"pemu.cli.img_commands.{name}")


def _usage() -> str:
    from pemu.block.driver import FILTERS, FORMATS, PROTOCOLS

    lines = [f"  {name} {_module(name).SYNTAX}\n" for name in COMMANDS]
    known = " ".join(sorted((*FORMATS, *PROTOCOLS, *FILTERS)))
    return f"""usage: {PROGRAM} [standard options] command [command options]
Makes, converts, checks and changes disk images

  -h, --help     print this help; after a command: what that command does
  -V, --version  print the version

Command syntax:
{"".join(lines)}
  -f fmt        format of the image; without it how the file begins decides
  -t, -T cache  cache mode for writing and for reading: none, writeback, writethrough,
                directsync, unsafe
  -q            say nothing but errors
  -p            percent lines; on a terminal, what takes long shows how far it is anyway
  -U            although somebody else is using the image
  --image-opts  filename is a list of a node's keys, driver=qcow2,file.filename=disk.qcow2
  --object      secret,id=name,file=path: what options of images refer to
  size          bytes, or with a suffix k, M, G, T, P, E
  SIGUSR1       has a running command say how far it is

Supported formats: {known}
"""
