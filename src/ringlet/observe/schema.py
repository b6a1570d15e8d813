"""The JSON schema of a trace's lines, which docs/trace.schema.json publishes.

python -m ringlet.observe.schema > docs/trace.schema.json
"""

from __future__ import annotations

import inspect
import json

import msgspec

from ringlet.observe.calls.call_event import SystemCall
from ringlet.observe.exits.exit_event import Exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Missing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A gap: so many events happened here and had no room in the buffer."""

    missing: int


class Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the summary says of one kind, or of one device or system call. Times are in seconds.

    `rate` counts events a second. An entry of `histogram` is a time and how many events took from
    this time to twice this time. `errors` counts system calls that failed.
    """

    name: str
    count: int
    errors: int = 0
    rate: float
    median: float
    worst: float
    histogram: list[tuple[float, int]]


class Totals(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The summary: of how many seconds, how many events, and how many of them are missing above."""

    seconds: float
    count: int
    missing: int
    kinds: list[Row]
    devices: list[Row] = []
    calls: list[Row] = []


class Last(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The last line."""

    summary: Totals


LINES = (Exit, SystemCall, Missing, Last)  # each line of a trace is one of these


def schema() -> dict[str, Any]:
    """Returns the JSON schema of one line."""
    references, definitions = msgspec.json.schema_components(LINES)
    for definition in definitions.values():  # older msgspecs leave the indents
        definition["description"] = inspect.cleandoc(definition["description"])
    return {"anyOf": list(references), "$defs": definitions}


if __name__ == "__main__":
    print(json.dumps(schema(), indent=1))
