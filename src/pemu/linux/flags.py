"""Constants whose numbers differ between guest and host: both directions, and names for -strace.

A row is "NAME guest host", or "NAME number" when both agree. Numbers are written as in C.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    Row = tuple[str, int, int]


def parse(rows: str) -> list[Row]:
    """The rows of a table: name, guest number, host number."""
    table = []
    for line in rows.splitlines():
        words = line.split()
        if words:
            guest = int(words[1], 0)
            table.append((words[0], guest, int(words[2], 0) if len(words) > 2 else guest))
    return table


class Flags:
    """A set of bits.

    A row may name several bits at once (`O_SYNC` contains `O_DSYNC`): put it before its parts.
    `fields` are masks whose bits together hold one number (`O_ACCMODE`): rows inside such a mask
    match by equality. Bits without a row are dropped when translated, or kept if `keep` is set;
    for them a host's value gets `invalid`, bits that the call refuses.
    """

    __slots__ = ("_cache", "_fields", "_invalid", "_keep", "_pairs", "_rows")

    def __init__(
        self, rows: str, fields: tuple[int, ...] = (), keep: bool = False, invalid: int = 0
    ) -> None:
        self._rows = parse(rows)
        self._pairs = [(guest, host) for _, guest, host in self._rows]
        self._fields = fields
        self._keep = keep
        self._invalid = invalid
        self._cache: dict[int, int] = {}

    def to_host(self, value: int) -> int:
        """The host's bits for the guest's."""
        host = self._cache.get(value)
        if host is None:
            host = self._translate(value, self._pairs)
            if self._invalid and self.unknown(value):
                host |= self._invalid
            if len(self._cache) < 4096:
                self._cache[value] = host
        return host

    def to_guest(self, value: int) -> int:
        """The guest's bits for the host's."""
        return self._translate(value, [(host, guest) for guest, host in self._pairs])

    def rows_to_host(self) -> list[tuple[int, int, int]] | None:
        """Rows of mask, value in the mask and host bits that together do what `to_host` does.

        None where no such rows do: bits are kept, or a row is not what its parts are together.
        """
        return self._independent(self._pairs)

    def rows_to_guest(self) -> list[tuple[int, int, int]] | None:
        """Such rows for `to_guest`."""
        return self._independent([(host, guest) for guest, host in self._pairs])

    def _independent(self, pairs: list[tuple[int, int]]) -> list[tuple[int, int, int]] | None:
        if self._keep:
            return None
        for bits, other in pairs:
            for part, translated in pairs:
                if part & bits == part and self._mask(part) == part and translated & ~other:
                    return None
        return [(self._mask(bits), bits, other) for bits, other in pairs if other]

    @property
    def known(self) -> int:
        """The guest's bits that rows cover."""
        return 0xFFFFFFFF & ~self.unknown(0xFFFFFFFF)

    def unknown(self, value: int) -> int:
        """The bits of a guest value that no row covers."""
        for row in self._rows:
            value &= ~row[1]
        for mask in self._fields:
            value &= ~mask
        return value

    def _translate(self, value: int, pairs: list[tuple[int, int]]) -> int:
        result = 0
        rest = value
        for bits, other in pairs:
            if bits and value & self._mask(bits) == bits and rest & bits:
                result |= other
                rest &= ~bits
        return result | rest if self._keep else result

    def _mask(self, bits: int) -> int:
        for mask in self._fields:
            if bits & mask:
                return mask
        return bits

    def show(self, value: int, zero: str = "0") -> str:
        """The guest `value` by names, what has none in hex, as in `O_RDWR|O_CREAT|0x4000000`."""
        names = []
        rest = value
        for name, bits, _ in self._rows:
            if bits == 0:
                mask = next((m for m in self._fields if not value & m), 0)
                if mask:
                    names.append(name)
            elif value & self._mask(bits) == bits and rest & bits:
                names.append(name)
                rest &= ~bits
        if rest:
            names.append(hex(rest))
        return "|".join(names) or zero


class Enum:
    """Numbers with one meaning each; what has no row stays as it is."""

    __slots__ = ("_names", "_to_guest", "_to_host")

    def __init__(self, rows: str) -> None:
        table = parse(rows)
        self._to_host = {guest: host for _, guest, host in table}
        self._to_guest = {host: guest for _, guest, host in reversed(table)}
        self._names = {guest: name for name, guest, _ in reversed(table)}

    def to_host(self, value: int) -> int:
        """The host's number; one without a row stays as it is."""
        return self._to_host.get(value, value)

    def to_guest(self, value: int) -> int:
        """The guest's number; one without a row stays as it is."""
        return self._to_guest.get(value, value)

    def rows(self) -> list[tuple[int, int]]:
        """Guest and host numbers."""
        return list(self._to_host.items())

    def known(self, value: int) -> bool:
        """Whether the guest `value` has a row."""
        return value in self._names

    def show(self, value: int) -> str:
        """The name of a guest number."""
        return self._names.get(value) or str(value)
