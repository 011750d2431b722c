"""What is wrong with an image or with how it is to be opened: one sentence for the user."""

from __future__ import annotations

from pemu.options.error import OptionError


class ImageError(OptionError):
    """An image cannot be opened, made, checked or changed; the message says why."""
