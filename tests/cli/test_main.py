"""`ringlet` itself: version, help, what it can't understand, completion."""

import importlib.metadata
import os
import pty
import re
import select
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from .command import ENVIRONMENT, LONG, RINGLET, Running, refused, run

COMMANDS = [
    "boot",
    "trace",
    "debug",
    "doctor",
    "inspect",
    "guests",
    "new",
    "lab",
    "initramfs",
    "run",
    "compare",
    "nested",
]


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


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (["doctr"], "doctor"),
        (["boot", "helo"], "hello"),
        (["boot", "hello", "--memroy", "64M"], "--memory"),
        (["boot", "hello", "--protocol", "elf"], "elf64"),
        (["compare", "--ways", "proces"], "process"),
        (["compare", "--measure", "statup"], "startup"),
    ],
)
def test_what_is_mistyped_is_answered_with_the_near_one(arguments: list[str], near: str) -> None:
    result = run(*arguments)
    assert arguments[-1] in refused(result) or near == "--memory"
    assert "id you mean" in result.stderr
    assert near in result.stderr.partition("id you mean")[2].split("?")[0]


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
        ("ringlet inspect hell", "hello16"),
        ("ringlet boot --protocol p", "pvh"),
        ("ringlet boot --ser", "--serial"),
    ],
)
def test_commands_guests_and_options_are_completed(words: str, completed: str) -> None:
    number = str(len(words.split()) - 1)
    completion = {"COMP_WORDS": words, "COMP_CWORD": number, "_RINGLET_COMPLETE": "bash_complete"}
    result = run(env=ENVIRONMENT | completion)
    assert f"plain,{completed}" in result.stdout.splitlines()


def completed(shell: str, words: str, last: str) -> str:
    """What `ringlet` answers the shell's own script, while `last` is typed after `words`."""
    number = str(len(words.split()))
    asked = {"_RINGLET_COMPLETE": f"{shell}_complete", "COMP_WORDS": f"{words} {last}"}
    asked["COMP_CWORD"] = last if shell == "fish" else number
    return run(env=ENVIRONMENT | asked).stdout


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        *(
            (f"ringlet boot {option}", "file")
            for option in ("--disk", "--module", "--file", "--config", "--initrd", "--serial")
        ),
        ("ringlet initramfs --file", "file"),
        ("ringlet initramfs --folder", "dir"),
        ("ringlet run --volume", "file"),
        ("ringlet run --config", "file"),
        ("ringlet compare --load", "file"),
        ("ringlet compare --kernel", "file"),
        ("ringlet nested --share", "dir"),
    ],
)
def test_zsh_and_fish_complete_files_and_folders(words: str, kind: str) -> None:
    assert completed("zsh", words, "lo").splitlines() == [kind, "lo", "_"]
    assert completed("fish", words, "lo") == f"{kind},lo\n"


class Shell:
    """A bash at a terminal, without any start-up file and with completion of `ringlet`."""

    def __init__(self, folder: Path) -> None:
        self._pid, self._fd = pty.fork()
        if self._pid == 0:
            os.chdir(folder)
            path = f"{Path(RINGLET[0]).parent}:{os.environ['PATH']}"
            environment = ENVIRONMENT | {"PATH": path, "PS1": "$ ", "TERM": "dumb"}
            os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], environment)
        self.type('bind "set bell-style none"; eval "$(_RINGLET_COMPLETE=bash_source ringlet)"\n')
        self.type("echo re''ady\n")
        self.read_until("\nready")

    def type(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def read_until(self, words: str) -> str:
        said = ""
        while not re.search(words, said):
            assert select.select([self._fd], [], [], LONG)[0], f"it says {said!r}"
            said += os.read(self._fd, 4096).decode()
        return said

    def close(self) -> None:
        os.close(self._fd)
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


@pytest.fixture
def bash(tmp_path: Path) -> Iterator[Shell]:
    if shutil.which("bash") is None or len(RINGLET) > 1:
        pytest.skip("needs bash, and ringlet as a program")
    (tmp_path / "longdisk.raw").touch()
    (tmp_path / "rootfs").mkdir()
    shell = Shell(tmp_path)
    yield shell
    shell.close()


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("ringlet doc\t", "ringlet doctor "),
        ("ringlet boot lon\t\t\t", r"longmode\s+longdisk.raw"),
        ("ringlet boot longm\t", "longmode "),
        ("ringlet boot longd\t", "longdisk.raw "),
        ("ringlet boot --disk lo\t", "--disk longdisk.raw "),
        ("ringlet boot --initrd lo\t", "--initrd longdisk.raw "),
        ("ringlet boot --protocol mul\t", "multiboot "),
        ("ringlet run roo\t", "ringlet run rootfs/"),
        ("ringlet run --volume roo\t", "--volume rootfs/"),
        ("ringlet compare --kernel lo\t", "--kernel longdisk.raw "),
        ("ringlet nested --share roo\t", "--share rootfs/"),
    ],
)
def test_bash_without_anything_else_completes(bash: Shell, typed: str, completed: str) -> None:
    bash.type(typed)
    bash.read_until(completed)
