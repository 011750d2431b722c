"""Pemu runs programs and machines of other processors.

`pemu.Program` and all else of `pemu.api` is here, too, and `pemu.__version__`; they are imported
when they are first asked for, as the commands, which import this package, have no use for them.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pemu.api import *  # noqa: F403
    from pemu.version import VERSION as __version__

__all__ = ["__version__"]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from pemu.version import VERSION

        return VERSION
    if name != "api" and not name[0].isupper():  # a module, which `from pemu import x` asks for
        raise AttributeError(f"module 'pemu' has no attribute {name!r}")
    from importlib import import_module

    api = import_module("pemu.api")
    if name != "api" and name not in api.__all__:
        raise AttributeError(f"module 'pemu' has no attribute {name!r}")
    value: object = api if name == "api" else getattr(api, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    from pemu.api import __all__ as names

    return sorted([*globals(), *names])
