"""Reading, writing and discarding."""

from __future__ import annotations

import errno
import os
import time

from pemu.block.image import SECTOR, Image
from pemu.cli.io_commands.report import (
    Failure,
    dump,
    parse_number,
    parse_pattern,
    statistics,
)
from pemu.cli.io_commands.shell import Command, Letters, Shell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LARGEST = (1 << 31) - 512
"""Bytes of one request."""

DEFAULT = 0xCD
"""What is written where nobody says what."""


class _Read:
    """A request to read. lengths: of the buffers, bytes."""

    def __init__(self, offset: int, lengths: list[int], given: Letters) -> None:
        self.offset = offset
        self.lengths = lengths
        self.given = given
        self.total = sum(lengths)
        self.start, self.count = 0, self.total
        if "P" in given:
            self.pattern = parse_pattern(given.values["P"])
        if "s" in given:
            self.start = parse_number(given.values["s"])
            self.count = self.total - self.start
        if "l" in given:
            self.count = parse_number(given.values["l"])
        if self.count < 0 or self.start + self.count > self.total:
            raise Failure("pattern verification range exceeds end of read data")

    def run(self, image: Image, verb: str) -> tuple[bool, str]:
        """Whether the contents were as expected, and what is to be said. Raises Failure."""
        data = memoryview(bytearray(self.total))
        buffers, at = [], 0
        for length in self.lengths:
            buffers.append(data[at : at + length])
            at += length
        begun = time.monotonic()
        try:
            if "b" in self.given:
                image.read_vmstate(self.offset, buffers)
            else:
                _within(image, self.offset, self.total)
                image.read_into(self.offset, buffers)
        except OSError as error:
            raise Failure(f"{verb} failed: {os.strerror(error.errno or errno.EIO)}") from None
        seconds = time.monotonic() - begun
        lines, good = [], True
        if "P" in self.given:
            part = bytes(data[self.start : self.start + self.count])
            if part.count(self.pattern) != len(part):
                good = False
                where = self.offset + self.start
                lines.append(f"Pattern verification failed at offset {where}, {self.count} bytes")
        if "q" not in self.given:
            if "v" in self.given:
                lines.append(dump(data, self.offset))
            machine = "C" in self.given
            lines.append(
                statistics("read", self.offset, self.total, self.total, seconds, machine=machine)
            )
        return good, "\n".join(lines)


class _Write:
    """A request to write, or to write zeros."""

    def __init__(self, offset: int, lengths: list[int], given: Letters) -> None:
        self.offset = offset
        self.lengths = lengths
        self.given = given
        self.total = sum(lengths)
        self.pieces: list[bytes] = []
        if "z" in given:
            return
        if "s" in given:
            self.pieces = [_repeated(given.values["s"], self.total)]
        else:
            pattern = parse_pattern(given.values["P"]) if "P" in given else DEFAULT
            self.pieces = [bytes([pattern]) * length for length in lengths]

    def run(self, image: Image, verb: str, *, flush: bool) -> str:
        """What is to be said. Raises Failure."""
        given, offset, total = self.given, self.offset, self.total
        begun = time.monotonic()
        try:
            if "b" in given:
                image.write_vmstate(offset, self.pieces)
            else:
                _within(image, offset, total)
                if "n" in given and not image.fast_zeroes:
                    raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
                if "z" in given:
                    image.write_zeroes(offset, total, unmap="u" in given)
                elif "c" in given:
                    image.write_compressed(offset, self.pieces[0])
                else:
                    image.write_from(offset, self.pieces)
            if flush or "f" in given:
                image.flush()
        except OSError as error:
            raise Failure(f"{verb} failed: {os.strerror(error.errno or errno.EIO)}") from None
        if "q" in given:
            return ""
        seconds = time.monotonic() - begun
        return statistics("wrote", offset, total, total, seconds, machine="C" in given)


