import os
import subprocess
import sys
from pathlib import Path

import pytest

from ringlet.host.named_file import read_named


def test_a_file_is_read_up_to_the_bound(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 1000)
    assert read_named(str(path), 1000) == b"x" * 1000
    with pytest.raises(OSError, match="more than 999 bytes"):
        read_named(str(path), 999)


def test_what_has_no_end_or_no_writer_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("fifo")
    for path in (tmp_path / "fifo", tmp_path / "link", Path("/dev/zero")):
        with pytest.raises(OSError, match="regular file"):
            read_named(str(path), 1000)
    with pytest.raises(IsADirectoryError, match="Is a directory"):
        read_named(str(tmp_path), 1000)


def test_a_name_with_a_zero_byte_is_an_os_error() -> None:
    with pytest.raises(OSError, match="zero byte"):
        read_named("a\0b", 10)


READ = (
    "import sys; from ringlet.host.named_file import read_named; print(read_named(sys.argv[1], 9))"
)


@pytest.mark.parametrize("path", ["/dev/stdin", "/proc/self/fd/0", "/dev/fd/0"])
def test_a_descriptor_that_was_given_may_be_a_pipe_or_a_socket_to_the_bound(path: str) -> None:
    words = [sys.executable, "-c", READ, path]
    done = subprocess.run(words, input=b"words", capture_output=True, check=True, timeout=60)
    assert done.stdout == b"b'words'\n"
    with open("/dev/zero") as zero:
        done = subprocess.run(words, stdin=zero, capture_output=True, check=False, timeout=60)
    assert b"more than 9 bytes" in done.stderr


@pytest.mark.parametrize(
    "path", ["/dev/fd/", "/dev/fd/99999999999", "/dev/fd/x", "/dev/fd/../zero"]
)
def test_what_only_looks_like_one_is_none(path: str) -> None:
    with pytest.raises(OSError, match=r"irectory|No such file|Not a directory"):
        read_named(path, 10)
