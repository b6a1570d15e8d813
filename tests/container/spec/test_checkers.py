"""Checkers of JSON: what they return, and what they say of what they refuse."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.container.spec.checkers import (
    FieldError,
    SpecError,
    absolute,
    apply,
    array,
    flag,
    integer,
    mapping,
    nonempty,
    one_of,
    record,
    refuse,
    shown,
    string,
    text,
    unique,
)

TREE = record({"name": nonempty}, {"sizes": array(integer(1, 9)), "more": mapping(text, flag)})


def said(value: object, checker: object = TREE) -> str:
    with pytest.raises(SpecError) as caught:
        apply(checker, value, "file", "root")  # type: ignore[arg-type]
    return caught.value.message


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "file: root: an array is not an object"),
        ({}, "file: root.name: it is missing"),
        ({"name": ""}, "file: root.name: it is empty"),
        ({"name": "a", "sizes": {}}, "file: root.sizes: an object is not an array"),
        ({"name": "a", "sizes": [1, 10]}, "file: root.sizes[1]: 10 is out of range"),
        ({"name": "a", "sizes": [None]}, "file: root.sizes[0]: null is not a whole number"),
        ({"name": "a", "sizes": [True]}, "file: root.sizes[0]: true is not a whole number"),
        ({"name": "a", "more": {"b": 1}}, "file: root.more.b: 1 is not a boolean"),
        ({"name": "a", "more": {"b.c": 1}}, "file: root.more['b.c']: 1 is not a boolean"),
        ({"name": "a", "more": []}, "file: root.more: an array is not an object"),
    ],
)
def test_the_path_leads_to_what_is_refused(value: object, message: str) -> None:
    assert said(value) == message


def test_a_record_is_a_new_one_of_the_known_fields_that_have_a_value() -> None:
    given = {"name": "a", "sizes": None, "other": 1}
    made = TREE(given)
    assert made == {"name": "a"}
    assert "other" in given


def test_rules_are_asked_when_each_field_is_right() -> None:
    def never(known: object) -> None:
        raise FieldError("never", "no hint", "name")

    assert said({"name": 1}, record({"name": text}, rules=(never,))).endswith("not a string")
    assert said({"name": "a"}, record({"name": text}, rules=(never,))) == "file: root.name: never"


def test_arrays_have_bounds_and_rules() -> None:
    few = array(record({"type": text}), (unique("type"),), least=1, most=2)
    assert said([], few) == "file: root: it is empty"
    assert said([1, 2, 3], few) == "file: root: it has 3 entries"
    assert said([{"type": "a"}] * 2, few) == "file: root[1].type: a is there twice"


def test_near_names_are_proposed() -> None:
    limits = one_of("limit", ("RLIMIT_NOFILE", "RLIMIT_CORE"))
    with pytest.raises(FieldError) as caught:
        limits("rlimit_nofiles")
    assert caught.value.why == "unknown limit 'rlimit_nofiles'"
    assert caught.value.hint == "is it RLIMIT_NOFILE?"
    with pytest.raises(FieldError) as caught:
        limits("x" * 100_000)
    assert caught.value.hint == "one of RLIMIT_CORE RLIMIT_NOFILE"


def test_a_field_can_be_refused_whatever_it_is() -> None:
    assert said({"a": 1}, record({}, {"a": refuse("not here", "leave it out")})) == (
        "file: root.a: not here"
    )


@pytest.mark.parametrize("value", ["\0", "a\0b", "\ud800", "a\udfff"])
def test_a_text_can_be_given_to_the_kernel(value: str) -> None:
    assert string(value) == value
    with pytest.raises(FieldError):
        text(value)


def test_bytes_of_the_command_line_are_text() -> None:
    assert text("\udcff") == "\udcff"


def test_a_path_begins_at_the_root() -> None:
    assert absolute("/") == "/"
    for path in ("", "a", "./a"):
        with pytest.raises(FieldError):
            absolute(path)


@given(st.recursive(st.none() | st.integers() | st.text(), st.lists) | st.binary())
def test_what_is_shown_is_short_and_harmless(value: object) -> None:
    assert len(shown(value)) <= 60
    assert shown(value).isprintable()
