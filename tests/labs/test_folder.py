"""A student's folder: begun, found, begun again; nothing of the student's is lost."""

from pathlib import Path

import pytest

from ringlet.errors import RingletError
from ringlet.labs.catalog import find_lab, labs
from ringlet.labs.folder import MARK, find_folder, find_work, reset, start
from ringlet.labs.work import MAX_BYTES, MAX_FILES, read_files

LAB = find_lab(1)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    start(LAB, tmp_path / "lab1")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "lab1"


def test_labs_have_numbers_and_texts_and_their_starters_have_what_is_handed_in() -> None:
    assert [lab.number for lab in labs()] == sorted({lab.number for lab in labs()})
    for lab in labs():
        text = lab.text
        assert text.startswith(f"# Lab {lab.number}: ")
        for heading in ("What you learn", "The idea", "Begin", "Questions", "Read"):
            assert f"\n## {heading}\n" in text
        assert "\n## Challenge (no points)\n" in text
        assert "```text\n" in text  # a diagram
        assert set(lab.files) <= {path.name for path in lab.starter}
        assert sum(check.points for check in lab.checks()) == 100
        for step in {check.step for check in lab.checks()}:
            points = sum(check.points for check in lab.checks() if check.step == step)
            (heading,) = (line for line in text.splitlines() if line.startswith(f"## Step {step}:"))
            assert heading.endswith(f"({points} points)")


def test_a_new_folder_has_the_starter_files_and_says_of_which_lab_it_is(folder: Path) -> None:
    for path in LAB.starter:
        assert (folder / path.name).read_bytes() == path.read_bytes()
    assert (folder / MARK).read_text() == "lab = 1\nversion = 1\n"


def test_a_folder_with_something_in_it_stays_as_it_is(folder: Path) -> None:
    (folder / "vm.py").write_text("mine")
    with pytest.raises(RingletError, match=r"something in .* already"):
        start(LAB, folder)
    assert (folder / "vm.py").read_text() == "mine"


def test_it_is_found_from_within_and_by_number_from_beside(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_folder(1) == (LAB, Path("lab1"))
    with pytest.raises(RingletError, match="this folder is not the folder of a lab"):
        find_folder(None)
    with pytest.raises(RingletError, match="no folder of lab 3 here"):
        find_folder(3)
    monkeypatch.chdir(folder)
    assert find_folder(None) == find_folder(1) == (LAB, Path())
    with pytest.raises(RingletError, match="no folder of lab 3 here"):
        find_folder(3)


def test_a_work_is_named_by_number_by_folder_or_not_at_all(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for word in ("1", "lab1", "./lab1", str(folder)):
        assert find_work(word)[0] == LAB
    assert find_work(str(folder)) == (LAB, folder)
    with pytest.raises(RingletError, match="the folder nowhere is not the folder of a lab"):
        find_work("nowhere")
    monkeypatch.chdir(folder)
    assert find_work(None) == (LAB, Path())


def test_a_folder_of_another_version_is_refused_until_it_is_reset(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / MARK).write_text("lab = 1\nversion = 7\n")
    with pytest.raises(RingletError, match="version 7 of lab 1, and this ringlet has version 1"):
        find_folder(None)
    reset(*find_folder(None, of_any_version=True))
    assert find_folder(None) == (LAB, Path())


@pytest.mark.parametrize(
    "mark", ["", "lab = 'x'\nversion = 1", "lab = 1", "\0", "lab = true\nversion = 1", "[" * 5000]
)
def test_a_mark_that_says_nothing_is_an_error_in_two_lines(folder: Path, mark: str) -> None:
    (folder / MARK).write_text(mark)
    with pytest.raises(RingletError, match="says nothing about a lab"):
        find_folder(1)


def test_a_mark_of_an_unknown_lab_is_an_error(folder: Path) -> None:
    (folder / MARK).write_text("lab = 99\nversion = 1\n")
    with pytest.raises(RingletError, match="there is no lab 99"):
        find_folder(1)


def test_reset_keeps_what_was_there_each_time(folder: Path) -> None:
    for text in ("first", "second"):
        (folder / "vm.py").write_text(text)
        (folder / "notes").write_text("mine")
        backup = reset(LAB, folder)
        assert backup is not None
        assert (backup / "vm.py").read_text() == text
    assert (folder / "before-reset-1/vm.py").read_text() == "first"
    assert (folder / "before-reset-2/vm.py").read_text() == "second"
    assert (folder / "notes").read_text() == "mine"
    assert (folder / "vm.py").read_bytes() == (LAB.place / "starter/vm.py").read_bytes()


def test_reset_does_not_write_through_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other").write_text("mine")
    (folder / "vm.py").unlink()
    (folder / "vm.py").symlink_to(tmp_path / "other")
    reset(LAB, folder)
    assert (tmp_path / "other").read_text() == "mine"


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "vm.py").unlink()
    with pytest.raises(RingletError, match=r"the file vm\.py is missing"):
        read_files(folder, LAB.files)


def test_a_link_in_place_of_the_file_is_not_followed(folder: Path) -> None:
    (folder / "vm.py").unlink()
    (folder / "vm.py").symlink_to("/etc/passwd")
    with pytest.raises(RingletError, match=r"the file vm\.py is missing"):
        read_files(folder, LAB.files)


def test_too_much_is_refused(folder: Path) -> None:
    with open(folder / "large", "wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(RingletError, match="there is too much"):
        read_files(folder, LAB.files)
    (folder / "large").unlink()
    for number in range(MAX_FILES):
        (folder / f"file{number}").touch()
    with pytest.raises(RingletError, match="there is too much"):
        read_files(folder, LAB.files)
