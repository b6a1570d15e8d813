"""`Container` for programs: what the command sees, how it ends, and that nothing is left."""

import ctypes
import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ringlet.container.console_socket import ConsoleSocket
from ringlet.container.container import Container, ContainerResult
from ringlet.container.launch import guard, helper
from ringlet.errors import ConfigError, RingletError
from ringlet.host.workload import Workload

from ..until import until
from .rootfs import make_rootfs

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_busybox]

MIB = 1 << 20
PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>
NS_GET_OWNER_UID = 0xB704  # <linux/nsfs.h>
Run = Callable[..., tuple[ContainerResult, str]]


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_rootfs(tmp_path_factory.mktemp("container") / "rootfs")


def cgroups() -> set[str]:
    found = set()
    for folder, folders, _ in os.walk("/sys/fs/cgroup"):
        found |= {f"{folder}/{name}" for name in folders if name.startswith("ringlet-run-")}
    return found


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    helper._helper_fd()  # is kept, for the next container
    guard.watch(os.getpid())  # its guard, too
    mounts, fds = Path("/proc/self/mountinfo").read_text(), len(os.listdir("/proc/self/fd"))
    before = cgroups()
    yield
    assert Path("/proc/self/mountinfo").read_text() == mounts
    assert len(os.listdir("/proc/self/fd")) == fds
    assert cgroups() == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def shell(rootfs: Path, script: str, **options: Any) -> Workload:
    return Workload(rootfs=rootfs, command=["sh", "-c", script], **options)


@pytest.fixture
def run(rootfs: Path, tmp_path: Path) -> Run:
    """How a shell's command ended, and what it printed."""

    def run(command: str, **options: Any) -> tuple[ContainerResult, str]:
        output = tmp_path / "output"
        with open(output, "wb") as file, open(os.devnull, "rb") as null:
            stdio = (null.fileno(), file.fileno(), file.fileno())
            config = Workload(
                rootfs=rootfs, command=["sh", "-c", command], **{"timeout": 60, **options}
            )
            with Container(config, stdio=stdio) as container:
                result = container.run()
        return result, output.read_text()

    return run


def test_it_tells_when_each_step_of_its_start_was_over(rootfs: Path) -> None:
    begun = time.monotonic_ns()
    with Container(Workload(rootfs=rootfs, command=["true"])) as container:
        container.run()
        timings = container.timings
    steps = ("cloned", "mounted", "pivoted", "created", "started", "end")
    times = [getattr(timings, step) for step in steps]
    assert [begun, *times] == sorted([begun, *times])


def test_the_command_runs_and_its_status_is_the_results(run: Run) -> None:
    result, output = run("echo hello; exit 7")
    assert output == "hello\n"
    assert (result.reason, result.status, result.oom_kills) == ("exit", 7, 0)


def test_it_sees_a_system_of_its_own(run: Run) -> None:
    script = "hostname; echo $$; ls /proc > /tmp/proc; grep -c '^[0-9]' /tmp/proc"
    _, output = run(f"{script}; ls /sys/class/net; id -u")
    assert output.split() == ["ringlet", "1", "2", "lo", "0"]  # sh and ls


def test_its_root_is_no_user_of_the_host(run: Run, rootfs: Path) -> None:
    _, output = run("cat /proc/self/uid_map; touch /tmp/mine; stat -c %u /tmp/mine /bin/busybox")
    first, *owners = output.split("\n")[:-1]
    inside, outside, count = map(int, first.split())
    assert (inside, count) == (0, 65536)
    assert outside > 0
    assert owners == ["0", "0"]
    # By the idmapped mount, what its root makes is the host's root's in the folder.
    run("touch /tmp/mine", write=True)
    assert (rootfs / "tmp/mine").stat().st_uid == 0
    (rootfs / "tmp/mine").unlink()


def test_its_root_can_do_little(run: Run) -> None:
    for command in (
        "mount -t tmpfs none /tmp",
        "mknod /tmp/sda b 8 0",
        "echo 1 > /proc/sys/kernel/sysrq",
        "echo b > /proc/sysrq-trigger",
        "hostname other",
        "unshare -U true",
        "cat /proc/kcore | head -c 1 | grep .",
        "dmesg",
    ):
        result, output = run(command)
        assert result.status != 0, (command, output)


