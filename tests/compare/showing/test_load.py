"""Reports beside each other."""

import msgspec
import pytest

from ringlet.compare.report import Cell, Report
from ringlet.compare.showing.load import TIMES, matched, side_by_side
from ringlet.compare.showing.table import to_text
from ringlet.errors import RingletError

from ..reports import sample, small


def shown(*reports: Report, width: int = 100) -> str:
    return to_text(side_by_side([(f"{n}.json", report) for n, report in enumerate(reports)]), width)


def report(*samples: float, name: str = "m") -> Report:
    cells = {"a": Cell(samples=list(samples), median=samples[0], spread=0.1)}
    made = small(cells, text="t", name=name)
    made.measures[0].better = "lower"
    return made


def test_the_same_measure_has_a_ratio_to_the_first() -> None:
    text = shown(report(*[2.0] * 6), report(*[3.0] * 6), report(2.0, 1, 3, 2, 2, 2))
    line = next(line for line in text.splitlines() if "2 t" in line)
    assert line.split() == ["t", "2", "t", "3", "t", f"{TIMES}1.5", "!", "2", "t", f"{TIMES}1"]
    assert "different hosts" not in text


def test_measures_are_matched_by_name_and_unit() -> None:
    first, second = report(1.0), report(2.0)
    other = report(3.0, name="other")
    rows = matched([first, second, other])
    assert rows == [
        [first.measures[0], second.measures[0], None],
        [None, None, other.measures[0]],
    ]
    second.measures[0].unit = "s"
    assert len(matched([first, second])) == 2
    assert "—" in shown(first, other)


def test_another_host_is_told() -> None:
    first = report(1.0)
    second = msgspec.structs.replace(first, host=msgspec.structs.replace(first.host, kernel="6"))
    text = shown(first, second)
    assert "different hosts" in text
    assert text.startswith("0.json: ")


@pytest.mark.parametrize("width", [20, 80, 100])
def test_it_is_no_wider_than_the_terminal(width: int) -> None:
    text = shown(sample(), sample(), width=width)
    assert max(map(len, text.splitlines())) <= width
    assert f"{TIMES}1" in text
    assert "crun" not in text.split("Startup", 1)[1]


def test_too_many_are_refused() -> None:
    with pytest.raises(RingletError, match="7 reports don't fit"):
        shown(*[report(1.0)] * 7)
