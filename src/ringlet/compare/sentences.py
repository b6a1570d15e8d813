"""Makes the sentences about the results. They hold for any set of ways."""

from __future__ import annotations

from ringlet.compare.statistics import ENOUGH, Medians, are_apart
from ringlet.compare.ways import DEFAULT, find
from ringlet.compare.words import number, quantity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BASE = "process"  # the way with which the others are compared, if it was measured


def called(name: str) -> str:
    """Returns the name of a way as in a sentence: `the container`, but `runc`."""
    title = find(name).title
    return f"the {title}" if name in DEFAULT else title


def joined(parts: Sequence[str]) -> str:
    """Joins the parts with commas, and with `and` before the last one."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def capital(text: str) -> str:
    """Returns `text` with a capital at its beginning."""
    return text[:1].upper() + text[1:]


def compare(medians: Mapping[str, float], unit: str, what: str) -> str:
    """Returns a sentence on how long `what` takes beside the process, or else the fastest way.

    `A start takes 2.4x as long in the container and 3.1x as long in the tiny VM as in the process.`
    If `medians` is a `Medians`, no ratio is given if there are too few samples, or if the medians
    differ less than their samples spread. Other numbers are exact.
    """
    if not medians:
        return ""
    base = BASE if BASE in medians else min(medians, key=lambda name: medians[name])
    others = [name for name in medians if name != base]
    few = isinstance(medians, Medians) and min(map(len, medians.samples.values())) < ENOUGH
    if few or not others or medians[base] <= 0:
        parts = [f"{quantity(value, unit)} in {called(name)}" for name, value in medians.items()]
        end = "; there are too few runs for a ratio" if few and others else ""
        return capital(f"{what} takes {joined(parts)}{end}.")
    apart = [name for name in others if differ(medians, base, name)]
    near = joined([called(name) for name in others if name not in apart])
    noise = "is less than the spread of the runs"
    if not apart:
        return capital(f"{what}: the difference between {called(base)} and {near} {noise}.")
    parts = [f"{times(medians[name] / medians[base])} as long in {called(name)}" for name in apart]
    end = f"; the difference to {near} {noise}" if near else ""
    return capital(f"{what} takes {joined(parts)} as in {called(base)}{end}.")


def differ(medians: Mapping[str, float], one: str, other: str) -> bool:
    """Returns whether the medians of two ways differ by more than chance.

    The samples of a `Medians` decide. Other numbers are exact, and always differ.
    """
    if not isinstance(medians, Medians):
        return True
    return are_apart(medians.samples[one], medians.samples[other])


def listed(values: Mapping[str, float], unit: str = "") -> str:
    """Returns `1.20 MiB (container) and 9 MiB (Linux VM)`, or an empty text for no values."""
    return joined([f"{quantity(value, unit)} ({find(way).title})" for way, value in values.items()])


def of_own_kernel(values: Mapping[str, float]) -> dict[str, float]:
    """Returns the values of the ways that have a kernel of their own."""
    return {way: value for way, value in values.items() if find(way).own_kernel}


def started(medians: Mapping[str, float]) -> str:
    """Returns `3,018 processes, 8.71 containers or 8 of runc`."""
    parts = [
        f"{number(rate)} {_many(way) if way in DEFAULT else f'of {find(way).title}'}"
        for way, rate in medians.items()
    ]
    return " or ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def times(ratio: float) -> str:
    """Returns a ratio as text: `1.26x`, `185x`."""
    return f"{ratio:.2f}x" if ratio < 2 else f"{number(ratio, 2)}x"


def _many(way: str) -> str:
    title = find(way).title
    return f"{title}es" if title.endswith("s") else f"{title}s"
