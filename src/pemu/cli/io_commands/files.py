"""Opening and closing, and what is asked of a whole image."""

from __future__ import annotations

import errno
import os

from pemu.block.driver import PROTOCOLS
from pemu.block.graph import NODE_KEYS, Graph
from pemu.block.image import Image
from pemu.block.opening import Mode
from pemu.block.protocols.file import PREALLOCATION
from pemu.block.tree import typed
from pemu.cli.image_options import AIO, WRITETHROUGH, cached, image_tree
from pemu.cli.io_commands.report import Failure, amount, parse_number
from pemu.cli.io_commands.shell import Command, Letters, Shell
from pemu.options.error import OptionError

DISCARD = {"ignore": False, "off": False, "unmap": True, "on": True}

_CHANGEABLE = {"read-only", "auto-read-only", "discard", "detect-zeroes"}
"""Keys that all nodes have and that `reopen` can change."""


def mode_of(given: dict[str, str]) -> tuple[Mode, bool]:
    """How the options of the command line or of `open` have an image opened, and whether each
    write is flushed. Raises OptionError."""
    aio = given.get("i", "native" if "k" in given else "threads")
    if aio not in AIO:
        raise OptionError(f"Invalid aio option: {aio}")
    discard = given.get("d", "unmap")
    if discard not in DISCARD:
        raise OptionError(f"Invalid discard option: {discard}")
    cache = given.get("t", "none" if "n" in given else "writethrough")
    mode = Mode(
        readonly="r" in given or "s" in given,
        aio=aio,
        share="U" in given,
        discard=DISCARD[discard],
    )
    return cached(mode, cache), cache in WRITETHROUGH


def open_into(
    shell: Shell, name: str, given: dict[str, str], options: str = "", *, image_opts: bool = False
) -> None:
    """Open an image for the commands. options: keys of its node. Raises OptionError."""
    if shell.image is not None:
        raise OptionError("file open already, try 'help close'")
    mode, shell.writethrough = mode_of(given)
    try:
        tree = image_tree(name if image_opts else options)
        if shell.format and "driver" not in tree:
            tree["driver"] = shell.format
        image = _opened(shell.graph, "" if image_opts else name, tree, mode, given)
    except OptionError as error:
        shown = f" {name}" if name else ""
        raise OptionError(f"can't open{' device' * bool(shown)}{shown}: {error}") from None
    shell.image = image


def _opened(
    graph: Graph, name: str, tree: dict[str, object], mode: Mode, given: dict[str, str]
) -> Image:
    if "C" in given:
        if "s" in given:
            raise OptionError("-C and -s do not go together")
        inner = dict(tree)
        if name:
            inner["filename"] = name
        return graph.open({"driver": "copy-on-read", "file": inner}, mode)
    image = graph.open_name(name, mode=mode, options=tree)
    if "s" not in given:
        return image
    try:
        from pemu.block.filters.overlay import Overlay

        return Overlay(image)
    except BaseException:
        image.close()
        raise


def _open(shell: Shell, words: list[str]) -> None:
    command = shell.commands["open"]
    given = Letters(command, words, "snCro:ki:t:d:U")
    options = given.values.get("o", "")
    if len(given.words) > 1 or not (given.words or options):
        raise Failure(command.line)
    open_into(shell, given.words[0] if given.words else "", given.values, options)


def _close(shell: Shell, words: list[str]) -> None:
    shell.close()


def _reopen(shell: Shell, words: list[str]) -> None:
    command = shell.commands["reopen"]
    given = Letters(command, words, "c:o:rw")
    image = shell.opened()
    if given.words:
        raise Failure(command.line)
    if "r" in given and "w" in given:
        raise OptionError("Only one -r/-w option may be given")
    cache = given.values.get("c", "")
    cached(Mode(), cache)
    options = image_tree(given.values.get("o", ""))
    readonly = "r" in given if "r" in given or "w" in given else None
    if "read-only" in options and readonly is not None:
        raise OptionError("Cannot set both -r/-w and 'read-only'")
    if "cache" in options and cache:
        raise OptionError("Cannot set both -c and the cache options")
    common = typed({key: options.pop(key) for key in _CHANGEABLE & options.keys()},
                   NODE_KEYS, "A node")  # fmt: skip
    if common["read-only"] and not image.readonly:
        raise OptionError("Read-only block node cannot support read-write users; use reopen -r")
    if common["read-only"] is not None:
        readonly = bool(common["read-only"])
    shell.collect(wait=True)
    image.configure(options)
    if common["discard"] is not None:
        image.unmap = common["discard"] == "unmap"
    if common["detect-zeroes"] is not None:
        image.detect_zeroes = common["detect-zeroes"]
    if cache:
        shell.writethrough = cache in WRITETHROUGH
    if readonly is not None:
        image.flush()
        image.reopen(readonly=readonly)


