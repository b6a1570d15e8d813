"""What is kept of a decompressed kernel; and that a broken or hostile cache does no harm."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from struct import pack

import pytest

from ringlet.boot import bzimage, open_image, open_kernel
from ringlet.boot.payload_cache import open_vmlinux
from ringlet.errors import ImageError
from ringlet.host import decoders

from .bzimage_builder import CODE, END, LOAD_ADDRESS, VMLINUX, payload
from .bzimage_builder import bzimage as build
from .elf_builder import Part
from .elf_builder import build as build_elf
from .guest import guest_memory


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the files will lie."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/ringlet/kernels"


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    path = tmp_path / "vmlinuz"
    path.write_bytes(build(payload("xz")))
    return path


@pytest.fixture(autouse=True)
def _nothing_stays_open(no_leak: None) -> None: ...


def vmlinux(source: Path | bytes) -> bytes:
    with open_image(source) as image, open_vmlinux(image, bzimage.parse(image)) as opened:
        return opened.read(0, opened.size)


def without_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on only the cache has it."""
    monkeypatch.setattr(decoders, "_FORMATS", ())


def test_a_kernel_is_decompressed_once(
    cache: Path, kernel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert vmlinux(kernel) == VMLINUX
    (file,) = cache.iterdir()
    assert file.read_bytes() == VMLINUX
    assert (cache.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)
    without_decoder(monkeypatch)
    assert vmlinux(kernel) == VMLINUX


def test_the_same_file_is_known_by_another_name(
    cache: Path, kernel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vmlinux(kernel)
    (tmp_path / "other").symlink_to(kernel)
    without_decoder(monkeypatch)
    assert vmlinux(tmp_path / "other") == VMLINUX


def test_a_forgery_of_the_same_size_time_and_ends_is_another(
    cache: Path, kernel: Path, tmp_path: Path
) -> None:
    vmlinux(kernel)
    forged = Path(shutil.copy2(kernel, tmp_path / "forged"))
    assert forged.stat().st_mtime_ns == kernel.stat().st_mtime_ns
    vmlinux(forged)
    assert len(list(cache.iterdir())) == 2


def test_a_file_that_was_written_again_is_another(
    cache: Path, kernel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vmlinux(kernel)
    os.utime(kernel, ns=(0, kernel.stat().st_mtime_ns + 1))
    without_decoder(monkeypatch)
    with pytest.raises(ImageError):
        vmlinux(kernel)


@pytest.mark.parametrize("damage", [b"", VMLINUX[:-1], VMLINUX + b"x", bytes(len(VMLINUX))])
def test_a_damaged_file_is_replaced(cache: Path, kernel: Path, damage: bytes) -> None:
    vmlinux(kernel)
    (file,) = cache.iterdir()
    file.write_bytes(damage)
    assert vmlinux(kernel) == VMLINUX
    assert [path.read_bytes() for path in cache.iterdir()] == [VMLINUX]


def planted(cache: Path, kernel: Path) -> tuple[Path, bytes]:
    """The file of the cache, with another kernel in it that looks as sound."""
    vmlinux(kernel)
    (file,) = cache.iterdir()
    evil = VMLINUX.replace(b"\xf4" * 64, b"\xcc" * 64)
    file.write_bytes(evil)
    assert vmlinux(kernel) == evil
    return file, evil


@pytest.mark.needs_root
def test_a_file_of_another_user_is_not_trusted(cache: Path, kernel: Path) -> None:
    file, _ = planted(cache, kernel)
    os.chown(file, 65534, 65534)
    assert vmlinux(kernel) == VMLINUX


def test_a_file_that_others_may_write_is_not_trusted(cache: Path, kernel: Path) -> None:
    file, _ = planted(cache, kernel)
    file.chmod(0o666)
    assert vmlinux(kernel) == VMLINUX


def test_a_link_is_not_followed(cache: Path, kernel: Path, tmp_path: Path) -> None:
    file, _ = planted(cache, kernel)
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert vmlinux(kernel) == VMLINUX


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_is_not_trusted(
    cache: Path, kernel: Path, make: Callable[[Path], None]
) -> None:
    file, _ = planted(cache, kernel)
    file.unlink()
    make(file)
    assert vmlinux(kernel) == VMLINUX


def test_a_folder_that_others_may_write_is_left_alone(cache: Path, kernel: Path) -> None:
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    assert vmlinux(kernel) == VMLINUX
    assert not list(cache.iterdir())


@pytest.mark.parametrize("place", ["file", "/proc/nowhere", "/dev/full"])
def test_a_folder_that_can_not_be_had_is_no_error(
    kernel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / place))
    assert vmlinux(kernel) == VMLINUX
    assert vmlinux(kernel) == VMLINUX


def test_a_relative_cache_home_is_ignored(
    kernel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    vmlinux(kernel)
    assert not (tmp_path / "here").exists()
    assert len(list((tmp_path / "home/.cache/ringlet/kernels").iterdir())) == 1


def test_the_eight_used_last_are_kept(cache: Path, tmp_path: Path) -> None:
    kernels = []
    for number in range(9):
        kernels.append(tmp_path / f"vmlinuz-{number}")
        kernels[-1].write_bytes(build(payload("gzip")))
        os.utime(kernels[-1], ns=(0, number))
        vmlinux(kernels[-1])
        for age, path in enumerate(sorted(cache.iterdir(), key=lambda path: path.stat().st_mtime)):
            os.utime(path, (age, age))  # the clock of files may be coarse
        if number == 7:
            first = min(cache.iterdir(), key=lambda path: path.stat().st_mtime)
            assert vmlinux(kernels[0]) == VMLINUX  # used again
    assert len(list(cache.iterdir())) == 8
    assert first.exists()


def test_bytes_in_memory_are_not_kept(cache: Path) -> None:
    assert vmlinux(bytes(build())) == VMLINUX
    assert not cache.exists()


@pytest.mark.parametrize("part", [Part(0xF000, b"\xf4"), Part(END, b"\xf4")], ids=["low", "high"])
def test_a_vmlinux_that_can_not_be_booted_is_not_kept(
    cache: Path, kernel: Path, part: Part
) -> None:
    unsound = bytes(build_elf(64, [CODE, part], entry=LOAD_ADDRESS))
    kernel.write_bytes(build(payload("gzip", unsound)))
    with guest_memory(8 << 20) as memory, open_kernel(kernel) as opened:
        with pytest.raises(ImageError, match="a segment of it lies at"):
            opened.load(memory, decompress=True)
        opened.load(memory)  # the guest decompresses
    assert not cache.exists()


def test_a_vmlinux_of_the_cache_that_can_not_be_booted_is_replaced(
    cache: Path, kernel: Path
) -> None:
    vmlinux(kernel)
    (file,) = cache.iterdir()
    moved = VMLINUX.replace(pack("<Q", LOAD_ADDRESS), pack("<Q", 0xF000))
    assert moved != VMLINUX
    file.write_bytes(moved)
    with guest_memory(8 << 20) as memory, open_kernel(kernel) as opened:
        assert opened.load(memory, decompress=True).registers.rip > LOAD_ADDRESS
    assert [path.read_bytes() for path in cache.iterdir()] == [VMLINUX]


def test_a_payload_that_is_no_elf_is_refused_and_not_kept(cache: Path, kernel: Path) -> None:
    kernel.write_bytes(build(payload("gzip", b"no ELF" * 10)))
    with pytest.raises(ImageError, match="payload is not an ELF"):
        vmlinux(kernel)
    assert not cache.exists()
