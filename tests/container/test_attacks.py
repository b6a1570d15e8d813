"""What is known to have broken out of containers, tried in one of ours, and refused."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ringlet.container import launch
from ringlet.container.config import ContainerConfig
from ringlet.container.sandbox import Container
from ringlet.errors import RingletError

from .bundle import Bundle
from .rootfs import make_rootfs

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_busybox]

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    return make_rootfs(tmp_path / "rootfs")


@pytest.fixture
def run(rootfs: Path, tmp_path: Path) -> Run:
    def run(*command: str, **options: Any) -> tuple[int, str]:
        output = tmp_path / "output"
        with open(output, "wb") as file, open(os.devnull, "rb") as null:
            stdio = (null.fileno(), file.fileno(), file.fileno())
            config = ContainerConfig(rootfs=rootfs, command=command, timeout=60, **options)
            with Container(config, stdio=stdio) as container:
                status = container.run().status
        return status, output.read_text(errors="replace")

    return run


def digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_the_runtimes_program_cant_be_overwritten(run: Run, bundle: Bundle) -> None:
    """CVE-2019-5736: /proc/self/exe of a process that has just come in was the host's runtime."""
    programs = [launch.HELPER, os.path.realpath(sys.executable)]
    before = [digest(program) for program in programs]
    script = "for p in self 1 $$; do echo broken > /proc/$p/exe; done; true"
    assert run("sh", "-c", script)[0] == 0
    bundle.rootfs.joinpath("bin/trap").symlink_to("/proc/self/exe")
    bundle.config["process"]["args"] = ["/bin/trap"]
    bundle.write()
    bundle.oci("run", "--bundle", str(bundle.path), "one")
    assert [digest(program) for program in programs] == before


def test_the_program_that_comes_in_is_sealed() -> None:
    fd = os.open(f"/proc/self/fd/{launch._helper_fd()}", os.O_RDWR)
    try:
        with pytest.raises(PermissionError):
            os.write(fd, b"x")
    finally:
        os.close(fd)


def test_no_descriptor_of_the_host_leaks(run: Run) -> None:
    """CVE-2024-21626: a descriptor of the host's root, left open."""
    leaking = [os.open("/", os.O_RDONLY | os.O_DIRECTORY), os.open("/etc", os.O_PATH)]
    try:
        for fd in leaking:
            os.set_inheritable(fd, True)
        _, output = run("sh", "-c", "ls -l /proc/1/fd")
    finally:
        for fd in leaking:
            os.close(fd)
    assert {line.split()[-3] for line in output.splitlines() if "->" in line} <= {"0", "1", "2"}


@pytest.mark.parametrize("fd", range(3, 12))
def test_no_descriptor_is_a_way_to_start_outside(run: Run, rootfs: Path, fd: int) -> None:
    """CVE-2024-21626: the working directory /proc/self/fd/N."""
    with suppress(RingletError):
        _, output = run("sh", "-c", "cd ../../../../..; ls", workdir=f"/proc/self/fd/{fd}")
        assert output.split() == sorted(os.listdir(rootfs))  # its own root


@pytest.mark.parametrize("link", ["/etc", "../../../../../../etc", "/proc/self/cwd"])
def test_a_link_as_a_mounts_target_leads_nowhere(
    run: Run, rootfs: Path, tmp_path: Path, link: str
) -> None:
    """CVE-2021-30465: a mount's target that is, or becomes, a link to the host."""
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "mark").touch()
    (rootfs / "data").symlink_to(link)
    before = Path("/proc/self/mountinfo").read_text()
    with suppress(RingletError):
        run("true", volumes=[f"{volume}:/data"])
    assert Path("/proc/self/mountinfo").read_text() == before
    assert not os.path.exists("/etc/mark")


@pytest.mark.parametrize("path", ["proc", "sys"])
def test_proc_and_sys_are_mounted_where_they_seem_to_be(run: Run, rootfs: Path, path: str) -> None:
    """The advisories of November 2025: what is masked or read-only would not be the real one."""
    (rootfs / path).rmdir()
    (rootfs / path).symlink_to("tmp")
    with pytest.raises(RingletError):
        run("true")


