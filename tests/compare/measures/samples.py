"""One sample of a measure for each way that can be gone wherever the tests run."""

from collections.abc import Mapping
from typing import NamedTuple

from ringlet.compare import measures, ways
from ringlet.compare.lab import Lab
from ringlet.compare.measures import Found, Measure, Row

WAYS = ("process", "container", "tiny-vm")


class Samples(NamedTuple):
    """What a measure found, by the names of way and row."""

    measure: Measure
    found: Mapping[str, Mapping[str, Found | Exception]]

    def row(self, name: str) -> Row:
        """The row of this name."""
        return next(row for row in self.measure.rows if row.name == name)

    def get(self, way: str, row: str) -> Found:
        """What was found there; the test fails if it was nothing."""
        found = self.found[way][row]
        assert isinstance(found, Found), found
        return found

    def number(self, way: str, row: str) -> float:
        """The same, where it is a number."""
        value = self.get(way, row).value
        assert isinstance(value, float)
        return value

    def medians(self, row: str) -> dict[str, float]:
        """The numbers of a row, by way."""
        return {
            way: self.number(way, row)
            for way, found in self.found.items()
            if isinstance(found[row], Found)
        }


def take(name: str) -> Samples:
    """Samples of the measure of this name."""
    found = {}
    with Lab() as lab:
        measure = measures.load(name, lab)
        for way_name in WAYS:
            try:
                way = ways.load(way_name, lab)
            except ways.Unavailable:
                continue
            found[way_name] = measure.sample(way)
    return Samples(measure, found)


def subsets(medians: Mapping[str, float]) -> list[dict[str, float]]:
    """All that a row may have medians of."""
    chosen: list[dict[str, float]] = [{}]
    for name, value in medians.items():
        chosen += [{**smaller, name: value} for smaller in chosen]
    return chosen