def _flush(shell: Shell, words: list[str]) -> None:
    try:
        shell.opened().flush()
    except OSError as error:
        raise Failure(f"flush failed: {error.strerror}") from None


def _truncate(shell: Shell, words: list[str]) -> None:
    command = shell.commands["truncate"]
    given = Letters(command, words, "m:")
    preallocation = given.values.get("m", "off")
    if preallocation not in (*PREALLOCATION, "metadata"):
        raise OptionError(f"Invalid preallocation mode '{preallocation}'")
    if len(given.words) != 1:
        raise Failure(command.line)
    try:
        shell.opened().truncate(parse_number(given.words[0]), preallocation=preallocation)
    except OSError as error:
        raise OptionError(str(error.strerror)) from None


def _length(shell: Shell, words: list[str]) -> None:
    shell.say(amount(shell.opened().size))


_INFORMED = ("file", "host_device", "qcow", "qcow2", "qed", "vdi", "vhdx", "vmdk", "vpc")
"""Formats and protocols that tell of clusters; of others `info` fails, as qemu-io's does."""


def _info(shell: Shell, words: list[str]) -> None:
    from pemu.block.describe import detail_lines

    image = told = shell.opened()
    shell.say(f"format name: {image.format}")
    if image.format in (*PROTOCOLS, "blkdebug", "blkverify"):
        shell.say(f"format name: {image.format}")
    while told.filter or told.format in ("raw", "luks"):
        told = next(iter(told.children.values()))
    if told.format not in _INFORMED:
        shell.failed = True
        return
    shell.say(f"cluster size: {amount(told.limits().cluster)}")
    shell.say(f"vm state offset: {amount(told.vmstate_offset)}")
    details = image.details()
    if details:
        shell.say("\n".join(["Format specific information:", *detail_lines(details)]))


def _allocated(image: Image, offset: int, length: int) -> tuple[bool, int]:
    """Whether the image itself has what is at `offset`, and for how many bytes."""
    found = image.status(offset, length)
    have, at = found.present, offset + found.length
    while at < offset + length:
        found = image.status(at, offset + length - at)
        if found.present != have:
            break
        at += found.length
    return have, at - offset


def _map(shell: Shell, words: list[str]) -> None:
    image = shell.opened()
    at = 0
    while at < image.size:
        try:
            have, length = _allocated(image, at, image.size - at)
        except OSError as error:
            raise Failure(f"Failed to get allocation status: {error.strerror}") from None
        state = "    allocated" if have else "not allocated"
        shell.say(f"{amount(length)} ({length:#x}) bytes {state} at offset {amount(at)} ({at:#x})")
        at += length


def _alloc(shell: Shell, words: list[str]) -> None:
    image = shell.opened()
    offset = parse_number(words[0])
    wanted = parse_number(words[1]) if len(words) > 1 else 512
    count = max(min(wanted, image.size - offset), 0)
    total, at = 0, offset
    try:
        while at < offset + count:
            have, length = _allocated(image, at, offset + count - at)
            total += length * have
            at += length
    except OSError as error:
        raise Failure(f"is_allocated failed: {os.strerror(error.errno or errno.EIO)}") from None
    shell.say(f"{total}/{count} bytes allocated at offset {amount(offset)}")


COMMANDS = (
    Command(
        "open",
        _open,
        "open the file specified by path",
        "[-rsCnkU] [-t cache] [-d discard] [-o options] [path]",
        0,
        None,
        """
 'open -o driver=raw disk.img' opens raw data

 -r  do not write
 -s  write to a temporary file
 -C  copy what is read from below
 -n  the same as -t none
 -t  cache mode (default: writethrough)
 -d  discard mode: unmap (default) or ignore
 -i  how the host is asked: threads, native, io_uring; -k: native
 -U  although somebody else is using the image
 -o  keys of the image's node""",
        aliases=("o",),
        needs=False,
    ),
    Command("close", _close, "close the current open file", aliases=("c",)),
    Command(
        "reopen",
        _reopen,
        "reopens an image with new options",
        "[(-r|-w)] [-c cache] [-o options]",
        0,
        None,
        "\n -r  without writing\n -w  with writing\n -c  with another cache mode",
    ),
    Command("flush", _flush, "flush all in-core file state to disk", aliases=("f",), waits=True),
    Command(
        "truncate",
        _truncate,
        "truncates the current file at the given offset",
        "[-m prealloc_mode] off",
        1,
        3,
        aliases=("t",),
        writes=True,
        waits=True,
    ),
    Command("length", _length, "gets the length of the current file", aliases=("l",)),
    Command("info", _info, "prints information about the current file", aliases=("i",)),
    Command("map", _map, "prints the allocated areas of a file", ""),
    Command(
        "alloc",
        _alloc,
        "checks if offset is allocated in the file",
        "offset [count]",
        1,
        2,
        aliases=("a",),
    ),
)