def test_what_is_masked_stays_so_whatever_dev_null_is(run: Run, rootfs: Path) -> None:
    """CVE-2025-31133: an image's /dev/null that is a link to what is to be masked."""
    shutil.rmtree(rootfs / "dev")
    (rootfs / "dev").mkdir()
    (rootfs / "dev/null").symlink_to("/proc/sysrq-trigger")
    _, output = run("sh", "-c", "cat /proc/keys /proc/timer_list; ls /dev/null")
    assert output == "/dev/null\n"


def test_release_agent_is_out_of_reach(run: Run) -> None:
    """CVE-2022-0492: a cgroup of version 1 mounted in a namespace of one's own."""
    script = (
        "mkdir /tmp/c; mount -t cgroup -o memory none /tmp/c || mount -t cgroup -o rdma x /tmp/c;"
        "find / -name release_agent -writable 2> /dev/null; unshare -UrmC true && echo unshared"
    )
    _, output = run("sh", "-c", script)
    assert "release_agent" not in output.replace("release_agent': ", "")
    assert "unshared" not in output


@pytest.mark.parametrize(
    "script",
    [
        "echo 1 > /proc/sys/kernel/core_pattern",
        "echo '|/bin/sh' > /proc/sys/kernel/core_pattern",
        "echo h > /proc/sysrq-trigger",
        "mknod /tmp/disk b 8 0 && cat /tmp/disk",
        "mknod /dev/mem c 1 1 && head -c 1 /dev/mem",
        "mount -o remount,rw /proc/sys",
        "umount /proc/kcore",
        "mount -t proc proc /tmp",
        "chroot /proc/1/root ls",
        "insmod /bin/busybox",
        "nsenter -t 1 -m true",
        "dmesg",
        "swapoff -a && swapon /bin/busybox",
        "reboot -f",
        "ip link add dummy0 type dummy",
        "iopl",
    ],
)
def test_a_container_cant(run: Run, script: str) -> None:
    status, output = run("sh", "-c", f"({script}) && echo done")
    if script.startswith("chroot"):  # its own root, in which it is anyway
        assert "ringlet-host" not in output
        return
    assert "done" not in output, output
    assert status != 0


def test_other_processes_arent_there_to_be_traced_or_killed(run: Run) -> None:
    sleeping = subprocess.Popen(["sleep", "100"])
    try:
        _, output = run("sh", "-c", f"kill -9 {sleeping.pid}; kill -9 -1; ls /proc")
        assert sleeping.poll() is None
        assert str(sleeping.pid) not in output.split()
    finally:
        sleeping.kill()
        sleeping.wait()


@pytest.mark.needs_cgroups
def test_hogs_leave_a_neighbour_its_share(rootfs: Path) -> None:
    hogs = {
        "fork": ["sh", "-c", "f() { f | f & }; f; sleep 100"],
        "memory": ["sh", "-c", "x=x; while :; do x=$x$x; done"],
        "cpu": ["sh", "-c", "while :; do :; done"],
    }
    containers: list[Container] = []
    try:
        for command in hogs.values():
            config = ContainerConfig(
                rootfs=rootfs, command=command, memory=32 << 20, pids=30, cpus=0.2, timeout=60
            )
            containers.append(Container(config))
            containers[-1].start()
        neighbour = ContainerConfig(
            rootfs=rootfs, command=["sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"]
        )
        with Container(neighbour) as container:
            result = container.run()
        assert result.status == 0
        assert subprocess.run(["true"], check=False).returncode == 0
        for container in containers:
            container.kill()
            ended = container.wait(30)
            assert ended is not None
            assert ended.stats["pids"]["limit"] == 30
    finally:
        for container in containers:
            container.close()


@pytest.fixture(autouse=True)
def _no_child_is_left() -> Iterator[None]:
    yield
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
