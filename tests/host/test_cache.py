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


# The way there: what somebody else could have it lead to


def entry_at(path: Path) -> bytes | None:
    fd = open_entry(str(path))
    if fd is None:
        return None
    try:
        return os.read(fd, 100)
    finally:
        os.close(fd)


def test_a_folder_that_others_can_write_is_not_read(tmp_path: Path) -> None:
    put(tmp_path / "c" / "entry", b"x")
    (tmp_path / "c").chmod(0o770)
    assert entry_at(tmp_path / "c" / "entry") is None


@pytest.mark.parametrize("above", ["a", "a/ringlet"])
@pytest.mark.parametrize("mode", [0o770, 0o777])
def test_nor_is_one_below_such_a_folder(tmp_path: Path, above: str, mode: int) -> None:
    path = tmp_path / "a/ringlet/it/entry"
    put(path, b"x")
    assert entry_at(path) == b"x"
    (tmp_path / above).chmod(mode)
    assert entry_at(path) is None
    put(path.with_name("other"), b"x")
    assert not path.with_name("other").exists()
    (tmp_path / above).chmod(mode | 0o1000)  # as /tmp: others can't exchange what is ours
    assert entry_at(path) == b"x"


@pytest.mark.needs_root
@pytest.mark.parametrize("above", ["a", "a/ringlet", "a/ringlet/it"])
def test_nor_is_one_below_another_users_folder(tmp_path: Path, above: str) -> None:
    path = tmp_path / "a/ringlet/it/entry"
    put(path, b"x")
    os.chown(tmp_path / above, 12345, 12345)
    assert entry_at(path) is None
    put(path.with_name("other"), b"x")
    assert not path.with_name("other").exists()


@pytest.mark.needs_root
@pytest.mark.parametrize("link", ["a", "a/ringlet", "a/ringlet/it"])
def test_another_users_link_leads_nowhere(tmp_path: Path, link: str) -> None:
    """Under sudo with the user's HOME: to files of root's that the user has written."""
    path = tmp_path / "a/ringlet/it/entry"
    put(path, b"x")
    theirs = tmp_path / "theirs"
    (tmp_path / link).rename(theirs)
    (tmp_path / link).symlink_to(theirs)
    assert entry_at(path) == b"x"  # root's own
    os.chown(tmp_path / link, 12345, 12345, follow_symlinks=False)
    assert entry_at(path) is None
    before = sorted(theirs.rglob("*"))
    put(path.with_name("other"), b"x")
    assert sorted(theirs.rglob("*")) == before


@pytest.mark.needs_root
def test_root_makes_no_folder_in_another_users_home(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    os.chown(tmp_path / "home", 12345, 12345)
    put(tmp_path / "home/.cache/ringlet/it/entry", b"x")
    assert list((tmp_path / "home").iterdir()) == []


@pytest.mark.parametrize("target", ["real", "./real/", "real/../real", "{}/real"])
def test_the_users_own_link_may_lead_elsewhere(tmp_path: Path, target: str) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(target.format(tmp_path))
    put(tmp_path / "link/ringlet/entry", b"x")
    assert entry_at(tmp_path / "real/ringlet/entry") == b"x"
    assert entry_at(tmp_path / "link/ringlet/entry") == b"x"


def test_a_link_to_itself_is_no_way(tmp_path: Path, no_leak: None) -> None:
    (tmp_path / "loop").symlink_to("loop")
    put(tmp_path / "loop/entry", b"x")
    assert entry_at(tmp_path / "loop/entry") is None


def test_the_folders_made_are_the_users_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        put(tmp_path / "a//b/./c/entry", b"x")
    finally:
        os.umask(before)
    modes = [(tmp_path / path).stat().st_mode & 0o777 for path in ("a", "a/b", "a/b/c")]
    assert modes == [0o700] * 3
    assert entry_at(tmp_path / "a/b/c/entry") == b"x"


def test_nothing_of_the_way_stays_open(tmp_path: Path, no_leak: None) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("a")
    for folder in ("a/b", "link/b", "nowhere/c", "file/d"):
        entry_at(tmp_path / folder / "entry")
        put(tmp_path / folder / "entry", b"x")
        entry_at(tmp_path / folder / "entry")
