"""A file that is there whole, or as it was before."""

import os
from pathlib import Path

import pytest

from ringlet.cli.output_file import OutputFile
from ringlet.errors import RingletError


def test_it_is_there_when_it_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("old")
    with OutputFile(str(path)) as output:
        assert output.path.endswith(".html")
        Path(output.path).write_text("new")
        assert path.read_text() == "old"
        output.finish()
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["page.html"]


def test_what_isnt_finished_leaves_nothing(tmp_path: Path) -> None:
    with OutputFile(str(tmp_path / "a")) as output:
        Path(output.path).write_text("half")
    assert os.listdir(tmp_path) == []


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    link = tmp_path / "link"
    link.symlink_to("folder/file")
    with OutputFile(str(link)) as output:
        output.finish()
    assert link.is_symlink()
    assert (tmp_path / "folder/file").is_file()


def test_a_pipe_is_written_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with OutputFile(str(path)) as output:
        assert output.path == str(path)
        output.finish()
    assert path.is_fifo()


@pytest.mark.parametrize(("name", "why"), [("", "it is a folder"), ("absent/a", "No such file")])
def test_what_cant_be_written_is_refused(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(RingletError, match=f"can't write .*: {why}"):
        OutputFile(str(tmp_path / name))
