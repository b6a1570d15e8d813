"""A container's life, from clone to exec: its command, its namespaces, one more process."""

import contextlib
import os
import signal
import socket
import tempfile
import traceback
from pathlib import Path
from typing import Any

import pytest

from ringlet.container.launch import helper, launch, plan
from ringlet.container.launch.description import Execution
from ringlet.container.launch.helper import Launched, LaunchError
from ringlet.container.spec.config_json import check
from ringlet.container.state import HostProcess

from ..box import MAPS, Box, namespace

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_busybox]


# ---- Its life ----


def test_a_container_waits_until_it_is_started(box: Box, held: Any) -> None:
    helper._helper_fd()  # is kept
    before = held().descriptors
    made = box.create("echo hello")
    assert box.printed() == ""
    box.start()
    assert box.wait(made) == 0
    assert box.printed() == "hello\n"
    box.left_nothing()
    assert held().descriptors == before


def test_it_is_a_child_of_its_maker(box: Box) -> None:
    seen: list[int] = []
    made = box.create(on_runtime=seen.append)
    assert seen == [made.pid]
    assert f"\nPPid:\t{os.getpid()}\n" in Path(f"/proc/{made.pid}/status").read_text()


def test_a_container_starts_once(box: Box) -> None:
    made = box.create("sleep 1000")
    box.start()
    with pytest.raises((LaunchError, OSError)):
        box.start()
    os.kill(made.pid, signal.SIGKILL)


def test_the_start_of_one_that_was_killed_says_so(box: Box) -> None:
    made = box.create()
    os.kill(made.pid, signal.SIGKILL)
    box.wait(made)
    with pytest.raises(LaunchError, match="has ended"):
        box.start()


def test_a_state_folder_with_a_long_path_works(box: Box) -> None:
    box.folder = box.folder.joinpath(*["x" * 100] * 3)
    box.folder.mkdir(parents=True)
    assert box.run("echo hello") == "hello\n"


def test_what_on_runtime_raises_ends_it(box: Box) -> None:
    def fail(pid: int) -> None:
        raise KeyError(pid)

    with pytest.raises(KeyError):
        box.create(on_runtime=fail)
    box.left_nothing()


