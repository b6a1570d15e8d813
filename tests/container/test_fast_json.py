import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.container.fast_json import dumps, loads

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_what_is_written_is_read_and_is_what_json_writes(value: object) -> None:
    assert dumps(value) == json.dumps(value)
    assert loads(dumps(value)) == value
    assert loads(" \n" + json.dumps(value, indent=2) + "\t\r\n") == value


@given(st.text() | st.text('{}[]",:0123456789.eE+- \\utrfalsn'))
def test_a_text_is_refused_exactly_if_json_refuses_it(text: str) -> None:
    try:
        expected = json.loads(text, parse_constant=lambda word: 1 / 0)
    except (ValueError, ZeroDivisionError):
        with pytest.raises(ValueError):  # noqa: PT011 (the message is for people)
            loads(text)
    else:
        assert loads(text) == expected


@pytest.mark.parametrize("text", ["", " ", "[", '{"a":NaN}', "-Infinity", "1 2", "[" * 1_000_000])
def test_what_is_no_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        loads(text)


def test_what_has_no_form_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="bytes has no form"):
        dumps({"a": b""})


@pytest.mark.parametrize("text", ["{bad", '{"a":1', "[1,]", "nul", '"\x01"', "[" * 100_000])
def test_what_is_no_json_is_so_in_a_process_without_the_module_too(text: str) -> None:
    program = (
        "from ringlet.container.fast_json import loads; assert 'json' not in sys.modules\n"
        "try: loads(sys.stdin.read())\nexcept ValueError: sys.exit(3)"
    )
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{program}"]
    assert subprocess.run(command, input=text, text=True, check=False).returncode == 3