def test_what_it_may_have_is_what_is_asked_for(run: Run, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    volume.chmod(0o777)
    (volume / "file").write_text("of the host\n")
    result, output = run(
        "pwd; id -u; id -g; id -G; echo $NAME; hostname; cat /data/file; touch /data/x /bin/x",
        workdir="/home",
        user="user",
        env={"NAME": "value"},
        hostname="box",
        read_only=True,
        volumes=[f"{volume}:/data:ro"],
    )
    assert output.startswith("/home\n1000\n1000\n1000 7\nvalue\nbox\nof the host\n")
    assert output.count("Read-only file system") == 2
    assert result.status != 0


def test_a_volume_can_be_written_where_it_isnt_ro(run: Run, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    volume.chmod(0o777)
    result, output = run("echo hello > /data/file", volumes=[f"{volume}:/data"])
    assert result.status == 0, output
    assert (volume / "file").read_text() == "hello\n"


def test_a_volumes_files_belong_to_whom_they_belong_on_the_host(run: Run, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir(mode=0o700)
    (volume / "roots").write_text("of root\n")
    (volume / "roots").chmod(0o600)
    (volume / "users").touch()
    os.chown(volume / "users", 1000, 1000)
    script = "cat /data/roots; stat -c %U /data/roots /data/users; touch /data/made"
    result, output = run(f"{script}; chown user /data/made", volumes=[f"{volume}:/data:rw"])
    assert (result.status, output) == (0, "of root\nroot\nuser\n")
    assert (volume / "made").stat().st_uid == 1000
    assert run("cat /data/roots", volumes=[f"{volume}:/data:ro"])[1] == "of root\n"


def test_a_volume_that_others_reach_is_noted(rootfs: Path, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir(mode=0o755)

    def notes(option: str = "") -> list[str]:
        values: dict[str, Any] = {"rootfs": rootfs, "command": ["true"]}
        config = Workload(**values, volumes=[f"{volume}:/data{option}"])
        with Container(config) as container:
            return [note for note in container.notes if "volume" in note]

    assert notes() == []  # pytest's own folder is closed
    before = {folder: folder.stat().st_mode & 0o7777 for folder in (tmp_path, *tmp_path.parents)}
    try:
        for folder, mode in before.items():
            folder.chmod(mode | 0o055)
        assert f"other users of this host reach the volume {volume}" in notes()[0]
        assert notes(":ro") == []
    finally:
        for folder, mode in before.items():
            folder.chmod(mode)


def test_the_hosts_network_is_there_only_on_request(run: Run) -> None:
    assert run("ls /sys/class/net")[1] == "lo\n"
    result, output = run("cat /proc/net/dev", network="host")
    assert result.status == 0
    own = Path("/proc/net/dev").read_text().count(":")
    assert output.count(":") == own


@pytest.mark.needs_cgroups
def test_a_memory_hog_ends_and_the_host_doesnt_notice(run: Run) -> None:
    result, _ = run("x=x; while :; do x=$x$x; done", memory=32 * MIB)
    assert result.status == 137
    assert result.oom_kills >= 1


@pytest.mark.needs_cgroups
def test_a_fork_bomb_stays_below_its_limit(rootfs: Path) -> None:
    script = "f() { f | f & }; f; sleep 0.5; echo over"
    with Container(shell(rootfs, script, pids=20, timeout=10)) as container:
        container.start()
        while (result := container.wait(0.01)) is None:
            assert (container.usage().processes or 0) <= 20
        assert result.reason in ("exit", "timeout", "signal")
        assert container.stats()["pids"]["limit"] == 20


@pytest.mark.needs_cgroups
@pytest.mark.parametrize("pids", [0, -1])
def test_a_limit_of_0_or_less_processes_is_none(rootfs: Path, pids: int) -> None:
    with Container(shell(rootfs, "true", pids=pids)) as container:
        assert container.run().status == 0
        assert container.stats()["pids"]["limit"] == 0


@pytest.mark.needs_cgroups
def test_a_processor_hog_gets_its_share(run: Run) -> None:
    started = time.monotonic()
    result, _ = run("while :; do :; done", cpus=0.2, timeout=1)
    elapsed = time.monotonic() - started
    assert result.usage.processor is not None
    assert 0 < result.usage.processor < 0.4 * elapsed


def test_a_container_stops_at_its_timeout(run: Run) -> None:
    result, _ = run("sleep 100", timeout=0.5)
    assert (result.reason, result.status) == ("timeout", 124)


@pytest.fixture
def sleeping(rootfs: Path) -> Iterator[Container]:
    config = Workload(
        rootfs=rootfs, command=["sh", "-c", "trap 'exit 5' TERM; while :; do sleep 0.01; done"]
    )
    with Container(config) as container:
        yield container


def has_its_trap(sleeping: Container) -> bool:
    """The shell runs `sleep` only behind it."""
    return (sleeping.usage().processes or 0) > 1


@pytest.mark.needs_cgroups
def test_stop_asks_first(sleeping: Container) -> None:
    sleeping.start()
    until(lambda: has_its_trap(sleeping))
    result = sleeping.stop(30)
    assert (result.reason, result.status) == ("stopped", 5)


def test_stop_kills_what_doesnt_listen(rootfs: Path) -> None:
    with Container(Workload(rootfs=rootfs, command=["sleep", "100"])) as container:
        container.start()
        result = container.stop(0.2)
        assert result.status == 137


@pytest.mark.needs_cgroups
def test_a_paused_container_uses_no_processor(sleeping: Container) -> None:
    sleeping.start()
    until(lambda: (sleeping.usage().processor or 0) > 0)
    sleeping.pause()
    before = sleeping.usage().processor
    assert before is not None
    time.sleep(0.3)
    assert sleeping.usage().processor == before
    sleeping.resume()
    until(lambda: (sleeping.usage().processor or 0) > before)


@pytest.mark.needs_cgroups
def test_a_paused_container_can_be_ended(sleeping: Container) -> None:
    sleeping.start()
    sleeping.pause()
    sleeping.kill()
    result = sleeping.wait(60)
    assert result is not None
    assert result.status == 137


def test_one_that_never_started_is_closed(sleeping: Container) -> None:
    sleeping.close()


def test_it_starts_once(sleeping: Container) -> None:
    sleeping.start()
    with pytest.raises(RingletError, match="run already"):
        sleeping.start()


@pytest.mark.parametrize(("command", "status"), [("absent", 127), ("/etc/passwd", 126)])
def test_a_command_that_cant_be_run_has_its_status(rootfs: Path, command: str, status: int) -> None:
    with (
        pytest.raises(RingletError) as caught,
        Container(Workload(rootfs=rootfs, command=[command])) as container,
    ):
        container.run()
    assert getattr(caught.value, "status", None) == status


def test_a_rootfs_that_isnt_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="absent"):
        Container(Workload(rootfs=tmp_path / "absent", command=["sh"]))


def test_many_at_once_dont_mix(rootfs: Path) -> None:
    config = Workload(rootfs=rootfs, command=["sh", "-c", "sleep 0.2; exit $(($RANDOM % 2))"])
    containers = [Container(config) for _ in range(10)]
    try:
        assert len({container.id for container in containers}) == 10
        for container in containers:
            container.start()
        for container in containers:
            result = container.wait(60)
            assert result is not None
            assert result.reason == "exit"
    finally:
        for container in containers:
            container.close()


def test_what_a_result_tells_is_still_there_when_the_container_is_not(run: Run) -> None:
    result, _ = run("i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); done")
    assert result.usage.processor is not None
    assert result.usage.processor > 0


def test_stats_are_for_programs(sleeping: Container) -> None:
    sleeping.start()
    json.dumps(sleeping.stats())


@pytest.mark.needs_cgroups
def test_signals_reach_the_command(sleeping: Container) -> None:
    sleeping.start()
    until(lambda: has_its_trap(sleeping))
    sleeping.signal(signal.SIGTERM)
    result = sleeping.wait(60)
    assert result is not None
    assert (result.reason, result.status) == ("exit", 5)


@pytest.fixture
def unmappable(tmp_path: Path) -> Iterator[Path]:
    """A rootfs on a file system that can't map IDs."""
    mount = tmp_path / "ramfs"
    mount.mkdir()
    subprocess.run(["mount", "-t", "ramfs", "none", mount], check=True)
    yield make_rootfs(mount / "rootfs")
    subprocess.run(["umount", mount], check=True)


@pytest.mark.needs_mount_namespace
def test_a_volume_whose_file_system_cant_map_ids_is_seen_and_noted(
    rootfs: Path, unmappable: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    volumes = [f"{unmappable}:/a", f"{tmp_path}/other:/b", f"{unmappable}:/c"]
    script = "test -x /a/bin/sh && ! touch /a/x 2>&- && touch /b/x && ls /c/etc && touch /etc/x"
    config = Workload(rootfs=rootfs, command=["sh", "-c", script], volumes=volumes)
    with Container(config) as container:
        assert container.run().status == 0
    noted = [note.split()[3] for note in container.notes if "can't map IDs" in note]
    assert noted == ["/a", "/c"]


@pytest.fixture
def orphans() -> Iterator[None]:
    """Of all that is started meanwhile; they are this process' children."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(PR_SET_CHILD_SUBREAPER, 1) == 0
    yield
    assert libc.prctl(PR_SET_CHILD_SUBREAPER, 0) == 0


@pytest.mark.needs_mount_namespace
@pytest.mark.usefixtures("orphans")
@pytest.mark.parametrize("tty", [False, True])
def test_a_root_whose_file_system_cant_map_ids_is_seen_and_noted(
    unmappable: Path, tty: bool
) -> None:
    script = "test -x /bin/sh && ! touch /bin/x" + (" && test -t 0" if tty else "")
    config = Workload(rootfs=unmappable, command=["sh", "-c", script], tty=tty)
    with (
        open(os.devnull, "r+b", buffering=0) as null,
        ConsoleSocket() as console,
        Container(
            config,
            stdio=(null.fileno(),) * 3,
            console_socket=console.path if tty else None,
        ) as container,
    ):
        master = console.receive() if tty else None
        assert container.run().status == 0
        if master is not None:
            os.close(master)
    assert "its file system can't map IDs" in container.notes[-1]
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.needs_kvm
def test_a_device_is_the_containers_own_and_no_id_of_the_host_is_in_there(run: Run) -> None:
    before = os.stat("/dev/kvm")
    result, printed = run(
        "exec 3<>/dev/kvm && stat -c '%u:%g %a %t:%T' /dev/kvm; chmod 777 /dev/kvm;"
        "chown 1 /dev/kvm; awk '{print $2}' /proc/self/uid_map; ls /dev;"
        "grep -c /dev/kvm /proc/self/mountinfo",
        devices=["/dev/kvm"],
    )
    assert result.status == 0
    own, refused, more, host, *rest = printed.splitlines()
    assert own == "0:0 666 a:e8"
    assert "Read-only" in refused
    assert "Read-only" in more
    assert int(host) > 0
    assert "device" not in rest  # what it was made in isn't left
    assert rest[-1] == "1"
    after = os.stat("/dev/kvm")
    assert (after.st_mode, after.st_uid) == (before.st_mode, before.st_uid)


@pytest.mark.needs_kvm
def test_a_device_is_for_each_user_of_the_container(run: Run) -> None:
    result, printed = run("exec 3<>/dev/kvm && id -u", devices=["/dev/kvm"], user="1000")
    assert (result.status, printed) == (0, "1000\n")


def test_what_the_kernel_counts_for_its_users_counts_for_no_user_of_the_host(rootfs: Path) -> None:
    """The owner of the user namespace is whom they count for: namespaces(7), NS_GET_OWNER_UID."""
    with Container(shell(rootfs, "sleep 1000")) as container:
        with open(f"/proc/{container.pid}/ns/user") as namespace:
            owner = fcntl.ioctl(namespace, NS_GET_OWNER_UID, bytes(4))
        root = Path(f"/proc/{container.pid}/uid_map").read_text().split()[1]
        assert int.from_bytes(owner, "little") == int(root) > 0
