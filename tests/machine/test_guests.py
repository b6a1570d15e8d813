"""The guest that the current folder builds: its name, and which image a name means in there."""

import os
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ringlet.errors import ConfigError, ImageError
from ringlet.machine.config import from_mapping
from ringlet.machine.guests import (
    MAX_NAME,
    built_image,
    find_image,
    guest_of_folder,
    is_guest_name,
    packaged,
    which_image,
)


@given(st.text(st.sampled_from("aZ09_-é./ \n$#%")) | st.text(max_size=MAX_NAME + 2))
@example("a" * MAX_NAME)
@example("a" * (MAX_NAME + 1))
@example("a\n")
def test_a_name_is_a_letter_and_then_letters_digits_underscores_and_hyphens(name: str) -> None:
    pattern = "[A-Za-z][A-Za-z0-9_-]{0,63}"
    assert is_guest_name(name) == (re.fullmatch(pattern, name) is not None)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the guest `hello`, which isn't built."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Makefile").write_text("# a guest\nGUEST := hello\nall:\n")
    return tmp_path


@pytest.mark.parametrize("line", ["GUEST := hello", "GUEST:=hello", " GUEST :=  hello "])
def test_the_makefile_says_the_name(line: str, tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text(f"{line}\n")
    assert guest_of_folder(str(tmp_path)) == "hello"


@pytest.mark.parametrize("line", ["GUEST = hello", "GUEST :=", "MY_GUEST := a", "GUEST := a b", ""])
def test_another_makefile_says_none(line: str, tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text(f"{line}\n")
    assert guest_of_folder(str(tmp_path)) is None


@given(content=st.binary(max_size=200))
def test_no_makefile_is_a_failure(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("folder", numbered=True)
    (folder / "Makefile").write_bytes(content)
    assert guest_of_folder(str(folder)) is None


def test_a_makefile_that_is_no_file_says_none(tmp_path: Path) -> None:
    assert guest_of_folder(str(tmp_path)) is None
    os.mkfifo(tmp_path / "Makefile")  # to open it would wait for ever
    assert guest_of_folder(str(tmp_path)) is None


def test_before_make_neither_the_name_nor_its_absence_boots_another_guest(folder: Path) -> None:
    for find in (
        lambda: find_image("hello"),
        lambda: which_image("hello"),
        lambda: from_mapping({"memory": 1 << 20}),
    ):
        with pytest.raises(ImageError, match="hello of this folder isn't built") as error:
            find()
        assert "run `make`" in error.value.hint


def test_after_make_both_are_what_the_folder_builds(folder: Path) -> None:
    (folder / "hello.elf").touch()
    assert find_image("hello") == built_image("hello") == "hello.elf"
    assert from_mapping({}).image == "hello.elf"
    assert which_image("hello") == (
        "booting the file hello.elf of this folder, not the guest that comes with ringlet"
    )
    assert which_image("hello.elf") is None
    assert which_image("./hello.elf") is None


def test_other_guests_stay_the_ones_that_come_with_ringlet(folder: Path) -> None:
    assert find_image("halt") == packaged("halt")
    assert which_image("halt") is None


def test_the_name_of_this_folders_guest_is_the_near_one_of_a_mistyped_name(folder: Path) -> None:
    (folder / "Makefile").write_text("GUEST := wonderful\n")
    with pytest.raises(ImageError, match="no image wonderfull") as error:
        find_image("wonderfull")
    assert "`wonderful`" in error.value.hint


def test_a_folder_of_a_guest_is_no_image_but_is_told(folder: Path) -> None:
    for name in ("first", "halt"):
        (folder / name).mkdir()
        (folder / name / "Makefile").write_text(f"GUEST := {name}\n")
    with pytest.raises(ImageError, match="first is a folder that builds a guest") as error:
        find_image("first")
    assert "cd first" in error.value.hint
    assert find_image("halt") == packaged("halt")
    assert which_image("halt") == (
        "booting the guest that comes with ringlet, not the guest of the folder halt"
    )


def test_elsewhere_an_image_has_to_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="no image is named"):
        from_mapping({})
