"""A guest's kernel that means harm reaches no file outside the folder, and hurts nobody."""

from __future__ import annotations

import errno
import os
import random
import stat
import struct
import threading
from typing import TYPE_CHECKING

import pytest

from ringlet.virtio.fs import protocol

from .client import Client, client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("no_leak")

ROOT = protocol.ROOT
SECRET = b"the host's own"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_bytes(SECRET)
    folder = tmp_path / "shared"
    folder.mkdir()
    (folder / "file").write_bytes(b"contents")
    (folder / "out").symlink_to("../secret")
    (folder / "up").symlink_to("..")
    os.mkfifo(folder / "fifo")
    return folder


@pytest.fixture
def guest(folder: Path) -> Iterator[Client]:
    with client(folder) as made:
        yield made
    assert (folder.parent / "secret").read_bytes() == SECRET
    assert sorted(os.listdir(folder.parent)) == ["secret", "shared"]


CLIMBING = [b"..", b".", b"", b"../secret", b"/etc/passwd", b"file/..", b"x" * 256, b"x" * 5000]


@pytest.mark.parametrize("name", CLIMBING)
def test_no_name_climbs(guest: Client, name: bytes) -> None:
    file = guest.lookup(b"file").node
    for operation, body in (
        (protocol.LOOKUP, b""),
        (protocol.MKDIR, struct.pack("<II", 0o755, 0)),
        (protocol.MKNOD, struct.pack("<4I", stat.S_IFREG | 0o644, 0, 0, 0)),
        (protocol.CREATE, struct.pack("<4I", os.O_RDWR, 0o644, 0, 0)),
        (protocol.LINK, struct.pack("<Q", file)),
        (protocol.UNLINK, b""),
        (protocol.RMDIR, b""),
        (protocol.RENAME, struct.pack("<Q", ROOT) + b"file\0"),
        (protocol.RENAME2, struct.pack("<QII", ROOT, 0, 0) + b"file\0"),
    ):
        error, _ = guest.raw(operation, ROOT, body, name + b"\0")
        assert error in (errno.EINVAL, errno.ENAMETOOLONG)
    error, _ = guest.raw(protocol.SYMLINK, ROOT, name + b"\0target\0")
    assert error in (errno.EINVAL, errno.ENAMETOOLONG)
    error, _ = guest.raw(protocol.RENAME, ROOT, struct.pack("<Q", ROOT), name + b"\0new\0")
    assert error in (errno.EINVAL, errno.ENAMETOOLONG)


def test_a_link_is_a_link_and_no_way_out(guest: Client) -> None:
    for name in (b"out", b"up"):
        found = guest.lookup(name)
        assert stat.S_ISLNK(found.mode)
        for operation, body in (
            (protocol.OPEN, struct.pack("<II", os.O_RDWR, 0)),
            (protocol.OPENDIR, bytes(8)),
            (protocol.LOOKUP, b"secret\0"),
            (protocol.CREATE, struct.pack("<4I", os.O_RDWR, 0o644, 0, 0) + b"new\0"),
            (protocol.SETXATTR, struct.pack("<II", 1, 0) + b"user.x\0y"),
        ):
            assert guest.raw(operation, found.node, body)[0] in (
                *(errno.EACCES, errno.ENOTDIR, errno.EOPNOTSUPP, errno.ELOOP),
            )
        with pytest.raises(OSError, match="Invalid"):
            guest.set(found.node, protocol.SET_SIZE)
        with pytest.raises(OSError, match="not supported"):
            guest.set(found.node, protocol.SET_MODE, mode=0o777)
        fields = (protocol.CREATE_IN.pack(os.O_RDWR | os.O_TRUNC, 0o644, 0, 0), name + b"\0")
        assert guest.raw(protocol.CREATE, ROOT, *fields)[0] == errno.EACCES


@pytest.mark.needs_root
def test_the_owner_of_a_links_target_stays(guest: Client, folder: Path) -> None:
    found = guest.lookup(b"out")
    guest.set(found.node, protocol.SET_UID, uid=1234)
    assert (folder / "out").lstat().st_uid == 1234
    assert (folder.parent / "secret").stat().st_uid == 0


def test_a_link_that_is_swapped_in_a_race_leads_nowhere(guest: Client, folder: Path) -> None:
    ends = threading.Event()

    def swap() -> None:
        number = 0
        while not ends.is_set():
            number += 1
            new = folder / f"new{number % 2}"
            if number % 2:
                new.write_bytes(b"contents")
            else:
                new.symlink_to("../secret")
            new.rename(folder / "racing")

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        opened = 0
        for _ in range(400):
            error, data = guest.raw(
                protocol.CREATE, ROOT, protocol.CREATE_IN.pack(os.O_RDWR, 0o644, 0, 0), b"racing\0"
            )
            if not error:
                opened += 1
                (handle,) = struct.unpack_from("<Q", data, 128)
                assert guest.read(handle) in (b"contents", b"")
                guest.release(handle)
        assert opened
    finally:
        ends.set()
        thread.join()
    for name in ("new0", "new1", "racing"):
        (folder / name).unlink(missing_ok=True)


