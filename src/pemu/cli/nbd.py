"""`pemu-nbd`: serves disk images over NBD, with qemu-nbd's command line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

from pemu.cli import outcome
from pemu.cli.nbd_connection import PROGRAM
from pemu.cli.switches import Given, parse
from pemu.options.error import OptionError

_HINT = f"\nTry `{PROGRAM} --help' for more information."

_OPTIONS = (
    "h|help V|version p|port= b|bind= k|socket= e|shared= t|persistent v|verbose x|export-name= "
    "D|description= o|offset= A|allocation-depth B|bitmap= L|list object= tls-creds= "
    "tls-hostname= tls-authz= T|trace= fork pid-file= selinux-label= c|connect= d|disconnect "
    "f|format= r|read-only s|snapshot l|load-snapshot= n|nocache cache= aio= discard= "
    "detect-zeroes= image-opts"
)

USAGE = f"""usage: {PROGRAM} [options] FILE
       {PROGRAM} -L [options]
       {PROGRAM} -d DEVICE
Serves a disk image over NBD, or lists what a server has

  -h, --help                 print this help
  -V, --version              print the version

Connections:
  -p, --port=PORT            port to listen on (10809)
  -b, --bind=ADDRESS         address to listen at (0.0.0.0)
  -k, --socket=PATH          listen on a Unix socket instead
  -e, --shared=NUMBER        serve so many clients at a time, 0 for any number (1)
  -t, --persistent           go on when the last client has gone
  -x, --export-name=NAME     name of the export (empty)
  -D, --description=TEXT     what the export is, for people
  -v, --verbose              say what goes wrong with clients

What is served:
  -o, --offset=OFFSET        only what begins there
  -A, --allocation-depth     let clients ask how far down a chain data are
  -B, --bitmap=NAME          let clients read a persistent dirty bitmap
  -f, --format=FORMAT        format of the image; without it how the file begins decides
  -r, --read-only            for reading only
  -s, --snapshot             writes go to a temporary file and are lost at the end
  -l, --load-snapshot=WHICH  serve a snapshot inside the image, for reading: its id or name, or
                             snapshot.id=ID,snapshot.name=NAME
      --cache=MODE           none, writeback (the default), writethrough, directsync or unsafe
  -n, --nocache              --cache=none
      --aio=MODE             threads, native or io_uring: all the same here
      --discard=MODE         ignore (the default) or unmap: what becomes of discarding
      --detect-zeroes=MODE   off, on or unmap: what becomes of writes of zeros
      --image-opts           FILE is a list of a node's keys, driver=qcow2,file.filename=disk

The rest:
  -L, --list                 list the exports of another server
      --object TYPE,id=ID,.. make a secret, tls-creds-x509, tls-creds-psk or authz-...
      --tls-creds=ID         use TLS, with these credentials
      --tls-authz=ID         serve only whom these rules let in
      --tls-hostname=NAME    with -L: the name in the server's certificate
  -T, --trace=PATTERN        write each request to standard error; the event is nbd_request
      --fork                 go on in the background when clients can come
      --pid-file=PATH        write the server's process number there
  -c, --connect=DEVICE       make the image the kernel's block device /dev/nbd0, ...
  -d, --disconnect           take a device from the kernel
"""


def entry() -> NoReturn:
    """Be the console command `pemu-nbd`."""
    outcome.leave(main(sys.argv[1:]))


def main(words: Sequence[str]) -> int:
    """Run the command line `words` (without the program's name) and return the exit status."""
    return outcome.run(PROGRAM, lambda: _run(words))


def _run(words: Sequence[str]) -> int:
    given = parse(words, _OPTIONS, _HINT)
    if "h" in given:
        return outcome.show(USAGE)
    if "V" in given:
        from pemu.version import VERSION

        return outcome.show(f"{PROGRAM} version {VERSION}")
    if "selinux-label" in given:
        raise OptionError("--selinux-label is not supported yet")
    if "object" in given:
        from pemu.block.objects import show_help

        show_help(given.all("object"))
    if "L" in given:
        from pemu.cli.nbd_list import show_exports

        return show_exports(given)
    if "d" in given:
        return _disconnect(given)
    from pemu.block.error import ImageError
    from pemu.cli.nbd_serve import serve

    if len(given.words) != 1:
        raise OptionError(f"Invalid number of arguments{_HINT}")
    try:
        return serve(given)
    except ImageError as error:
        raise OptionError(str(error)) from None


def _disconnect(given: Given) -> int:
    from pemu.block.nbd.device import disconnect

    if len(given.words) != 1:
        raise OptionError(f"Invalid number of arguments{_HINT}")
    (name,) = given.words
    try:
        disconnect(name)
    except OSError as error:
        raise OptionError(f"Cannot open {name}: {error.strerror}") from None
    return outcome.show(f"{name} disconnected")
