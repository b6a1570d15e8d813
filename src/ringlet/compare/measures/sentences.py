"""Parts of the sentences on what was found."""

from collections.abc import Mapping

from ringlet.compare.measures.ratios import joined
from ringlet.compare.ways import find
from ringlet.compare.words import quantity


def listed(values: Mapping[str, float], unit: str = "") -> str:
    """`1.20 MiB (container), 3.40 MiB (tiny VM) and 9 MiB (Linux VM)`; empty for none."""
    return joined([f"{quantity(value, unit)} ({find(way).title})" for way, value in values.items()])


def of_own_kernel(values: Mapping[str, float]) -> dict[str, float]:
    """Those of the ways that don't share the host's."""
    return {way: value for way, value in values.items() if find(way).own_kernel}
