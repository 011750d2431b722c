"""`pemu-img check`: errors in what describes an image's contents."""

from __future__ import annotations

from pemu.block.error import ImageError
from pemu.block.image import Check
from pemu.block.opening import Mode
from pemu.cli.img_commands.info import print_json
from pemu.cli.img_commands.session import (
    COMMON,
    Session,
    close,
    mistake,
    one_file,
    output_format,
    usage,
    warn,
)
from pemu.cli.outcome import show_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

SYNTAX = (
    "[--object objectdef] [--image-opts] [-q] [-f fmt] [--output=ofmt] [-r [leaks | all]] "
    "[-T src_cache] [-U] filename"
)

HELP = """Check an image for errors. Exit status: 0 none, 2 errors, 3 only leaks (room that nobody
uses), 63 the format has no checks, 1 the check itself failed.

  -r leaks       free what nobody uses
  -r all         repair everything; what is broken may be lost
  --output=json  for programs
"""

OPTIONS = COMMON + "q f|format= r|repair= output= T= U|force-share"

NO_CHECKS = 63
"""Exit status for formats without checks."""


def run(words: Sequence[str]) -> int:
    """Carry out `pemu-img check`."""
    given = usage(words, OPTIONS, help=HELP)
    repair = given.get("r")
    if "r" in given and repair not in ("leaks", "all"):
        raise mistake(f"Unknown option value for -r (expecting 'leaks' or 'all'): {repair}")
    json = output_format(given)
    name = one_file(given)
    session = Session(given)
    session.quiet = session.quiet or json
    mode = Mode(readonly=not repair, share=session.share, repair=True)
    image = session.open(
        name,
        format=given.get("f"),
        mode=mode,
        cache=given.get("T"),
        cache_option="source cache option",
    )
    try:
        try:
            found = image.check_image(repair)
            fixed = None
            if found.corruptions_fixed or found.leaks_fixed:
                fixed, found = found, image.check_image("")
        except ImageError as error:
            if type(image).check_image is _without_checks():
                warn(str(error))
                return NO_CHECKS
            raise
        except OSError as error:
            found, fixed = Check(errors=1), None
            warn(f"Check failed: {error.strerror}")
        format = image.format
    finally:
        close(image)
    for line in (*(fixed.messages if fixed else ()), *found.messages):
        show_error(line)
    if json:
        print_json(_as_json(found, fixed, name, format))
    else:
        session.say(_as_text(found, fixed))
    if found.errors or found.corruptions:
        return 1 if found.errors else 2
    return 3 if found.leaks else 0


def _without_checks() -> Any:
    from pemu.block.image import Image

    return Image.check_image


def _as_json(found: Check, fixed: Check | None, name: str, format: str) -> dict[str, Any]:
    numbers = {
        "image-end-offset": found.end,
        "total-clusters": found.total_clusters,
        "allocated-clusters": found.allocated_clusters,
        "fragmented-clusters": found.fragmented_clusters,
        "compressed-clusters": found.compressed_clusters,
        "corruptions": found.corruptions,
        "leaks": found.leaks,
        "corruptions-fixed": fixed.corruptions_fixed if fixed else 0,
        "leaks-fixed": fixed.leaks_fixed if fixed else 0,
    }
    shown: dict[str, Any] = {"filename": name, "format": format, "check-errors": found.errors}
    shown |= {key: value for key, value in numbers.items() if value}
    return shown


def _as_text(found: Check, fixed: Check | None) -> str:
    lines = []
    if fixed is not None:
        lines += [
            "The following inconsistencies were found and repaired:",
            "",
            f"    {fixed.leaks_fixed} leaked clusters",
            f"    {fixed.corruptions_fixed} corruptions",
            "",
            "Double checking the fixed image now...",
        ]
    if not (found.corruptions or found.leaks or found.errors):
        lines.append("No errors were found on the image.")
    if found.corruptions:
        lines += [
            "",
            f"{found.corruptions} errors were found on the image.",
            "Data may be corrupted, or further writes to the image may corrupt it.",
        ]
    if found.leaks:
        lines += [
            "",
            f"{found.leaks} leaked clusters were found on the image.",
            "This means waste of disk space, but no harm to data.",
        ]
    if found.errors:
        lines += ["", f"{found.errors} internal errors have occurred during the check."]
    if found.total_clusters and found.allocated_clusters:
        used = found.allocated_clusters
        lines.append(
            f"{used}/{found.total_clusters} = {used * 100 / found.total_clusters:.2f}% allocated, "
            f"{found.fragmented_clusters * 100 / used:.2f}% fragmented, "
            f"{found.compressed_clusters * 100 / used:.2f}% compressed clusters"
        )
    if found.end:
        lines.append(f"Image end offset: {found.end}")
    return "\n".join(lines)
