"""Records are what typing's named tuples and dataclasses would be."""

from __future__ import annotations

import pytest

from pemu.records import NamedTuple, dataclass, field


class Place(NamedTuple):
    offset: int
    length: int = 1

    def end(self) -> int:
        return self.offset + self.length


@dataclass
class Found:
    name: str
    count: int = 0
    lines: list[str] = field(default_factory=list)


def test_named_tuple_is_a_tuple_with_names() -> None:
    place = Place(5, length=2)
    assert place == (5, 2)
    assert (place.offset, place.length, place.end()) == (5, 2, 7)
    offset, length = place
    assert (offset, length) == (5, 2)


def test_named_tuple_has_defaults_and_copies_with_changes() -> None:
    assert Place(5)._replace(offset=6) == Place(6, 1)
    assert repr(Place(5)) == "Place(offset=5, length=1)"


def test_named_tuple_refuses_what_it_does_not_have() -> None:
    with pytest.raises(TypeError, match="other"):
        Place(5, other=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="offset"):
        Place()  # type: ignore[call-arg]


def test_dataclass_has_defaults_of_its_own_for_each() -> None:
    one, other = Found("a"), Found("a")
    one.lines.append("x")
    assert other.lines == []
    assert one != other
    assert other == Found("a", 0, [])
    assert repr(other) == "Found(name='a', count=0, lines=[])"


def test_dataclass_refuses_what_it_does_not_have() -> None:
    with pytest.raises(TypeError, match="name"):
        Found()  # type: ignore[call-arg]
