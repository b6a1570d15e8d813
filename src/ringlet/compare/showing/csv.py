"""Writes a report as CSV: a line for each sample, and for each cell that has no samples.

Source: RFC 4180.
"""

from __future__ import annotations

import csv
from io import StringIO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.compare.report import Report

COLUMNS = ("measure", "unit", "way", "sample", "value", "error")


def to_csv(report: Report) -> str:
    """Returns all samples as CSV, numbered from 1 in the order in which they were taken."""
    file = StringIO(newline="")
    lines = csv.writer(file)
    lines.writerow(COLUMNS)
    for measure in report.measures:
        for name, cell in measure.ways.items():
            start = (measure.name, measure.unit, name)
            for number, value in enumerate(cell.samples, 1):
                lines.writerow((*start, number, repr(value), ""))
            if not cell.samples:
                lines.writerow((*start, "", cell.text or "", cell.error or ""))
    return file.getvalue()
