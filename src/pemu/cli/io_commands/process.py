"""Commands about pemu-io itself."""

from __future__ import annotations

import os
import sys
import time

from pemu.cli.io_commands.report import Failure, parse_number
from pemu.cli.io_commands.shell import Command, Shell


def _help(shell: Shell, words: list[str]) -> None:
    if words:
        command = shell.find(words[0])
        if command is None:
            raise Failure(f"command {words[0]} not found")
        shell.say(command.line)
        if command.text:
            shell.say(command.text)
        return
    for name in sorted(shell.commands):
        shell.say(shell.commands[name].line)
    shell.say("\nUse 'help commandname' for extended help.")


def _quit(shell: Shell, words: list[str]) -> None:
    shell.ended = True


def _sleep(shell: Shell, words: list[str]) -> None:
    try:
        milliseconds = int(words[0], 0)
        if milliseconds < 0:
            raise ValueError
    except ValueError:
        raise Failure(f"{words[0]} is not a valid number") from None
    time.sleep(milliseconds / 1000)


def _sigraise(shell: Shell, words: list[str]) -> None:
    number = parse_number(words[0])
    sys.stdout.flush()
    try:
        os.kill(os.getpid(), number)
    except (OSError, OverflowError):
        raise Failure(f"signal {number} does not exist") from None


def _abort(shell: Shell, words: list[str]) -> None:
    sys.stdout.flush()
    os.abort()


COMMANDS = (
    Command("help", _help, "help for one or all commands", "[command]", 0, 1, needs=False,
            aliases=("?",)),
    Command("quit", _quit, "exit the program", needs=False, aliases=("q",), most=None),
    Command("sleep", _sleep, "waits for the given value in milliseconds", None, 1, 1, needs=False,
            waits=True),
    Command(
        "sigraise",
        _sigraise,
        "raises a signal",
        "signal",
        1,
        1,
        "\n 'sigraise 15' has pemu-io get SIGTERM",
        needs=False,
    ),
    Command("abort", _abort, "simulate a program crash using abort(3)", needs=False),
)  # fmt: skip
