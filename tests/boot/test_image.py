import os
import re
import socket
from pathlib import Path

import pytest

from ringlet.boot.image import open_image, require_memory
from ringlet.errors import ConfigError, ImageError, RingletError

from .guest import guest_memory


def refused(source: str | bytes | Path, message: str) -> RingletError:
    with pytest.raises(ImageError, match=re.escape(message)) as caught:
        open_image(source)
    assert "\n" not in caught.value.message + caught.value.hint
    assert caught.value.hint
    return caught.value


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "kernel.elf"
    path.write_bytes(bytes(range(256)))
    return path


def test_a_file_is_read_by_its_descriptor_after_its_path_is_gone(file: Path) -> None:
    with open_image(file) as image:
        file.unlink()
        assert (image.name, image.size) == (str(file), 256)
        assert image.read(16, 4) == bytes([16, 17, 18, 19])


def test_bytes_are_an_image_too() -> None:
    with open_image(b"kernel") as image, guest_memory(0x1000) as memory:
        image.load(memory, 1, 0x100, 5)
        assert memory.read(0xFF, 7) == b"\0ernel\0"


def test_a_closed_image_leaves_no_descriptor(file: Path) -> None:
    before = os.listdir("/proc/self/fd")
    for source in (file, b"bytes"):
        image = open_image(source)
        image.close()
        image.close()
    assert os.listdir("/proc/self/fd") == before


def test_a_refused_file_leaves_no_descriptor(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    refused(tmp_path, "is a directory")
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize(("offset", "size"), [(0, 257), (256, 1), (1 << 70, 1), (-1, 1), (9, -1)])
def test_a_read_beyond_the_end_is_an_image_cut_short(file: Path, offset: int, size: int) -> None:
    with open_image(file) as image, guest_memory(0x1000) as memory:
        with pytest.raises(ImageError, match="cut short"):
            image.read(offset, size)
        with pytest.raises(ImageError, match="cut short"):
            image.load(memory, offset, 0, size)


def test_a_file_cut_short_after_it_was_opened_is_an_error(file: Path) -> None:
    with open_image(file) as image, guest_memory(0x1000) as memory:
        os.truncate(file, 10)
        with pytest.raises(ImageError, match="cut short while it was read"):
            image.read(0, 256)
        with pytest.raises(ImageError, match="cut short while it was read"):
            image.load(memory, 0, 0, 256)


def test_a_file_that_the_host_cannot_read_is_an_error(file: Path) -> None:
    with open_image(file) as image, guest_memory(0x1000) as memory:
        writer = os.open(file, os.O_WRONLY)
        os.dup2(writer, image._fd)  # reading it fails from here on
        os.close(writer)
        with pytest.raises(ImageError, match="can't be read: Bad file descriptor"):
            image.read(0, 1)
        with pytest.raises(ImageError, match="can't be read: Bad file descriptor"):
            image.load(memory, 0, 0, 1)


def test_a_missing_file_is_refused(tmp_path: Path, file: Path) -> None:
    refused(tmp_path / "nothing", f"there is no image {tmp_path}/nothing")
    refused(file / "below", "there is no image")
    refused("", "there is no image")


def test_a_directory_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, "is a directory")


def test_an_empty_file_and_empty_bytes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    refused(tmp_path / "empty", "is empty")
    refused(b"", "are empty")


def test_a_fifo_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    refused(tmp_path / "fifo", "is not a regular file")


def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        refused("socket", "is not a regular file")


def test_a_device_is_refused() -> None:
    refused("/dev/zero", "is not a regular file")


def test_a_file_without_the_right_to_read_it_is_refused(file: Path) -> None:
    file.chmod(0)
    if os.geteuid():
        refused(file, "may not be read")
        return
    child = os.fork()
    if child == 0:  # root reads everything: look as nobody
        status = 1
        try:
            os.chmod(file.parent, 0o711)
            os.chdir(file.parent)
            os.setuid(65534)
            refused(file.name, "may not be read")
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def test_a_path_that_cannot_be_is_refused(tmp_path: Path) -> None:
    refused("nul\0byte", r"nul\x00byte can't be opened")
    refused("x" * 5000, "can't be opened: File name too long")
    (tmp_path / "loop").symlink_to("loop")
    refused(tmp_path / "loop", "can't be opened: Too many levels of symbolic links")


def test_a_name_cannot_break_the_line_or_reach_the_terminal() -> None:
    refused("a\nb\x1b[2J\udcff", r"there is no image a\nb\x1b[2J\udcff")


def test_too_little_memory_says_how_much_is_needed() -> None:
    with open_image(b"kernel") as image, guest_memory(0x100000) as memory:
        require_memory(image, memory, 0x100000)
        with pytest.raises(
            ConfigError, match="needs 2 MiB of memory, the guest has 1024"
        ) as caught:
            require_memory(image, memory, 0x100001)
        assert "--memory 2M" in caught.value.hint
