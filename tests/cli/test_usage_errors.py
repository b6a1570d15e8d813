"""Words that no command knows are answered with the near one."""

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from ringlet.cli.answer import answer
from ringlet.cli.group import COMMANDS, cli, run_group
from ringlet.errors import near


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    """What is said of these arguments: what is wrong, and the hint."""
    assert answer(lambda: run_group(list(arguments))) == 125
    out, err = capsys.readouterr()
    assert out == ""
    what, hint = err.splitlines()
    return what.removeprefix("ringlet: "), hint.removeprefix("   hint: ")


def commands() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """All commands, with those of groups, by their words."""
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from (((name, each), sub) for each, sub in command.commands.items())
        else:
            yield (name,), command


OPTIONS = [
    (words, option)
    for words, command in commands()
    for each in command.params
    if isinstance(each, click.Option)
    for option in (*each.opts, *each.secondary_opts)
    if len(option) > 5
]
CHOICES = [
    (words, each.opts[0], str(value))
    for words, command in commands()
    for each in command.params
    if isinstance(each, click.Option) and isinstance(each.type, click.Choice)
    for value in each.type.choices
    if len(str(value)) > 3
]


def mistyped(word: str) -> list[str]:
    """A word without a letter, with two letters in the wrong order, and with one too many."""
    at = word.rindex("-") + 2 if word.startswith("--") else 1
    wrong = (
        word[:at] + word[at + 1 :],
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        word[:at] + "x" + word[at:],
    )
    return [each for each in wrong if each != word]


@pytest.mark.parametrize(("words", "option"), OPTIONS, ids=lambda each: "".join(each))
def test_a_mistyped_option_is_answered_with_the_near_one(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], option: str
) -> None:
    for wrong in mistyped(option):
        if (words, wrong) in OPTIONS:
            continue
        what, hint = refused(capsys, *words, wrong)
        assert what == f"there is no option {wrong}"
        assert (
            hint
            == f"did you mean `{option}`? `ringlet {' '.join(words)} --help` shows what there is"
        )


@pytest.mark.parametrize(("words", "option", "value"), CHOICES, ids=str)
def test_a_mistyped_value_is_answered_with_the_near_one(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], option: str, value: str
) -> None:
    for wrong in mistyped(value):
        what, hint = refused(capsys, *words, option, wrong)
        assert what.startswith(f"{option} takes ")
        assert what.endswith(f", and not {wrong}")
        assert hint.startswith(f"did you mean `{value}`? ")


@pytest.mark.parametrize(
    "words", [*((name,) for name in COMMANDS), *(w for w, _ in commands() if w[1:])], ids=" ".join
)
def test_a_mistyped_command_is_answered_with_the_near_one(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    *group, name = words
    for wrong in mistyped(name):
        what, hint = refused(capsys, *group, wrong)
        assert what == f"there is no command {wrong!r}"
        path = " ".join(["ringlet", *group])
        assert hint.startswith(f"did you mean `{name}`? `{path} --help` shows the commands: ")


@pytest.mark.parametrize(
    ("arguments", "what", "hint"),
    [
        ("boot --serial", "--serial needs a value", "`ringlet boot --help` shows what there is"),
        ("boot a b c", "there are more words than the command takes: b c", "`ringlet boot --help`"),
        ("new", "NAME is missing", "`ringlet new --help` shows what there is"),
        ("boot x --cpus two", "--cpus takes a whole number, and not two", "`ringlet boot --help`"),
        ("run --cpus x y", "--cpus takes a number, and not x", "`ringlet run --help` shows"),
        ("trace x --vcpu -1", "--vcpu is at least 0, and not -1", "`ringlet trace --help` shows"),
        ("lab start one", "NUMBER takes a whole number, and not one", "`ringlet lab start --help`"),
        (
            "trace --errors hello",
            "--errors is for the system calls of a container, and not for an image",
            "to trace a container: `ringlet trace --errors -- run ROOTFS COMMAND`",
        ),
        (
            "trace hello --call openat",
            "--call is for the system calls of a container, and not for an image",
            "to trace a container: `ringlet trace --call NAME -- run ROOTFS COMMAND`",
        ),
        ("trace -- rnu rootfs ls", "rnu is no image, and no command behind --", "did you mean"),
    ],
)
def test_other_wrong_words_are_told_in_plain_words(
    capsys: pytest.CaptureFixture[str], arguments: str, what: str, hint: str
) -> None:
    said = refused(capsys, *arguments.split())
    assert said[0] == what
    assert said[1].startswith(hint)


def test_an_option_that_is_far_away_is_not_suggested() -> None:
    options = [option for words, option in OPTIONS if words == ("trace",)]
    assert near("--errors", options) == ""
    assert near("--xyzzy", options, "see the help") == "see the help"


def test_a_near_word_stands_alone_without_a_space_behind_it() -> None:
    assert near("com9", ["com1", "pic"]) == "did you mean `com1`?"
    assert (
        near("--mem", ["--memory", "--module"], "it is so") == "did you mean `--memory`? it is so"
    )
    assert near("-", ["--memory"]) == near("", ["--memory"]) == ""


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["boot", "hello", "--disk", "disk.raw,snapshto"], "snapshot"),
        (["boot", "hello", "--network", "usr"], "user"),
        (["boot", "hello", "--network", "tap:vm0,addres=10.0.0.1/24"], "address"),
        (["compare", "--chart", "strtup=x.svg"], "startup"),
        (["compare", "quick"], "--quick"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_a_mistyped_part_of_a_value_is_answered_with_the_near_one(
    capsys: pytest.CaptureFixture[str], arguments: list[str], meant: str
) -> None:
    _, hint = refused(capsys, *arguments)
    assert hint.startswith(f"did you mean `{meant}`? ")


def test_a_mistyped_key_of_a_file_is_answered_with_the_near_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "vm.toml").write_text('imagee = "hello"\n')
    _, hint = refused(capsys, "boot", "--config", str(tmp_path / "vm.toml"))
    assert hint.startswith("did you mean `image`? ")


@pytest.mark.parametrize("group", ["", "lab"])
def test_a_group_without_a_command_shows_its_help(
    capsys: pytest.CaptureFixture[str], group: str
) -> None:
    assert run_group(group.split()) == 0
    assert "Commands:" in capsys.readouterr().out
