"""Tables of words: where the same words end, where there are any."""

from __future__ import annotations

import random
from array import array

import pytest

from pemu.block.formats.qcow2.words import filled, rows, same_until


def tables(count: int) -> list[array[int]]:
    """Tables with few and with many runs."""
    source = random.Random(1)
    found = []
    for _ in range(count):
        words = array("Q", bytes(16 * source.choice((1, 2, 9, 64, 300, 1000))))
        for _ in range(source.choice((0, 1, 3, 40))):
            start = source.randrange(len(words))
            length = min(source.choice((1, 2, 60, 200)), len(words) - start)
            words[start : start + length] = array("Q", [source.choice((0, 1, 1 << 63))]) * length
        found.append(words)
    return found


def test_same_words_end_where_another_one_is() -> None:
    source = random.Random(2)
    for words in tables(300):
        at = source.randrange(len(words))
        end = source.randrange(at, len(words)) + 1
        expected = next((i for i in range(at, end) if words[i] != words[at]), end)
        assert same_until(words, at, end) == expected


def test_rows_end_where_another_word_is() -> None:
    source = random.Random(3)
    for length in (1, 2, 7, 8, 9, 63, 64, 100, 5000):
        words = array("Q", range(1 << 63, (1 << 63) + length * 512, 512))
        other = source.randrange(length)
        assert same_until(words, other, length, 512) == length
        words[other] += 1
        assert same_until(words, 0, length, 512) == (other or min(length, 1))


def test_row_ends_where_words_do() -> None:
    words = array("Q", range((1 << 64) - 9 * 512, 1 << 64, 512)) + array("Q", bytes(8 * 100))
    assert same_until(words, 0, len(words), 512) == 9


def test_groups_of_rows_are_found() -> None:
    words = array("Q", [0, 0, 512, 1024, 1536, 0, 9, 0, 0, 7, 519])
    assert list(rows(words, 1, 512)) == [(2, 3), (6, 1), (9, 2)]


def test_groups_of_several_words_are_rows_of_one() -> None:
    words = array("Q", [0, 0, 512, 1024, 0, 3, 0, 0])
    assert list(rows(words, 2, 512)) == [(2, 1), (4, 1)]


@pytest.mark.parametrize("unit", [1, 2])
def test_filled_groups_are_found(unit: int) -> None:
    for words in tables(300):
        expected = [i for i in range(0, len(words), unit) if any(words[i : i + unit])]
        assert list(filled(words, unit)) == expected
