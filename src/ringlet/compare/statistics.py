"""Statistics of samples: their spread, and the confidence interval of their median.

Source: W. J. Conover, Practical Nonparametric Statistics, 3rd edition, 3.2 ("Confidence interval
for a quantile"), which assumes no distribution of the samples.
"""

from __future__ import annotations

from math import inf
from statistics import median, quantiles

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ONE_IN = 20  # at 95 % confidence, one interval in 20 doesn't contain the median
ENOUGH = 3  # the fewest samples for a statement


class Medians(dict[str, float]):
    """The medians of a row, by the ways' names, with their samples."""

    def __init__(self, samples: Mapping[str, Sequence[float]]) -> None:
        super().__init__({name: median(values) for name, values in samples.items() if values})
        self.samples = samples


def are_apart(one: Sequence[float], other: Sequence[float]) -> bool:
    """Returns whether two medians differ by more than chance: their intervals don't overlap.

    If there are too few samples for a confidence interval, the interval is from the smallest sample
    to the largest. Fewer than three samples show no difference.
    """
    if min(len(one), len(other)) < ENOUGH:
        return False
    (low, high), (other_low, other_high) = (
        interval(samples) or (min(samples), max(samples)) for samples in (one, other)
    )
    return high < other_low or other_high < low


def spread(samples: Sequence[float]) -> float | None:
    """Returns the interquartile range, or None for fewer than two samples."""
    if len(samples) < 2:
        return None
    first, _, third = quantiles(samples, n=4, method="inclusive")
    return third - first


def interval(samples: Sequence[float]) -> tuple[float, float] | None:
    """Returns two samples between which the median lies, with a confidence of at least 95 %.

    One has the same rank from the smallest as the other from the largest. Returns None for fewer
    than 6 samples.
    """
    ordered = sorted(samples)
    count = len(ordered)
    # The probability that the median is below ordered[rank] is the probability of at most `rank`
    # heads when `count` coins are tossed.
    rank, ways, below = 0, 1, 1  # the tosses with `rank` heads, and with at most `rank`
    while 2 * below * _ONE_IN <= 1 << count:
        ways = ways * (count - rank) // (rank + 1)
        rank += 1
        below += ways
    return (ordered[rank - 1], ordered[count - rank]) if rank else None


def noise(samples: Sequence[float]) -> float:
    """Returns half the width of the median's interval, divided by the median.

    Returns infinity for too few samples.
    """
    between = interval(samples)
    if between is None:
        return inf
    low, high = between
    if low == high:
        return 0.0
    middle = abs(median(samples))
    return (high - low) / 2 / middle if middle else inf
