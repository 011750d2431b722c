"""`pemu-io`: reads, writes and examines disk images with qemu-io's commands."""

from __future__ import annotations

import sys

from pemu.cli import outcome
from pemu.cli.switches import parse
from pemu.options.error import OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from pemu.cli.switches import Given

PROGRAM = "pemu-io"

_OPTIONS = (
    "h|help V|version c|cmd= f|format= r|read-only s|snapshot n|nocache C|copy-on-read m|misalign "
    "k|native-aio i|aio= t|cache= d|discard= T|trace= U|force-share object= image-opts"
)

_USAGE = f"""usage: {PROGRAM} [options] [-c command]... [file]
Reads, writes and examines a disk image: with the commands of -c, or with those that standard
input has. {PROGRAM} -c help lists them.

  -c, --cmd command     carry out a command; may be repeated
  -f, --format fmt      format of the image; without it how the file begins decides
  --image-opts          file is a list of a node's keys, driver=qcow2,file.filename=disk.qcow2
  --object objectdef    secret,id=name,file=path: what options of images refer to
  -r, --read-only       do not write
  -s, --snapshot        write to a temporary file
  -C, --copy-on-read    copy what is read from below
  -U, --force-share     although somebody else is using the image
  -t, --cache mode      none, writeback, writethrough (default), directsync, unsafe
  -n, --nocache         the same as -t none
  -d, --discard mode    unmap (default) or ignore
  -i, --aio mode        threads, native, io_uring
  -k, --native-aio      the same as -i native
  -m, --misalign        no effect: buffers may be anywhere
  -h, --help            print this help
  -V, --version         print the version
"""


def entry() -> NoReturn:
    """Be the console command `pemu-io`."""
    outcome.leave(main(sys.argv[1:]))


def main(words: Sequence[str]) -> int:
    """Run the command line `words` (without the program's name) and return the exit status."""
    return outcome.run(PROGRAM, lambda: _run(words))


def _run(words: Sequence[str]) -> int:
    given = parse(words, _OPTIONS, f"\nTry '{PROGRAM} --help' for more information")
    if "h" in given:
        return outcome.show(_USAGE)
    if "V" in given:
        from pemu.version import VERSION

        return outcome.show(f"{PROGRAM} version {VERSION}")
    if "T" in given:
        outcome.fail(PROGRAM, "warning: -T has no effect: Pemu's image tools have no trace events")
    if len(given.words) > 1:
        raise OptionError(f"only one file can be open, not {len(given.words)}")
    return _shell(given)


def _shell(given: Given) -> int:
    from pemu.block.objects import show_help
    from pemu.cli.image_options import new_graph
    from pemu.cli.io_commands.files import open_into
    from pemu.cli.io_commands.shell import Shell

    show_help(given.all("object"))
    image_opts = "image-opts" in given
    if image_opts and "f" in given:
        raise OptionError("--image-opts and -f are mutually exclusive")
    shell = Shell(new_graph(given.all("object")), given.get("f"))
    if given.words:
        open_into(shell, given.words[0], dict(given.values), image_opts=image_opts)
    try:
        if "c" in given:
            for line in given.all("c"):
                if not shell.ended:
                    shell.run(line)
        else:
            shell.interact()
    finally:
        shell.close()
    return 1 if shell.failed else 0
