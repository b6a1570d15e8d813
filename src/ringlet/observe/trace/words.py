"""Numbers, lines and tables of a trace, for people."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Sequence


def duration(seconds: float) -> str:
    """Formats a time with three digits and its unit: `812 ns`, `9.12 µs`, `1.50 s`."""
    if seconds < 999.5e-9:
        return f"{round(seconds * 1e9)} ns"
    if seconds < 999.5e-6:
        return f"{_three_digits(seconds * 1e6)} µs"
    if seconds < 999.5e-3:
        return f"{_three_digits(seconds * 1e3)} ms"
    return f"{_three_digits(seconds)} s"


def rate(value: float) -> str:
    """Formats a number of events a second."""
    return f"{value:,.0f}" if value >= 9.95 else f"{value:.1f}"


def _three_digits(value: float) -> str:
    if value < 9.995:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 99.95 else f"{value:,.0f}"


def aligned(rows: Sequence[Sequence[str]], right: Container[int] = ()) -> list[str]:
    """Returns a line for each row, with the cells of a column below each other."""
    widths: dict[int, int] = {}
    for row in rows:
        for at, cell in enumerate(row):
            widths[at] = max(widths.get(at, 0), len(cell))
    return [
        "  ".join(
            cell.rjust(widths[at]) if at in right else cell.ljust(widths[at])
            for at, cell in enumerate(row)
        ).rstrip()
        for row in rows
    ]
