"""docs/guests.md: its commands do what it shows, and it has all that the library has."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from .cli.command import ENVIRONMENT, LONG, RINGLET
from .test_guest_library import functions

PAGE = Path(__file__).parents[1] / "docs/guests.md"
TEXT = PAGE.read_text()
BLOCKS = re.findall(r"```(console|c)\n(.*?)```", TEXT, re.DOTALL)


def commands(block: str) -> list[tuple[str, str]]:
    """Each command of a block, and the pattern of what it prints: `...` is anything."""
    parts = re.split(r"^\$ (.*)\n", block, flags=re.MULTILINE)
    assert parts[0] == ""
    return [
        (command, re.escape(shown).replace(r"\.\.\.", ".*"))
        for command, shown in zip(parts[1::2], parts[2::2], strict=True)
    ]


@pytest.mark.needs_kvm
@pytest.mark.needs_gcc
def test_the_commands_print_what_the_page_shows(tmp_path: Path) -> None:
    folder = tmp_path
    environment = {
        **{key: value for key, value in ENVIRONMENT.items() if not key.startswith("MAKE")},
        "LC_ALL": "C",
        "PATH": f"{Path(RINGLET[0]).parent}:{os.environ['PATH']}",
    }
    done = 0
    for kind, block in BLOCKS:
        if kind == "c":
            (folder / "first.c").write_text(block)
            continue
        for command, pattern in commands(block):
            if command.startswith("cd "):
                folder /= command.removeprefix("cd ")
                continue
            result = subprocess.run(
                ["sh", "-c", command],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=LONG,
                check=False,
            )
            assert re.fullmatch(pattern, result.stdout, re.DOTALL), f"{command}: {result.stdout}"
            done += 1
    assert done == 7


@pytest.mark.needs_gcc
def test_each_function_of_the_library_is_on_the_page() -> None:
    rows = "".join(line.split("|")[1] for line in TEXT.splitlines() if line.startswith("| `"))
    described = set(re.findall(r"(\w+)(?=\()", rows)) | set(re.findall(r"`(mem\w+)`", rows))
    assert described - {"READ_REGISTER"} == set(functions())


def test_the_links_hold() -> None:
    links = re.findall(r"\]\(([^)]+)\)", TEXT)
    assert links
    assert all((PAGE.parent / link).exists() for link in links)
