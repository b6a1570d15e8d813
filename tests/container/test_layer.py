"""The layer over a root: a container changes what it likes, and nothing of that is left."""

import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ringlet.container import container
from ringlet.container.container import Container, ContainerResult
from ringlet.errors import ConfigError, RingletError
from ringlet.host.workload import Workload

from .rootfs import make_rootfs

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_busybox]

MIB = 1 << 20
Run = Callable[..., tuple[ContainerResult, str]]


def snapshot(folder: Path) -> dict[str, tuple[int, ...]]:
    """All that is in there, with what a change of it would change."""
    found = {}
    for place, _, names in os.walk(folder):
        for path in (place, *(f"{place}/{name}" for name in names)):
            status = os.lstat(path)
            found[path] = (status.st_mode, status.st_uid, status.st_size, status.st_ctime_ns)
    return found


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    return make_rootfs(tmp_path / "rootfs")


@pytest.fixture
def run(rootfs: Path, tmp_path: Path) -> Run:
    """How a shell's command ended, and what it printed."""

    def run(command: str, **options: Any) -> tuple[ContainerResult, str]:
        output = tmp_path / "output"
        with open(output, "wb") as file, open(os.devnull, "rb") as null:
            stdio = (null.fileno(), file.fileno(), file.fileno())
            values = {"rootfs": rootfs, "command": ["sh", "-c", command], "timeout": 60}
            with Container(Workload(**(values | options)), stdio=stdio) as container:
                result = container.run()
        return result, output.read_text()

    return run


def test_nothing_is_left_in_the_rootfs_not_even_mount_points(run: Run, rootfs: Path) -> None:
    for folder in ("dev", "proc", "sys"):
        (rootfs / folder).rmdir()
    (rootfs / "etc/passwd").unlink()
    before = snapshot(rootfs)
    changes = "touch /made /etc/passwd && rm -r /home && chmod 4755 /bin/busybox && chown 5 /tmp"
    result, output = run(changes, volumes=["/etc/hostname:/new/file"], workdir="/work")
    assert result.status == 0, output
    assert snapshot(rootfs) == before
    assert run("ls -d /made /home")[1].endswith("\n/home\n")


def test_a_root_that_cant_be_written_gets_no_mount_points_either(run: Run, rootfs: Path) -> None:
    (rootfs / "proc").rmdir()
    before = snapshot(rootfs)
    result, output = run("! touch /made && ls /proc/self", read_only=True)
    assert result.status == 0, output
    assert snapshot(rootfs) == before


