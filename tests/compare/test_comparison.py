"""Who is measured when, and what becomes of it; by plug-ins of a few lines, and by real ones."""

import itertools
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from math import nan
from pathlib import Path
from typing import Any

import pytest

from ringlet.compare.comparison import Limits, Progress, compare
from ringlet.compare.lab import Settings
from ringlet.compare.measures import Found
from ringlet.compare.report import Cell, Report, read, to_json
from ringlet.errors import RingletError

from .toys import add_measure, add_way, row

ENDLESS = Limits(6, 1000, float("inf"))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_leak: None) -> Iterator[Path]:
    """Nothing stays of any comparison."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    assert not list(tmp_path.glob("ringlet-compare-*"))


def run(
    ways: str = "a b c", measures: str = "toy", limits: Limits = ENDLESS, **options: Any
) -> Report:
    return compare(Settings(), ways.split(), measures.split(), limits, **options)


def cells(report: Report, name: str = "time") -> Mapping[str, Cell]:
    return next(measure.ways for measure in report.measures if measure.name == name)


@pytest.fixture
def abc(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in "abc":
        add_way(monkeypatch, name)
    return monkeypatch


def test_ways_take_turns_and_another_begins_each_round(abc: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def sample(way: Any) -> dict[str, Found | Exception]:
        order.append(way.name)
        return {"time": Found(len(order))}

    add_measure(abc, sample, rounds=3)
    report = run()
    assert "".join(order) == "abcbcacababc"
    assert cells(report)["a"].samples == [6, 8, 10]  # the first round only warms up
    assert report.complete


def test_a_fact_is_asked_for_once(abc: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def sample(way: Any) -> dict[str, Found | Exception]:
        asked.append(way.name)
        return {"time": Found(f"as {way.name} sees it")}

    add_measure(abc, sample, rounds=1)
    report = run()
    assert asked == ["a", "b", "c"]
    assert cells(report)["b"] == Cell(text="as b sees it")


def test_a_quiet_measure_ends_at_once_and_a_noisy_one_goes_on(abc: pytest.MonkeyPatch) -> None:
    add_measure(abc, lambda way: {"time": Found(5.0)})
    numbers = itertools.cycle([1.0, 100.0, 3.0])
    add_measure(abc, lambda way: {"noise": Found(next(numbers))}, name="din", rows=(row("noise"),))
    report = run(measures="toy din", limits=Limits(6, 25, float("inf")))
    assert [len(cell.samples) for cell in cells(report).values()] == [6, 6, 6]
    assert [len(cell.samples) for cell in cells(report, "noise").values()] == [25, 25, 25]


def test_a_way_that_cant_be_gone_is_a_column_with_the_reason(abc: pytest.MonkeyPatch) -> None:
    add_way(abc, "b", error="it isn't\nhere")
    add_measure(abc, lambda way: {"time": Found(1.0)})
    report = run()
    assert [way.error for way in report.ways] == [None, "it isn't here; none", None]
    assert (report.ways[1].title, report.ways[1].about) == ("B", "A toy.")
    assert cells(report)["b"] == Cell(error="it isn't here; none")
    assert (cells(report)["c"].median, report.complete) == (1.0, True)
    assert report.host.versions["c"] == "1.0"
    assert "b" not in report.host.versions


def test_a_way_that_fails_twice_takes_no_more_turns_and_keeps_what_it_has(
    abc: pytest.MonkeyPatch,
) -> None:
    turns: list[str] = []

    def sample(way: Any) -> dict[str, Found | Exception]:
        turns.append(way.name)
        if way.name == "a":
            raise ValueError("a bug")
        if way.name == "b" and turns.count("b") > 3:
            raise RingletError("no more", "stop")
        return {"time": Found(1.0)}

    add_measure(abc, sample, rounds=9)
    found = cells(run())
    assert found["a"] == Cell(error="ValueError: a bug")
    assert found["b"].samples == [1.0, 1.0]
    assert found["b"].error is None
    assert found["b"].note == "failed 2 times: no more; stop"
    assert len(found["c"].samples) == 9
    assert (turns.count("a"), turns.count("b")) == (2, 5)


def test_a_row_that_fails_leaves_the_others(abc: pytest.MonkeyPatch) -> None:
    found: dict[str, Found | Exception] = {
        "time": Found(1.0, command="x"),
        "launch": RingletError("a program alone", "spawn it"),
        "nan": Found(nan),
    }
    rows = (row(), row("launch"), row("nan"), row("lost"))
    add_measure(abc, lambda way: found, rows=rows, rounds=3)
    report = run("a")
    assert cells(report)["a"] == Cell(samples=[1.0] * 3, median=1.0, spread=0.0, command="x")
    assert cells(report, "launch")["a"].error == "a program alone; spawn it"
    assert "no number" in (cells(report, "nan")["a"].error or "")
    assert "nothing was found" in (cells(report, "lost")["a"].error or "")


def test_phases_are_of_the_run_that_is_nearest_the_median(abc: pytest.MonkeyPatch) -> None:
    numbers = iter([0.0, 1.0, 2.0, 9.0])  # the first only warms up

    def sample(way: Any) -> dict[str, Found | Exception]:
        value = next(numbers)
        return {"time": Found(value, phases={"early": value - 1, "late": 1.0})}

    add_measure(abc, sample, rounds=3)
    cell = cells(run("a"))["a"]
    assert (cell.median, list(cell.phases.items())) == (2.0, [("early", 1.0), ("late", 1.0)])


@pytest.mark.parametrize("kvm", ["software", "hardware", "none"])
def test_what_a_software_kvm_distorts_is_a_note_of_its_vms(
    monkeypatch: pytest.MonkeyPatch, kvm: str
) -> None:
    add_way(monkeypatch, "shared")
    add_way(monkeypatch, "vm", own_kernel=True)
    add_measure(
        monkeypatch,
        lambda way: {"time": Found(1.0, note="a note")},
        rows=(row(software_kvm="it is slow"),),
        rounds=1,
    )
    monkeypatch.setattr("ringlet.compare.host.kvm", lambda: kvm)
    found = cells(run("shared vm"))
    assert found["shared"].note == "a note"
    assert found["vm"].note == ("a note; it is slow" if kvm == "software" else "a note")


def test_a_meaning_that_lacks_a_way_is_empty(abc: pytest.MonkeyPatch) -> None:
    add_measure(
        abc,
        lambda way: {"time": Found(1.0), "ratio": Found(1.0)},
        rows=(row(), row("ratio", meaning=lambda medians: f"{medians['absent']:g}")),
        rounds=1,
    )
    assert [measure.meaning for measure in run("a b").measures] == ["a 1, b 1", ""]


@pytest.mark.parametrize("by_progress", [False, True])
def test_an_interruption_leaves_what_was_found(abc: pytest.MonkeyPatch, by_progress: bool) -> None:
    taken: list[str] = []

    def interrupt(progress: Progress | None = None) -> None:
        if by_progress == (progress is not None) and len(taken) >= 7:
            raise KeyboardInterrupt

    def sample(way: Any) -> dict[str, Found | Exception]:
        interrupt()
        taken.append(way.name)
        return {"time": Found(1.0)}

    add_measure(abc, sample)
    add_measure(abc, lambda way: {"later": Found(1.0)}, name="next", rows=(row("later"),))
    report = run(measures="toy next", on_progress=interrupt)
    assert not report.complete
    assert [len(cell.samples) for cell in cells(report).values()] == [1, 1, 2]
    assert [len(cell.samples) for cell in cells(report, "later").values()] == [1, 1, 1]


def test_what_an_interruption_left_out_says_so(abc: pytest.MonkeyPatch) -> None:
    def sample(way: Any) -> dict[str, Found | Exception]:
        if way.name == "b":
            raise KeyboardInterrupt
        return {"time": Found(1.0)}

    add_measure(abc, sample, rounds=1)
    report = run()
    assert not report.complete
    assert report.stopped == "interrupted"
    assert cells(report)["a"].samples == [1.0]
    assert cells(report)["b"] == cells(report)["c"] == Cell(error="it was interrupted before")


def test_all_measures_have_a_round_before_any_has_two(abc: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def sample(name: str) -> dict[str, Found | Exception]:
        order.append(name)
        return {name: Found(1.0)}

    add_measure(abc, lambda way: sample("time"), rounds=3)
    add_measure(abc, lambda way: sample("x"), name="fact", rows=(row("x"),), rounds=1)
    run("a", "toy fact")
    assert order == ["time", "time", "x", "time", "time"]


def test_the_time_that_is_given_is_kept_and_each_measure_has_a_share(
    abc: pytest.MonkeyPatch,
) -> None:
    def sample(way: Any) -> dict[str, Found | Exception]:
        time.sleep(0.01)
        return {"time": Found(time.monotonic() % 1), "last": Found(0.0)}

    add_measure(abc, sample, seconds=0.03)
    add_measure(abc, sample, name="other", rows=(row("last"),), rounds=1, seconds=30)
    report = run(measures="toy other", limits=Limits(6, 10_000, 3))
    assert report.complete
    assert 0 < len(cells(report)["a"].samples) < 10_000
    assert cells(report, "last")["c"].samples == [0.0]


def test_what_no_time_was_left_for_says_so(abc: pytest.MonkeyPatch) -> None:
    add_measure(abc, lambda way: {"time": Found(1.0)})
    report = run(limits=Limits(6, 10, 0))
    assert not report.complete
    assert report.stopped == "time"
    assert "no time" in (cells(report)["a"].error or "")


def test_progress_only_grows_and_ends_before_all_is_done(abc: pytest.MonkeyPatch) -> None:
    add_measure(abc, lambda way: {"time": Found(1.0)}, rounds=4)
    seen: list[Progress] = []
    run(on_progress=seen.append, limits=Limits(6, 10, 100))
    assert len(seen) == 15
    assert [step.done for step in seen] == sorted(step.done for step in seen)
    assert 0 <= seen[0].done < seen[-1].done < 1
    assert all(0 <= step.left <= 100 for step in seen)
    assert seen[0].measure == "toy"


def test_the_lab_goes_also_where_a_measure_cant_be_made(abc: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModuleNotFoundError):
        run(measures="absent")


def test_a_process_is_measured_for_real(folder: Path) -> None:
    if not os.path.exists("/proc/self/smaps_rollup"):
        pytest.skip("needs smaps_rollup")
    report = run("process", "memory", Limits(1, 2, 60), command="ringlet compare")
    found = [measure.ways["process"] for measure in report.measures]
    assert any(cell.median is not None and cell.command for cell in found)
    path = folder / "report.json"
    path.write_bytes(to_json(report))
    assert read(str(path)) == report
