import gzip
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringlet.boot import open_kernel
from ringlet.observe.inspection import kernel_config
from ringlet.observe.inspection.kernel_config import ConfigFacts, configuration, find

from ...boot.bzimage_builder import LINUX_NOTE, LOAD_ADDRESS
from ...boot.elf_builder import Part, build
from ...examples import examples

TEXT = b"""#
# Linux/x86 6.1.0 Kernel Configuration
#
CONFIG_ACPI=y
CONFIG_VIRTIO_MMIO=m
CONFIG_PVPANIC=y
# CONFIG_PVPANIC_MMIO is not set
CONFIG_LOCALVERSION="-test"
CONFIG_NR_CPUS=64
"""
INSIDE = b"IKCFG_ST" + gzip.compress(TEXT) + b"IKCFG_ED"


def vmlinux(*data: bytes) -> bytes:
    """A vmlinux with a segment for each piece of data."""
    parts = [Part(LOAD_ADDRESS + (number << 24), piece) for number, piece in enumerate(data)]
    return bytes(build(64, [*parts, LINUX_NOTE], entry=LOAD_ADDRESS))


def look(image: bytes, path: str = "", release: str = "") -> tuple[ConfigFacts, bytes]:
    with open_kernel(image) as kernel:
        return configuration(kernel, path, release)


def values(facts: ConfigFacts) -> dict[str, tuple[str, str]]:
    return {option.what: (option.name, option.value) for option in facts.matters}


def test_a_configuration_inside_the_kernel_is_read() -> None:
    facts, text = look(vmlinux(b"\xf4" * 64, b"data" + INSIDE + b"data"))
    assert text == TEXT
    assert (facts.source, facts.built_in, facts.modules, facts.values) == ("image", 2, 1, 2)


def test_what_matters_is_built_in_or_a_module_or_missing() -> None:
    found = values(look(vmlinux(INSIDE))[0])
    assert found["ACPI"] == ("CONFIG_ACPI", "y")
    assert found["virtio-mmio"] == ("CONFIG_VIRTIO_MMIO", "m")
    assert found["virtio-blk"] == ("CONFIG_VIRTIO_BLK", "n")
    assert found["pvpanic"] == ("CONFIG_PVPANIC", "y")  # its name before Linux 5.13
    assert found.keys() == kernel_config.MATTERS.keys()


@pytest.mark.parametrize("at", [0, 4089, 4092, 4096, 4100, 8191])
def test_a_sign_is_found_also_across_two_chunks(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_config, "_CHUNK", 4096)
    with open_kernel(vmlinux(bytes(at) + b"IKCFG_ST" + bytes(1000))) as kernel:
        segment = kernel.executable.segments[0]
        assert find(kernel, b"IKCFG_ST") == segment.offset + at
        assert find(kernel, b"IKCFG_SS") is None


def test_no_more_is_searched_than_a_kernel_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_config, "_CHUNK", 4096)
    monkeypatch.setattr(kernel_config, "_SEARCHED", 8192)
    with open_kernel(vmlinux(bytes(8000), bytes(8192) + INSIDE)) as kernel:
        assert find(kernel, b"IKCFG_ST") is None


@pytest.mark.parametrize("data", [b"IKCFG_ST", b"IKCFG_STno gzip at all", INSIDE[:12]])
def test_a_broken_configuration_is_none(data: bytes) -> None:
    facts, text = look(vmlinux(data))
    assert (facts.source, text) == (None, b"")


def test_a_configuration_that_grows_without_end_is_cut() -> None:
    bomb = gzip.compress(b"CONFIG_A=y\n" * (1 << 20))
    facts, text = look(vmlinux(b"IKCFG_ST" + bomb))
    assert len(text) == 4 << 20
    assert facts.built_in == 1


def test_a_file_beside_the_kernel_is_found_by_the_name_or_by_the_release(tmp_path: Path) -> None:
    beside = tmp_path / "config-6.1.0-test"
    beside.write_bytes(TEXT)
    for path, release in (("vmlinuz-6.1.0-test", ""), ("vmlinuz", "6.1.0-test")):
        facts, text = look(vmlinux(b"\xf4"), str(tmp_path / path), release)
        assert (facts.source, text) == (str(beside), TEXT)


def test_a_kernel_inside_which_nothing_can_be_seen_has_only_files_beside(tmp_path: Path) -> None:
    (tmp_path / "config-1").write_bytes(TEXT)
    assert configuration(None, str(tmp_path / "vmlinuz-1"), "")[1] == TEXT


def test_without_one_it_is_said_where_it_may_be(tmp_path: Path) -> None:
    facts, text = look(vmlinux(b"\xf4"), str(tmp_path / "vmlinuz"), "0.0-absent")
    assert (facts.source, text) == (None, b"")
    assert facts.places == [
        str(tmp_path / "config-0.0-absent"),
        "/boot/config-0.0-absent",
        "/lib/modules/0.0-absent/config",
    ]


@pytest.mark.parametrize("release", ["../secret", "/etc/passwd", "", "a\nb", ".", "..", "x" * 65])
def test_a_release_that_is_no_release_names_no_file(tmp_path: Path, release: str) -> None:
    facts, _ = look(vmlinux(b"\xf4"), str(tmp_path / "vmlinuz"), release)
    assert facts.places == []


def test_places_in_a_folder_of_any_name_are_printable(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"\xff\n")
    folder.mkdir()
    path = str(folder / "vmlinuz-1")
    assert look(vmlinux(b"\xf4"), path)[0].places[0] == f"{tmp_path}/\ufffd\ufffd/config-1"
    (folder / "config-1").write_bytes(TEXT)
    facts, text = look(vmlinux(b"\xf4"), path)
    assert (facts.source, text) == (facts.places[0], TEXT)


def test_a_file_beside_that_is_no_configuration_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "config-1").write_bytes(b"nothing of the kind")
    (tmp_path / "config-2").mkdir()
    for release in ("1", "2"):
        assert look(vmlinux(b"\xf4"), str(tmp_path / "vmlinuz"), release)[0].source is None


@settings(max_examples=examples(300), deadline=None)
@given(st.binary(max_size=2000), st.booleans())
def test_any_bytes_between_the_signs_are_read_or_passed_over(data: bytes, packed: bool) -> None:
    inside = b"IKCFG_ST" + (gzip.compress(data) if packed else data) + b"IKCFG_ED"
    _, text = look(vmlinux(inside))
    assert text == (data if packed else text)
