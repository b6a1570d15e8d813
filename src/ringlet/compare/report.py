"""What a comparison found, as data: the format of `ringlet compare --json`.

A report that is read is hostile until checked: `read` takes nothing but this format.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from ringlet.errors import RingletError
from ringlet.host.named_file import read_named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = 1
MAX_BYTES = 64 << 20  # of a report that is read

_Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
_Few = msgspec.Meta(max_length=64)  # of what becomes a column, or a part of a bar
_Many = msgspec.Meta(max_length=1024)
_MOST_SAMPLES = 10_000  # of a cell: as many rounds as can be asked for


class Host(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where it was measured. `kvm` is `hardware`, `software` or `none`."""

    machine: str
    processor: str
    processors: _Count
    memory: _Count  # bytes
    kernel: str
    kvm: str
    virtualization: str  # of the host itself: what /proc/cpuinfo and DMI tell, or `none`
    versions: Annotated[dict[str, str], _Few]  # of ringlet, Python, and each program that was run


class Others(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What else the host did meanwhile, in processors: 1.5 is one and a half of them.

    `busy` is with what isn't the command's own, nor its children's. `steal` is what the hypervisor
    below took away. `load` is the average number of tasks in the minute before.
    """

    busy: float
    steal: float
    load: float


class ReportedWay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A way to run the work. `error` says why it can't be gone here."""

    name: str
    title: str
    about: str
    error: str | None = None


class Cell(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a measure found of one way: numbers, or a text, or why there is neither.

    `spread` is the distance of the quartiles, in the measure's unit. `command` repeats it.
    """

    samples: Annotated[list[float], msgspec.Meta(max_length=_MOST_SAMPLES)] = []
    median: float | None = None
    spread: float | None = None
    text: str | None = None
    error: str | None = None
    note: str | None = None  # what this way suffers from that others don't
    phases: Annotated[dict[str, float], _Few] = {}  # the parts of the median, in order
    command: str | None = None


class ReportedMeasure(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One row. `ways` has a cell for each way, by its name."""

    name: str
    group: str
    title: str
    unit: str
    better: str  # `lower`, `higher`, or empty where neither is
    how: str  # how the number is made
    meaning: str  # one sentence on what was found
    ways: Annotated[dict[str, Cell], _Few]


class Report(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A whole comparison."""

    format: str = "ringlet-compare"
    version: int = VERSION
    created: str  # RFC 3339, UTC
    seconds: float  # how long it took
    complete: bool  # False: it was interrupted, or ran out of time
    stopped: str = ""  # of one that isn't complete: `interrupted`, `time`, or empty in old reports
    others: Others | None = None  # None in old reports
    command: str
    host: Host
    ways: Annotated[list[ReportedWay], _Few]
    measures: Annotated[list[ReportedMeasure], _Many]


def groups(report: Report) -> dict[str, list[ReportedMeasure]]:
    """The measures of each group, in order."""
    found: dict[str, list[ReportedMeasure]] = {}
    for measure in report.measures:
        found.setdefault(measure.group, []).append(measure)
    return found


def to_json(report: Report) -> bytes:
    """The report as JSON, indented."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"


def read(path: str) -> Report:
    """A report from a file. Raises `RingletError` for one that is damaged or of another version."""
    try:
        data = read_named(path, MAX_BYTES)
    except OSError as error:
        raise RingletError(f"can't read {path}: {error.strerror}", "name a report") from None
    hint = "make one with `ringlet compare --json > FILE`"
    try:
        head: Any = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise RingletError(f"{path} isn't JSON, or is damaged", hint) from None
    if not isinstance(head, dict) or head.get("format") != "ringlet-compare":
        raise RingletError(f"{path} is no report of a comparison", hint)
    version = head.get("version")
    if version != VERSION:
        raise RingletError(
            f"{path} has version {version!r:.20} of the format, and this reads {VERSION}",
            "make it again, or use the ringlet that made it",
        )
    try:
        report = msgspec.convert(head, Report)
        _check_names(report)
    except ValueError as error:  # msgspec's among them
        raise RingletError(f"{path} is damaged: {error}", hint) from None
    return report


def _check_names(report: Report) -> None:
    """Each way and each measure is there once, and no cell is of another way."""
    ways = {way.name for way in report.ways}
    measures = {measure.name for measure in report.measures}
    if len(ways) < len(report.ways) or len(measures) < len(report.measures):
        raise ValueError("a way or a measure is there twice")
    if any(measure.ways.keys() - ways for measure in report.measures):
        raise ValueError("a measure has a way that the report hasn't")
