"""docs/debug.md shows what the debugger shows."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ringlet.observe.console.console import COMMANDS

from .cli.command import run

pytestmark = pytest.mark.needs_kvm

CHECKOUT = Path(__file__).parent.parent
PAGE = (CHECKOUT / "docs/debug.md").read_text()
PROMPT = "(ringlet) "


def lesson() -> list[tuple[str, list[str]]]:
    """The commands of the lesson, each with what the page shows of its answer."""
    lines = "".join(re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)).splitlines()
    assert lines.pop(0) == "$ ringlet debug rings"
    found: list[tuple[str, list[str]]] = [("", [])]
    for line in lines:
        if line.startswith(PROMPT):
            found.append((line.removeprefix(PROMPT), []))
        else:
            found[-1][1].append(line)
    return found


def pattern(line: str) -> str:
    """A line as another compiler may make it: other numbers and code, and anything for `...`."""
    line = re.sub(r"  +[0-9a-f]{2}( [0-9a-f]{2})*$", "...", line)  # the bytes of an instruction
    text = re.escape(re.sub(r"  +", "  ", line))
    text = re.sub(r"\b0x[0-9a-f]+\b|\b[0-9]+\b", "[0-9a-fx]+", text)
    return text.replace(re.escape("..."), ".*")


def test_the_lesson_shows_what_its_commands_show(tmp_path: Path) -> None:
    script = tmp_path / "lesson"
    script.write_text("\n".join(command for command, _ in lesson()))
    result = run("debug", "rings", "--script", script, cwd=CHECKOUT)
    assert result.returncode == 0, result.stdout
    output = iter(result.stdout.splitlines())
    for command, answer in lesson():
        for line in [PROMPT + command] * bool(command) + answer:
            if line == "...":
                continue
            shown = []
            for each in output:
                shown.append(each)
                if re.fullmatch(pattern(line), re.sub(r"  +", "  ", each)):
                    break
            else:
                pytest.fail(f"after {command!r}: {line!r} isn't among {shown}")


def test_the_table_has_each_command_with_its_short_form() -> None:
    rows = [line.split("|")[1:3] for line in PAGE.splitlines() if line.startswith("| `")]
    for command in COMMANDS.values():
        (short,) = [short for names, short in rows if re.search(rf"`{command.name}[` ]", names)]
        assert set(re.findall(r"`(.*?)`", short)) == set(command.short) - {"?"}


def test_the_programs_run() -> None:
    first, second = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", first + second],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    fault, tables = done.stdout.splitlines()
    assert re.fullmatch(r"breakpoint page_fault 0x[0-9a-f]+", fault)
    assert tables == "['PML4E', 'PDPTE', 'PDE'] 2097152"
