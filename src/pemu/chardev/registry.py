"""The character devices of one machine: made from options, found by id, closed at the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pemu.chardev.interface import Chardev, Event, Host
from pemu.chardev.legacy import comma_list
from pemu.chardev.mux import Mux
from pemu.chardev.options import CHARDEV, backend
from pemu.options.error import OptionError, quoted, unknown

PATIENCE = 3.0
"""Seconds that output waits at the end for a reader that takes none of it. Who has sent `poweroff`
through a terminal and reads it no more waits for the end, too; a signal makes it come at once
(`Host.hurried`)."""


class Chardevs:
    """All character devices by id.

    `create` and `open` are for the time before the loop of `host` runs, and for the I/O thread;
    `close` is for the time after it has stopped.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self.monitored: list[Mux] = []
        """The multiplexers made by `mon:`, each of which is to get a monitor."""
        self._chardevs: dict[str, Chardev] = {}

    def __iter__(self) -> Iterator[Chardev]:
        return iter(list(self._chardevs.values()))

    def create(self, text: str) -> Chardev:
        """Make what the comma list of a `-chardev` says.

        Raises OptionError, and HelpRequest where help is asked for. A server that waits for its
        first client does so here.
        """
        return self._make(CHARDEV.parse(text))

    def open(self, text: str, label: str) -> Chardev | None:
        """The back end that a short form as of `-serial` stands for; None for `none`.

        `label` becomes the id of a new one. Raises OptionError.
        """
        if text == "none":
            return None
        if text.startswith("chardev:"):
            return self.find(text.partition(":")[2])
        made = self.create(comma_list(text, label))
        if text.startswith("mon:") and isinstance(made, Mux):
            self.monitored.append(made)
        return made

    def find(self, label: str) -> Chardev:
        """The back end with the id `label`; raises OptionError where there is none."""
        found = self._chardevs.get(label)
        if found is None:
            raise unknown(
                f"there is no chardev {quoted(label)}",
                label,
                self._chardevs,
                f"make it with -chardev <backend>,id={label}",
            )
        return found

    def remove(self, label: str) -> None:
        """Close a back end that has no front end, on the I/O thread; raises OptionError."""
        found = self.find(label)
        if found.front is not None or (isinstance(found, Mux) and found.is_used):
            raise OptionError(f"chardev {quoted(label)} is in use")
        del self._chardevs[label]
        found.close()
        base = self._chardevs.pop(f"{label}-base", None)
        if base:
            base.close()

    def send_break(self, label: str) -> None:
        """Have the front end see a break, on the I/O thread; raises OptionError."""
        self.find(label).event(Event.BREAK)

    def info(self) -> str:
        """The answer to `info chardev`."""
        return "".join(
            f"{label}: filename={chardev.filename}\n" for label, chardev in self._chardevs.items()
        )

    def close(self, patience: float = PATIENCE) -> None:
        """Close all, having written what is under way: see `Chardev.close`."""
        for label in list(self._chardevs):
            self._chardevs.pop(label).close(patience)

    def _make(self, options: dict[str, Any]) -> Chardev:
        label: str = options["id"]
        if label in self._chardevs:
            raise OptionError(f"there is a chardev {quoted(label)} already; choose another id")
        if options["backend"] == "mux":
            made: Chardev = Mux(self.host, label, self.find(options["chardev"]))
        else:
            made = backend(options["backend"])(self.host, label, options)
        if options["logfile"]:
            try:
                made.log_to(options["logfile"], options["logappend"])
            except OptionError:
                made.close()
                raise
        if options["mux"]:
            self._chardevs[f"{label}-base"] = made
            made = Mux(self.host, label, made)
        self._chardevs[label] = made
        return made
