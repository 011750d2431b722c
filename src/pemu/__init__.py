"""Pemu runs programs and machines of other processors."""

from pemu.version import VERSION as __version__

__all__ = ["__version__"]
