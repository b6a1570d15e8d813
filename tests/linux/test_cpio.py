"""Archives in the format "newc"."""

import io
import os
import stat
import subprocess
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.errors import ConfigError
from ringlet.linux.cpio import FOLDER, Entry, link, write

from .cpio_reader import Read, read

REGULAR = stat.S_IFREG | 0o644


def archive(entries: dict[str, Entry]) -> bytes:
    out = io.BytesIO()
    write(out, entries)
    return out.getvalue()


parts = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1)
names = parts.filter(lambda part: part not in (".", "..", "TRAILER!!!"))
contents = st.binary(max_size=40)
entries = st.one_of(
    contents.map(lambda content: Entry(REGULAR, content)),
    st.just(FOLDER),
    parts.map(link),
    st.tuples(st.integers(0, 4095), st.integers(0, 1 << 20)).map(
        lambda device: Entry(stat.S_IFCHR | 0o600, device=device)
    ),
)


@given(st.dictionaries(names, entries), names)
def test_what_is_written_is_read_again(found: dict[str, Entry], folder: str) -> None:
    inside = {f"{folder}/{name}": entry for name, entry in found.items()}
    written = read(archive(inside))
    assert written.pop(folder, Read(*FOLDER)) == Read(*FOLDER)
    assert written == {name: Read(*entry) for name, entry in inside.items()}


@given(st.dictionaries(names, entries))
def test_the_order_of_entries_doesnt_matter(found: dict[str, Entry]) -> None:
    assert archive(found) == archive(dict(reversed(found.items())))


def test_folders_come_before_what_is_in_them() -> None:
    file = Entry(REGULAR)
    listed = list(read(archive({"b/c/d": file, "b-": file, "b.d/x": file, "a": file})))
    assert listed == ["a", "b", "b/c", "b/c/d", "b-", "b.d", "b.d/x"]


@pytest.mark.parametrize(
    "name", ["", "/a", "a/", "a//b", ".", "a/../b", "./a", "TRAILER!!!", "a\0b", "x" * 4096]
)
def test_a_name_that_the_kernel_would_take_wrongly_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="an archive can't hold"):
        archive({name: Entry(REGULAR)})


def test_the_longest_path_fits() -> None:
    name = "/".join(["x" * 99] * 40) + "/" + "y" * 95
    assert len(name) == 4095
    assert list(read(archive({name: link("z" * 4095)})))[-1] == name
    with pytest.raises(ConfigError, match="path of 4096 bytes"):
        archive({"a": link("z" * 4096)})


def test_nothing_can_be_in_what_is_no_folder() -> None:
    with pytest.raises(ConfigError, match="bin/sh can't be put into bin"):
        archive({"bin": link("usr/bin"), "bin/sh": Entry(REGULAR)})


def test_a_file_is_read_when_it_is_written(tmp_path: Path) -> None:
    data = os.urandom((3 << 20) + 1)
    (tmp_path / "file").write_bytes(data)
    entry = Entry(REGULAR, partial(open, tmp_path / "file", "rb"))
    assert read(archive({"file": entry}))["file"].content == data


def test_a_file_that_shrinks_meanwhile_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(8 << 20))

    class Shrinking(io.BytesIO):
        def write(self, data: object) -> int:
            os.truncate(path, 1 << 20)
            return 0

    with pytest.raises(ConfigError, match="file became shorter"):
        write(Shrinking(), {"file": Entry(REGULAR, partial(open, path, "rb"))})


@pytest.mark.parametrize(
    "unpack",
    [
        pytest.param(["cpio", "-i", "--quiet"], marks=pytest.mark.needs_cpio),
        pytest.param(["busybox", "cpio", "-i"], marks=pytest.mark.needs_busybox),
    ],
    ids=["cpio", "busybox"],
)
def test_other_programs_read_it(tmp_path: Path, unpack: list[str]) -> None:
    image = archive(
        {
            "etc/motd": Entry(stat.S_IFREG | 0o640, b"hello\n"),
            "bin/tool": Entry(stat.S_IFREG | 0o755, b"x" * 4097),
            "bin/link": link("tool"),
            "empty": Entry(stat.S_IFDIR | 0o700),
        }
    )
    subprocess.run(unpack, input=image, cwd=tmp_path, check=True, timeout=60)
    assert (tmp_path / "etc/motd").read_bytes() == b"hello\n"
    assert stat.S_IMODE((tmp_path / "etc/motd").stat().st_mode) == 0o640
    assert (tmp_path / "bin/link").read_bytes() == b"x" * 4097
    assert os.readlink(tmp_path / "bin/link") == "tool"
    assert stat.S_IMODE((tmp_path / "empty").stat().st_mode) == 0o700
