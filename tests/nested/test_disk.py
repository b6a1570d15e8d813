"""Disks in a stock kernel: found, mounted, booted from; what the host's file has afterwards."""

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringlet import Machine, MachineConfig
from ringlet.linux.command import Completed, run
from ringlet.linux.guest import LinuxGuest

from ..cli.command import Running
from . import ext4

LONG = 180  # seconds, on a machine that is emulated and busy
MIB = 1 << 20

pytestmark = [pytest.mark.needs_e2fsprogs, pytest.mark.needs_busybox]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder to make an image of."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "given").write_bytes(random.Random(1).randbytes(300_000))
    return tree


def blank(path: Path, size: int) -> Path:
    path.touch()
    os.truncate(path, size)
    return path


def lines(done: Completed) -> list[str]:
    assert (done.reason, done.status) == ("exit", 0), done
    return done.stdout.decode().splitlines()


DISKS = """
set -e
cd /sys/block
for disk in vd*; do echo $disk $(cat $disk/size $disk/ro); done
mount /dev/vda /mnt
cd /mnt
sha256sum <given
rm ballast
sync
fstrim .
! dd if=/dev/zero of=/dev/vdb bs=4k count=1 conv=fsync 2>/dev/null
head -c 300000 /dev/urandom >made
sha256sum <made
exec 9>open
sleep 1000 >/dev/null 2>&1 &
"""


@pytest.mark.parametrize("kernel", ["cloud_kernel", "generic_kernel"])
def test_a_stock_kernel_finds_its_disks_and_mounts_one(
    kernel: str, tree: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    (tree / "ballast").write_bytes(random.Random(2).randbytes(8 * MIB))
    image = ext4.make(tmp_path / "image", tree)
    readonly = blank(tmp_path / "readonly", 3 * MIB)
    before = image.stat().st_blocks
    assert before * 512 > 8 * MIB
    disks = [str(image), f"{readonly},readonly"]
    done = run(request.getfixturevalue(kernel), DISKS, disks=disks, timeout=LONG)
    vda, vdb, given, made = lines(done)
    assert (vda, vdb) == (f"vda {32 * MIB // 512} 0", f"vdb {3 * MIB // 512} 1")
    assert (before - image.stat().st_blocks) * 512 > 7 * MIB, "what was trimmed is free"
    ext4.assert_clean(image)  # though it was mounted, and written to, at the command's end
    files = ext4.read(image, tmp_path / "files")
    assert given.split()[0] == ext4.sha256(tree / "given")
    assert made.split()[0] == ext4.sha256(files / "made")
    assert (files / "open").exists()


ON_ROOT = """
set -e
pwd; cat /proc/1/mounts | { read line; echo $line; }
sha256sum </given
dd if=/dev/urandom of=/made bs=1k count=300 2>/dev/null
sha256sum </made
sha256sum </dev/vdb
cp /made /dev/vdb
sync
echo 3 >/proc/sys/vm/drop_caches
dd if=/dev/vdb bs=1k count=300 2>/dev/null | sha256sum
"""


def test_a_disk_is_the_root_and_a_snapshot_leaves_its_image(
    cloud_kernel: Path, tree: Path, tmp_path: Path
) -> None:
    ext4.add_busybox(tree)
    image = ext4.make(tmp_path / "image", tree)
    base = tmp_path / "base"
    base.write_bytes(random.Random(3).randbytes(MIB))
    before = ext4.sha256(base)
    disks = [str(image), f"{base},snapshot"]
    done = run(cloud_kernel, ON_ROOT, root="/dev/vda", disks=disks, timeout=LONG)
    folder, mount, *sums = lines(done)
    given, made, found, changed = (line.split()[0] for line in sums)
    assert (folder, mount.split()[:3]) == ("/", ["/dev/vda", "/", "ext4"])
    assert given == ext4.sha256(tree / "given")
    assert changed == made == ext4.sha256(ext4.read(image, tmp_path / "files") / "made")
    assert found == before == ext4.sha256(base)
    ext4.assert_clean(image)


INIT = """#!/bin/sh
echo "process $$ of the disk"
echo it was here >/made
mount -o remount,ro /
poweroff -f
"""


def test_a_disks_own_init_is_process_1(cloud_kernel: Path, tree: Path, tmp_path: Path) -> None:
    ext4.add_busybox(tree)
    (tree / "sbin" / "init").write_text(INIT)
    (tree / "sbin" / "init").chmod(0o755)
    image = ext4.make(tmp_path / "image", tree)
    console, disks = str(tmp_path / "console"), [str(image)]
    config = MachineConfig(
        image=cloud_kernel,
        initrd=LinuxGuest(cloud_kernel, root="/dev/vda", disks=disks).initramfs(),
        disks=disks,
        cmdline="quiet",
        serial=console,
        timeout=LONG,
    )
    with Machine(config) as machine:
        assert machine.run().reason == "power-off"
    assert b"process 1 of the disk\r\n" in Path(console).read_bytes()
    ext4.assert_clean(image)
    assert (ext4.read(image, tmp_path / "files") / "made").read_text() == "it was here\n"


def test_what_is_wrong_with_the_root_is_said(cloud_kernel: Path, tmp_path: Path) -> None:
    disks = [str(blank(tmp_path / "blank", MIB))]
    done = run(cloud_kernel, "true", root="/dev/vda", disks=disks, timeout=LONG)
    assert done.reason == "no-status"
    assert b"ringlet init: mounting /dev/vda: Invalid argument" in done.console


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system with 1 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


ERRORS = """
echo ready
read line
read_disk() { dd if=/dev/$1 of=/dev/null bs=4k count=1 skip=$2 iflag=direct 2>&1 | head -n 1; }
write_disk() { dd if=/dev/zero of=/dev/$1 bs=64k count=$2 oflag=direct 2>&1 | head -n 1; }
read_disk vda 0
read_disk vda 500
write_disk vdb 64
write_disk vdb 1
read_disk vdc 0
"""


@pytest.mark.needs_root
def test_an_error_of_the_hosts_file_is_one_of_that_request_alone(
    cloud_kernel: Path, tmp_path: Path, small: Path
) -> None:
    cut = blank(tmp_path / "cut", 4 * MIB)
    full = blank(small / "full", 4 * MIB)
    good = blank(tmp_path / "good", 4 * MIB)
    disks = [word for path in (cut, full, good) for word in ("--disk", path)]
    with Running("boot", cloud_kernel, "--exec", ERRORS, *disks) as command:
        command.read_until(b"ready\n")
        os.truncate(cut, MIB)
        command.write(b"go\n")
        assert command.process.stdout is not None
        first, second, third, fourth, fifth = command.process.stdout.read().decode().splitlines()
        assert command.status() == 0
    good_read = "1+0 records in"
    assert (first, second) == (good_read, "dd: /dev/vda: Input/output error")
    assert third == "dd: error writing '/dev/vdb': Input/output error"
    assert (fourth, fifth) == (good_read, good_read)
