import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ringlet.container.log import Log, now


def test_a_line_of_json_has_what_engines_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = Log(str(path), json=True)
    log.warning("first")
    log.error('of "two"\nlines')
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["level"], line["msg"]) for line in lines] == [
        ("warning", "first"),
        ("error", 'of "two"\nlines'),
    ]
    assert all(datetime.fromisoformat(line["time"]).tzinfo is not None for line in lines)


def test_a_link_is_followed_where_nobody_else_can_have_laid_it(tmp_path: Path) -> None:
    """In a folder of others, they would choose to which file of ours it leads."""
    target = tmp_path / "target"
    (tmp_path / "link").symlink_to(target)
    Log(str(tmp_path / "link")).warning("one")
    assert "one" in target.read_text()
    tmp_path.chmod(0o777)
    Log(str(tmp_path / "link")).warning("two")
    assert "two" not in target.read_text()
    Log(str(target)).warning("three")
    assert "three" in target.read_text()


@pytest.mark.needs_root
def test_a_link_of_others_is_not_followed_where_it_cant_be_exchanged(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    (tmp_path / "link").symlink_to(tmp_path / "target")
    os.lchown(tmp_path / "link", 1000, 1000)
    Log(str(tmp_path / "link")).warning("one")
    assert not (tmp_path / "target").exists()


def test_text_is_a_line_too(tmp_path: Path) -> None:
    path = tmp_path / "log"
    Log(str(path)).error("of two\nlines")
    (line,) = path.read_text().splitlines()
    assert line.endswith('level=error msg="of two\\nlines"')


def test_an_error_is_on_standard_error_in_any_case(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Log().error("one")
    Log(str(tmp_path / "log"), json=True).error("two")
    Log(str(tmp_path / "log"), json=True).warning("not here")
    assert capsys.readouterr().err == "ringlet-oci: one\nringlet-oci: two\n"


def test_debug_lines_are_written_if_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    Log().debug("hidden")
    Log(debug=True).debug("shown")
    assert capsys.readouterr().err == "ringlet-oci: debug: shown\n"


def test_a_log_that_cant_be_written_stops_nothing(tmp_path: Path) -> None:
    Log(str(tmp_path / "absent" / "log")).warning("lost")
    Log("/dev/full").warning("lost")


def test_now_is_now() -> None:
    assert abs(datetime.fromisoformat(now()[:26] + "+00:00") - datetime.now(UTC)).days == 0
