"""The version that users see."""

import pemu


def test_version_has_three_numbers() -> None:
    assert [part.isdigit() for part in pemu.__version__.split(".")] == [True, True, True]
