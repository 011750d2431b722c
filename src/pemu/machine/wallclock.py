"""The time of day that a machine's clock chips show (-rtc)."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from pemu.machine.clock import SECOND, Clock, Clocks
from pemu.options.error import OptionError, quoted


class WallClock:
    """The time of day, in the zone that the guest takes its clock to be in.

    base: 'utc', 'localtime', or a date at which it starts, such as 2006-06-17T16:01:21. clock: what
        moves it: 'host' (the host's time of day), 'rt' (monotonic) or 'vm' (virtual time).
    Raises OptionError for a base that is none.
    """

    def __init__(self, clocks: Clocks, base: str = "utc", clock: str = "host") -> None:
        sources: dict[str, Clock] = {
            "host": clocks.host,
            "rt": clocks.realtime,
            "vm": clocks.virtual,
        }
        self.clock = sources[clock]
        self._local = base == "localtime"
        # It starts with a whole second, so that a guest finds it the same in each run.
        start = int(time.time()) * SECOND if base in ("utc", "localtime") else _date(base)
        fixed = clock == "host" and base in ("utc", "localtime")
        self._offset = 0 if fixed else start - self.clock.now()

    def now(self) -> int:
        """Nanoseconds since 1970-01-01 00:00 of the guest's zone."""
        now = self.clock.now() + self._offset
        if self._local:
            now += time.localtime(now // SECOND).tm_gmtoff * SECOND
        return now


def _date(text: str) -> int:
    """Nanoseconds since 1970 of a date as -rtc base= has it."""
    for form in ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"):
        try:
            return int(datetime.strptime(text, form).replace(tzinfo=UTC).timestamp()) * SECOND
        except ValueError:
            continue
    raise OptionError(
        f"-rtc base: {quoted(text)} is no date; write utc, localtime, 2006-06-17T16:01:21 or "
        "2006-06-17"
    )
