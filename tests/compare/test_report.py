"""A report is read as it was written, and nothing else is."""

import inspect
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.compare.report import MAX_BYTES, Report, read, to_json
from ringlet.errors import RingletError

from .reports import sample

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@pytest.fixture
def load(tmp_path: Path) -> Callable[[bytes], Report]:
    path = tmp_path / "report.json"

    def load(data: bytes) -> Report:
        path.write_bytes(data)
        return read(str(path))

    return load


def refusal(load: Callable[[bytes], Report], data: bytes) -> str:
    with pytest.raises(RingletError) as caught:
        load(data)
    return caught.value.message


def test_it_is_read_as_it_was_written(load: Callable[[bytes], Report]) -> None:
    assert load(to_json(sample())) == sample()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "isn't JSON"),
        (b"{", "isn't JSON"),
        (b'{"a": NaN}', "isn't JSON"),
        (b"\xff", "isn't JSON"),
        (b"[" * 100_000, "isn't JSON"),
        (b"[]", "no report"),
        (b"{}", "no report"),
        (b'{"format": ["ringlet-compare"]}', "no report"),
        (b'{"format": "ringlet-compare"}', "version None"),
        (b'{"format": "ringlet-compare", "version": 2}', "version 2"),
        (b'{"format": "ringlet-compare", "version": 1}', "damaged"),
    ],
)
def test_what_is_no_report_is_refused_with_the_reason(
    load: Callable[[bytes], Report], data: bytes, message: str
) -> None:
    assert message in refusal(load, data)


def _change(path: str, value: Any) -> bytes:
    report: Any = json.loads(to_json(sample()))
    place = report
    *keys, last = path.split(".")
    for key in keys:
        place = place[int(key) if key.isdigit() else key]
    place[int(last) if last.isdigit() else last] = value
    return json.dumps(report).encode()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("more", 1),
        ("host.memory", -1),
        ("host.memory", 10**400),
        ("host.memory", 1.5),
        ("ways.0.name", "container"),
        ("ways.0.title", None),
        ("measures.1.name", "first-instruction"),
        ("measures.0.ways.absent", {}),
        ("measures.0.ways.process.samples", ["1"]),
        ("measures.0.ways.process.samples", [None]),
        ("measures.0.ways.process.samples", [1.0] * 10_001),
        ("measures.0.ways.process.phases", {str(n): 1 for n in range(65)}),
        ("ways", []),
        ("measures", {}),
    ],
)
def test_a_damaged_one_is_refused(load: Callable[[bytes], Report], path: str, value: Any) -> None:
    assert "damaged" in refusal(load, _change(path, value))


def test_a_number_that_is_too_large_is_refused(load: Callable[[bytes], Report]) -> None:
    data = to_json(sample()).replace(b'"seconds": 96.4', b'"seconds": 1e999')
    refusal(load, data)


@given(
    value=JSON, path=st.sampled_from(["host", "ways.1", "measures.2.ways.process", "measures.0"])
)
def test_anything_in_its_place_is_read_or_refused(
    load: Callable[[bytes], Report], path: str, value: Any
) -> None:
    with suppress(RingletError):
        load(_change(path, value))


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_refused(load: Callable[[bytes], Report], data: bytes) -> None:
    refusal(load, data)


def test_a_file_that_cant_be_read_or_is_too_large(tmp_path: Path) -> None:
    with pytest.raises(RingletError, match="No such file"):
        read(str(tmp_path / "absent"))
    with pytest.raises(RingletError, match="directory"):
        read(str(tmp_path))
    large = tmp_path / "large"
    large.touch()
    os.truncate(large, MAX_BYTES + 1)
    with pytest.raises(RingletError, match="more than 67108864 bytes"):
        read(str(large))


def test_the_schema_that_is_published_is_the_formats() -> None:
    """To make it anew: write what is on the left."""
    path = Path(__file__).parents[2] / "docs/compare.schema.json"
    made = msgspec.json.schema(Report)
    for definition in made["$defs"].values():  # older msgspecs leave its indents
        definition["description"] = inspect.cleandoc(definition["description"])
    assert made == json.loads(path.read_text())


def test_a_report_of_before_there_was_a_look_at_the_host_is_read(
    load: Callable[[bytes], Report],
) -> None:
    data = json.loads(to_json(sample()))
    for new in ("stopped", "others"):
        del data[new]
    assert load(json.dumps(data).encode()) == sample()
