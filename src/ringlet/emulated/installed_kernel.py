"""Finds a Linux kernel that a nested machine can boot: with 9p, overlay, virtio and kvm-amd.

It looks where a distribution installs a kernel: /boot/vmlinuz-RELEASE and /lib/modules/RELEASE.
The cache of `ringlet nested --setup` has the same tree of files for each package.

Source: file-hierarchy(7).
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from ringlet.errors import ConfigError, ImageError, RingletError
from ringlet.host.cache import cache_folder, check_folder
from ringlet.linux.kernel_modules import module_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# The drivers that the kernel must have, built in or as modules.
MODULES = ("virtio_pci", "virtio_console", "9p", "9pnet_virtio", "overlay", "tun", "kvm_amd")

SETUP = "`ringlet nested --setup` fetches your distribution's kernel (it installs nothing)"


class InstalledKernel(NamedTuple):
    """A kernel image, and the folder with the modules of the same release."""

    vmlinuz: Path
    modules: Path


def cache() -> Path:
    """Returns the folder where `--setup` puts the kernels that it fetches.

    A kernel in this folder is booted. Raises `ConfigError` for a user without a home, and for a
    folder that other users can write.
    """
    folder = cache_folder("nested")
    if folder is None:
        raise ConfigError("this user has no home, so no cache", "set HOME or XDG_CACHE_HOME")
    try:
        check_folder(folder)
    except OSError as error:
        raise ConfigError(
            f"{folder}: {error.strerror}",
            "the cache is used where each folder on its way is yours or root's; see XDG_CACHE_HOME",
        ) from None
    return Path(folder)


def kernels_under(root: Path) -> Iterator[InstalledKernel]:
    """Finds the kernels of a system whose root folder is `root`, newest first."""
    for vmlinuz in sorted((root / "boot").glob("vmlinuz-*"), key=_version, reverse=True):
        modules = root / "lib" / "modules" / vmlinuz.name.removeprefix("vmlinuz-")
        if modules.is_dir():
            yield InstalledKernel(vmlinuz, modules)


def find_kernel() -> InstalledKernel:
    """Returns the host's newest kernel that fits, or else a fetched one. Raises `RingletError`."""
    unreadable = None
    for kernel in _candidates():
        if not _fits(kernel):
            continue
        if os.access(kernel.vmlinuz, os.R_OK):
            return kernel
        unreadable = unreadable or kernel.vmlinuz
    if unreadable is not None:
        raise RingletError(f"{unreadable} is root's alone to read", SETUP)
    raise RingletError("no Linux kernel with 9p, overlay, virtio and kvm-amd is here", SETUP)


def named_kernel(vmlinuz: str, modules: str | None) -> InstalledKernel:
    """Returns the kernel that the options name.

    Without `modules`, takes the modules beside the kernel, or else the host's.
    Raises `ConfigError`.
    """
    image = Path(os.path.realpath(vmlinuz))
    if not os.access(image, os.R_OK):
        raise ConfigError(f"{vmlinuz}: no kernel that can be read", "check the path")
    if modules is not None:
        if not Path(modules).is_dir():
            raise ConfigError(f"{modules}: no such folder", "name one like /lib/modules/RELEASE")
        return InstalledKernel(image, Path(modules))
    release = image.name.removeprefix("vmlinuz-")
    for folder in (image.absolute().parent.parent / "lib" / "modules", Path("/lib/modules")):
        if (folder / release).is_dir():
            return InstalledKernel(image, folder / release)
    raise ConfigError(f"{vmlinuz}: its modules aren't found", "name their folder with --modules")


def _candidates() -> Iterator[InstalledKernel]:
    yield from kernels_under(Path("/"))
    if cache().is_dir():
        for package in sorted(cache().iterdir()):
            yield from kernels_under(package)


def _version(path: Path) -> list[tuple[int, str]]:
    """Returns a key that sorts 6.10 after 6.9."""
    return [(int(number or 0), word) for number, word in re.findall(r"(\d+)|(\D+)", path.name)]


def _fits(kernel: InstalledKernel) -> bool:
    try:
        module_files(kernel.modules, MODULES)
    except ImageError:
        return False
    return True
