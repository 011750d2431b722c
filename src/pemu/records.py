"""`NamedTuple` and `dataclass` of few lines: for what must start quickly.

Type checkers take them for typing's and dataclasses' own, whose modules take longer to import (20
ms) than `pemu-img info` has to do. Left out: whatever the image tools' records do not need, such as
`frozen`, `slots` and ordering when they run.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dataclasses import dataclass, field
    from typing import NamedTuple
else:
    from _collections import _tuplegetter

    class _Record(type):
        """Makes tuples whose items have names out of classes with annotations."""

        def __new__(mcls, name, bases, space):
            names = tuple(space.get("__annotations__", ()))
            if not names:
                return super().__new__(mcls, name, bases, space)
            defaults = tuple(space.pop(one) for one in names if one in space)
            make = eval(f"lambda _, {', '.join(names)}: _new(_, ({', '.join(names)},))", _MAKING)
            make.__defaults__ = defaults
            space |= {one: _tuplegetter(i, None) for i, one in enumerate(names)}
            space |= {"__slots__": (), "__new__": make, "_fields": names, "__match_args__": names}
            return super().__new__(mcls, name, bases, space)

    class NamedTuple(tuple, metaclass=_Record):
        """As typing.NamedTuple."""

        __slots__ = ()
        _fields = ()

        def _replace(self, **changes):
            return type(self)(**{**dict(zip(self._fields, self, strict=True)), **changes})

        def __repr__(self):
            return _shown(self, self._fields)

    class field:
        """As dataclasses.field, with what is used of it."""

        def __init__(self, *, default_factory):
            self.default_factory = default_factory

    def dataclass(cls=None, **options):
        """As dataclasses.dataclass; what `options` ask for is only checked by type checkers."""
        if cls is None:
            return dataclass
        names = tuple(cls.__annotations__)
        given, lines = [], []
        for name in names:
            default = cls.__dict__.get(name, _NONE)
            if isinstance(default, field):
                given.append(f"{name}=None")
                lines.append(f" self.{name} = _class.{name}.default_factory()")
                lines.append(f" if {name} is not None: self.{name} = {name}")
            else:
                given.append(name if default is _NONE else f"{name}=_class.{name}")
                lines.append(f" self.{name} = {name}")
        space = {"_class": cls}
        exec(f"def __init__(self, {', '.join(given)}):\n" + "\n".join(lines), space)
        cls.__init__ = space["__init__"]
        cls.__repr__ = lambda self: _shown(self, names)
        cls.__eq__ = lambda self, other: (
            type(self) is type(other) and self.__dict__ == other.__dict__
        )
        return cls

    def _shown(record, names):
        values = ", ".join(f"{name}={getattr(record, name)!r}" for name in names)
        return f"{type(record).__name__}({values})"

    _MAKING = {"_new": tuple.__new__}
    _NONE = object()


__all__ = ["NamedTuple", "dataclass", "field"]
