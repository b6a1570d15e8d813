"""docs/gdb.md tells of what there is."""

import re
from pathlib import Path

from ringlet.observe.gdb.monitor import _COMMANDS
from ringlet.observe.gdb.target import REGISTERS

PAGE = (Path(__file__).parents[1] / "docs/gdb.md").read_text()


def test_the_page_has_each_monitor_command() -> None:
    rows = re.findall(r"^\| `monitor (\w+)", PAGE, re.MULTILINE)
    assert sorted(rows) == sorted(_COMMANDS)
    assert set(re.findall(r"`monitor (\w+)", PAGE)) <= {*_COMMANDS, "commands"}


def test_the_registers_that_the_page_names_are_there() -> None:
    names = {register.name for register in REGISTERS}
    named = re.search(r"Beside the usual ones, there are (.*?) the bases", PAGE, re.DOTALL)
    assert named is not None
    assert set(re.findall(r"`(\w+)`", named[1])) <= names
