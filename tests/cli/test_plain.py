"""What does without click is read as click reads it."""

import click
from hypothesis import given
from hypothesis import strategies as st

from ringlet.cli import plain
from ringlet.cli.boot import command
from ringlet.cli.run import command as run_command
from ringlet.host.settings import parse_size
from ringlet.host.workload import parse_variable

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


OF_RUN = (*plain.RUN_OPTIONS, *plain.RUN_LISTS, *plain.RUN_FLAGS)
OTHERS = ("--json", "--user=a", "--mem", "-h", "--", "-", "-a", "", "64M", "rootfs", "A=b", "/a:/b")
RUN_WORDS = st.sampled_from([*OF_RUN, *OTHERS])
TEXTS = st.text(st.characters(exclude_characters="\0"), max_size=3)  # no argument has a NUL


@given(
    st.lists(RUN_WORDS | st.text(st.characters(exclude_characters="\0"), max_size=3), max_size=8)
)
def test_plain_words_of_run_mean_what_they_mean_to_click(words: list[str]) -> None:
    words = ["4K" if before == "--memory" else word for before, word in _pairs(words)]
    words = ["A=b" if before == "--env" else word for before, word in _pairs(words)]
    values = plain.parse_run(words)
    if values is None:
        return
    with run_command.make_context("run", list(words)) as context:
        params = {key: value for key, value in context.params.items() if value}
    if "memory" in params:
        params["memory"] = parse_size(params["memory"])
    if "variables" in params:
        params["env"] = dict(map(parse_variable, params.pop("variables")))
    if "volumes" in params:
        params["volumes"] = list(params["volumes"])
    assert {key: value for key, value in values.items() if value} == params


def test_each_option_of_run_is_one_of_the_command() -> None:
    options = {name: option for option in run_command.params for name in option.opts}
    for name in OF_RUN:
        option = options[name]
        assert isinstance(option, click.Option)
        assert option.nargs == 1
        assert option.multiple == (name in plain.RUN_LISTS)
        assert option.is_flag == (name in plain.RUN_FLAGS)


def test_a_rootfs_its_options_and_a_command_are_plain() -> None:
    words = [
        "--memory",
        "1M",
        "--env",
        "A=b",
        "--read-only",
        "--volume",
        "a:/b",
        "rootfs",
        "ls",
        "-l",
    ]
    expected = {
        "memory": 1 << 20,
        "env": {"A": "b"},
        "read_only": True,
        "volumes": ["a:/b"],
        "rootfs": "rootfs",
        "command": ("ls", "-l"),
    }
    assert plain.parse_run(words) == expected
    assert plain.parse_run([*words[:8], "--", "ls", "-l"]) == expected


def test_words_of_run_that_click_has_to_say_something_about_are_left_to_it() -> None:
    for words in ([], ["--user", "a"], ["--help"], ["rootfs", "--json", "ls"], ["rootfs", "--"]):
        assert plain.parse_run(words) is None