def test_a_process_that_dies_at_any_step_leaves_nothing(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.new("user", "time")
    box.linux.update(maskedPaths=["/proc/kcore"], readonlyPaths=["/proc/sys"])
    box.config["hostname"] = "box"
    real = plan.Plan.encode
    lines: list[str] = []

    def see(self: plan.Plan) -> tuple[bytes, int]:
        lines[:] = self._lines
        return real(self)

    monkeypatch.setattr(plan.Plan, "encode", see)
    box.run()
    ready = lines.index("ready ")
    assert ready > 30
    for number in range(ready + 1):

        def die(self: plan.Plan, number: int = number) -> tuple[bytes, int]:
            self._lines.insert(number, "die")
            return real(self)

        monkeypatch.setattr(plan.Plan, "encode", die)
        with pytest.raises(LaunchError, match="ended while it was made"):
            box.create()
        box.left_nothing()


def test_a_step_that_fails_is_named_with_its_object_and_error(box: Box) -> None:
    box.mount("/data", source="/nowhere", options=["bind"])
    error = box.fails("bind")
    assert error.message == "bind /data: open_tree /nowhere: No such file or directory"


def test_the_kernels_own_words_are_passed_on(box: Box) -> None:
    box.mount("/data", type="tmpfs", options=["colour=red"])
    error = box.fails("filesystem")
    assert "option colour=red; tmpfs: Unknown parameter 'colour'" in error.message


# ---- The command ----


@pytest.mark.parametrize(
    ("command", "status", "words"),
    [
        ("nosuch", 127, "executable file not found in $PATH"),
        ("/bin/nosuch", 127, "no such file or directory"),
        ("/etc/passwd", 126, "permission denied"),
        ("/etc", 126, "permission denied"),
    ],
)
def test_create_finds_out_that_there_is_no_such_command(
    box: Box, command: str, status: int, words: str
) -> None:
    box.process["args"] = [command]
    error = box.fails("command")
    assert error.status == status
    assert words in error.message


def test_start_finds_out_that_it_is_no_program(box: Box) -> None:
    (box.rootfs / "bin/text").write_text("no program")
    (box.rootfs / "bin/text").chmod(0o755)
    box.process["args"] = ["text"]
    made = box.create()
    with pytest.raises(LaunchError, match="exec format error") as caught:
        box.start()
    assert (caught.value.step, caught.value.status) == ("exec", 126)
    assert box.wait(made) == 125


def test_arguments_and_environment_come_through_byte_by_byte(box: Box) -> None:
    words = ["", " ", "%", "\n", "%41", "ä", os.fsdecode(b"\xff")]
    box.process["args"] = ["/bin/sh", "-c", 'printf "[%s]" "$@"; printf "$A"', "sh", *words]
    box.process["env"] = ["PATH=/bin", "A=1 2\n3"]
    made = box.create()
    box.start()
    assert box.wait(made) == 0
    box.output.seek(0)
    assert box.output.read() == b"".join(b"[%s]" % os.fsencode(w) for w in words) + b"1 2\n3"


# ---- Namespaces ----


def test_its_namespaces_are_its_own(box: Box) -> None:
    box.new("user", "time")
    made = box.create("sleep 1000")
    box.start()
    for name in ("mnt", "uts", "ipc", "pid", "net", "cgroup", "user", "time"):
        assert namespace(made.pid, name) != namespace("self", name), name


def test_those_that_arent_named_are_the_hosts(box: Box) -> None:
    box.linux["namespaces"] = [{"type": "mount"}]
    made = box.create("sleep 1000")
    box.start()
    for name in ("uts", "ipc", "pid", "net", "cgroup", "user", "time"):
        assert namespace(made.pid, name) == namespace("self", name), name


@pytest.mark.parametrize("user", [False, True])
def test_namespaces_are_joined_by_path(box: Box, tmp_path: Path, user: bool) -> None:
    if user:
        box.new("user")
    first = box.create("sleep 1000")
    (tmp_path / "two").mkdir()
    box.folder = tmp_path / "two"
    names = {"uts": "uts", "ipc": "ipc", "network": "net", "pid": "pid"} | (
        {"user": "user"} if user else {}
    )
    box.linux["namespaces"] = [
        {"type": kind, "path": f"/proc/{first.pid}/ns/{name}"} for kind, name in names.items()
    ] + [{"type": "mount"}]
    for key in MAPS:
        box.linux.pop(key, None)
    second = box.create("sleep 1000")
    for name in names.values():
        assert namespace(second.pid, name) == namespace(first.pid, name), name
    assert namespace(second.pid, "mnt") != namespace(first.pid, "mnt")


def test_ids_are_mapped(box: Box) -> None:
    box.new("user")
    box.process["user"] = {"uid": 7, "gid": 8, "additionalGids": [9]}
    made = box.create("id; cat /proc/self/uid_map; sleep 1000")
    box.start()
    status = Path(f"/proc/{made.pid}/status").read_text()
    uid, gid, group = map(box.outside, (7, 8, 9))
    assert f"\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n" in status
    assert f"\nGid:\t{gid}\t{gid}\t{gid}\t{gid}\n" in status
    assert f"\nGroups:\t{group} \n" in status


def test_offsets_of_time(box: Box) -> None:
    box.new("time")
    box.linux["timeOffsets"] = {"boottime": {"secs": 1000000, "nanosecs": 0}}
    days = float(box.run("cat /proc/uptime").split()[0])
    assert days > 1000000 > float(Path("/proc/uptime").read_text().split()[0])


def test_names_of_host_and_domain(box: Box) -> None:
    box.config.update(hostname="box", domainname="box.test")
    printed = box.run("hostname; cat /proc/sys/kernel/domainname")
    assert printed == "box\nbox.test\n"
    assert socket.gethostname() != "box"


def test_the_loopback_is_up(box: Box) -> None:
    assert "LOOPBACK,UP" in box.run("ip link show lo")


def test_parameters_of_its_namespaces(box: Box) -> None:
    before = Path("/proc/sys/kernel/msgmax").read_text()
    box.linux["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.msgmax": "4321"}
    paths = "/proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax"
    assert box.run(f"cat {paths}") == "1\n4321\n"
    assert Path("/proc/sys/kernel/msgmax").read_text() == before


# ---- One more process ----


def execute(box: Box, made: Launched, script: str, **process: Any) -> str:
    one = {
        "cwd": "/",
        "user": {"uid": 0, "gid": 0},
        "args": ["/bin/sh", "-c", script],
        "env": ["PATH=/bin"],
    } | process
    box.output.seek(0)
    output = box.output.fileno()
    more = launch.execute(
        Execution(
            HostProcess(made.pid),
            box.config,
            one,  # type: ignore[arg-type]
            cgroup=None,
            stdio=(output, output, output),
        )
    )
    os.close(more.pidfd)
    assert os.waitstatus_to_exitcode(os.waitpid(more.pid, 0)[1]) == 0
    return box.printed()


@pytest.mark.parametrize("user", [False, True])
def test_one_more_process_is_where_the_others_are(box: Box, user: bool) -> None:
    box.config["hostname"] = "box"
    box.new("time")
    if user:
        box.new("user")
    made = box.create("sleep 1000")
    box.start()
    names = ("mnt", "uts", "ipc", "pid", "net", "cgroup", "user", "time")
    printed = execute(
        box,
        made,
        "hostname; for i in {}; do readlink /proc/self/ns/$i; done".format(" ".join(names)),
    )
    assert printed.split() == ["box", *(namespace(made.pid, name) for name in names)]
    assert execute(box, made, "id -u; pwd", user={"uid": 9, "gid": 9}, cwd="/tmp") == "9\n/tmp\n"


def test_one_more_process_runs_on_the_processors_that_it_names(box: Box) -> None:
    made = box.create("sleep 1000")
    box.start()
    cpu = str(min(os.sched_getaffinity(0)))
    affinity = {"initial": cpu, "final": cpu}
    printed = execute(
        box, made, "grep Cpus_allowed_list /proc/self/status", execCPUAffinity=affinity
    )
    assert printed.split()[-1] == cpu
    assert os.sched_getaffinity(made.pid) == os.sched_getaffinity(0)


def test_one_more_process_that_cant_be_run(box: Box) -> None:
    made = box.create("sleep 1000")
    box.start()
    with pytest.raises(LaunchError) as caught:
        execute(box, made, "", args=["nosuch"])
    assert caught.value.status == 127


def test_nothing_goes_to_a_process_that_has_the_ended_inits_id_by_now(box: Box) -> None:
    """Between a look at the container's state and `exec`, the id may become another process's."""
    other = box.create("sleep 1000")
    box.start()
    earlier = HostProcess(other.pid)
    earlier.start -= 1
    with pytest.raises(LaunchError, match="the container has ended"):
        box.running.append(launch.execute(Execution(earlier, box.config, box.process, cgroup=None)))


# ---- Without root ----


def test_a_user_without_rights_has_a_container() -> None:
    with tempfile.TemporaryDirectory() as folder:  # not the tests' own, which is root's alone
        os.chmod(folder, 0o755)
        box = Box(Path(folder))
        box.new("user")
        one = [{"containerID": 0, "hostID": 1234, "size": 1}]
        box.linux.update(uidMappings=one, gidMappings=one)
        for path in (box.folder, box.rootfs, *box.rootfs.iterdir()):
            os.chown(path, 1234, 1234)
        child = os.fork()
        if child:
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            box.close()
            return
        status = 1
        try:
            helper._helper_fd()
            check(box.config)  # imports what it needs while it can
            os.setgroups([])
            os.setresgid(1234, 1234, 1234)
            os.setresuid(1234, 1234, 1234)
            printed = box.run("id -u; cat /proc/self/setgroups; echo > /dev/null && echo well")
            assert printed == "0\ndeny\nwell\n"
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)