def test_a_fifo_is_not_opened_and_nothing_waits_for_it(guest: Client) -> None:
    found = guest.lookup(b"fifo")
    assert guest.raw(protocol.OPEN, found.node, struct.pack("<II", os.O_RDONLY, 0))[0] == (
        errno.EACCES
    )
    body = protocol.CREATE_IN.pack(os.O_RDWR, 0o644, 0, 0)
    assert guest.raw(protocol.CREATE, ROOT, body, b"fifo\0")[0] == errno.EACCES


@pytest.mark.needs_root
def test_a_device_is_neither_made_nor_opened(guest: Client, folder: Path) -> None:
    body = struct.pack("<4I", stat.S_IFCHR | 0o666, 0x103, 0, 0)
    assert guest.raw(protocol.MKNOD, ROOT, body, b"null\0")[0] == errno.EPERM
    os.mknod(folder / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    found = guest.lookup(b"zero")
    assert guest.raw(protocol.OPEN, found.node, struct.pack("<II", os.O_RDONLY, 0))[0] == (
        errno.EACCES
    )
    body = protocol.CREATE_IN.pack(os.O_RDWR, 0o644, 0, 0)
    assert guest.raw(protocol.CREATE, ROOT, body, b"zero\0")[0] == errno.EACCES


def test_no_program_gets_its_owners_rights(guest: Client, folder: Path) -> None:
    if os.statvfs(folder).f_flag & os.ST_NOSUID:
        pytest.skip("the folder is on a file system that knows no such rights")
    made, _ = guest.create(b"ladder", mode=0o6755)
    guest.set(made.node, protocol.SET_MODE, mode=0o6755)
    assert stat.S_IMODE((folder / "ladder").stat().st_mode) == 0o755
    body = struct.pack("<4I", stat.S_IFREG | 0o6755, 0, 0, 0)
    guest.call(protocol.MKNOD, ROOT, body, b"other\0")
    assert stat.S_IMODE((folder / "other").stat().st_mode) & 0o6000 == 0
    capability = struct.pack("<5I", 0x2000001, 1 << 21, 0, 0, 0)
    body = struct.pack("<II", len(capability), 0)
    for name in (b"security.capability\0", b"trusted.x\0", b"system.posix_acl_access\0"):
        error, _ = guest.raw(protocol.SETXATTR, made.node, body, name, capability)
        assert error == errno.EOPNOTSUPP


def test_handles_and_nodes_that_were_never_given_are_refused(guest: Client) -> None:
    for handle in (0, 1, 99, (1 << 64) - 1):
        with pytest.raises(OSError, match="Bad file"):
            guest.read(handle)
        with pytest.raises(OSError, match="Bad file"):
            guest.release(handle)
    for node in (0, 2, 99, (1 << 64) - 1):
        with pytest.raises(OSError, match="Stale"):
            guest.attributes(node)


def test_forgetting_what_was_never_told_does_no_harm(guest: Client) -> None:
    node = guest.lookup(b"file").node
    for forgotten in (0, ROOT, 999, node, node):
        guest.forget(forgotten, (1 << 64) - 1)
    guest.attributes(ROOT)
    header = protocol.REQUEST.pack(56, protocol.BATCH_FORGET, 0, 0, 0, 0, 1, 0)
    guest.made.memory.write(0x4_0000, header + struct.pack("<II", 0xFFFF_FFFF, 0) + bytes(8))
    assert guest.forgets.request([(0x4_0000, 56, 0)]) == 0


def test_numbers_that_no_file_has_are_refused(guest: Client) -> None:
    _, handle = guest.create(b"new")
    for offset in (1 << 63, (1 << 64) - 1):
        with pytest.raises(OSError, match="Invalid"):
            guest.read(handle, 10, offset)
        with pytest.raises(OSError, match="Invalid"):
            guest.write(handle, b"x", offset)
    with pytest.raises(OSError, match=r"Invalid|too large"):
        guest.set(guest.lookup(b"new").node, protocol.SET_SIZE, size=(1 << 64) - 1)


def test_any_bytes_are_answered(guest: Client, folder: Path) -> None:
    chance = random.Random(1)
    nodes = [0, ROOT, guest.lookup(b"file").node, guest.lookup(b"out").node, 77]
    for _ in range(3000):
        operation = chance.choice((*range(1, 53), chance.getrandbits(32)))
        if operation in (protocol.FORGET, protocol.BATCH_FORGET, protocol.INTERRUPT):
            continue
        body = bytearray(chance.randbytes(chance.choice((0, 1, 8, 16, 40, 88, 200))))
        if chance.random() < 0.5:
            body[:8] = chance.randrange(4).to_bytes(8, "little")
        if chance.random() < 0.5:
            body += chance.choice((b"name\0", b"file\0other\0", b"..\0", b"\0"))
        error, _ = guest.raw(operation, chance.choice(nodes), bytes(body))
        assert 0 <= error < 200
    for name in os.listdir(folder):
        if not (folder / name).is_dir() or (folder / name).is_symlink():
            (folder / name).unlink()


def test_open_files_are_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringlet.virtio.fs.device._KEPT_FREE", 1 << 20)
    with client(folder) as guest:
        node = guest.lookup(b"file").node
        handles = [guest.open(node) for _ in range(16)]
        with pytest.raises(OSError, match="Too many open files in system"):
            guest.open(node)
        guest.release(handles.pop())
        guest.open(node)
