"""`ringlet nested --setup`: fetches a distribution's kernel into the cache, without installing it.

apt fetches a package for any user and checks its signature. The cache keeps the kernel image and
the modules that a virtual machine can use. Only QEMU is installed, and only if the user is root.

Source: apt-get(8), apt-cache(8), dpkg-deb(1), os-release(5).
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from ringlet.emulated.installed_kernel import MODULES, kernels_under
from ringlet.emulated.qemu import INSTALL, PROGRAM
from ringlet.errors import RingletError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ringlet.emulated.installed_kernel import InstalledKernel

# The package of the distribution's current kernel, by the ID in /etc/os-release.
DEFAULT_PACKAGES = {"debian": "linux-image-amd64", "ubuntu": "linux-image-generic"}

_QEMU_PACKAGE = "qemu-system-x86"
# A package such as those of DEFAULT_PACKAGES holds no files. Its dependencies hold the files.
_KERNEL_PACKAGE = re.compile(r"linux-(image|modules)-[a-z0-9.+-]+")
_MOST_PACKAGES = 8
# The files to keep: no sound, and only the drivers of devices that virtual machines have.
_KEPT = re.compile(
    r"\./(usr/)?(?P<path>boot/vmlinuz-[^/]+"
    r"|lib/modules/[^/]+/(modules\.[^/]+"
    r"|kernel/(arch|block|crypto|fs|lib|mm|net|virt)/.+"
    r"|kernel/drivers/(acpi/button\.|input/evdev\.).+"
    r"|kernel/drivers/(block|char|crypto|firmware|misc|scsi|vhost|virtio|net/[^/]+$).*))"
)


def default_package() -> str:
    """Returns the package of the distribution's kernel; raises `RingletError` if there is none."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    for name in (release.get("ID", ""), *release.get("ID_LIKE", "").split()):
        if name in DEFAULT_PACKAGES:
            return DEFAULT_PACKAGES[name]
    raise RingletError(
        "only Debian's and Ubuntu's kernels can be fetched",
        f"install QEMU and a kernel with {', '.join(MODULES)}, or name one with --kernel",
    )


def install_qemu() -> None:
    """Installs QEMU by apt if it is missing. Raises `RingletError`, also if we aren't root."""
    if shutil.which(PROGRAM) is not None:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise RingletError(f"QEMU ({PROGRAM}) isn't installed", INSTALL)
    _say(f"installing {_QEMU_PACKAGE}")
    _run(["apt-get", *_quiet(), "update"])
    _run(["apt-get", *_quiet(), "install", "-y", "--no-install-recommends", _QEMU_PACKAGE])


def fetch_kernel(package: str, folder: Path) -> InstalledKernel:
    """Returns the kernel of `package` in `folder`/`package`, and fetches a missing kernel.

    Raises `RingletError`.
    """
    target = folder / package
    if (there := next(kernels_under(target), None)) is not None:
        return there
    if _KERNEL_PACKAGE.fullmatch(package) is None:
        raise RingletError(f"{package!r} is no kernel's package", "name one like linux-image-amd64")
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise RingletError("fetching a kernel takes apt", "name a kernel of yours with --kernel")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=folder) as scratch:
        tree = Path(scratch, "tree")
        tree.mkdir()
        for archive in _download(package, Path(scratch)):
            _unpack(archive, tree)
            archive.unlink()
        if next(kernels_under(tree), None) is None:
            raise RingletError(f"{package} has no kernel with modules", "name another package")
        shutil.rmtree(target, ignore_errors=True)
        tree.rename(target)
    return next(kernels_under(target))


def _download(package: str, scratch: Path) -> list[Path]:
    """Downloads the archives of `package` and of the kernel packages that it depends on."""
    own_lists = [f"-oDir::State={scratch}/state", f"-oDir::Cache={scratch}/cache"]
    for lists in ([], own_lists):  # the system's lists may be missing or too old
        if lists:
            for part in ("state/lists/partial", "cache/archives/partial"):
                (scratch / part).mkdir(parents=True)
            _say("fetching the lists of packages")
            _run(["apt-get", *lists, *_quiet(), "update"])
        names = list(_with_dependencies(package, lists))
        _say(f"fetching {', '.join(names)}")
        command = ["apt-get", *lists, *_quiet(), "download", *names]
        if names and _run(command, folder=scratch, check=bool(lists)):
            return sorted(scratch.glob("*.deb"))
    raise RingletError(f"there is no package {package}", "`apt-cache search linux-image` lists")


def _with_dependencies(package: str, lists: Sequence[str]) -> Iterator[str]:
    found, new = set[str](), [package]
    while new and len(found) < _MOST_PACKAGES:
        name = new.pop(0)
        if name in found:
            continue
        found.add(name)
        command = ["apt-cache", *lists, "depends", "--important", name]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode != 0:
            continue
        yield name
        words = re.findall(r"^ \|?\s*(?:Pre)?Depends: (\S+)$", answer.stdout, re.MULTILINE)
        new += [word for word in words if _KERNEL_PACKAGE.fullmatch(word)]


def _unpack(archive: Path, tree: Path) -> None:
    """Extracts the files to keep from a .deb into `tree`."""
    command = ["dpkg-deb", "--fsys-tarfile", str(archive)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as dpkg:
        try:
            with tarfile.open(fileobj=dpkg.stdout, mode="r|") as files:
                for member in files:
                    kept = _KEPT.fullmatch(member.name)
                    content = files.extractfile(member) if kept and member.isreg() else None
                    if kept is None or content is None or ".." in member.name.split("/"):
                        continue
                    path = tree / kept["path"]
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with path.open("xb") as file:
                        shutil.copyfileobj(content, file)
        except (tarfile.TarError, OSError) as error:
            raise RingletError(
                f"can't unpack {archive.name}: {error}", "see to disk space"
            ) from error


def _quiet() -> list[str]:
    """Returns apt's options: no progress without a terminal; and root downloads as root.

    Otherwise apt would download as a user that can't write to root's cache.
    """
    return ["-oAPT::Sandbox::User=root", *([] if sys.stderr.isatty() else ["-qq"])]


def _say(text: str) -> None:
    print(f"ringlet: {text}", file=sys.stderr, flush=True)


def _run(command: list[str], folder: Path | None = None, check: bool = True) -> bool:
    """Runs apt, with its progress on standard error, and returns whether apt succeeded."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr.fileno() if sys.stderr.isatty() else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0 and check:
        words = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise RingletError(
            f"{' '.join(command[:1])}: {words[-1]}", "see to the network, then again"
        )
    return done.returncode == 0
