"""JSON lines: each fits the published schema, and tells all that is known."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.observe.exits.exit_event import EXITS, Exit
from ringlet.observe.schema import Last, Missing, schema
from ringlet.observe.trace.formats import make

from ...samples import EXIT, exit, summary

SCHEMA = Path(__file__).parents[4] / "docs/trace.schema.json"


def test_the_schema_that_is_published_is_the_formats() -> None:
    """To make it anew: `python -m ringlet.observe.schema > docs/trace.schema.json`."""
    assert schema() == json.loads(SCHEMA.read_text())


@given(st.lists(EXIT, max_size=5))
def test_a_line_is_an_exit_as_it_was(exits: list[Exit]) -> None:
    lines = make("json", EXITS, most=1).events(exits).splitlines()
    assert [msgspec.json.decode(line, type=Exit) for line in lines] == exits


@given(st.lists(EXIT, max_size=5))
def test_no_control_character_reaches_the_terminal(exits: list[Exit]) -> None:
    lines = make("json", EXITS, most=1)
    data = lines.events(exits) + lines.end(summary(exits))
    assert re.fullmatch(rb"[ -~\n]*", data)


@pytest.mark.parametrize("text", ["\x7f", "\x9b31m", "é", "\U0001f600", "\u202e", "a\x00\x1b"])
def test_a_name_of_any_characters_is_read_back(text: str) -> None:
    (line,) = make("json", EXITS, most=1).events([exit(device=text)]).splitlines()
    assert line.isascii()
    assert json.loads(line)["device"] == text


@given(st.lists(EXIT, max_size=5))
def test_gap_and_summary_fit_the_schema(exits: list[Exit]) -> None:
    lines = make("json", EXITS, most=1)
    assert msgspec.json.decode(lines.gap(7), type=Missing) == Missing(missing=7)
    last = msgspec.json.decode(lines.end(summary(exits)), type=Last).summary
    assert last.count == len(exits)
    assert sum(row.count for row in last.kinds) == len(exits)


def test_the_names_of_the_fields_are_those_of_the_documentation() -> None:
    (line,) = make("json", EXITS, most=1).events([exit()]).splitlines()
    fields: dict[str, Any] = json.loads(line)
    assert fields == {
        "time": 0.001053, "kind": "port", "vcpu": 0, "access": "write", "port": 1016, "size": 1,
        "value": 72, "device": "com1", "register": "THR", "instruction": "out dx, al",
        "rip": 0x100122, "function": "pvh_start+0x22", "guest": 2e-06, "kvm": 8e-06,
        "python": 3e-06,
    }  # fmt: skip
    page = (SCHEMA.parent / "trace.md").read_text()
    assert all(f"`{name}`" in page for name in fields)
