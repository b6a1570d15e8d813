"""The summary of a trace: how many events of each kind and each group, and how long they took.

A summary needs memory for the kinds and groups alone, however many events there are: of each time,
it keeps the upper five bits, which is exact to 3 %.
"""

from __future__ import annotations

from ringlet.host.printable import printable
from ringlet.observe.trace.words import aligned, duration, rate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from ringlet.observe.trace.events import Subject

_BITS = 5  # of a time that are kept
_BLOCKS = " ▁▂▃▄▅▆▇█"


class Times:
    """The times of some events, in nanoseconds."""

    __slots__ = ("counts", "errors", "worst")

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}  # by the time, rounded down to _BITS bits
        self.errors = 0  # how many of the events are failures
        self.worst = 0

    def add(self, nanoseconds: int) -> None:
        """Adds the time of one event."""
        if nanoseconds > self.worst:
            self.worst = nanoseconds
        shift = nanoseconds.bit_length() - _BITS
        if shift > 0:
            nanoseconds = nanoseconds >> shift << shift
        counts = self.counts
        counts[nanoseconds] = counts.get(nanoseconds, 0) + 1

    def add_all(self, other: Times) -> None:
        """Adds the times of `other`."""
        self.worst = max(self.worst, other.worst)
        self.errors += other.errors
        for time, count in list(other.counts.items()):
            self.counts[time] = self.counts.get(time, 0) + count

    @property
    def count(self) -> int:
        """The number of events."""
        return sum(self.counts.values())

    @property
    def median(self) -> float:
        """The median in nanoseconds, exact to 3 %; 0 without an event."""
        left = (self.count + 1) // 2
        for time in sorted(self.counts):
            left -= self.counts[time]
            if left <= 0:
                step = 1 << max(time.bit_length() - _BITS, 0)
                return min(time + (step - 1) / 2, float(self.worst))
        return 0.0

    @property
    def histogram(self) -> dict[int, int]:
        """The number of events by the logarithm: of 2**n to 2**(n+1) nanoseconds; 0 also for 0."""
        buckets: dict[int, int] = {}
        for time in sorted(self.counts):
            bucket = max(time.bit_length() - 1, 0)
            buckets[bucket] = buckets.get(bucket, 0) + self.counts[time]
        return buckets


class Summary:
    """Counts events by kind and group; `missing` events happened, and the trace lacks them."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.missing = 0
        self.seconds = 0.0  # how long the trace took
        self._times: dict[tuple[str, str], Times] = {}

    def times(self, kind: str, group: str) -> Times:
        """Returns the times of this kind and group, to add to."""
        return self._times.setdefault((kind, group), Times())

    @property
    def count(self) -> int:
        """The number of all events."""
        return sum(times.count for times in list(self._times.values()))

    def by_kind(self) -> dict[str, Times]:
        """Returns the times of each kind, the most frequent kind first."""
        return self._by(0)

    def by_group(self) -> dict[str, Times]:
        """Returns the times of each group, the most frequent first."""
        groups = self._by(1)
        groups.pop("", None)
        return groups

    def _by(self, part: int) -> dict[str, Times]:
        merged: dict[str, Times] = {}
        for key, times in list(self._times.items()):
            if times.counts:
                merged.setdefault(key[part], Times()).add_all(times)
        return dict(sorted(merged.items(), key=lambda item: (-item[1].count, item[0])))

    def as_json(self) -> dict[str, Any]:
        """Returns the summary as data for JSON; times are in seconds."""
        return {
            "seconds": self.seconds,
            "count": self.count,
            "missing": self.missing,
            "kinds": self._rows_as_json(self.by_kind()),
            f"{self.subject.group}s": self._rows_as_json(self.by_group()),
        }

    def _rows_as_json(self, rows: dict[str, Times]) -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "count": times.count,
                **({"errors": times.errors} if times.errors else {}),
                "rate": times.count / self.seconds if self.seconds else 0.0,
                "median": times.median / 1e9,
                "worst": times.worst / 1e9,
                "histogram": [[2**log / 1e9, count] for log, count in times.histogram.items()],
            }
            for name, times in rows.items()
        ]

    def lines(self) -> list[str]:
        """Returns the summary as lines for people."""
        event = self.subject.event
        kinds, groups = self.by_kind(), self.by_group()
        count = self.count
        lines = [f"{count:,} {event}{'' if count == 1 else 's'} in {duration(self.seconds)}"]
        if self.missing:
            lines.append(missing(self.missing, event))
        logs = [log for times in kinds.values() for log in times.histogram]
        if not logs:
            return lines
        first, last = min(logs), max(logs)
        scale = f"{duration(2**first / 1e9)} to {duration(2 ** (last + 1) / 1e9)}"
        fails = any(times.errors for times in kinds.values())
        counts = (f"{event}s", "errors") if fails else (f"{event}s",)
        heads = (*counts, "a second", "median", "worst", f"how long: {scale}")
        rows = [("kind", *heads), *self._rows(kinds, first, last, fails)]
        if groups:
            rows += [(), (self.subject.group, *heads[:-1]), *self._rows(groups, first, last, fails)]
        return [*lines, "", *aligned(rows, right=range(1, 5 + fails))]

    def _rows(
        self, named: dict[str, Times], first: int, last: int, fails: bool
    ) -> Iterable[tuple[str, ...]]:
        for name, times in named.items():
            yield (
                printable(name),
                f"{times.count:,}",
                *((f"{times.errors:,}" if times.errors else "",) if fails else ()),
                rate(times.count / self.seconds) if self.seconds else "",
                duration(times.median / 1e9),
                duration(times.worst / 1e9),
                bars(times.histogram, first, last),
            )


def bars(histogram: dict[int, int], first: int, last: int) -> str:
    """Returns a histogram as one block for each power of two; a block that isn't empty shows."""
    most = max(histogram.values(), default=0)
    counts = (histogram.get(log, 0) for log in range(first, last + 1))
    return "".join(_BLOCKS[-(-8 * count // most)] if most else " " for count in counts).rstrip()


def missing(count: int, event: str) -> str:
    """Returns a line for people: how many events the trace lacks."""
    events = f"{event} is" if count == 1 else f"{event}s are"
    return f"{count:,} {events} missing: whoever reads the trace was too slow for --buffer"
