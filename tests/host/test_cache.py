"""Where the cache is, by the XDG Base Directory Specification, and what is kept there."""

import os
from pathlib import Path

import pytest

from ringlet.host.cache import cache_folder, keep, open_entry


def test_the_users_word_counts_if_it_is_an_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("it") == f"{tmp_path}/ringlet/it"
    for ignored in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert cache_folder("it") == "/home/me/.cache/ringlet/it"


def test_a_user_without_a_home_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # what it does without a home
    assert cache_folder("it") is None


def put(path: Path, data: bytes, most: int = 3) -> None:
    def write(fd: int) -> None:
        os.write(fd, data)

    keep(str(path), write, most)


def test_what_is_kept_is_found_and_the_oldest_go(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    for number in range(5):
        put(folder / str(number), b"x")
        os.utime(folder / str(number), (number, number))
    assert sorted(path.name for path in folder.iterdir()) == ["2", "3", "4"]
    assert folder.stat().st_mode & 0o777 == 0o700
    fd = open_entry(str(folder / "4"))
    assert fd is not None
    assert os.read(fd, 10) == b"x"
    os.close(fd)
    assert open_entry(str(folder / "0")) is None


def test_what_others_can_write_is_not_trusted(tmp_path: Path) -> None:
    put(tmp_path / "c" / "entry", b"x")
    (tmp_path / "c" / "entry").chmod(0o666)
    assert open_entry(str(tmp_path / "c" / "entry")) is None
    (tmp_path / "c").chmod(0o777)
    put(tmp_path / "c" / "other", b"x")
    assert not (tmp_path / "c" / "other").exists()


def test_a_link_or_a_fifo_is_no_entry(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "fifo", 0o600)
    assert open_entry(str(tmp_path / "link")) is None
    assert open_entry(str(tmp_path / "fifo")) is None


def test_what_fails_to_be_written_leaves_nothing(tmp_path: Path) -> None:
    def fail(fd: int) -> None:
        os.write(fd, b"half")
        raise OSError

    keep(str(tmp_path / "d" / "entry"), fail, 3)
    assert list((tmp_path / "d").iterdir()) == []
