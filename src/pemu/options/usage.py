"""The table of options in a command's help, derived from their declarations."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pemu.options.command import Option


def option_table(options: Sequence[Option]) -> str:
    """The options as qemu-user's -h shows them: argument, environment variable, description."""
    rows = [("Argument", "Env-variable", "Description")]
    for option in options:
        argument = f"-{option.name} {option.metavar}".rstrip()
        variable = option.env[-1] if option.env else ""
        rows.append((argument, variable, option.help))
        rows += [(f"-{alias}", "", "") for alias in option.aliases]
    first = max(len(row[0]) for row in rows)
    second = max(len(row[1]) for row in rows)
    return "".join(f"{a:<{first}} {b:<{second}} {c}".rstrip() + "\n" for a, b, c in rows)
