"""`ringlet guests`."""

import json
from pathlib import Path

from ringlet.machine.guests import guests

from .command import run


def test_each_guest_is_listed_with_its_line() -> None:
    result = run("guests")
    assert result.returncode == 0
    lines = [line.split(maxsplit=1) for line in result.stdout.splitlines()]
    assert lines == [[guest.name, guest.summary] for guest in guests()]


def test_json_has_the_same_and_the_path_of_each_image() -> None:
    rows = json.loads(run("guests", "--json").stdout)
    assert [row["name"] for row in rows] == [guest.name for guest in guests()]
    assert [row["summary"] for row in rows] == [guest.summary for guest in guests()]
    assert all(Path(row["path"]).is_file() for row in rows)
