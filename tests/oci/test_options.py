import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.oci.options import Option, OptionError, explain, number, parse

OPTIONS = (
    Option("bundle b", "DIR", "a folder"),
    Option("detach d", None, "a switch"),
    Option("env e", "NAME=VALUE", "a list", many=True),
)


@pytest.mark.parametrize(
    "words",
    [
        ["--bundle", "/b", "--detach", "id"],
        ["--bundle=/b", "-d", "id"],
        ["-b", "/b", "id", "--detach"],
        ["id", "-detach", "-bundle=/b"],
        ["id", "--bundle", "/b", "--detach=true"],
        ["-d", "-b=/b", "--", "id"],
    ],
)
def test_options_stand_before_or_after_the_arguments(words: list[str]) -> None:
    assert parse(words, OPTIONS) == ({"bundle": "/b", "detach": True}, ["id"])


def test_unless_mixed_the_first_argument_ends_the_options() -> None:
    words = ["-d", "id", "ls", "-d", "--", "x"]
    assert parse(words, OPTIONS, mixed=False) == ({"detach": True}, words[1:])


def test_after_two_dashes_all_are_arguments() -> None:
    assert parse(["a", "--", "-d", "--", "b"], OPTIONS) == ({}, ["a", "-d", "--", "b"])


def test_one_dash_alone_is_an_argument_or_a_value() -> None:
    assert parse(["-b", "-", "-"], OPTIONS) == ({"bundle": "-"}, ["-"])


def test_a_list_is_in_order_and_of_others_the_last_counts() -> None:
    values, _ = parse(["-e", "A=1", "--env=B=2", "-b", "1", "-b", "2"], OPTIONS)
    assert values == {"env": ["A=1", "B=2"], "bundle": "2"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nothing"], "unknown option --nothing"),
        (["--nothing=1"], "unknown option --nothing=1"),
        (["--bundle"], "--bundle needs a value"),
        (["--detach=perhaps"], "--detach=perhaps: neither true nor false"),
    ],
)
def test_what_is_wrong_is_named(words: list[str], message: str) -> None:
    with pytest.raises(OptionError) as error:
        parse(words, OPTIONS)
    assert error.value.message == message


@pytest.mark.parametrize("word", ["--bundel", "-bundl", "--bundles=/b"])
def test_an_option_that_is_mistyped_is_answered_with_the_near_one(word: str) -> None:
    with pytest.raises(OptionError) as error:
        parse([word], OPTIONS)
    assert error.value.hint == "did you mean `--bundle`? --help lists them"


@given(st.lists(st.text(max_size=8) | st.sampled_from(["-b", "-d", "--env", "--", "-e=", "-h"])))
def test_any_words_are_parsed_or_refused(words: list[str]) -> None:
    try:
        values, arguments = parse(words, OPTIONS)
    except OptionError:
        return
    assert set(values) <= {"bundle", "detach", "env", "help"}
    assert all(argument in words for argument in arguments)


@given(st.integers(0, 10**18 - 1))
def test_a_number_is_what_it_says(value: int) -> None:
    assert number({"n": str(value)}, "n") == value


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", str(1 << 63)])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match="no whole number"):
        number({"n": text}, "n")


def test_help_has_each_option() -> None:
    assert explain(OPTIONS).splitlines() == [
        "  --bundle, -b DIR      a folder",
        "  --detach, -d          a switch",
        "  --env, -e NAME=VALUE  a list",
        "  --help, -h            show this and do nothing",
    ]
