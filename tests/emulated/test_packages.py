"""What is kept of a distribution's package, which dpkg-deb makes here."""

import subprocess
from pathlib import Path

import pytest

from ringlet.emulated.installed_kernel import kernels_under
from ringlet.emulated.packages import _unpack, fetch_kernel
from ringlet.errors import RingletError

RELEASE = "6.1.0-1-amd64"
KEPT = [
    f"boot/vmlinuz-{RELEASE}",
    f"lib/modules/{RELEASE}/modules.builtin",
    f"lib/modules/{RELEASE}/kernel/fs/9p/9p.ko",
    f"lib/modules/{RELEASE}/kernel/arch/x86/kvm/kvm-amd.ko.xz",
    f"lib/modules/{RELEASE}/kernel/drivers/virtio/virtio_pci.ko",
    f"lib/modules/{RELEASE}/kernel/drivers/net/virtio_net.ko",
]
NOT_KEPT = [
    f"boot/System.map-{RELEASE}",
    f"lib/modules/{RELEASE}/kernel/sound/soundcore.ko",
    f"lib/modules/{RELEASE}/kernel/drivers/gpu/drm/drm.ko",
    f"lib/modules/{RELEASE}/kernel/drivers/net/wireless/mac.ko",
    "usr/share/doc/linux/copyright",
]


@pytest.mark.needs_dpkg
@pytest.mark.parametrize("merged", [False, True])
def test_of_a_package_image_and_modules_are_kept(tmp_path: Path, merged: bool) -> None:
    package = tmp_path / "package"
    for name in (*KEPT, *NOT_KEPT):
        path = package / ("usr" if merged and name.startswith("lib") else "") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (package / "DEBIAN").mkdir()
    (package / "DEBIAN" / "control").write_text(
        "Package: linux-image\nVersion: 1\nArchitecture: all\n"
        "Maintainer: a <a@b.c>\nDescription: d\n"
    )
    archive = tmp_path / "linux.deb"
    subprocess.run(["dpkg-deb", "--build", package, archive], check=True, capture_output=True)
    tree = tmp_path / "tree"
    _unpack(archive, tree)
    found = sorted(str(p.relative_to(tree)) for p in tree.rglob("*") if p.is_file())
    assert found == sorted(KEPT)
    assert [kernel.modules.name for kernel in kernels_under(tree)] == [RELEASE]


@pytest.mark.parametrize("name", ["../linux-image-x", "bash", "linux-image-a b", "-oEvil=1", ""])
def test_what_is_no_kernels_package_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(RingletError, match="package"):
        fetch_kernel(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    vmlinuz = tmp_path / "linux-image-mine" / "boot" / "vmlinuz-1"
    vmlinuz.parent.mkdir(parents=True)
    vmlinuz.write_bytes(b"MZ")
    modules = tmp_path / "linux-image-mine" / "lib" / "modules" / "1"
    modules.mkdir(parents=True)
    assert fetch_kernel("linux-image-mine", tmp_path) == (vmlinuz, modules)