# ---- What a process that somebody has taken hold of may say ----


@pytest.mark.parametrize(
    "report", [b"E", b"E\0\0\0", b"E\1\0\0\0step", b"E\1\0\0\0a\0b", b"E\xff\xff\xff\xffa\0b\0c"]
)
def test_an_error_that_cant_be_read_is_an_error_of_the_launch(report: bytes) -> None:
    assert "can't be read" in helper.error_of(report).message


def test_a_report_that_cant_be_read_is_an_error_of_the_launch(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive = helper.receive

    def cut(reports: int) -> bytes:
        report = receive(reports)
        return report[:-3] if report[:1] == b"R" else report

    monkeypatch.setattr(helper, "receive", cut)
    assert "can't be read" in box.fails("").message


def test_a_report_names_no_process_that_isnt_a_new_child_of_ours(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process of the container's has the pipe for reports until it runs its command."""
    receive = helper.receive
    forged = [
        b"P" + pid.to_bytes(4, "little", signed=True)
        for pid in (0, 1, -1, os.getpid(), os.getppid(), 2**31 - 1)
    ]
    monkeypatch.setattr(helper, "receive", lambda fd: forged.pop() if forged else receive(fd))
    named: list[int] = []
    made = box.create("true", on_runtime=named.append)
    assert named == [made.pid]
    assert os.readlink(f"/proc/{made.pid}/root") == "/"
    box.start()
    assert box.wait(made) == 0


def test_nor_a_second_process_as_the_containers(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does the container's process become one of the helpers."""
    receive = helper.receive
    seen: list[bytes] = []

    def twice(fd: int) -> bytes:
        if seen:
            return seen.pop()
        report = receive(fd)
        if report[:1] == b"P":
            seen.append(report)
        return report

    monkeypatch.setattr(helper, "receive", twice)
    named: list[int] = []
    made = box.create("true", on_runtime=named.append)
    assert named == [made.pid]
    box.start()
    assert box.wait(made) == 0


def test_an_order_doesnt_wait_for_who_has_filled_the_pipe(no_leak: None) -> None:
    ours, theirs = helper.Opened(), helper.Opened()
    _, orders = helper.open_pipes(ours, theirs)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(orders, b"G")
    with pytest.raises(LaunchError, match="can't be read"):
        helper._go(orders)
    ours.close()
    theirs.close()
