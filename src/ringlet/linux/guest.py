"""A Linux guest: its kernel, its disks and devices, and the initramfs that is made for it.

The guest's root is the initramfs, with busybox, or a file system on a disk.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import NamedTuple

from ringlet import boot
from ringlet.errors import ConfigError
from ringlet.host.workload import parse_volume
from ringlet.linux.initramfs import build, find_busybox, plan_line
from ringlet.linux.kernel_modules import drivers, has_driver, listed
from ringlet.machine.config import Folder
from ringlet.machine.guests import find_image
from ringlet.machine.network import Network, guest_address, parse_network
from ringlet.virtio.console import Console
from ringlet.virtio.entropy import Entropy
from ringlet.virtio.fs.device import FileSystem
from ringlet.virtio.net import Net

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringlet.host.workload import Volume
    from ringlet.machine.config import Disk
    from ringlet.virtio.device import VirtioDevice
    from ringlet.virtio.net import NetworkEnd

# The drivers of our machine's devices that a stock kernel has as modules.
_MODULES = ("pvpanic-mmio",)
_VIRTIO_MODULES = ("virtio_mmio",)
_DISK_MODULES = ("virtio_blk",)
_CONSOLE_MODULE = "virtio_console"
_INTERFACE = "eth0"  # the kernel's name of the first network card
_ROOT_TAG = "root"
_ROOT_LIFETIME = 3600  # seconds: nobody changes the root while a guest runs on it
_FILE_SYSTEMS = ("ext4", "crc32c_generic", "crc32c-intel")  # ext4, and what it requests


class LinuxGuest(NamedTuple):
    """A Linux guest.

    kernel   the path of the kernel's image
    cmdline  more of the kernel's command line
    files    files of the host, each with its path in the initramfs
    modules  the kernel's /lib/modules/RELEASE; None to look beside the kernel
    root     the disk, such as /dev/vda, that is the root, or a folder of the host, whose changes
             stay in the guest's memory; it excludes `files`
    volumes  folders of the host that a command sees, each a `Volume` or `HOST:GUEST[:ro|:rw]`
    disks    as for `MachineConfig`
    network  as for `MachineConfig`
    entropy  as for `MachineConfig`
    hvc0     whether the driver of a virtio terminal is loaded
    virtio   a program's own devices; the Linux modules that drive these devices are loaded
    """

    kernel: str | os.PathLike[str]
    cmdline: str = ""
    files: Sequence[tuple[str, str]] = ()
    modules: Path | None = None
    root: str | None = None
    volumes: Sequence[Volume | str] = ()
    disks: Sequence[Disk | str] = ()
    virtio: Sequence[VirtioDevice] = ()
    network: Network | NetworkEnd | str = "none"
    entropy: bool = False
    hvc0: bool = False

    def open_kernel(self, protocol: str | None = None) -> boot.Kernel:
        """Opens and parses the kernel, as `boot.open_kernel`.

        Raises `ConfigError` if the kernel isn't Linux.
        """
        kernel = boot.open_kernel(find_image(os.fspath(self.kernel)), protocol)
        if not kernel.is_linux:
            kernel.close()
            raise ConfigError(
                f"a command runs in a Linux kernel, and {kernel.name} is none",
                "name one, such as /boot/vmlinuz",
            )
        return kernel

    def initramfs(self, plan: Sequence[bytes] = ()) -> bytes:
        """Makes the initramfs, whose init carries out `plan`.

        Without a plan, the guest starts /sbin/init of its `root`. Raises `RingletError`.
        """
        if plan:
            plan = [*self._network_lines(), *plan]
        if self.root is not None and self.files:
            raise ConfigError(
                "files are for the initramfs, which a command on a disk or in a folder doesn't see",
                "leave them out, or the root",
            )
        if plan:
            plan = [*self._volume_lines(), *plan]
        if self._root_is_folder:
            plan = [plan_line("rootfs", _ROOT_TAG), *plan]
        elif self.root is not None:
            if not self.disks:
                raise ConfigError(f"there is no disk for the root {self.root}", "name one")
            plan = [plan_line("rootdisk", self.root), *plan]
        modules, names, on_demand = self._find_modules()
        archive = io.BytesIO()
        build(
            archive,
            plan=plan,
            copies=self.files,
            modules=modules,
            module_names=names,
            on_demand=on_demand,
            busybox=find_busybox(),
        )
        return archive.getvalue()

    @property
    def _root_is_folder(self) -> bool:
        return self.root is not None and os.path.isdir(self.root)

    def _parsed_volumes(self) -> list[Volume]:
        return [parse_volume(v) if isinstance(v, str) else v for v in self.volumes]

    def _volume_lines(self) -> list[bytes]:
        lines = []
        for number, volume in enumerate(self._parsed_volumes()):
            mode = () if volume.readonly else ("rw",)
            lines.append(plan_line("volume", f"volume{number}", volume.path, *mode))
        return lines

    def folders(self) -> list[Folder]:
        """Returns the folders of the host that the guest's machine shares.

        Raises `ConfigError` for a volume that isn't a folder.
        """
        found = []
        if self._root_is_folder and self.root is not None:
            found.append(Folder(self.root, _ROOT_TAG, readonly=True, lifetime=_ROOT_LIFETIME))
        for number, volume in enumerate(self._parsed_volumes()):
            if not os.path.isdir(volume.source):
                raise ConfigError(
                    f"the volume {os.fspath(volume.source)} is no folder",
                    "name a folder: a guest is given folders, not single files",
                )
            found.append(Folder(volume.source, f"volume{number}", volume.readonly))
        return found

    def has_console_driver(self) -> bool:
        """Returns whether the kernel is known to drive a virtio console. Raises `ImageError`.

        A kernel without a folder of modules may have the driver built in; nothing says so.
        """
        folder = self._modules_folder()
        return folder is not None and has_driver(folder, _CONSOLE_MODULE)

    def _modules_folder(self) -> Path | None:
        if self.modules is not None:
            return self.modules
        return _beside(os.fspath(self.kernel))

    def _network_lines(self) -> list[bytes]:
        """Returns the line of a plan that gives the guest its address, if ringlet knows one."""
        network = self.network
        if isinstance(network, str):
            network = parse_network(network) or "none"
        found = guest_address(network) if isinstance(network, Network) else None
        if found is None:
            return []
        words = [found.address, str(found.prefix), found.gateway, found.resolver]
        return [plan_line("network", _INTERFACE, *filter(None, words))]

    def _find_modules(self) -> tuple[Path | None, list[str], list[str]]:
        """Returns the modules' folder, those to load, and those that the kernel may request."""
        names = list(_MODULES)
        folder = self._modules_folder()
        if folder is None:  # the kernel may have all drivers built in
            return None, [], []
        if self.modules is None:
            names = listed(folder, names)
        devices = {device.device_id for device in self.virtio}
        if self.network != "none":
            devices.add(Net.device_id)
        if self.entropy:
            devices.add(Entropy.device_id)
        if self._root_is_folder or self.volumes:
            devices.add(FileSystem.device_id)
        if self._root_is_folder:
            names.append("overlay")
        if self.hvc0:
            devices.add(Console.device_id)
        if self.disks or devices:
            names += _VIRTIO_MODULES
        if Console.device_id in devices:  # the usual case, in which no other module is looked at
            devices.remove(Console.device_id)
            names.append(_CONSOLE_MODULE)
        names += drivers(folder, devices)
        if not self.disks:
            return folder, names, []
        return folder, [*names, *_DISK_MODULES], listed(folder, _FILE_SYSTEMS)


def _beside(kernel: str) -> Path | None:
    """Returns the modules of a distribution's kernel: /lib/modules/R for /boot/vmlinuz-R."""
    path = os.path.realpath(kernel)
    release = os.path.basename(path).partition("-")[2]
    folder = Path(os.path.dirname(os.path.dirname(path)), "lib", "modules", release)
    return folder if (folder / "modules.order").is_file() else None
