"""A folder of the host, used by FUSE requests."""

from __future__ import annotations

import errno
import os
import stat
import struct
from typing import TYPE_CHECKING

import pytest

from ringlet.errors import ConfigError
from ringlet.virtio.fs import protocol
from ringlet.virtio.fs.device import FileSystem

from .client import Client, client, entry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("no_leak")

ROOT = protocol.ROOT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shared" / "below").mkdir(parents=True)
    (tmp_path / "shared" / "file").write_bytes(b"contents")
    (tmp_path / "shared" / "below" / "deep").write_bytes(b"deep")
    (tmp_path / "shared" / "link").symlink_to("file")
    return tmp_path / "shared"


@pytest.fixture
def guest(folder: Path) -> Iterator[Client]:
    with client(folder) as made:
        yield made


def test_the_tag_is_in_the_configuration(folder: Path) -> None:
    device = FileSystem(folder, "home")
    assert device.config == b"home".ljust(36, b"\0") + b"\1\0\0\0"
    device.close()


@pytest.mark.parametrize("tag", ["", "x" * 37, "a\0b"])
def test_a_wrong_tag_is_refused(folder: Path, tag: str) -> None:
    with pytest.raises(ConfigError, match="tag"):
        FileSystem(folder, tag)


@pytest.mark.parametrize("name", ["missing", "file", "a\0b"])
def test_a_folder_that_is_none_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="can't share"):
        FileSystem(folder / name, "tag")


def test_a_file_is_looked_up_and_read(guest: Client) -> None:
    found = guest.lookup(b"file")
    assert (stat.S_IFMT(found.mode), found.size) == (stat.S_IFREG, 8)
    handle = guest.open(found.node)
    assert guest.read(handle) == b"contents"
    assert guest.read(handle, 3, 2) == b"nte"
    assert guest.read(handle, 10, 100) == b""
    guest.release(handle)


def test_a_file_is_made_written_and_changed(guest: Client, folder: Path) -> None:
    made, handle = guest.create(b"new", mode=0o640)
    assert guest.write(handle, b"hello world") == 11
    assert guest.write(handle, b"W", 6) == 1
    guest.set(made.node, protocol.SET_SIZE, size=8)
    guest.set(made.node, protocol.SET_MODE, mode=0o600)
    guest.release(handle)
    assert (folder / "new").read_bytes() == b"hello Wo"
    assert stat.S_IMODE((folder / "new").stat().st_mode) == 0o600


def test_what_the_host_changes_is_seen_at_once(guest: Client, folder: Path) -> None:
    found = guest.lookup(b"file")
    handle = guest.open(found.node)
    (folder / "file").write_bytes(b"new and longer")
    assert guest.attributes(found.node).size == 14
    assert guest.read(handle) == b"new and longer"
    (folder / "file").unlink()
    with pytest.raises(FileNotFoundError):
        guest.lookup(b"file")
    assert guest.read(handle) == b"new and longer"


def test_folders_links_and_names_are_made_moved_and_removed(guest: Client, folder: Path) -> None:
    made = entry(guest.call(protocol.MKDIR, ROOT, struct.pack("<II", 0o750, 0), b"dir\0"))
    guest.call(protocol.SYMLINK, made.node, b"sym\0../target\0")
    assert os.readlink(folder / "dir" / "sym") == "../target"
    link = guest.lookup(b"sym", made.node)
    assert guest.call(protocol.READLINK, link.node) == b"../target"
    file = guest.lookup(b"file")
    guest.call(protocol.LINK, made.node, struct.pack("<Q", file.node), b"hard\0")
    assert guest.lookup(b"hard", made.node)._replace(links=1) == file
    assert guest.attributes(file.node).links == 2
    guest.call(protocol.RENAME, made.node, struct.pack("<Q", ROOT), b"hard\0moved\0")
    assert (folder / "moved").samefile(folder / "file")
    guest.call(protocol.UNLINK, ROOT, b"moved\0")
    guest.call(protocol.UNLINK, made.node, b"sym\0")
    guest.call(protocol.RMDIR, ROOT, b"dir\0")
    assert sorted(os.listdir(folder)) == ["below", "file", "link"]


@pytest.mark.parametrize("size", [64, 200, 4096])
def test_a_folder_is_listed_in_any_parts(guest: Client, folder: Path, size: int) -> None:
    wanted = {f"{number:03}-{'x' * (number % 9)}" for number in range(60)}
    for name in wanted:
        (folder / "below" / name).touch()
    below = guest.lookup(b"below")
    names = guest.names(below.node, size)
    assert len(names) == len(set(names))
    assert set(names) == {os.fsencode(name) for name in wanted} | {b".", b"..", b"deep"}


def test_a_list_with_attributes_tells_of_each_node(guest: Client) -> None:
    (handle,) = struct.unpack_from("<Q", guest.call(protocol.OPENDIR, ROOT, bytes(8)))
    body = protocol.READ_IN.pack(handle, 0, 4096, 0, 0, 0, 0)
    data = guest.call(protocol.READDIRPLUS, ROOT, body)
    found = {}
    while data:
        _, _, length, _ = protocol.DIRENT.unpack_from(data, 128)
        found[data[152 : 152 + length]] = entry(data)
        data = data[152 + length + -length % 8 :]
    assert found[b"file"] == guest.lookup(b"file")
    assert stat.S_ISLNK(found[b"link"].mode)
    assert found[b"."].node == 0


