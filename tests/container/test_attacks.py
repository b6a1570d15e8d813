"""What is known to have broken out of containers, tried in one of ours, and refused.

Beside what guards the runtime itself is a container without it, in which the attack succeeds. For
what guards the host's kernel, see test_defences.py; for races, test_attack_races.py.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from ringlet.container.container import Container
from ringlet.container.launch import helper
from ringlet.container.launch.plan import Plan
from ringlet.container.spec.names import CAPABILITIES
from ringlet.errors import RingletError
from ringlet.host.workload import Workload

from .box import Box
from .bundle import Bundle
from .cgroups.inside import eventually
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
            config = Workload(rootfs=rootfs, command=command, timeout=60, **options)
            with Container(config, stdio=stdio) as container:
                status = container.run().status
        return status, output.read_text(errors="replace")

    return run


def digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_the_runtimes_program_cant_be_overwritten(run: Run, bundle: Bundle) -> None:
    """CVE-2019-5736: /proc/self/exe of a process that has just come in was the host's runtime."""
    programs = [helper.HELPER, os.path.realpath(sys.executable)]
    before = [digest(program) for program in programs]
    script = "for p in self 1 $$; do echo broken > /proc/$p/exe; done; true"
    assert run("sh", "-c", script)[0] == 0
    bundle.rootfs.joinpath("bin/trap").symlink_to("/proc/self/exe")
    bundle.config["process"]["args"] = ["/bin/trap"]
    bundle.write()
    bundle.oci("run", "--bundle", str(bundle.path), "one")
    assert [digest(program) for program in programs] == before


def overwrite_what_comes_in(box: Box) -> None:
    """A container's root, who is the host's, writes to the program of a process that comes in."""
    for name in ("bounding", "effective", "permitted"):
        box.process["capabilities"][name] = list(CAPABILITIES)
    waits = "until [ -e /tmp/{0} ]; do sleep 0.01; done"
    attacker = box.create(
        f"{waits.format('pid')}; exec 3< /proc/$(cat /tmp/pid)/exe && touch /tmp/opened;"
        f"{waits.format('started')}; echo broken > /proc/self/fd/3"
    )
    box.start()
    joins = {"type": "pid", "path": f"/proc/{attacker.pid}/ns/pid"}
    box.linux["namespaces"] = [one for one in box.linux["namespaces"] if one["type"] != "pid"]
    box.linux["namespaces"].append(joins)
    comes_in = box.create("true")
    status = Path(f"/proc/{comes_in.pid}/status").read_text()
    pid = status.partition("\nNSpid:")[2].split("\n")[0].split()[-1]
    (box.rootfs / "tmp/new").write_text(pid)
    (box.rootfs / "tmp/new").rename(box.rootfs / "tmp/pid")
    assert eventually((box.rootfs / "tmp/opened").exists)
    box.start()
    assert box.wait(comes_in) == 0
    (box.rootfs / "tmp/started").touch()
    box.wait(attacker)


def test_a_program_that_comes_in_is_sealed(box: Box) -> None:
    """CVE-2019-5736, where nothing but the seal is left."""
    overwrite_what_comes_in(box)
    program = Path(helper.HELPER).read_bytes()
    assert os.pread(helper._helper_fd(), len(program) + 1, 0) == program


