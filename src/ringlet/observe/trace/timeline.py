"""What a timeline shows: how each slice of a trace's time was spent, and which groups were busy."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ringlet.observe.trace.events import Event


def shares(events: Iterable[Event], end: float, bins: int) -> dict[int, dict[str, list[float]]]:
    """Returns, for each actor and each part's name, the share of each bin that the part took.

    The bins divide the time from 0 to `end` seconds evenly. A share is 0 to 1.
    """
    width = end / bins
    found: dict[int, dict[str, list[float]]] = {}
    for event in events:
        lanes = found.setdefault(event.actor, {})
        for name, start, seconds in event.parts:
            lane = lanes.setdefault(name, [0.0] * bins)
            stop = min(start + seconds, end)
            at = max(start, 0.0)
            index = min(int(at / width), bins - 1)
            while at < stop:
                until = stop if index == bins - 1 else min((index + 1) * width, stop)
                lane[index] += max(until - at, 0.0) / width
                at, index = until, index + 1
                if index == bins:
                    break
    return {actor: _at_most_all(lanes) for actor, lanes in sorted(found.items())}


def _at_most_all(lanes: dict[str, list[float]]) -> dict[str, list[float]]:
    """Scales the parts of a bin down where rounding made them more than the bin."""
    sums = [max(sum(values), 1.0) for values in zip(*lanes.values(), strict=True)]
    return {
        name: [value / total for value, total in zip(lane, sums, strict=True)]
        for name, lane in lanes.items()
    }


def density(events: Iterable[Event], end: float, bins: int) -> dict[str, list[int]]:
    """Returns how many events of each group began in each bin, the busiest group first.

    The kind of an event stands for the group of an event that has none.
    """
    found: dict[str, list[int]] = {}
    for event in events:
        lane = found.setdefault(event.group or event.kind, [0] * bins)
        lane[min(max(int(event.time / end * bins), 0), bins - 1)] += 1
    return dict(sorted(found.items(), key=lambda item: (-sum(item[1]), item[0])))
