"""What does without click is read as click reads it."""

import click
from hypothesis import given
from hypothesis import strategies as st

from ringlet.cli import plain
from ringlet.cli.boot import command
from ringlet.host.settings import parse_size

WORDS = st.sampled_from(
    [*plain.OPTIONS, "--json", "--cmdline=a", "--mem", "-h", "--", "-", "-a", "", "64M", "image"]
)


@given(st.lists(WORDS | st.text(max_size=3), max_size=6))
def test_plain_words_mean_what_they_mean_to_click(words: list[str]) -> None:
    words = ["4K" if before == "--memory" else word for before, word in _pairs(words)]
    values = plain.parse(words)
    if values is None:
        return
    with command.make_context("boot", list(words)) as context:
        params = {key: value for key, value in context.params.items() if value}
    if "memory" in params:
        params["memory"] = parse_size(params["memory"])
    assert {key: value for key, value in values.items() if value} == params


def _pairs(words: list[str]) -> list[tuple[str, str]]:
    return list(zip(["", *words], words, strict=False))


def test_each_option_is_one_of_the_command_with_one_value() -> None:
    options = {name: option for option in command.params for name in option.opts}
    for name in plain.OPTIONS:
        option = options[name]
        assert isinstance(option, click.Option)
        assert option.name == name[2:]
        assert (option.nargs, option.multiple, option.is_flag) == (1, False, False)
        assert isinstance(option.type, click.Path | click.types.StringParamType)


def test_an_image_and_its_options_in_any_order_are_plain() -> None:
    words = ["--cmdline", "quiet a=b", "vmlinuz", "--initrd", "initrd", "--memory", "1G"]
    expected = {
        "image": "vmlinuz",
        "cmdline": "quiet a=b",
        "initrd": "initrd",
        "memory": 1 << 30,
    }
    assert plain.parse(words) == expected


def test_what_click_has_to_say_something_about_is_left_to_it() -> None:
    for words in (
        [],
        ["--cmdline", "quiet"],
        ["image", "--memory"],
        ["image", "image"],
        ["image", "--initrd", "a", "--initrd", "b"],
        ["image", "--help"],
        ["image", "--cmdline", "--json"],
    ):
        assert plain.parse(words) is None
