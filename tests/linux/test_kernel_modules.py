"""A kernel's modules."""

import gzip
import lzma
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ringlet.errors import ImageError
from ringlet.linux import kernel_modules as tested
from ringlet.linux.kernel_modules import listed, module_files

from .module_builder import RELEASE, module, modules_folder


def names(folder: Path, *wanted: str) -> list[str]:
    return [found.name for found in module_files(folder, wanted)]


def test_dependencies_come_first_and_once(tmp_path: Path) -> None:
    folder = modules_folder(
        tmp_path,
        {
            "kernel/a.ko": module("b", "c"),
            "kernel/x/b.ko": module("d"),
            "kernel/c.ko": module("d"),
            "updates/d.ko": module(),
        },
    )
    assert names(folder, "a", "d") == ["d", "b", "c", "a"]
    assert names(folder, "d", "c") == ["d", "c"]


def test_a_module_tells_of_itself(tmp_path: Path) -> None:
    data = module("b-c", aliases=["fs-a", "a*"])
    folder = modules_folder(tmp_path, {"kernel/a.ko": data, "kernel/b-c.ko": module()})
    needed, found = module_files(folder, ["a"])
    assert found == ("a", data, ("b_c",), ("fs-a", "a*"), RELEASE)
    assert needed == ("b_c", module(), (), (), RELEASE)


def test_what_is_listed_is_there(tmp_path: Path) -> None:
    folder = modules_folder(tmp_path, {"kernel/a-b.ko": module()}, builtin=["c"])
    assert listed(folder, ["c", "a_b", "d", "a-b"]) == ["a_b", "a-b"]
    with pytest.raises(ImageError, match="isn't a kernel's modules"):
        listed(tmp_path / "none", ["a"])


def test_hyphen_and_underscore_are_the_same(tmp_path: Path) -> None:
    folder = modules_folder(
        tmp_path, {"kernel/kvm-amd.ko": module("a_b"), "kernel/a-b.ko": module()}
    )
    assert names(folder, "kvm_amd") == names(folder, "kvm-amd") == ["a_b", "kvm_amd"]


def test_what_is_built_in_needs_no_file(tmp_path: Path) -> None:
    folder = modules_folder(tmp_path, {"kernel/a.ko": module("virtio")}, builtin=["virtio"])
    assert names(folder, "a", "virtio") == ["a"]


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}
DATA = module("b") + random.Random(1).randbytes(100_000)


@pytest.mark.parametrize("suffix", COMPRESS)
def test_compressed_modules_are_decompressed(tmp_path: Path, suffix: str) -> None:
    folder = modules_folder(tmp_path, {f"kernel/a.ko{suffix}": COMPRESS[suffix](DATA)}, ["b"])
    (found,) = module_files(folder, ["a"])
    assert found.data == DATA


@pytest.mark.parametrize("suffix", COMPRESS)
def test_a_module_without_end_is_refused(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tested, "_SIZE_MAX", 150_000)
    data = COMPRESS[suffix](DATA + bytes(100_000))
    folder = modules_folder(tmp_path, {f"kernel/a.ko{suffix}": data})
    with pytest.raises(ImageError, match="more than 150000 bytes"):
        module_files(folder, ["a"])


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
def test_a_module_that_is_cut_short_is_an_error(tmp_path: Path, suffix: str) -> None:
    data = COMPRESS[suffix](DATA)[:50_000]
    folder = modules_folder(tmp_path, {f"kernel/a.ko{suffix}": data})
    with pytest.raises(ImageError, match="cut short"):
        module_files(folder, ["a"])


@pytest.mark.parametrize("suffix", ["", ".xz", ".gz", ".zst"])
def test_a_damaged_module_is_an_error(tmp_path: Path, suffix: str) -> None:
    folder = modules_folder(tmp_path, {f"kernel/a.ko{suffix}": b"damaged" * 100})
    with pytest.raises(ImageError):
        module_files(folder, ["a"])


def test_what_isnt_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"isn't a kernel's modules: modules\.builtin"):
        module_files(tmp_path, ["a"])
    folder = modules_folder(tmp_path, {"kernel/a.ko": module("gone")})
    with pytest.raises(ImageError, match="has no module gone"):
        module_files(folder, ["a"])
    (folder / "kernel/a.ko").unlink()
    with pytest.raises(ImageError, match="there is no"):
        module_files(folder, ["a"])


def test_a_circle_of_dependencies_is_an_error(tmp_path: Path) -> None:
    folder = modules_folder(tmp_path, {"a.ko": module("b"), "b.ko": module("a")})
    with pytest.raises(ImageError, match="module a depends on itself"):
        module_files(folder, ["a"])


def test_a_chain_of_dependencies_has_an_end(tmp_path: Path) -> None:
    chain = {f"m{n}.ko": module(f"m{n + 1}") for n in range(2000)}
    folder = modules_folder(tmp_path, chain)
    with pytest.raises(ImageError, match="too deep down"):
        module_files(folder, ["m0"])


def test_a_path_out_of_the_folder_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "secret.ko").write_bytes(module())
    folder = modules_folder(tmp_path / "modules", {"../secret.ko": module()})
    with pytest.raises(ImageError, match="has no module secret"):
        module_files(folder, ["secret"])


SOUND = module("a", "b")


@given(st.data())
def test_a_mutated_module_is_read_or_refused(data: st.DataObject) -> None:
    mutated = bytearray(SOUND[: data.draw(st.integers(0, len(SOUND)))])
    for _ in range(data.draw(st.integers(0, 8)) if mutated else 0):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = tested._parse("it", bytes(mutated))
    except ImageError:
        return
    assert (found.name, found.data) == ("it", bytes(mutated))
