"""`ringlet inspect IMAGE`: what an image is, and nothing runs."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import ringlet
from ringlet.machine.guests import packaged
from ringlet.observe.inspection.image_facts import ImageFacts, examine
from ringlet.observe.inspection.kernel_config import ConfigFacts, Option
from ringlet.observe.inspection.linux_image import Header, Payload

from ..boot.bzimage_builder import LINUX_NOTE, LOAD_ADDRESS, bzimage, payload
from ..boot.elf_builder import Part, build, note, notes
from ..observe.inspection.test_kernel_config import INSIDE, TEXT
from .command import ENVIRONMENT, NO_KVM, refused, run, with_mount, without_reader

CODE = Part(LOAD_ADDRESS, b"\xf4" * 64 + INSIDE)
VMLINUX = bytes(build(64, [CODE, LINUX_NOTE], entry=LOAD_ADDRESS))


def linux(folder: Path, image: bytes | bytearray) -> Path:
    path = folder / "vmlinuz-0.0-test"
    path.write_bytes(image)
    return path


def test_a_guest_is_told_by_its_name() -> None:
    result = run("inspect", "hello")
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0].endswith(f"hello.elf, {os.path.getsize(packaged('hello')):,} bytes")
    assert lines[2] == "Protocol    pvh: it has the note XEN_ELFNOTE_PHYS32_ENTRY"
    rows = [line.split() for line in lines]
    assert ["0x100100", "fc", "cld"] in rows
    assert ["Xen", "XEN_ELFNOTE_PHYS32_ENTRY", "0x100100"] in rows
    assert rows[-1][0] == "Memory"
    assert all(len(line) <= 80 for line in lines[1:])


def test_json_has_all_facts() -> None:
    report = json.loads(run("inspect", "hello", "--json").stdout)
    assert msgspec.convert(report, ImageFacts) == examine(packaged("hello"))[0]


@pytest.mark.needs_kvm
@pytest.mark.parametrize("name", ["hello", "hello16", "halt"])
def test_a_guest_boots_in_the_least_memory_and_in_no_less(name: str) -> None:
    least = json.loads(run("inspect", name, "--json").stdout)["memory"]["least"]
    usual, fewest = run("boot", name), run("boot", name, "--memory", f"{least >> 10}K")
    assert (fewest.returncode, fewest.stdout) == (usual.returncode, usual.stdout)
    refused(run("boot", name, "--memory", f"{(least >> 10) - 4}K"))


def test_a_protocol_that_the_image_does_not_follow_is_refused_with_what_is_known() -> None:
    result = run("inspect", "hello", "--protocol", "multiboot")
    assert result.returncode == 125
    assert result.stdout.splitlines()[2] == "Protocol    none"
    what, hint = result.stderr.splitlines()
    assert "has no Multiboot header in its first 8192 bytes" in what
    assert hint.startswith("   hint: ")


def test_a_file_that_is_no_kernel_is_told_with_the_status_of_boot(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("some text")
    result = run("inspect", path)
    assert result.returncode == 125
    assert "9 bytes" in result.stdout
    assert "the magic HdrS at byte 0x202" in result.stdout
    assert "it looks like text" in result.stderr
    result = run("inspect", path, "--json")
    assert result.returncode == 125
    assert json.loads(result.stdout)["error"] in result.stderr


def test_what_can_not_be_opened_is_refused(tmp_path: Path) -> None:
    absent = os.fspath(tmp_path / "absent")
    assert "there is no image" in refused(run("inspect", absent))
    result = run("inspect", absent, "--json")
    assert result.returncode == 125
    assert json.loads(result.stdout).keys() == {"name", "error", "hint"}
    result = run("inspect", "helo")
    assert "did you mean `hello`?" in result.stderr


@pytest.mark.parametrize("image", [VMLINUX, bzimage(payload("gzip", VMLINUX))])
def test_the_whole_configuration_of_a_kernel_is_written(tmp_path: Path, image: bytes) -> None:
    result = run("inspect", linux(tmp_path, image), "--kernel-config")
    assert (result.returncode, result.stdout, result.stderr) == (0, TEXT.decode(), "")


def test_a_configuration_beside_the_kernel_is_shown_with_its_path(tmp_path: Path) -> None:
    beside = tmp_path / "config-0.0-test"
    beside.write_bytes(TEXT + b"CONFIG_BAD=\x1b[2J\n")
    kernel = linux(tmp_path, bzimage())
    shown = run("inspect", kernel, "--kernel-config").stdout
    assert shown == TEXT.decode() + "CONFIG_BAD=\ufffd[2J\n"
    report = json.loads(run("inspect", kernel, "--json").stdout)
    assert report["linux"]["config"]["source"] == str(beside)


def test_without_a_configuration_it_is_said_where_it_may_be(tmp_path: Path) -> None:
    kernel = linux(tmp_path, bzimage())
    result = run("inspect", kernel, "--kernel-config")
    assert "has no configuration inside" in refused(result)
    assert "/boot/config-0.0-test" in result.stderr
    assert "not in the image" in run("inspect", kernel).stdout
    result = run("inspect", linux(tmp_path, bzimage(b"odd")), "--kernel-config")
    assert "can't be decompressed" in refused(result)
    assert "is no Linux kernel" in refused(run("inspect", "hello", "--kernel-config"))
    assert "not JSON" in refused(run("inspect", kernel, "--kernel-config", "--json"))


def test_a_hostile_name_does_not_reach_the_terminal(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"\x1b[31mred\n\xff")
    folder.mkdir()
    (folder / "text").write_bytes(b"some text")
    (folder / "config-0.0-test").write_bytes(TEXT)
    for path in (folder / "text", linux(folder, bzimage())):
        for option in ((), ("--json",), ("--kernel-config",)):
            result = run("inspect", path, *option)
            assert result.returncode in (0, 125)
            assert "\x1b" not in result.stdout + result.stderr
            assert "Traceback" not in result.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_letters_that_the_terminal_lacks_are_escaped(tmp_path: Path, encoding: str) -> None:
    parts = [CODE, notes(note("\u20ac".encode(), kind=6)), LINUX_NOTE]
    image = linux(tmp_path, build(64, parts, entry=LOAD_ADDRESS))
    result = run("inspect", image, env=ENVIRONMENT | {"PYTHONIOENCODING": encoding})
    assert result.stderr == ""
    assert "\\u20ac" in result.stdout


@pytest.mark.needs_mount_namespace
def test_it_needs_no_kvm() -> None:
    result = run("inspect", "hello", before=with_mount(NO_KVM))
    assert result.returncode == 0


@pytest.mark.parametrize("option", [(), ("--json",)])
def test_a_reader_that_has_gone_is_told_by_the_status(option: tuple[str, ...]) -> None:
    assert without_reader("inspect", "hello", *option) == (141, b"")


def test_the_help_has_examples_and_names_the_devices() -> None:
    shown = run("inspect", "--help").stdout
    assert "ringlet inspect hello" in shown
    assert "ringlet boot IMAGE --show" in shown
    assert "ringlet inspect" in run("boot", "--help").stdout


def test_the_page_names_each_fact() -> None:
    page = Path(ringlet.__file__).parents[2] / "docs/inspect.md"
    text = page.read_text()
    for name in names_of(examine(packaged("hello"))[0], Header, Payload, ConfigFacts, Option):
        assert re.search(rf"`(linux\.|linux\.header\.)?{name}`", text), name


def names_of(*structs: Any) -> Iterator[str]:
    """The names of all fields, also of the structures in their lists."""
    for struct in structs:
        for name in struct.__struct_fields__:
            yield name
            if not isinstance(struct, type):
                value = getattr(struct, name)
                first = value[0] if isinstance(value, list) and value else value
                if isinstance(first, msgspec.Struct):
                    yield from names_of(first)
