"""Debian's own kernels, each way that they can be booted: to where one has no root file system."""

import gzip
import re
from pathlib import Path

import pytest

from ringlet import Machine, MachineConfig, boot
from ringlet.boot import bzimage
from ringlet.boot.payload_cache import open_vmlinux

LONG = 120  # seconds, on a machine that is emulated and busy
MEMORY = 256 << 20
KERNELS = pytest.mark.parametrize("fixture", ["cloud_kernel", "generic_kernel"])


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def kernel(fixture: str, request: pytest.FixtureRequest) -> Path:
    path = request.getfixturevalue(fixture)
    assert isinstance(path, Path)
    return path


def run(image: Path, log: Path, **options: object) -> str:
    """What the guest says until it panics, and so resets."""
    config = MachineConfig(image=image, memory=MEMORY, serial=str(log), timeout=LONG, **options)  # type: ignore[arg-type]
    with Machine(config) as machine:
        machine.run()
    return log.read_text(errors="replace")


@KERNELS
@pytest.mark.parametrize("decompress", ["guest", "host"])
def test_a_stock_bzimage_boots_until_it_wants_a_root_file_system(
    kernel: Path, tmp_path: Path, decompress: str
) -> None:
    said = run(kernel, tmp_path / "log", decompress=decompress)
    assert "Unable to mount root fs" in said
    assert "Command line: console=ttyS0 panic=-1\n" in said.replace("\r", "")
    # Its own decompressor moves the kernel to a random address; the panic tells how far.
    assert ("Kernel Offset: 0x" in said) is (decompress == "guest")


@KERNELS
@pytest.mark.parametrize("protocol", [None, "pvh"])
def test_a_vmlinux_boots_by_both_its_protocols_and_finds_its_initrd(
    kernel: Path, tmp_path: Path, protocol: str | None
) -> None:
    vmlinux = tmp_path / "vmlinux"
    with boot.open_image(kernel) as image, open_vmlinux(image, bzimage.parse(image)) as payload:
        vmlinux.write_bytes(payload.read(0, payload.size))
    initrd = tmp_path / "initrd"
    initrd.write_bytes(gzip.compress(b"no cpio archive"))
    options = {"initrd": str(initrd), "protocol": protocol}
    if protocol == "pvh":  # which adds nothing to the command line
        options["cmdline"] = "console=ttyS0 panic=-1"
    said = run(vmlinux, tmp_path / "log", **options)
    assert "Unable to mount root fs" in said
    assert re.search(r"RAMDISK: \[mem 0x[0-9a-f]+-0x[0-9a-f]+\]", said)
    assert "Initramfs unpacking failed" in said
