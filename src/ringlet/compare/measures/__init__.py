"""The measures: their interface, and the list of all measures.

A measure is a class `Measure` in a module of this package, and an entry in `NAMES`. A measure makes
one or more rows of the report at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import NamedTuple, Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ringlet.compare.lab import Lab
    from ringlet.compare.ways import Way

# The modules of the measures, in the order of the report's rows.
NAMES = ("startup", "memory", "processor", "exits", "disk", "isolation", "neighbour", "density")


class Row(NamedTuple):
    """A row of the report. `meaning` makes a sentence from the medians by the ways' names."""

    name: str
    title: str
    unit: str  # empty for a row of texts
    better: str  # `lower`, `higher` or empty
    how: str
    meaning: Callable[[Mapping[str, float]], str]
    software_kvm: str | None = None  # how a software KVM distorts the VMs' numbers


class Found(NamedTuple):
    """The result of one run for one row."""

    value: float | str
    note: str | None = None  # a note on a disturbance of this way alone
    phases: Mapping[str, float] = {}  # the parts of the value, in order
    command: str | None = None  # a command with which a reader can repeat the run


class Measure(Protocol):
    """A measure. If `rounds` is None, the noise decides how often the measure is repeated."""

    name: str
    group: str
    rows: tuple[Row, ...]
    rounds: int | None
    seconds: float  # the estimated time of a round of all ways

    def __init__(self, lab: Lab) -> None: ...

    def sample(self, way: Way) -> Mapping[str, Found | Exception]:
        """Runs `way` once, and returns for each row the result, or the error.

        Raises `RingletError` if there is no result at all.
        """
        ...


def find(name: str) -> type[Measure]:
    """Returns the class of the measure `name`."""
    return import_module(f"{__name__}.{name}").Measure  # type: ignore[no-any-return]


def load(name: str, lab: Lab) -> Measure:
    """Makes the measure `name`."""
    return find(name)(lab)
