"""`ringlet boot` with what it can't use: two lines, no traceback, status 125."""

import os
import tempfile
from pathlib import Path

import pytest

from ringlet import Machine, MachineConfig
from ringlet.machine.guests import find_image

from ..boot.elf_builder import Part, build, header_fields
from .command import ENVIRONMENT, NO_KVM, NOT_KVM, refused, run, run_as_nobody, with_mount

pytestmark = pytest.mark.needs_kvm

MIB = 1 << 20
CODE = Part(MIB, b"\xf4")
HUGE = "9" * 5000  # more digits than int() takes


def elf(*parts: Part, **options: int) -> bytes:
    return bytes(build(64, parts or [CODE], **options))


IMAGES = {
    "empty": b"",
    "text": b"#!/bin/sh\necho hello\n",
    "zeros": bytes(4096),
    "gzip": b"\x1f\x8b\x08" + bytes(100),
    "magic alone": b"\x7fELF",
    "cut in the header": elf()[:40],
    "cut in the table": elf()[:100],
    "cut in a segment": elf(Part(MIB, b"\xf4" * 100))[:-1],
    "64-bit Arm": elf(machine=183),
    "an object file": elf(kind=1),
    "position-independent": elf(kind=3),
    "a core dump": elf(kind=4),
    "no segment": elf(Part(MIB, b"", 0)),
    "outside memory": elf(Part(1 << 30, b"\xf4"), entry=1 << 30),
    "in the hole": elf(Part(0xE000_0000, b"\xf4"), entry=0xE000_0000),
    "wrapping around": elf(Part(2**64 - 1, b"\xf4", 2), entry=2**64 - 1),
    "memory that wraps around": elf(Part(MIB, b"\xf4", 2**64 - 1)),
    "overlapping": elf(CODE, Part(MIB - 1, b"\xf4\xf4")),
    "entry in no segment": elf(entry=2 * MIB),
}


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_that_is_no_kernel_or_not_sound(name: str, tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(IMAGES[name])
    assert "image" in refused(run("boot", "image", cwd=tmp_path))


def test_a_guest_of_ours_cut_short(tmp_path: Path) -> None:
    whole = Path(find_image("hello")).read_bytes()
    (tmp_path / "image").write_bytes(whole[:256])
    assert "cut short" in refused(run("boot", tmp_path / "image"))


def test_an_unsound_field_of_a_header(tmp_path: Path) -> None:
    image = bytearray(elf())
    header_fields(64)["e_phnum"].put(image, 0xFFFF)
    (tmp_path / "image").write_bytes(image)
    assert "program headers" in refused(run("boot", tmp_path / "image"))


def test_an_image_that_is_missing() -> None:
    assert "no image nosuch" in refused(run("boot", "nosuch"))


def test_an_image_that_is_a_directory(tmp_path: Path) -> None:
    assert "directory" in refused(run("boot", tmp_path))


def test_an_image_that_is_a_fifo_or_a_device(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert "regular file" in refused(run("boot", tmp_path / "fifo"))
    assert "regular file" in refused(run("boot", "/dev/zero"))


def test_an_image_whose_name_has_a_line_break() -> None:
    refused(run("boot", "no\nsuch"))


def test_a_flat_image_that_is_too_large(tmp_path: Path) -> None:
    (tmp_path / "big.bin").write_bytes(bytes(MIB))
    assert "too large" in refused(run("boot", tmp_path / "big.bin"))


@pytest.mark.parametrize(
    "memory",
    [
        "",
        HUGE,
        *["0", "-1M", "1", "4097", "64X", "M", "lots", "0x1000", "1.5G", "4K", "1M", "9999999G"],
    ],
    ids=lambda memory: memory[:10],
)
def test_memory_that_cannot_be(memory: str) -> None:
    refused(run("boot", "hello", f"--memory={memory}"))


def test_memory_too_small_for_the_image_says_how_much_is_needed() -> None:
    result = run("boot", "hello", "--memory", "1M")
    refused(result)
    assert "--memory 2M" in result.stderr


@pytest.mark.parametrize(
    "options",
    [
        ["--timeout", "0"],
        ["--timeout", "-1"],
        ["--timeout", "nan"],
        ["--timeout", "inf"],
        ["--timeout", "1e300"],
        ["--load-address", "here"],
        ["--load-address", "0x7c00"],
        ["--load-address", HUGE],
        ["--protocol", "elf64x"],
        ["--protocol", "elf64"],
        ["--serial", ""],
        ["--serial", "/nonexistent/file"],
        ["--serial", "/"],
        ["--serial", "/non\nexistent/file"],
        ["--module", "/nonexistent"],
        ["--module", "/"],
        ["--initrd", "/nonexistent"],
        ["--cmdline", "x" * 5000],
        ["--config", "/nonexistent.toml"],
        ["--config", "/non\nexistent.toml"],
        ["--config", "/"],
    ],
    ids=lambda options: " ".join(options)[:40],
)
def test_an_option_that_cannot_be(options: list[str]) -> None:
    refused(run("boot", "longmode" if options[-1] != "elf64" else "hello16", *options))


def test_a_flat_image_takes_no_command_line() -> None:
    assert "flat" in refused(run("boot", "hello16", "--cmdline", "x"))


def test_no_image_at_all() -> None:
    assert "image" in refused(run("boot"))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("memry = 5", "memry"),
        ("[machine]\nmemory = 5", "machine"),
        ("memory = 1.5", "memory"),
        ("memory = true", "memory"),
        ("memory = -1", "memory"),
        ('memory = "much"', "much"),
        ("memory = 0x" + "f" * 5000, "memory"),
        (f"memory = {HUGE}", "TOML"),
        ("image = 5", "image"),
        ('image = "a\\u0000b"', "a\\x00b"),
        ('modules = "one"', "modules"),
        ("modules = [1]", "modules"),
        ('serial = ""', "serial"),
        ('serial = "a\\u0000b"', "serial"),
        ('serial = "two\\nlines/x"', "serial"),
        ("timeout = true", "timeout"),
        ("timeout = inf", "timeout"),
        ('protocol = "nosuch"', "nosuch"),
        ("load_address = -1", "address"),
        ('cmdline = "a\\u0000b"', "NUL"),
        ("pit = 1", "pit"),
        ("this is not TOML", "TOML"),
        ("image = " + "[" * 5000, "TOML"),
        ('cmdline = "\udcff"', "TOML"),
    ],
)
def test_a_configuration_file_that_cannot_be(text: str, what: str, tmp_path: Path) -> None:
    image = "" if "image" in text or "[machine]" in text else 'image = "longmode"\n'
    if "load_address" in text:
        image = 'image = "hello16"\n'
    (tmp_path / "vm.toml").write_bytes((image + text).encode(errors="surrogateescape"))
    assert what in refused(run("boot", "--config", "vm.toml", cwd=tmp_path))


