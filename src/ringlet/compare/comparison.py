"""Runs a comparison: takes each measure of each way in turns, more often if there is more noise.

The ways take turns in each round, and each round begins with another way. That is why a temporary
disturbance of the host affects all ways alike. The first round of a measure only warms up. Every
measure gets one round that counts before any measure gets a second one. Then the measures share the
time that is left.
"""

from __future__ import annotations

import time
from collections import Counter
from math import isfinite
from statistics import median
from typing import NamedTuple

from ringlet.compare import host, measures, report, ways
from ringlet.compare.lab import Lab
from ringlet.compare.report import Cell, Report
from ringlet.compare.statistics import Medians, noise, spread
from ringlet.errors import RingletError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ringlet.compare.lab import Settings
    from ringlet.compare.measures import Found, Measure, Row
    from ringlet.compare.ways import Way

QUIET = 0.05  # with less noise than this, more samples aren't needed
MAX_FAILURES = 2  # after so many failures, a way leaves a measure
_MAX_REASON = 500  # characters


class Limits(NamedTuple):
    """The limits of a comparison: rounds of measures without a fixed number of rounds; seconds."""

    least: int = 6  # rounds
    most: int = 30  # rounds, also of measures with a fixed number
    seconds: float = 100.0  # for the whole comparison


class Progress(NamedTuple):
    """The progress: the group of measures, the share that is done, and the seconds left."""

    measure: str
    done: float
    left: float


