"""What a guest was told is on its disk is there, whenever ringlet is killed."""

import random
import time
from pathlib import Path

import pytest

from ..cli.command import Running
from . import ext4

ROUNDS = 8
SIZE = 9000  # bytes of each file

# A number is told when the file of that name is on the disk. Another process keeps the disk busy.
WRITE = """
mount /dev/vda /mnt; cd /mnt
while :; do dd if=/dev/zero of=noise bs=64k count=16 conv=fsync; done 2>/dev/null &
n={first}
while :; do
    yes $n | head -c {size} | dd of=$n conv=fsync 2>/dev/null && echo $n
    n=$((n + 1))
done
"""


@pytest.mark.needs_e2fsprogs
@pytest.mark.needs_busybox
def test_what_was_synced_outlives_a_kill(cloud_kernel: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    image = ext4.make(tmp_path / "image", tmp_path / "empty")
    told: list[bytes] = []
    for turn in range(ROUNDS):
        told += told_until_killed(cloud_kernel, image, first=len(told))
        assert told == [b"%d" % number for number in range(len(told))]
        ext4.replay_journal(image)
        ext4.assert_sound(image)
        files = ext4.read(image, tmp_path / f"files{turn}")
        for name in told:
            assert (files / name.decode()).read_bytes() == ((name + b"\n") * SIZE)[:SIZE]


def told_until_killed(kernel: Path, image: Path, first: int) -> list[bytes]:
    """The numbers that a guest told of before its machine was killed, at any moment."""
    script = WRITE.format(first=first, size=SIZE)
    with Running("boot", kernel, "--disk", image, "--exec", script) as command:
        told = b"".join(command.read_until(b"\n") for _ in range(random.randint(1, 10)))
        time.sleep(random.random() / 10)
        command.process.kill()
        assert command.process.stdout is not None
        told += command.process.stdout.read()
    return told.split(b"\n")[:-1]  # without one that was cut
