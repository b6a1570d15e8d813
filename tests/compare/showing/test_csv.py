"""Samples as CSV."""

import csv
from io import StringIO

from hypothesis import given
from hypothesis import strategies as st

from ringlet.compare.report import Cell
from ringlet.compare.showing.csv import COLUMNS, to_csv

from ..reports import sample, small

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def test_a_line_is_a_sample_or_why_there_is_none() -> None:
    report = small(
        {
            "a": Cell(samples=[1.5, 0.1], median=0.8, error="once"),
            "b": Cell(error="not here"),
            "c": Cell(text="its own"),
        }
    )
    assert to_csv(report).splitlines() == [
        ",".join(COLUMNS),
        "m,x,a,1,1.5,",
        "m,x,a,2,0.1,",
        "m,x,b,,,not here",
        "m,x,c,,its own,",
    ]


def test_all_samples_are_there() -> None:
    report = sample()
    cells = [cell for measure in report.measures for cell in measure.ways.values()]
    lines = sum(len(cell.samples) or 1 for cell in cells)
    assert len(to_csv(report).splitlines()) == 1 + lines


@given(st.floats(allow_nan=False, allow_infinity=False), TEXT)
def test_what_is_written_is_what_is_read(value: float, text: str) -> None:
    report = small({"a": Cell(samples=[value]), "b": Cell(text=text)}, text=text)
    _, first, second = csv.reader(StringIO(to_csv(report), newline=""))
    assert float(first[4]) == value
    assert (second[1], second[4]) == (text, text)