def test_a_program_on_the_disk_would_be_overwritten(
    box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "helper"
    shutil.copy(helper.HELPER, program)
    with open(program, "rb") as file:
        monkeypatch.setattr(helper, "_helper", file.fileno())
        overwrite_what_comes_in(box)
    assert program.read_bytes() == b"broken\n"


@pytest.fixture
def leaking() -> Iterator[int]:
    """The host's root, which a program that is run would have open."""
    fd = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    os.set_inheritable(fd, True)
    yield fd
    os.close(fd)


def test_no_descriptor_of_the_host_leaks(run: Run, leaking: int) -> None:
    """CVE-2024-21626: a descriptor of the host's root, left open."""
    _, output = run("sh", "-c", "ls -l /proc/1/fd")
    assert {line.split()[-3] for line in output.splitlines() if "->" in line} == {"0", "1", "2"}


def test_no_folder_is_handed_on(box: Box, leaking: int) -> None:
    for keeps in ({"preserve_fds": leaking - 2}, {"stdio": (leaking, 1, 2)}):
        assert f"descriptor {leaking} is a folder" in box.fails("", **keeps).message
    path = os.open("/etc/passwd", os.O_PATH)
    try:
        assert f"descriptor {path} is a folder, or" in box.fails("", stdio=(0, path, 2)).message
    finally:
        os.close(path)


@pytest.fixture
def hands_on_folders(monkeypatch: pytest.MonkeyPatch, leaking: int) -> Iterator[None]:
    """All descriptors up to `leaking` are handed on: a closed one is refused."""
    monkeypatch.setattr(helper, "_check_kept", lambda fds: None)
    before = {}
    with ExitStack() as stack:
        for fd in range(3, leaking):
            try:
                before[fd] = os.get_inheritable(fd)
                os.set_inheritable(fd, True)
            except OSError:  # closed
                os.dup2(1, fd)
                stack.callback(os.close, fd)
        yield
    for fd, inheritable in before.items():
        os.set_inheritable(fd, inheritable)


@pytest.mark.usefixtures("hands_on_folders")
def test_a_folder_that_is_handed_on_would_be_a_way_out(
    box: Box, tmp_path: Path, leaking: int
) -> None:
    (tmp_path / "file").write_text("the host's")
    script = f"cat /proc/self/fd/{leaking}{tmp_path}/file"
    assert box.run(script, preserve_fds=leaking - 2) == "the host's"
    made = box.create(script)
    box.start()
    assert box.wait(made) != 0


@pytest.mark.usefixtures("hands_on_folders")
def test_no_process_starts_in_a_folder_that_is_handed_on(box: Box, leaking: int) -> None:
    box.process["cwd"] = f"/proc/self/fd/{leaking}"
    error = box.fails("cwd", preserve_fds=leaking - 2)
    assert "outside of the container" in error.message


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


def test_where_a_link_is_followed_they_are_somewhere_else(
    run: Run, rootfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a program reads in /proc is then the image's."""
    add = Plan.add

    def add_with_links(plan: Plan, step: str, *words: Any) -> None:
        if step == "attach" and words[0] == "/proc":
            target, slot, _, ready = words
            words = (target, slot, 1, ready)
        add(plan, step, *words)

    monkeypatch.setattr(Plan, "add", add_with_links)
    (rootfs / "proc").rmdir()
    (rootfs / "proc").symlink_to("tmp")
    assert run("sh", "-c", "cat /tmp/1/comm; readlink /proc") == (0, "sh\ntmp\n")


def test_release_agent_is_out_of_reach(run: Run) -> None:
    """CVE-2022-0492: a cgroup of version 1 mounted in a namespace of one's own."""
    script = (
        "exec 2> /dev/null; for name in memory rdma none,name=new; do"
        "  mount -t cgroup -o $name none /tmp && echo $name; "
        "done; find / -name release_agent -writable; unshare -UrmC true && echo unshared; true"
    )
    assert run("sh", "-c", script) == (0, "")


# Most of these would harm the host. tests/nested has some that succeed.
@pytest.mark.parametrize(
    "script",
    [
        "echo '|/bin/sh' > /proc/sys/kernel/core_pattern",
        "echo h > /proc/sysrq-trigger",
        "mknod /dev/mem c 1 1 && head -c 1 /dev/mem",
        "mount -t proc proc /tmp",
        "insmod /bin/busybox",
        "dmesg",
        "reboot -f",
        "ip link add dummy0 type dummy",
    ],
)
def test_a_container_cant(run: Run, script: str) -> None:
    status, output = run("sh", "-c", f"({script}) && echo done")
    assert status != 0
    assert "done" not in output, output


def test_other_processes_arent_there_to_be_traced_or_killed(run: Run) -> None:
    sleeping = subprocess.Popen(["sleep", "100"])
    try:
        _, output = run("sh", "-c", f"kill -9 {sleeping.pid}; kill -9 -1; ls /proc")
        assert sleeping.poll() is None
        assert str(sleeping.pid) not in output.split()
    finally:
        sleeping.kill()
        sleeping.wait()


@pytest.fixture(autouse=True)
def _no_child_is_left() -> Iterator[None]:
    yield
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
