"""The sentences on what was found, right for any ways."""

from collections.abc import Mapping, Sequence

from ringlet.compare.ways import DEFAULT, find
from ringlet.compare.words import number, quantity

BASE = "process"  # what the others are compared with, where it was measured


def called(name: str) -> str:
    """A way in a sentence: `the container`, but `runc`."""
    title = find(name).title
    return f"the {title}" if name in DEFAULT else title


def joined(parts: Sequence[str]) -> str:
    """With commas, and an `and` before the last."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def capital(text: str) -> str:
    """With a capital at its beginning."""
    return text[:1].upper() + text[1:]


def compare(medians: Mapping[str, float], unit: str, what: str) -> str:
    """How many times as long as the process, or else as the fastest, the others take for `what`.

    `Starting takes the container 2.4 times and the tiny VM 3.1 times as long as the process.`
    """
    if not medians:
        return ""
    base = BASE if BASE in medians else min(medians, key=lambda name: medians[name])
    others = [name for name in medians if name != base]
    if not others or medians[base] <= 0:
        parts = [f"{called(name)} {quantity(value, unit)}" for name, value in medians.items()]
        return capital(f"{what} takes {joined(parts)}.")
    parts = [f"{called(name)} {_times(medians[name] / medians[base])}" for name in others]
    return capital(f"{what} takes {joined(parts)} as long as {called(base)}.")


def listed(values: Mapping[str, float], unit: str = "") -> str:
    """`1.20 MiB (container), 3.40 MiB (tiny VM) and 9 MiB (Linux VM)`; empty for none."""
    return joined([f"{quantity(value, unit)} ({find(way).title})" for way, value in values.items()])


def of_own_kernel(values: Mapping[str, float]) -> dict[str, float]:
    """Those of the ways that don't share the host's."""
    return {way: value for way, value in values.items() if find(way).own_kernel}


def _times(ratio: float) -> str:
    return f"{ratio:.2f} times" if ratio < 2 else f"{number(ratio, 2)} times"
