"""Who a container's command is: names of the rootfs, which is an image's, and ranges of IDs."""

import ctypes
import os
import stat
from pathlib import Path

import pytest

from ringlet.container import identity
from ringlet.container.identity import RANGE, Identity, find_user
from ringlet.errors import ConfigError

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
www:x:33:34:www:/var/www:/bin/false
broken line
"""
GROUP = "root:x:0:\nweb:x:34:\nlog:x:4:www,other\ndisk:x:6:www\n"


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(PASSWD)
    (tmp_path / "etc/group").write_text(GROUP)
    return tmp_path


@pytest.mark.parametrize(
    ("user", "found"),
    [
        ("root", Identity(0, 0, [], "/root")),
        ("0", Identity(0, 0, [], "/root")),
        ("www", Identity(33, 34, [4, 6], "/var/www")),
        ("33", Identity(33, 34, [4, 6], "/var/www")),
        ("www:log", Identity(33, 4, [], "/var/www")),
        ("www:99", Identity(33, 99, [], "/var/www")),
        ("1000", Identity(1000, 0, [], "/")),
        ("1000:1000", Identity(1000, 1000, [], "/")),
    ],
)
def test_a_user_is_found_by_name_and_by_number(rootfs: Path, user: str, found: Identity) -> None:
    assert find_user(str(rootfs), user) == found


@pytest.mark.parametrize(
    "user",
    ["", "nobody", "www:nogroup", "-1", "4294967295", "9" * 5000, "0" * 11 + "9" * 5000, "²"],
)
def test_a_user_that_isnt_there_is_refused(rootfs: Path, user: str) -> None:
    with pytest.raises(ConfigError, match="rootfs knows no"):
        find_user(str(rootfs), user)


@pytest.mark.parametrize("number", ["1000", "4294967296", "99999999999"])
def test_a_number_that_is_a_name_in_the_image_is_a_number(tmp_path: Path, number: str) -> None:
    """CVE-2016-3697, and CVE-2026-46680 for those that are too large: who asks for it gets root."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(f"{number}:x:0:0::/root:/bin/sh\n")
    (tmp_path / "etc/group").write_text(f"{number}:x:0:\n")
    if int(number) == 1000:
        assert find_user(str(tmp_path), "1000:1000") == Identity(1000, 1000, [], "/")
        return
    for user in (number, f"1:{number}"):
        with pytest.raises(ConfigError, match="rootfs knows no"):
            find_user(str(tmp_path), user)


def test_a_rootfs_without_names_has_numbers(tmp_path: Path) -> None:
    assert find_user(str(tmp_path), "5:6") == Identity(5, 6, [], "/")
    with pytest.raises(ConfigError):
        find_user(str(tmp_path), "www")


def test_a_record_with_a_zero_byte_is_none(rootfs: Path) -> None:
    (rootfs / "etc/passwd").write_text("root:x:0:0::/ro\0ot:/bin/sh\n")
    assert find_user(str(rootfs), "0") == Identity(0, 0, [], "/")


def test_a_rootfs_that_isnt_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        find_user(str(tmp_path / "absent"), "0")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="Not a directory"):
        find_user(str(tmp_path / "file"), "0")


def test_no_link_and_no_fifo_of_an_image_is_followed(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    os.symlink("/etc/passwd", tmp_path / "etc/passwd")
    os.mkfifo(tmp_path / "etc/group")
    with pytest.raises(ConfigError):
        find_user(str(tmp_path), "daemon")
    other = tmp_path / "other"
    other.mkdir()
    os.symlink("/etc", other / "etc")
    with pytest.raises(ConfigError):
        find_user(str(other), "daemon")


def test_roots_range_is_its_own_or_one_that_nobody_has(tmp_path: Path) -> None:
    path = tmp_path / "subuid"
    assert identity._root_range(str(path)) == (1 << 20, RANGE)
    path.write_text("user:100000:65536\nother:2000000:65536\nbad:x:y\n")
    first, count = identity._root_range(str(path))
    assert first >= 2000000 + 65536
    assert (first % RANGE, count) == (0, RANGE)
    path.write_text("user:100000:65536\nroot:300000:70000\n")
    assert identity._root_range(str(path)) == (300000, RANGE)


def test_a_users_range_is_found_by_name_and_by_number(tmp_path: Path) -> None:
    path = tmp_path / "subuid"
    path.write_text("daemon:100000:65536\n77777:200000:1000\n")
    assert identity._own_range(str(path), 1) == (100000, 65536)  # daemon's number
    assert identity._own_range(str(path), 77777) == (200000, 1000)
    assert identity._own_range(str(path), 88888) is None


@pytest.mark.needs_root
@pytest.mark.parametrize("name", ["passwd", "group"])
def test_a_device_in_their_place_is_not_opened(tmp_path: Path, name: str) -> None:
    """To open one does something: a watchdog begins to count, a tape rewinds."""
    (tmp_path / "etc").mkdir()
    os.mknod(tmp_path / "etc" / name, 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    libc = ctypes.CDLL(None)
    watch = libc.inotify_init1(os.O_NONBLOCK)
    opened = 0x20  # IN_OPEN: <linux/inotify.h>
    assert libc.inotify_add_watch(watch, os.fsencode(tmp_path / "etc" / name), opened) > 0
    find_user(str(tmp_path), "0:0")
    with pytest.raises(BlockingIOError):
        os.read(watch, 4096)
    os.close(os.open(tmp_path / "etc" / name, os.O_RDONLY))
    assert os.read(watch, 4096)
    os.close(watch)
