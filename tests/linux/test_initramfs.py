"""An initramfs: its plan and what is in it."""

import io
import os
import shutil
import socket
import stat
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.errors import ConfigError, ImageError
from ringlet.linux.initramfs import INIT, build, find_busybox, plan_line, shell

from .cpio_reader import Read, read
from .module_builder import RELEASE, module, modules_folder


def built(**options: Any) -> dict[str, Read]:
    out = io.BytesIO()
    build(out, **({"plan": shell("true")} | options))
    return read(out.getvalue())


@given(st.lists(st.binary().map(lambda word: word.replace(b"\0", b"")), max_size=4))
def test_a_line_has_its_words(words: list[bytes]) -> None:
    line = plan_line("key", *words)
    assert b"\n" not in line
    assert [unquote_to_bytes(word) for word in line.split(b" ")] == [b"key", *words]


def test_a_word_may_be_a_number_or_a_path() -> None:
    assert plan_line("tty", 24, 80) == b"tty 24 80"
    assert plan_line("cwd", Path("/a b")) == b"cwd /a%20b"


def test_no_word_has_a_zero_byte() -> None:
    with pytest.raises(ConfigError, match="zero byte"):
        plan_line("arg", "a\0b")


def test_init_and_its_plan_are_where_the_kernel_and_init_look() -> None:
    found = built(plan=[plan_line("hostname", "guest"), *shell("echo 100%")])
    assert found["init"] == Read(stat.S_IFREG | 0o755, Path(INIT).read_bytes(), (0, 0))
    assert found["plan"].content == b"hostname guest\narg sh\narg -c\narg echo%20100%25\n"
    assert found["dev/console"] == Read(stat.S_IFCHR | 0o600, b"", (5, 1))
    assert found["tmp"].mode == stat.S_IFDIR | 0o1777


def test_folders_and_files_are_copied_as_they_are(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub" / "empty").mkdir(parents=True)
    (tree / "sub" / "script").write_bytes(b"#!/bin/sh\n")
    (tree / "sub" / "script").chmod(0o750)
    (tree / "link").symlink_to("sub/script")
    (tree / "dangling").symlink_to("/no/such")
    (tree / "folder-link").symlink_to("sub")
    os.mkfifo(tree / "fifo", 0o600)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tree / "socket"))
    found = built(copies=[(tree, "/opt/it/"), (tree / "link", "bin/run")])
    assert found["opt/it/sub/script"] == Read(stat.S_IFREG | 0o750, b"#!/bin/sh\n", (0, 0))
    assert found["opt/it/sub/empty"].mode & stat.S_IFMT(0o777777) == stat.S_IFDIR
    for name, target in (("link", "sub/script"), ("dangling", "/no/such"), ("folder-link", "sub")):
        assert found[f"opt/it/{name}"] == Read(stat.S_IFLNK | 0o777, target.encode(), (0, 0))
    assert found["opt/it/fifo"].mode == stat.S_IFIFO | 0o600
    assert "opt/it/socket" not in found
    assert not any(name.startswith("opt/it/folder-link/") for name in found)
    assert found["bin/run"].content == b"#!/bin/sh\n"  # what was named, not a link to it


def test_a_folder_may_be_the_root_and_a_later_copy_wins(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    (tmp_path / "one" / "init").write_text("not this one")
    found = built(copies=[(tmp_path / "one", "/"), (tmp_path / "two", "")])
    assert found["file"].content == b"two"
    assert found["init"].content == Path(INIT).read_bytes()


def test_what_cant_be_copied_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no/such: No such file"):
        built(copies=[(tmp_path / "no/such", "/x")])


def test_modules_are_loaded_first_and_in_order(tmp_path: Path) -> None:
    folder = modules_folder(tmp_path, {"kernel/a-b.ko": module("c"), "kernel/c.ko": module()})
    found = built(modules=folder, module_names=["a-b"])
    plan = found["plan"].content.splitlines()
    assert plan[:3] == [b"module /modules/c.ko", b"module /modules/a_b.ko", b"arg sh"]
    assert found["modules/a_b.ko"].content == module("c")
    with pytest.raises(ConfigError, match="not where they are"):
        built(module_names=["a-b"])


def test_modules_are_there_for_the_kernel_to_ask_for(tmp_path: Path) -> None:
    modules = {
        "kernel/fs/ext.ko": module("journal", "cache", aliases=["fs-ext4", "ext3", "fs-ext3"]),
        "kernel/journal.ko": module("sum"),
        "kernel/cache.ko": module("sum", "libc"),
        "kernel/sum.ko": module(aliases=["crypto-sum"]),
    }
    folder = modules_folder(tmp_path, modules, builtin=["libc", "fat"])
    found = built(modules=folder, on_demand=["ext", "fat"])
    assert found["plan"].content.splitlines() == shell("true"), "none is loaded"
    place = f"lib/modules/{RELEASE}"
    for path, data in modules.items():
        assert found[f"{place}/{os.path.basename(path)}"].content == data
    assert sorted(found[f"{place}/modules.dep"].content.splitlines()) == [
        b"cache.ko: sum.ko",
        b"ext.ko: cache.ko journal.ko sum.ko",
        b"journal.ko: sum.ko",
        b"sum.ko: ",
    ]
    assert found[f"{place}/modules.alias"].content.splitlines() == [
        b"alias crypto-sum sum",
        *(b"alias fs-ext4 ext", b"alias ext3 ext", b"alias fs-ext3 ext"),
    ]
    assert found["etc/filesystems"].content == b"ext4\next3\n"
    assert found["sbin/modprobe"].content == b"/bin/busybox"
    assert set(built(modules=folder, on_demand=["fat"])) == set(built()), "it is built in"


@pytest.mark.needs_busybox
def test_busybox_leaves_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "ls").write_text("another")
    found = built(copies=[(tmp_path, "/bin")], busybox=find_busybox())
    assert found["bin/busybox"].mode == stat.S_IFREG | 0o755
    assert found["bin/sh"].content == b"busybox"
    assert found["bin/ls"].content == b"another"


def test_a_busybox_that_needs_libraries_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImageError, match="there is no busybox"):
        find_busybox()
    shutil.copy("/bin/ls", tmp_path / "busybox")
    with pytest.raises(ImageError, match="needs shared libraries"):
        find_busybox()


def test_the_init_needs_nothing_of_the_guests_files() -> None:
    headers = subprocess.run(["readelf", "-lW", INIT], capture_output=True, text=True, check=True)
    assert "INTERP" not in headers.stdout