def test_extended_attributes_are_the_users(guest: Client, folder: Path) -> None:
    node = guest.lookup(b"file").node
    try:
        os.setxattr(folder / "file", "user.host", b"1")
    except OSError as error:
        pytest.skip(f"the host's file system has none: {error.strerror}")
    guest.call(protocol.SETXATTR, node, struct.pack("<II", 3, 0), b"user.guest\0abc")
    assert os.getxattr(folder / "file", "user.guest") == b"abc"
    assert guest.call(protocol.GETXATTR, node, struct.pack("<II", 10, 0), b"user.host\0") == b"1"
    names = guest.call(protocol.LISTXATTR, node, struct.pack("<II", 100, 0))
    assert set(names.split(b"\0")) == {b"user.host", b"user.guest", b""}
    guest.call(protocol.REMOVEXATTR, node, b"user.host\0")
    assert os.listxattr(folder / "file") == ["user.guest"]


def test_room_is_given_and_holes_are_found(guest: Client, folder: Path) -> None:
    _, handle = guest.create(b"sparse")
    guest.write(handle, b"x", 1 << 20)
    body = protocol.LSEEK_IN.pack(handle, 0, os.SEEK_DATA, 0)
    (at,) = struct.unpack("<Q", guest.call(protocol.LSEEK, 0, body))
    assert 0 <= at <= 1 << 20
    guest.call(protocol.FALLOCATE, 0, protocol.FALLOCATE_IN.pack(handle, 0, 2 << 20, 0, 0))
    assert (folder / "sparse").stat().st_size == 2 << 20
    guest.call(protocol.FSYNC, 0, protocol.FSYNC_IN.pack(handle, 1, 0))
    blocks, *_ = struct.unpack_from("<5Q", guest.call(protocol.STATFS, ROOT))
    assert blocks == os.statvfs(folder).f_blocks


def test_a_folder_for_reading_is_not_changed(folder: Path) -> None:
    with client(folder, readonly=True) as guest:
        node = guest.lookup(b"file").node
        assert guest.read(guest.open(node)) == b"contents"
        for attempt in (
            lambda: guest.open(node, os.O_RDWR),
            lambda: guest.open(node, os.O_RDONLY | os.O_TRUNC),
            lambda: guest.create(b"new"),
            lambda: guest.set(node, protocol.SET_SIZE),
            lambda: guest.call(protocol.UNLINK, ROOT, b"file\0"),
            lambda: guest.call(protocol.MKDIR, ROOT, bytes(8), b"new\0"),
        ):
            with pytest.raises(OSError, match="Read-only") as raised:
                attempt()
            assert raised.value.errno == errno.EROFS
    assert (folder / "file").read_bytes() == b"contents"


@pytest.mark.needs_root
def test_what_a_user_of_the_guest_makes_is_theirs(guest: Client, folder: Path) -> None:
    guest.uid, guest.gid = 1234, 5678
    guest.create(b"new")
    guest.call(protocol.SYMLINK, ROOT, b"sym\0/etc/passwd\0")
    guest.call(protocol.MKDIR, ROOT, struct.pack("<II", 0o755, 0), b"dir\0")
    for name in ("new", "sym", "dir"):
        status = (folder / name).lstat()
        assert (status.st_uid, status.st_gid) == (1234, 5678)
    assert os.stat("/etc/passwd").st_uid == 0


def test_a_reset_gives_all_descriptors_back(guest: Client, folder: Path) -> None:
    for number in range(50):
        guest.create(b"%d" % number)
    before = len(os.listdir("/proc/self/fd"))
    guest.made.write(0x70, 0)
    assert len(os.listdir("/proc/self/fd")) == before - 100
    assert guest.made.transport.state["device"] == {"nodes": 1, "open": 1, "handles": 0}


def test_an_inode_without_a_descriptor_gets_it_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringlet.virtio.fs.device._KEPT_FREE", 1 << 20)  # 16 descriptors
    with client(folder) as guest:
        top = guest.lookup(b"below")
        deep = guest.lookup(b"deep", top.node)
        for number in range(100):
            (folder / str(number)).touch()
        nodes = [guest.lookup(b"%d" % number).node for number in range(100)]
        assert guest.made.transport.state["device"]["open"] <= 17
        assert guest.read(guest.open(deep.node)) == b"deep"
        assert [guest.attributes(node).node for node in nodes] == nodes
        (folder / "below").rename(folder / "other")  # by the host, behind the guest's back
        (folder / "below").mkdir()
        (folder / "below" / "deep").write_bytes(b"another")
        for node in nodes:
            guest.attributes(node)
        with pytest.raises(OSError, match="Stale"):
            guest.open(deep.node)


def test_a_forgotten_inode_is_gone(guest: Client) -> None:
    node = guest.lookup(b"file").node
    assert guest.lookup(b"file").node == node
    guest.forget(node, 1)
    guest.attributes(node)
    guest.forget(node, 1)
    with pytest.raises(OSError, match="Stale"):
        guest.attributes(node)