def test_a_configuration_file_without_an_image(tmp_path: Path) -> None:
    (tmp_path / "vm.toml").write_text('memory = "64M"\n')
    assert "no image" in refused(run("boot", "--config", tmp_path / "vm.toml"))


def test_an_outer_clock_that_is_not_a_number() -> None:
    environment = ENVIRONMENT | {"RINGLET_START_NS": "noon"}
    assert "RINGLET_START_NS" in refused(run("boot", "hello", env=environment))


# No KVM.


@pytest.mark.needs_mount_namespace
def test_no_kvm_at_all() -> None:
    result = run("boot", "hello", before=with_mount(NO_KVM))
    assert "/dev/kvm" in refused(result)
    assert "modprobe" in result.stderr


@pytest.mark.needs_mount_namespace
def test_a_kvm_that_is_none() -> None:
    result = run("boot", "hello", before=with_mount(NOT_KVM))
    assert "isn't KVM" in refused(result)


@pytest.mark.needs_mount_namespace
def test_no_permission_for_kvm() -> None:
    with tempfile.NamedTemporaryFile(suffix=".bin") as image:  # where nobody can read it, too
        image.write(b"\xf4")
        image.flush()
        os.chmod(image.name, 0o644)
        result = run_as_nobody("boot", image.name)
    assert "Permission denied" in refused(result)
    assert "usermod" in result.stderr


def disk_refused(*options: str, cwd: Path) -> str:
    return refused(run("boot", "blk", *(f"--disk={option}" for option in options), cwd=cwd))


def test_a_disk_that_cant_be_used_is_named_and_why(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.raw").touch()
    (tmp_path / "odd.raw").write_bytes(bytes(1000))
    (tmp_path / "disk.raw").write_bytes(bytes(MIB))
    os.mkfifo(tmp_path / "fifo")
    assert "absent.raw" in disk_refused("absent.raw", cwd=tmp_path)
    assert "directory" in disk_refused("folder", cwd=tmp_path)
    assert "empty" in disk_refused("empty.raw", cwd=tmp_path)
    assert "1000 bytes" in disk_refused("odd.raw", cwd=tmp_path)
    assert "neither a file nor a block device" in disk_refused("fifo", cwd=tmp_path)
    assert "'ro'" in disk_refused("disk.raw,ro", cwd=tmp_path)
    assert "snapshot" in disk_refused("disk.raw,readonly,snapshot", cwd=tmp_path)
    assert "too many" in disk_refused(*["disk.raw,readonly"] * 16, cwd=tmp_path)


def test_a_disk_that_another_ringlet_writes_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "disk.raw").write_bytes(bytes(MIB))
    disk = os.fspath(tmp_path / "disk.raw")
    with Machine(MachineConfig(image="blk", disks=[disk])):
        assert "disk.raw" in disk_refused("disk.raw", cwd=tmp_path)
        assert "disk.raw" in disk_refused("disk.raw,readonly", cwd=tmp_path)
    assert "disk.raw" in disk_refused("disk.raw", "disk.raw", cwd=tmp_path)  # twice the same
    assert run("boot", "blk", "--disk", "disk.raw", cwd=tmp_path).returncode == 0


def test_root_takes_a_kernel_a_disk_and_no_initrd(tmp_path: Path) -> None:
    (tmp_path / "disk.raw").write_bytes(bytes(MIB))
    assert "no kernel" in refused(run("boot", "--root", "/dev/vda"))
    assert "Linux" in refused(run("boot", "hello", "--root", "/dev/vda"))
    taken = run("boot", "hello", "--root", "/dev/vda", "--initrd", "x", cwd=tmp_path)
    assert "initrd is taken" in refused(taken)


NETWORKS = {
    "tapp": "there is no network 'tapp'",
    "tap:a/b": "can't be the name of an interface",
    "tap,mtu=1": "the MTU is out of range",
    "user,forward=80": "forwards no port",
    "user,address=10.0.0.1/8": "no option 'address=10.0.0.1/8'",
}


@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_that_is_none_is_refused(network: str) -> None:
    assert NETWORKS[network] in refused(run("boot", "net", "--network", network))


def test_without_passt_the_line_says_how_to_get_it() -> None:
    shown = refused(run("boot", "net", "--network", "user", env=ENVIRONMENT | {"PATH": "/nowhere"}))
    assert "there is no passt" in shown
