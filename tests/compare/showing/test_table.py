"""What the terminal shows of a report."""

from statistics import median
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ringlet.compare.report import Cell, Report
from ringlet.compare.showing.table import Table, _best, bar, shares, to_text

from ..reports import sample, small


def shown(report: Report, width: int = 80, **options: Any) -> str:
    return to_text(Table(report), width, **options)


@pytest.mark.parametrize("width", [80, 100, 160])
def test_all_is_there_and_nothing_is_wider_than_the_terminal(width: int) -> None:
    report = sample()
    text = shown(report, width)
    assert max(map(len, text.splitlines())) <= width
    words = " ".join(text.split())
    for measure in report.measures:
        assert " ".join(measure.meaning.split()) in words
    heading = next(line for line in text.splitlines() if line.startswith("Startup"))
    assert heading.split("  ")[0] == "Startup"
    for title in ("Process", "Container", "Tiny VM", "Linux VM", "crun [1]"):
        assert title in heading
    assert "[1] crun: error opening file /sys/fs/cgroup/unified" in words
    assert "[4] direct, past the cache of its own" in words
    assert "402 ms ±24" in text
    assert "31 GiB" in words


@pytest.mark.parametrize("width", [1, 10, 20, 40])
def test_a_narrow_terminal_has_the_ways_one_below_the_other(width: int) -> None:
    lines = shown(sample(), width).splitlines()
    assert width < 20 or any("Linux VM" in line and "Process" not in line for line in lines)


def test_a_row_is_read_at_a_glance() -> None:
    cells = {
        "a": Cell(samples=[1.0, 3.0], median=2.0, spread=1.0, note="slow"),
        "b": Cell(samples=[4.0], median=4.0, phases={"early": 1.0, "late": 3.0}),
        "c": Cell(text="its,own"),
        "d": Cell(error="no room"),
    }
    report = small(cells, text="x")
    for way in report.ways:
        way_without_error = msgspec.structs.replace(way, error=None, title=way.name)
        report.ways[report.ways.index(way)] = way_without_error
    measure = report.measures[0]
    measure.unit, measure.better, measure.title = "us", "lower", "Time"
    lines = shown(report, 100).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("Time"))
    assert " ".join(lines[start].split()) == "Time ↓ 2 µs ±0.5 [1] 4 µs its, own — [2]"
    assert lines[start + 1].split() == ["█" * 9, "█" * 4 + "▒" * 14]
    assert lines[start + 3].split() == ["█", "early", "▒", "late"]
    assert "[1] slow" in lines
    assert "[2] no room" in lines


def test_a_glyph_stands_for_one_phase() -> None:
    names = [f"phase {number}" for number in range(20)]
    report = small({"a": Cell(median=20.0, phases=dict.fromkeys(names, 1.0))}, text="x")
    report.ways[0] = msgspec.structs.replace(report.ways[0], error=None)
    words = shown(report, 200).split()
    glyphs = [words[at - 1] for at, word in enumerate(words) if word == "phase"]
    assert len(set(glyphs)) == 20
    words = shown(report, 200, ascii_only=True).split()
    assert len({words[at - 1] for at, word in enumerate(words) if word == "phase"}) == 20


def test_who_is_as_good_as_the_best_within_the_spread_is_as_green() -> None:
    steady, near, far = [10.0] * 8, [9.0, 12.0] * 4, [90.0] * 8
    cells = {
        name: Cell(samples=samples, median=median(samples))
        for name, samples in (("a", steady), ("b", near), ("c", far))
    }
    report = small(cells, text="x")
    report.measures[0].better = "lower"
    assert _best(report.measures[0], {"a": 10.0, "b": 10.5, "c": 90.0}) == {"a", "b"}
    del report.measures[0].ways["c"]
    assert _best(report.measures[0], {"a": 10.0, "b": 10.5}) == set()


def test_large_ratios_have_logarithmic_bars() -> None:
    assert shares({"a": 1, "b": 40}) == ({"a": 1 / 40, "b": 1.0}, False)
    found, logarithmic = shares({"a": 1, "b": 1000, "c": 0, "d": -3})
    assert logarithmic
    assert 0 == found["c"] == found["d"] < found["a"] < 0.2 < found["b"] == 1
    assert shares({}) == ({}, False)


@given(st.floats(), st.integers(0, 100))
def test_a_bar_is_no_longer_than_its_place(share: float, width: int) -> None:
    if share == share:
        assert len(bar(share, width)) <= width


def test_what_cant_be_encoded_is_replaced() -> None:
    text = shown(sample(), ascii_only=True)
    assert text.isascii()
    assert "~0.034" in text


def test_color_is_for_terminals() -> None:
    assert "\x1b" not in shown(sample())
    console = Console(force_terminal=True, color_system="standard", width=80, no_color=False)
    with console.capture() as capture:
        console.print(Table(sample()))
    assert "\x1b[" in capture.get()


TEXT = st.text(max_size=30) | st.just("\x1b]0;title\x07\x1b[2J[red]x[/]\u202e\r\n")
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
CELL = st.builds(
    Cell,
    samples=st.lists(NUMBER, max_size=3),
    median=NUMBER | st.none(),
    spread=NUMBER | st.none(),
    text=TEXT | st.none(),
    error=TEXT | st.none(),
    note=TEXT | st.none(),
    phases=st.dictionaries(TEXT, NUMBER, max_size=12),
)


@given(st.dictionaries(TEXT, CELL, max_size=4), TEXT, st.integers(1, 120))
def test_whatever_a_report_says_is_text(cells: dict[str, Cell], text: str, width: int) -> None:
    printed = shown(small(cells, text=text, name=text, group=text), width)
    assert all(line.isprintable() for line in printed.split("\n"))
