"""Interrupt lines."""

from __future__ import annotations

from pemu.machine.irq import Irq, input_lines, inverted, or_gate


def test_sinks_hear_of_changes_only() -> None:
    heard: list[int] = []
    line = Irq(heard.append)
    for level in (0, 1, 5, 0, 0, 1):
        line.set(level)
    assert heard == [1, 0, 1]


def test_all_sinks_hear_in_order() -> None:
    heard: list[str] = []
    line = Irq(lambda level: heard.append(f"a{level}"))
    line.connect(lambda level: heard.append(f"b{level}"))
    line.pulse()
    assert heard == ["a1", "b1", "a0", "b0"]


def test_sink_that_comes_later_hears_of_a_high_line() -> None:
    line, late = Irq(), Irq()
    line.raise_()
    line.connect(late)
    assert late.level == 1


def test_renewed_line_falls_and_rises() -> None:
    heard: list[int] = []
    line = Irq(heard.append)
    line.raise_()
    line.renew()
    assert heard == [1, 0, 1]


def test_renewed_line_stays_where_nothing_would_change() -> None:
    heard: list[int] = []
    latch = Irq(heard.append)
    line = Irq(latch)
    line.raise_()
    latch.unheard = lambda: True
    line.renew()
    assert heard == [1]


def test_renewed_line_is_heard_by_a_second_sink() -> None:
    heard: list[int] = []
    latch = Irq()
    latch.unheard = lambda: True
    line = Irq(latch, heard.append)
    line.raise_()
    line.renew()
    assert heard == [1, 0, 1]


def test_or_gate_is_high_while_one_input_is() -> None:
    output = Irq()
    one, two = or_gate(output, 2)
    one.raise_()
    two.raise_()
    one.lower()
    assert output.level == 1
    two.lower()
    assert output.level == 0


def test_inverted_line() -> None:
    output = Irq()
    line = inverted(output)
    assert output.level == 1
    line.raise_()
    assert output.level == 0


def test_input_lines_tell_their_number() -> None:
    heard: list[tuple[int, int]] = []
    lines = input_lines(lambda number, level: heard.append((number, level)), 3)
    lines[2].raise_()
    assert heard == [(2, 1)]
