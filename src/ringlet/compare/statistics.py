"""What is said of samples: how far they lie apart, and how sure their median is.

Source: W. J. Conover, Practical Nonparametric Statistics, 3rd edition, 3.2 ("Confidence interval
for a quantile"), which asks nothing of how the samples are distributed.
"""

from __future__ import annotations

from math import inf
from statistics import median, quantiles

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ONE_IN = 20  # intervals of this confidence, 95 %, misses the median
ENOUGH = 3  # samples, of which something can be said


class Medians(dict[str, float]):
    """The medians of a row, by the ways' names, with the samples that they are made of."""

    def __init__(self, samples: Mapping[str, Sequence[float]]) -> None:
        super().__init__({name: median(values) for name, values in samples.items() if values})
        self.samples = samples


def are_apart(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two medians differ by more than chance: what each may be has nothing in common.

    A median may be anything in its interval or, where the samples are too few for an interval,
    anything between the smallest and the largest. Fewer than three samples tell nothing.
    """
    if min(len(one), len(other)) < ENOUGH:
        return False
    (low, high), (other_low, other_high) = (
        interval(samples) or (min(samples), max(samples)) for samples in (one, other)
    )
    return high < other_low or other_high < low


def spread(samples: Sequence[float]) -> float | None:
    """The distance of the quartiles; None for fewer than two samples."""
    if len(samples) < 2:
        return None
    first, _, third = quantiles(samples, n=4, method="inclusive")
    return third - first


def interval(samples: Sequence[float]) -> tuple[float, float] | None:
    """The samples between which the median lies, with a confidence of at least 95 %.

    They are as far from the smallest as from the largest. None where there are too few: under 6.
    """
    ordered = sorted(samples)
    count = len(ordered)
    # That the median is below the one of this rank: as many heads, at most, of `count` coins.
    rank, ways, below = 0, 1, 1  # those with `rank` heads, and with at most so many
    while 2 * below * _ONE_IN <= 1 << count:
        ways = ways * (count - rank) // (rank + 1)
        rank += 1
        below += ways
    return (ordered[rank - 1], ordered[count - rank]) if rank else None


def noise(samples: Sequence[float]) -> float:
    """Half the width of the median's interval, relative to it; infinite for too few samples."""
    between = interval(samples)
    if between is None:
        return inf
    low, high = between
    if low == high:
        return 0.0
    middle = abs(median(samples))
    return (high - low) / 2 / middle if middle else inf