@pytest.mark.parametrize("write", [False, True])
def test_a_device_of_the_image_is_none(run: Run, rootfs: Path, tmp_path: Path, write: bool) -> None:
    """Not the cgroup's doing: that lets each container open the null device."""
    tmp_path.chmod(0o700)
    os.mknod(rootfs / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    (rootfs / "null").chmod(0o666)
    command = "echo > /null 2> /tmp/why || echo refused; echo > /dev/null && echo fine"
    assert run(command, write=write)[1].splitlines()[-2:] == ["refused", "fine"]


def test_all_that_is_there_can_be_changed_as_in_a_folder(run: Run, rootfs: Path) -> None:
    (rootfs / "srv/a/b").mkdir(parents=True)
    (rootfs / "srv/a/b/file").write_text("of the image\n")
    (rootfs / "srv/linked").hardlink_to(rootfs / "srv/a/b/file")
    result, output = run("""
        set -e
        cd /srv
        mv a c; cat c/b/file                       # a folder of the image, with what is in it
        mkdir a; ls a                              # is another one now
        rm -r c; ! ls c 2>/dev/null
        mkdir c; ls c                              # what was removed doesn't come back
        echo more >> linked; cat linked
        chmod 700 /etc; chown 7:8 /etc /etc/passwd; stat -c '%a %u %g' /etc; stat -c %u /etc/passwd
        rm -rf /home /root; mkdir /home; touch /home/new; ls /home
        rm /etc/group; ln -s passwd /etc/group; readlink /etc/group
        cp -a /etc /etc.copy; mv /etc.copy/passwd /etc/passwd.new; mv /etc/passwd.new /etc/passwd
        stat -c '%a %u' / /tmp
    """)
    assert result.status == 0, output
    assert output.splitlines() == [
        *("of the image", "of the image", "more", "700 7 8", "7", "new", "passwd"),
        *("755 0", "1777 0"),
    ]


def test_a_folder_is_renamed_and_not_copied(run: Run, rootfs: Path) -> None:
    (rootfs / "srv/folder").mkdir(parents=True)
    (rootfs / "srv/folder/large").write_bytes(bytes(8 * MIB))
    used = "df -k / | awk 'END { print $3 }'"
    result, output = run(f"mv /srv/folder /srv/other; chmod 600 /srv/other/large; {used}")
    assert result.status == 0, output
    assert int(output) < 1024


def test_the_root_of_the_rootfs_keeps_its_owner_and_mode(run: Run, rootfs: Path) -> None:
    os.chown(rootfs, 3, 4)
    rootfs.chmod(0o1751)
    assert run("stat -c '%a %u %g' /")[1] == "1751 3 4\n"


def test_another_user_sees_and_changes_what_is_its(run: Run, rootfs: Path) -> None:
    os.chown(rootfs / "home", 1000, 1000)
    result, output = run("touch /home/a && ! touch /bin/a; stat -c %u /home/a", user="user")
    assert (result.status, output.splitlines()[-1]) == (0, "1000")


@pytest.mark.needs_cgroups
def test_it_is_half_of_the_memory_and_counts(run: Run) -> None:
    result, output = run(
        "df -k / | awk 'END { print $2 }'; dd if=/dev/zero of=/large bs=1M count=64",
        memory=64 * MIB,
    )
    assert output.splitlines()[0] == str(32 << 10)
    assert "No space left on device" in output
    assert (result.status, result.oom_kills) == (1, 0)
    assert result.usage.memory_peak is not None
    assert result.usage.memory_peak > 30 * MIB


def test_no_mount_of_the_hosts_shows_it(rootfs: Path) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    config = Workload(rootfs=rootfs, command=["sleep", "100"])
    with Container(config) as container:
        container.start()
        assert Path("/proc/self/mountinfo").read_text() == before
        seen = Path(f"/proc/{container.pid}/mountinfo").read_text()
        assert seen.count(" - overlay layer ") == 1
        assert str(rootfs) not in seen


def test_with_write_all_is_kept(run: Run, rootfs: Path) -> None:
    result, output = run("touch /made && rm -r /home", write=True)
    assert result.status == 0, output
    assert (rootfs / "made").stat().st_uid == 0
    assert not (rootfs / "home").exists()


@pytest.fixture
def reachable(tmp_path: Path) -> Iterator[Path]:
    """A rootfs that other users of this host get to, as far as the folder of this test."""
    folders = [tmp_path, *tmp_path.parents]
    before = {folder: folder.stat().st_mode & 0o7777 for folder in folders}
    for folder, mode in before.items():
        folder.chmod(mode | 0o055)
    yield make_rootfs(tmp_path / "reachable")
    for folder, mode in before.items():
        folder.chmod(mode)


SETUID = "cp /bin/busybox /bin/mine && chmod 4755 /bin/mine"


def test_a_root_that_others_reach_is_not_written(run: Run, reachable: Path) -> None:
    with pytest.raises(ConfigError, match="other users of this host reach") as caught:
        run(SETUID, rootfs=reachable, write=True)
    assert "chmod 700" in caught.value.hint
    assert run(SETUID, rootfs=reachable)[0].status == 0
    assert not (reachable / "bin/mine").exists()
    (reachable.parent / "link").symlink_to(reachable)
    with pytest.raises(ConfigError, match="is behind the link"):
        run(SETUID, rootfs=reachable.parent / "link", write=True)
    reachable.parent.chmod(0o700)
    assert run(SETUID, rootfs=reachable, write=True)[0].status == 0
    assert (reachable / "bin/mine").stat().st_mode & 0o7777 == 0o4755


def test_a_name_that_leads_elsewhere_by_then_is_no_way_around(
    run: Run, rootfs: Path, reachable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = rootfs.parent / "closed"
    closed.mkdir(mode=0o700)
    name = closed / "rootfs"
    rootfs.rename(name)
    judge = container.is_reached_by_others

    def swap(folder: int) -> bool:
        reached = judge(folder)
        name.rename(closed / "before")
        reachable.rename(name)
        return reached

    monkeypatch.setattr(container, "is_reached_by_others", swap)
    with pytest.raises(RingletError, match="it is another folder by now"):
        run("touch /made", rootfs=name, write=True)
    assert not (name / "made").exists()


@pytest.mark.needs_mount_namespace
def test_a_file_system_below_the_root_isnt_seen(run: Run, rootfs: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "none", rootfs / "home"], check=True)
    try:
        (rootfs / "home/file").touch()
        assert run("ls /home; touch /home/made")[1] == ""
        assert os.listdir(rootfs / "home") == ["file"]
        assert run("ls /home", write=True)[1] == "file\n"
    finally:
        subprocess.run(["umount", rootfs / "home"], check=True)


def test_what_is_mounted_below_a_volume_has_no_devices_either(
    run: Run, rootfs: Path, tmp_path: Path
) -> None:
    volume = tmp_path / "volume"
    (volume / "below").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", volume / "below"], check=True)
    try:
        os.mknod(volume / "below/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        result, output = run("grep ' /data/below ' /proc/mounts", volumes=[f"{volume}:/data"])
    finally:
        subprocess.run(["umount", volume / "below"], check=True)
    assert result.status == 0, output
    assert {"nosuid", "nodev"} <= set(output.split()[3].split(","))
