"""The measures: what each has to offer, and which there are.

A measure is a class `Measure` of one module here, and a line in `NAMES`. It finds one or more rows
of the report at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import NamedTuple, Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ringlet.compare.lab import Lab
    from ringlet.compare.ways import Way

# The module of each, in the order of the rows.
NAMES = ("startup", "memory", "processor", "exits", "disk", "isolation", "neighbour", "density")


class Row(NamedTuple):
    """A row of the report. `meaning` makes one sentence of the medians, by the ways' names."""

    name: str
    title: str
    unit: str  # empty for a text
    better: str  # `lower`, `higher` or empty
    how: str
    meaning: Callable[[Mapping[str, float]], str]
    software_kvm: str | None = None  # what a KVM in software distorts in it, for the VMs


class Found(NamedTuple):
    """What one run found for one row."""

    value: float | str
    note: str | None = None  # what this way suffers from that others don't
    phases: Mapping[str, float] = {}  # parts of the value, in order
    command: str | None = None  # that a reader can repeat


class Measure(Protocol):
    """A measure. Where `rounds` is None, it is repeated as often as the noise asks for."""

    name: str
    group: str
    rows: tuple[Row, ...]
    rounds: int | None
    seconds: float  # about how long a round of all ways takes: for the time that is left

    def __init__(self, lab: Lab) -> None: ...

    def sample(self, way: Way) -> Mapping[str, Found | Exception]:
        """One run of `way`: what it found for each row, or why it found nothing.

        Raises `RingletError` where it found nothing at all.
        """
        ...


def find(name: str) -> type[Measure]:
    """The measure of this name, which isn't made yet."""
    return import_module(f"{__name__}.{name}").Measure  # type: ignore[no-any-return]


def load(name: str, lab: Lab) -> Measure:
    """The measure of this name."""
    return find(name)(lab)
