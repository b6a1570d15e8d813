"""A disk's requests, from a stock Linux kernel."""

import os
import re
import subprocess
import tempfile
from pathlib import Path
from stat import S_IFCHR, S_IFREG

from measure import QEMU_STATUS, Row, run

from linux import Boot, set_up_kernel
from ringlet.emulated.installed_kernel import InstalledKernel, named_kernel
from ringlet.linux.cpio import Entry, write
from ringlet.linux.kernel_modules import module_files

ROUNDS = 5
IMAGE_MIB = 64
MODULES = ("virtio_mmio", "virtio_blk")

# What is measured: the words for io.c, which takes the depth after them.
WORK = {
    "4 KiB random read": "random:read:4096",
    "4 KiB random write, flush": "random:flushwrite:4096",
    "1 MiB sequential read": "sequential:read:1048576",
    "1 MiB sequential write": "sequential:write:1048576",
}
DEPTHS = (1, 16)


def _build_initrd(folder: Path, kernel: InstalledKernel) -> str:
    """io.c, the modules that it loads, and the console that it writes to."""
    init = folder / "init"
    source = Path(__file__).with_name("io.c")
    subprocess.run(["gcc", "-O2", "-static", "-s", "-o", init, source], check=True)
    entries = {
        "dev/console": Entry(S_IFCHR | 0o600, device=(5, 1)),
        "init": Entry(S_IFREG | 0o755, init.read_bytes()),
    }
    for number, module in enumerate(module_files(kernel.modules, MODULES), 1):
        entries[f"{number}.ko"] = Entry(S_IFREG | 0o644, module.data)
    with open(folder / "initrd", "wb") as out:
        write(out, entries)
    return str(folder / "initrd")


def _commands(boot: Boot, image: str) -> dict[str, tuple[list[str], int]]:
    """Of ringlet, and of QEMU where it is installed, and their status at the end."""
    commands = {"ringlet": ([*boot.ringlet(), "--disk", image], 0)}
    if (qemu := boot.qemu()) is not None:
        drive = ["-drive", f"if=none,id=d,file={image},format=raw"]
        device = ["-device", "virtio-blk-device,drive=d"]
        version = ["-global", "virtio-mmio.force-legacy=false"]
        commands["QEMU"] = ([*qemu, *version, *drive, *device], QEMU_STATUS)
    return commands


def measure(kernel: str | None = None) -> list[Row]:
    """Requests of a stock Linux to a raw image, with O_DIRECT, as the guest's clock has them.

    QEMU's machine is its microvm, with the same kernel, initrd and image. There is no limit. The
    image is where TMPDIR says.
    """
    samples: dict[tuple[str, str], list[float]] = {}
    found = set_up_kernel() if kernel is None else named_kernel(kernel, None)
    asked = {f"{words}:{depth}" for words in WORK.values() for depth in DEPTHS}
    with tempfile.TemporaryDirectory(prefix="ringlet-bench-") as folder:
        initrd = _build_initrd(Path(folder), found)
        image = os.path.join(folder, "image.raw")
        with open(image, "wb") as file:
            for _ in range(IMAGE_MIB):
                file.write(os.urandom(1 << 20))
            file.flush()
            os.fsync(file.fileno())
        cmdline = f"console=ttyS0 panic=-1 quiet -- {' '.join(sorted(asked))}"
        commands = _commands(Boot(str(found.vmlinuz), initrd, cmdline), image)
        for _ in range(ROUNDS):
            for name, (command, status) in commands.items():
                output = run(command, status=status)
                for words, count, us in re.findall(r"(\S+) requests=(\d+) us=(\d+)", output):
                    samples.setdefault((name, words), []).append(int(us) / int(count))
    return [
        Row(
            f"{what}, depth {depth}",
            "us",
            samples["ringlet", f"{words}:{depth}"],
            "QEMU",
            samples.get(("QEMU", f"{words}:{depth}"), ()),
        )
        for what, words in WORK.items()
        for depth in DEPTHS
    ]
