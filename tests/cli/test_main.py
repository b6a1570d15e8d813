"""`ringlet` itself: version, help, what it can't understand, completion."""

import importlib.metadata
import os
import re
import signal

import pytest

from .command import ENVIRONMENT, Running, refused, run

COMMANDS = ["boot", "doctor", "guests", "initramfs", "run", "compare", "nested"]


def test_version_is_the_packages() -> None:
    result = run("--version")
    assert result.stdout == f"ringlet {importlib.metadata.version('ringlet')}\n"
    assert result.returncode == 0


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_lists_the_commands(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.returncode == 0
    assert re.findall(r"^  (\w+)  ", result.stdout, re.MULTILINE) == COMMANDS
    assert "ringlet boot hello" in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_each_commands_help_has_an_example(command: str) -> None:
    result = run(command, "--help")
    assert result.returncode == 0
    usage, _, rest = result.stdout.partition("\n")
    assert usage.startswith(f"Usage: ringlet {command}")
    assert re.search(rf"ringlet ({'|'.join(COMMANDS)})\b", rest)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["nosuch"], "nosuch"),
        (["--nosuch"], "--nosuch"),
        (["boot", "--nosuch"], "--nosuch"),
        (["boot", "hello", "again"], "again"),
        (["boot", "hello", "--memory"], "--memory"),
        (["boot", "hello", "--timeout", "soon"], "soon"),
        (["boot", "hello", "--protocol", "efi"], "efi"),
        (["guests", "extra"], "extra"),
    ],
)
def test_what_it_does_not_understand_is_two_lines_and_125(arguments: list[str], what: str) -> None:
    assert what in refused(run(*arguments))


def test_a_reader_that_has_gone_is_the_end_of_it() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with Running("guests", stdout=writer) as command:
        os.close(writer)
        assert command.status() == 128 + signal.SIGPIPE
        assert command.process.stderr is not None
        assert command.process.stderr.read() == b""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_get_completion(shell: str) -> None:
    result = run(env=ENVIRONMENT | {"_RINGLET_COMPLETE": f"{shell}_source"})
    assert result.returncode == 0
    assert "_RINGLET_COMPLETE" in result.stdout


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("ringlet b", "boot"),
        ("ringlet boot hell", "hello"),
        ("ringlet boot hell", "hello16"),
        ("ringlet boot --protocol p", "pvh"),
        ("ringlet boot --ser", "--serial"),
    ],
)
def test_commands_guests_and_options_are_completed(words: str, completed: str) -> None:
    number = str(len(words.split()) - 1)
    completion = {"COMP_WORDS": words, "COMP_CWORD": number, "_RINGLET_COMPLETE": "bash_complete"}
    result = run(env=ENVIRONMENT | completion)
    assert f"plain,{completed}" in result.stdout.splitlines()
