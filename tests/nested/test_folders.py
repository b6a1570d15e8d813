"""Folders of the host in a stock kernel: shared both ways, as a root, and with a hostile root."""

import os
from pathlib import Path

import pytest

from ringlet.linux.command import Completed, run

LONG = 300  # seconds, on a machine that is emulated and busy

pytestmark = pytest.mark.needs_busybox


def lines(done: Completed) -> list[str]:
    assert (done.reason, done.status) == ("exit", 0), done
    return done.stdout.decode().splitlines()


def test_a_volume_is_shared_both_ways(cloud_kernel: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    (folder / "given").write_text("of the host\n")
    for number in range(40):
        (folder / "sub" / f"{number:02}").touch()
    command = """set -e; cd /data
        cat given; ls sub | wc -l
        echo of the guest > made; chmod 600 made; mkdir dir; ln -s ../given dir/link; cat dir/link
        mv made dir/moved; rm given; head -c 300000 /dev/zero | tr '\\0' x > big; wc -c < big
        find . -name "?9" | wc -l; mount | grep -c virtiofs"""
    done = run(cloud_kernel, command, volumes=[f"{folder}:/data"], timeout=LONG)
    assert lines(done) == ["of the host", "40", "of the host", "300000", "4", "1"]
    assert sorted(os.listdir(folder)) == ["big", "dir", "sub"]
    assert (folder / "dir" / "moved").read_text() == "of the guest\n"
    assert (folder / "dir" / "moved").stat().st_mode & 0o777 == 0o600
    assert (folder / "big").read_bytes() == b"x" * 300_000


def test_a_volume_for_reading_is_not_changed_and_no_guest_leaves_it(
    cloud_kernel: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("the host's own")
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "out").symlink_to("../secret")
    (folder / "up").symlink_to("..")
    command = """cd /data
        touch new || echo refused; rm out || echo refused
        cat out ../secret up/secret /data/../secret; ls -a /data/.. | grep -c secret"""
    done = run(cloud_kernel, command, volumes=[f"{folder}:/data:ro"], timeout=LONG)
    assert done.stdout.decode().split() == ["refused", "refused", "0"]
    assert sorted(os.listdir(folder)) == ["out", "up"]


def test_a_folder_is_the_root_and_stays_as_it_is(cloud_kernel: Path) -> None:
    command = "grep -c . /etc/os-release; echo changed > /made-by-the-guest; cat /made-by-the-guest"
    count, changed = lines(run(cloud_kernel, command, root="/", timeout=LONG))
    assert int(count) == len(Path("/etc/os-release").read_text().split("\n")) - 1
    assert changed == "changed"
    assert not Path("/made-by-the-guest").exists()