def compare(
    settings: Settings,
    way_names: Sequence[str],
    measure_names: Sequence[str],
    limits: Limits = Limits(),  # noqa: B008 (it can't be changed)
    *,
    command: str = "",
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Report:
    """Runs a comparison, returns its report, and leaves nothing else behind.

    The report shows `command` as the command that made it. `on_progress` is called before each
    sample. A KeyboardInterrupt, also from `on_progress`, ends the measuring; the report then has
    the samples taken so far. Raises `RingletError`.
    """
    began = time.monotonic()
    watch = host.Watch()
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with Lab(settings) as lab:
        loaded = [measures.load(name, lab) for name in measure_names]
        comparison = _Comparison(lab, way_names, loaded)
        interrupted = False
        try:
            comparison.go(limits, began + limits.seconds, on_progress)
        except KeyboardInterrupt:
            interrupted = True
        found, all_there = comparison.report(
            "it was interrupted before"
            if interrupted
            else "no time was left for it; give it more with --seconds"
        )
    return Report(
        created=created,
        seconds=time.monotonic() - began,
        complete=all_there and not interrupted,
        stopped="interrupted" if interrupted else "" if all_there else "time",
        others=watch.others(),
        command=command,
        host=comparison.host,
        ways=comparison.columns,
        measures=found,
    )


class _Comparison:
    """The ways that work on this host, and the runs of the measures."""

    def __init__(self, lab: Lab, names: Sequence[str], loaded: Sequence[Measure]) -> None:
        self.columns: list[report.ReportedWay] = []
        self._ways: list[Way] = []
        versions: dict[str, str] = {}
        for name in names:
            kind = ways.find(name)
            error = None
            try:
                way = ways.load(name, lab)
                versions |= way.versions()
                self._ways.append(way)
            except Exception as exception:
                error = _reason(exception)
            self.columns.append(
                report.ReportedWay(name=name, title=kind.title, about=kind.about, error=error)
            )
        self.host = host.look(versions)
        self._runs = [_Run(measure, self._ways) for measure in loaded]

    def go(self, limits: Limits, deadline: float, on_progress: Callable[[Progress], None]) -> None:
        """Takes one round of each measure, then as many rounds as its share of the time allows."""
        began = time.monotonic()
        done = 0.0

        def run_on(run: _Run, end: float | None) -> None:
            nonlocal done
            for _ in run.turns(limits, end, deadline):
                now = time.monotonic()
                left = min(sum(each.left(limits) for each in self._runs), max(deadline - now, 0))
                done = max(done, (now - began) / (now - began + left) if left else 0)
                on_progress(Progress(run.measure.group, done, left))

        for run in self._runs:
            run_on(run, None)
        for number, run in enumerate(self._runs):
            now = time.monotonic()
            needs = [max(each.left(limits), 1e-9) for each in self._runs[number:]]
            run_on(run, now + (deadline - now) * needs[0] / sum(needs))

    def report(self, reason: str) -> tuple[list[report.ReportedMeasure], bool]:
        """Returns the rows, and whether every cell has a value; an empty cell shows `reason`."""
        rows = []
        all_there = True
        for run in self._runs:
            for row in run.measure.rows:
                cells = {}
                for column in self.columns:
                    cell = Cell(error=column.error)
                    samples = run.samples.get((row.name, column.name))
                    if samples is not None:
                        cell = samples.cell(row, self.host.kvm)
                        if (cell.median, cell.text, cell.error) == (None, None, None):
                            cell.error = reason
                            all_there = False
                    cells[column.name] = cell
                rows.append(_row(run.measure, row, cells))
        return rows, all_there


class _Run:
    """A measure, and its samples by the names of row and way."""

    def __init__(self, measure: Measure, ways: Sequence[Way]) -> None:
        self.measure = measure
        self.samples = {(row.name, way.name): _Samples(way) for row in measure.rows for way in ways}
        self._ways = list(ways)  # the ways that take turns
        self._failures: Counter[str] = Counter()
        self._rounds = 0
        self._seconds = measure.seconds  # the duration of a round
        self._is_over = False

    def left(self, limits: Limits) -> float:
        """Returns how many more seconds the measure takes, at most."""
        return 0.0 if self._is_over else (self._bounds(limits)[2] - self._rounds) * self._seconds

    def _bounds(self, limits: Limits) -> tuple[int, int, int]:
        """Returns the warm-up rounds, and the fewest and the most rounds, warm-up included."""
        fixed = self.measure.rounds
        least, most = limits.least, limits.most
        if fixed is not None:
            least = most = min(fixed, limits.most)
        warm_up = int(most > 1)
        return warm_up, least + warm_up, most + warm_up

    def turns(self, limits: Limits, end: float | None, deadline: float) -> Iterator[None]:
        """Takes rounds of samples, and yields before each sample.

        No sample is begun after `deadline`. With `end`, no round is begun that would take longer
        than until `end`. Without `end`, the first round that counts is the last.
        """
        warm_up, least, most = self._bounds(limits)
        while not self._is_over:
            began = time.monotonic()
            if self._rounds > warm_up and (end is None or began + self._seconds > end):
                return
            order = self._rounds % max(len(self._ways), 1)
            for way in self._ways[order:] + self._ways[:order]:
                if time.monotonic() >= deadline:
                    return
                yield
                self._sample(way, keep=self._rounds >= warm_up)
            self._rounds += 1
            self._seconds = time.monotonic() - began
            quiet = self.measure.rounds is None and self._rounds >= least and self._is_quiet()
            self._is_over = quiet or self._rounds >= most or not self._ways

    def _sample(self, way: Way, keep: bool) -> None:
        found: Mapping[str, Found | Exception]
        try:
            found = self.measure.sample(way)
        except Exception as error:  # a plug-in's error leaves the other cells alone
            found = {row.name: error for row in self.measure.rows}
        failed = True
        for row in self.measure.rows:
            value = found.get(row.name, RingletError("nothing was found", "look at its command"))
            failed &= isinstance(value, Exception)
            if keep or isinstance(value, Exception):
                self.samples[row.name, way.name].add(value)
        if failed:
            self._failures[way.name] += 1
            if self._failures[way.name] >= MAX_FAILURES:
                self._ways.remove(way)

    def _is_quiet(self) -> bool:
        names = {way.name for way in self._ways}
        return all(
            noise(samples.values) < QUIET
            for (_, way), samples in self.samples.items()
            if way in names and samples.values
        )


class _Samples:
    """The samples of one way in one row."""

    def __init__(self, way: Way) -> None:
        self._own_kernel = way.own_kernel
        self._cell = Cell()
        self._phases: list[Mapping[str, float]] = []
        self._failures = 0

    @property
    def values(self) -> list[float]:
        return self._cell.samples

    def add(self, found: Found | Exception) -> None:
        """Adds one sample, or the error that prevented it."""
        cell = self._cell
        if isinstance(found, Exception):
            cell.error = _reason(found)
            self._failures += 1
            return
        cell.note = found.note or cell.note
        cell.command = found.command or cell.command
        if isinstance(found.value, str):
            cell.text = found.value
        elif isfinite(found.value):
            cell.samples.append(float(found.value))
            self._phases.append(found.phases)
        else:
            self.add(RingletError("what was found is no number", "look at its command"))

    def cell(self, row: Row, kvm: str) -> Cell:
        """Returns the cell of the report: the median of the samples, its phases and its notes."""
        cell = self._cell
        if cell.samples:
            cell.median = middle = median(cell.samples)
            cell.spread = spread(cell.samples)
            # The phases of the run that is nearest to the median: the medians of the phases don't
            # add up to the median of the whole.
            distances = [abs(value - middle) for value in cell.samples]
            cell.phases = dict(self._phases[distances.index(min(distances))])
        if cell.samples or cell.text is not None:
            notes = [cell.note]
            if row.software_kvm and self._own_kernel and kvm == "software":
                notes.append(row.software_kvm)
            if cell.error is not None:
                times = "once" if self._failures == 1 else f"{self._failures} times"
                notes.append(f"failed {times}: {cell.error}")
                cell.error = None
            cell.note = "; ".join(filter(None, notes)) or None
        return cell


def _row(measure: Measure, row: Row, cells: dict[str, Cell]) -> report.ReportedMeasure:
    medians = Medians({name: cell.samples for name, cell in cells.items() if cell.samples})
    try:
        meaning = row.meaning(medians)
    except (LookupError, ValueError, ArithmeticError):  # the sentence needs a way that is missing
        meaning = ""
    return report.ReportedMeasure(
        name=row.name,
        group=measure.group,
        title=row.title,
        unit=row.unit,
        better=row.better,
        how=row.how,
        meaning=meaning,
        ways=cells,
    )


def _reason(error: Exception) -> str:
    """Returns the reason for an empty cell, in one line."""
    text = f"{error.message}; {error.hint}" if isinstance(error, RingletError) else str(error)
    if not isinstance(error, RingletError | OSError):
        text = f"{type(error).__name__}: {text}"
    return " ".join(text.split())[:_MAX_REASON]