def _within(image: Image, offset: int, length: int) -> None:
    """Raise OSError as QEMU's block layer does beyond the end of an image."""
    if offset + length > image.size:
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def _repeated(path: str, length: int) -> bytes:
    """`length` bytes of what a file has, again and again. Raises Failure."""
    try:
        with open(path, "rb") as file:
            data = file.read(length)
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}", error=True) from None
    if not data:
        raise Failure(f"{path}: file is empty", error=True)
    return (data * (length // len(data) + 1))[:length]


def _range(given: Letters, command: Command) -> tuple[int, list[int]]:
    if len(given.words) != 2:
        raise Failure(command.line)
    offset = parse_number(given.words[0])
    length = parse_number(given.words[1])
    if length > LARGEST:
        without = " without -n" if "write" in command.name else ""
        raise Failure(f"length cannot exceed {LARGEST}{without}, given {given.words[1]}")
    return offset, [length]


def _vector(given: Letters, command: Command) -> tuple[int, list[int]]:
    if len(given.words) < 2:
        raise Failure(command.line)
    offset, *lengths = map(parse_number, given.words)
    if sum(lengths) > LARGEST:
        raise Failure(f"Total length cannot exceed {LARGEST}, given {sum(lengths)}")
    return offset, lengths


def _expect_sectors(offset: int, lengths: list[int], given: Letters) -> None:
    if "b" in given:
        for what, value in (("offset", offset), ("count", sum(lengths))):
            if value % SECTOR:
                raise Failure(f"{value} is not a sector-aligned value for '{what}'")


def _read(shell: Shell, words: list[str]) -> None:
    command = shell.commands["read"]
    given = Letters(command, words, "abCl:pP:qs:v")
    if "P" not in given and ("s" in given or "l" in given):
        raise Failure(command.line)
    offset, lengths = _range(given, command)
    _expect_sectors(offset, lengths, given)
    _finish(shell, *_Read(offset, lengths, given).run(shell.opened(), "read"))


def _readv(shell: Shell, words: list[str]) -> None:
    command = shell.commands["readv"]
    given = Letters(command, words, "CP:qv")
    offset, lengths = _vector(given, command)
    _finish(shell, *_Read(offset, lengths, given).run(shell.opened(), "readv"))


def _finish(shell: Shell, good: bool, text: str) -> None:
    if not good:
        raise Failure(text)
    if text:
        shell.say(text)


_EXCLUSIVE: tuple[tuple[Callable[[Letters], bool], str], ...] = (
    (
        lambda given: "b" in given and "z" in given,
        "-b and -z cannot be specified at the same time",
    ),
    (
        lambda given: "f" in given and ("b" in given or "c" in given),
        "-f and -b or -c cannot be specified at the same time",
    ),
    (lambda given: "n" in given and "z" not in given, "-n requires -z to be specified"),
    (lambda given: "u" in given and "z" not in given, "-u requires -z to be specified"),
    (
        lambda given: len({"z", "P", "s"} & given.values.keys()) > 1,
        "Only one of -z, -P, and -s can be specified at the same time",
    ),
)
"""Options of write that do not go together."""


def _write(shell: Shell, words: list[str]) -> None:
    command = shell.commands["write"]
    given = Letters(command, words, "bcCfnpP:qs:uz")
    for wrong, text in _EXCLUSIVE:
        if wrong(given):
            raise Failure(text)
    offset, lengths = _range(given, command)
    _expect_sectors(offset, lengths, given)
    _put(shell, _Write(offset, lengths, given), "write")


def _writev(shell: Shell, words: list[str]) -> None:
    command = shell.commands["writev"]
    given = Letters(command, words, "CfqP:")
    offset, lengths = _vector(given, command)
    _put(shell, _Write(offset, lengths, given), "writev")


def _put(shell: Shell, request: _Write, verb: str) -> None:
    text = request.run(shell.opened(), verb, flush=shell.writethrough)
    if text:
        shell.say(text)


def _in_background(shell: Shell, run: Callable[[], str]) -> None:
    def work() -> str:
        try:
            return run()
        except Failure as failure:
            return str(failure)

    shell.submit(work)


def _aio_read(shell: Shell, words: list[str]) -> None:
    command = shell.commands["aio_read"]
    given = Letters(command, words, "CP:iqv")
    image = shell.opened()
    if "i" in given:
        shell.say("injecting invalid read request")
        return
    offset, lengths = _vector(given, command)
    request = _Read(offset, lengths, given)
    _in_background(shell, lambda: request.run(image, "readv")[1])


def _aio_write(shell: Shell, words: list[str]) -> None:
    command = shell.commands["aio_write"]
    given = Letters(command, words, "CfiP:quz")
    image = shell.opened()
    if "u" in given and "z" not in given:
        raise Failure("-u requires -z to be specified")
    if "z" in given and len(given.words) > 2:
        raise Failure("-z supports only a single length parameter")
    if "i" in given:
        shell.say("injecting invalid write request")
        return
    offset, lengths = _vector(given, command)
    request = _Write(offset, lengths, given)
    flush = shell.writethrough
    _in_background(shell, lambda: request.run(image, "aio_write", flush=flush))


def _aio_flush(shell: Shell, words: list[str]) -> None:
    shell.collect(wait=True)


def _discard(shell: Shell, words: list[str]) -> None:
    command = shell.commands["discard"]
    given = Letters(command, words, "Cq")
    image = shell.opened()
    offset, (length,) = _range(given, command)
    begun = time.monotonic()
    try:
        _within(image, offset, length)
        image.discard(offset, length)
    except OSError as error:
        raise Failure(f"discard failed: {os.strerror(error.errno or errno.EIO)}") from None
    if "q" not in given:
        seconds = time.monotonic() - begun
        machine = "C" in given
        shell.say(statistics("discard", offset, length, length, seconds, machine=machine))


_READ_TEXT = """
 -b  from the state of the machine, not from the disk
 -C  statistics for programs
 -P  expect this byte everywhere
 -s, -l  where in the buffer, and for how many bytes, it is expected
 -q  no statistics
 -v  print what has been read"""

_WRITE_TEXT = """
 -b  to the state of the machine, not to the disk
 -c  compressed
 -f  and flush
 -P  write this byte (default: 0xcd)
 -s  write what this file has, again and again
 -z  write zeros; -u: which may give room back; -n: which must not take long
 -C  statistics for programs
 -q  no statistics"""

COMMANDS = (
    Command(
        "read",
        _read,
        "reads a number of bytes at a specified offset",
        "[-abCqv] [-P pattern [-s off] [-l len]] off len",
        2,
        None,
        "\n 'read -v 512 1k' prints 1 KiB from 512 on\n" + _READ_TEXT,
        aliases=("r",),
        waits=True,
    ),
    Command(
        "readv",
        _readv,
        "reads a number of bytes at a specified offset",
        "[-Cqv] [-P pattern] off len [len..]",
        2,
        None,
        "\n 'readv 512 1k 1k' reads into two buffers\n" + _READ_TEXT,
        waits=True,
    ),
    Command(
        "write",
        _write,
        "writes a number of bytes at a specified offset",
        "[-bcCfnquz] [-P pattern | -s source_file] off len",
        2,
        None,
        "\n 'write -P 5 512 1k' writes 1 KiB of fives\n" + _WRITE_TEXT,
        aliases=("w",),
        writes=True,
        waits=True,
    ),
    Command(
        "writev",
        _writev,
        "writes a number of bytes at a specified offset",
        "[-Cfq] [-P pattern] off len [len..]",
        2,
        None,
        "\n 'writev 512 1k 1k' writes from two buffers\n" + _WRITE_TEXT,
        writes=True,
        waits=True,
    ),
    Command(
        "aio_read",
        _aio_read,
        "asynchronously reads a number of bytes",
        "[-Ciqv] [-P pattern] off len [len..]",
        2,
        None,
        "\n Does not wait; aio_flush does. -i: only pretend\n" + _READ_TEXT,
    ),
    Command(
        "aio_write",
        _aio_write,
        "asynchronously writes a number of bytes",
        "[-Cfiquz] [-P pattern] off len [len..]",
        2,
        None,
        "\n Does not wait; aio_flush does. -i: only pretend\n" + _WRITE_TEXT,
        writes=True,
    ),
    Command("aio_flush", _aio_flush, "completes all outstanding aio requests", waits=True),
    Command(
        "discard",
        _discard,
        "discards a number of bytes at a specified offset",
        "[-Cq] off len",
        2,
        None,
        "\n The contents there are of no use any more.\n",
        aliases=("d",),
        writes=True,
        waits=True,
    ),
)
