"""What a container's process is and may do: terminal, streams, user, rights and limits."""

import array
import contextlib
import errno
import fcntl
import json
import os
import signal
import socket
import termios
from pathlib import Path

import pytest

from ringlet.container.launch import launch
from ringlet.container.launch.description import Execution
from ringlet.container.launch.helper import LaunchError
from ringlet.container.launch.privileges import lacking_capabilities
from ringlet.container.spec.config_json import check
from ringlet.container.spec.names import CAPABILITIES
from ringlet.container.state import HostProcess

from ..box import Box
from ..rootfs import add_call

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_busybox]

FCHMOD = 91  # <asm/unistd_64.h>


# ---- Memory and processors ----


@pytest.mark.parametrize(
    ("policy", "shown"),
    [
        ({"mode": "MPOL_BIND", "nodes": "0"}, "bind:0"),
        ({"mode": "MPOL_LOCAL"}, "local"),
        (
            {"mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]},
            "interleave=static:0",
        ),
    ],
)
def test_memory_is_of_the_nodes_that_the_policy_says(box: Box, policy: object, shown: str) -> None:
    box.linux["memoryPolicy"] = policy
    script = "while read a policy rest; do echo $policy; exec true; done < /proc/self/numa_maps"
    assert box.run(script).split() == [shown]


def test_a_memory_policy_that_the_kernel_refuses_is_named(box: Box) -> None:
    box.linux["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "1023"}
    assert "set_mempolicy" in box.fails("memory_policy").message
    box.linux["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "1024"}
    assert "more nodes than the kernel knows" in box.fails("memory_policy").message


# ---- Terminal and streams ----


@pytest.mark.parametrize("user", [False, True])
def test_a_terminal_goes_to_the_console_socket(box: Box, tmp_path: Path, user: bool) -> None:
    if user:
        box.new("user")
    box.process.update(terminal=True, consoleSize={"height": 20, "width": 70})
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "console"))
        listener.listen()
        made = box.create(
            "tty; stty size; echo > /dev/console", console_socket=str(tmp_path / "console")
        )
        connection, _ = listener.accept()
        with connection:
            _, fds, _, _ = socket.recv_fds(connection, 100, 1)
    with open(fds[0], "rb", buffering=0) as terminal:
        size = array.array("H", [0] * 4)
        fcntl.ioctl(terminal, termios.TIOCGWINSZ, size)
        assert list(size[:2]) == [20, 70]
        box.start()
        printed = b""
        with contextlib.suppress(OSError):  # EIO: its other end has closed
            while True:
                printed += terminal.read(100)
        assert printed == b"/dev/pts/0\r\n20 70\r\n\r\n"
    assert box.wait(made) == 0


def test_a_console_socket_that_nobody_listens_at(box: Box) -> None:
    box.process["terminal"] = True
    with pytest.raises(LaunchError, match="nobody listens"):
        box.create(console_socket="/nowhere")
    box.left_nothing()


def test_nothing_is_open_but_the_streams_and_what_is_preserved(box: Box, tmp_path: Path) -> None:
    folder = os.open("/", os.O_RDONLY)
    os.set_inheritable(folder, True)
    try:
        assert box.run("ls /proc/self/fd").split() == ["0", "1", "2", "3"]  # 3 is the folder of ls
    finally:
        os.close(folder)


def test_the_streams_belong_to_the_user(box: Box) -> None:
    box.process["user"] = {"uid": 1000, "gid": 1000}
    ours, theirs = os.pipe()
    made = box.create("echo hello > /dev/stdout", stdio=(theirs, theirs, theirs))
    box.start()
    assert box.wait(made) == 0
    assert os.fstat(theirs).st_uid == box.outside(1000)
    os.close(theirs)
    with open(ours) as pipe:
        assert pipe.read() == "hello\n"


def test_a_file_that_the_streams_go_to_stays_its_owners(box: Box) -> None:
    before = os.fstat(box.output.fileno())
    box.process["user"] = {"uid": 1000, "gid": 1000}
    assert box.run("echo hello") == "hello\n"
    after = os.fstat(box.output.fileno())
    assert (after.st_uid, after.st_mode) == (before.st_uid, before.st_mode)


@pytest.mark.needs_root
@pytest.mark.parametrize("kind", ["terminal", "FIFO", "device"])
def test_what_has_a_name_on_the_host_stays_its_owners(box: Box, tmp_path: Path, kind: str) -> None:
    opened = []
    if kind == "terminal":
        opened += os.openpty()
    elif kind == "FIFO":
        os.mkfifo(tmp_path / "fifo")
        opened.append(os.open(tmp_path / "fifo", os.O_RDWR))
    else:
        opened.append(os.open("/dev/zero", os.O_RDWR))
    stream = opened[-1]
    before = os.fstat(stream)
    box.process["user"] = {"uid": 1000, "gid": 1000}
    made = box.create("true", stdio=(stream, stream, stream))
    box.start()
    assert box.wait(made) == 0
    after = os.fstat(stream)
    for fd in opened:
        os.close(fd)
    assert (after.st_uid, after.st_gid, after.st_mode) == (
        before.st_uid,
        before.st_gid,
        before.st_mode,
    )


def test_a_terminal_of_its_own_belongs_to_the_user(box: Box, tmp_path: Path) -> None:
    box.process["user"] = {"uid": 1000, "gid": 1000}
    box.process["terminal"] = True
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "console"))
        listener.listen()
        made = box.create(
            "stat -c %u /dev/pts/0 > /tmp/owner", console_socket=str(tmp_path / "console")
        )
        connection, _ = listener.accept()
        with connection:
            _, fds, _, _ = socket.recv_fds(connection, 100, 1)
    box.start()
    assert box.wait(made) == 0
    os.close(fds[0])
    assert (box.rootfs / "tmp/owner").read_text() == "1000\n"


# ---- The process ----


def test_user_groups_and_umask(box: Box) -> None:
    box.process["user"] = {"uid": 1000, "gid": 1001, "additionalGids": [5, 6], "umask": 0o27}
    printed = box.run("id -u; id -g; id -G; umask")
    assert printed == "1000\n1001\n1001 5 6\n0027\n"


def test_the_umask_is_ours_if_none_is_named(box: Box) -> None:
    old = os.umask(0o13)
    try:
        assert box.run("umask") == "0013\n"
    finally:
        os.umask(old)


def test_the_working_directory_is_made(box: Box) -> None:
    box.process["cwd"] = "/deep/er"
    assert box.run("pwd") == "/deep/er\n"


def test_a_working_directory_that_only_root_gets_into(box: Box) -> None:
    (box.rootfs / "root").chmod(0o700)
    box.process.update(cwd="/root", user={"uid": 1000, "gid": 1000})
    assert box.run("pwd") == "/root\n"


def test_a_working_directory_by_a_descriptor_of_the_host_is_refused(box: Box) -> None:
    for fd in range(3, 12):  # CVE-2024-21626
        box.process["cwd"] = f"/proc/self/fd/{fd}"
        try:
            made = box.create()
        except LaunchError as error:
            seen = error
        else:  # a folder of the helper's that it can be is the container's root, or a mount in it
            assert any(
                os.path.samefile(f"/proc/{made.pid}/cwd", f"/proc/{made.pid}/root{mount}")
                for mount in ("", "/proc", "/sys")
            )
            os.kill(made.pid, signal.SIGKILL)
            box.wait(made)
            box.forget()
            continue
        assert seen.step in ("folder", "cwd"), seen.message
        box.left_nothing()


def capabilities(status: str) -> dict[str, int]:
    return {
        line[3:6]: int(line.split()[1], 16)
        for line in status.splitlines()
        if line.startswith("Cap")
    }


@pytest.mark.parametrize("uid", [0, 1000])
def test_five_sets_of_capabilities(box: Box, uid: int) -> None:
    box.process["user"] = {"uid": uid, "gid": 0}
    box.process["capabilities"] = {
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID"],
        "permitted": ["CAP_CHOWN", "CAP_KILL"],
        "effective": ["CAP_CHOWN"],
        "inheritable": ["CAP_KILL"],
        "ambient": ["CAP_KILL"],
    }
    sets = capabilities(box.run("cat /proc/self/status"))
    chown, kill, setuid = 1 << 0, 1 << 5, 1 << 7
    assert sets["Bnd"] == chown | kill | setuid
    assert sets["Inh"] == sets["Amb"] == kill
    # At exec, root gets all that it may have, and a user what is ambient (capabilities(7)).
    assert sets["Eff"] == sets["Prm"] == (kill if uid else chown | kill | setuid)


def test_one_that_names_no_capabilities_has_none(box: Box) -> None:
    del box.process["capabilities"]
    assert set(capabilities(box.run("cat /proc/self/status")).values()) == {0}


def test_those_that_cant_be_granted_are_named_in_a_warning(box: Box) -> None:
    box.process["capabilities"] = {"effective": [*CAPABILITIES, "CAP_\n"], "ambient": ["CAP_\n"]}
    sets = capabilities(Path("/proc/self/status").read_text())
    mine = sets["Prm"] & sets["Bnd"]
    if any(one["type"] == "user" for one in box.linux["namespaces"]):  # and there it has all
        mine = (2 << int(Path("/proc/sys/kernel/cap_last_cap").read_text())) - 1
    lacking = [name for number, name in enumerate(CAPABILITIES) if not mine >> number & 1]
    warning = lacking_capabilities(box.config, box.process)
    assert warning is not None
    assert warning.endswith(": " + ", ".join(sorted([*lacking, r"'CAP_\n'"])[:8]))
    box.process["capabilities"] = {"effective": ["CAP_CHOWN"]}
    assert lacking_capabilities(box.config, box.process) is None


@pytest.mark.parametrize("no_new_privs", [False, True])
def test_no_new_privileges_and_a_filter(box: Box, no_new_privs: bool) -> None:
    box.process.update(noNewPrivileges=no_new_privs, user={"uid": 1000, "gid": 1000})
    box.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}],
    }
    printed = box.run("cat /proc/self/status; mkdir /tmp/x; true")
    assert f"NoNewPrivs:\t{int(no_new_privs)}\n" in printed
    assert "Seccomp:\t2\n" in printed
    assert os.strerror(95).lower() in printed.lower()


@pytest.mark.parametrize("forbidden", ["acct", "sendmsg", "setsid", "wait4"])
def test_the_agent_of_a_filter_gets_its_listener(box: Box, tmp_path: Path, forbidden: str) -> None:
    """Also where the filter forbids to send it."""
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(tmp_path / "agent"))
        agent.listen()
        box.linux["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": str(tmp_path / "agent"),
            "listenerMetadata": "about it",
            "syscalls": [
                {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"},
                {"names": [forbidden], "action": "SCMP_ACT_ERRNO"},
            ],
        }
        made = box.create("sleep 1000")
        box.start()
        connection, _ = agent.accept()
        with connection:
            data, fds, _, _ = socket.recv_fds(connection, 65536, 4)
    said = json.loads(data)
    assert said["fds"] == ["seccompFd"]
    assert said["pid"] == said["state"]["pid"] == made.pid
    assert said["metadata"] == "about it"
    assert said["state"]["bundle"] == str(box.bundle)
    assert os.readlink(f"/proc/self/fd/{fds[0]}") == "anon_inode:seccomp notify"
    os.close(fds[0])


@pytest.mark.parametrize("forbidden", ["acct", "sendmsg", "setsid"])
def test_the_agent_hears_of_a_process_that_comes_in(
    box: Box, tmp_path: Path, forbidden: str
) -> None:
    if forbidden != "acct":  # the process is seen before it has the filter
        box.new("user")
    box.process["args"] = ["sleep", "1000"]
    made = box.create()
    box.start()
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(tmp_path / "agent"))
        agent.listen()
        box.linux["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": str(tmp_path / "agent"),
            "syscalls": [
                {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"},
                {"names": [forbidden], "action": "SCMP_ACT_ERRNO"},
            ],
        }
        came = launch.execute(
            Execution(HostProcess(made.pid), check(box.config), box.process, cgroup=None, id="one")
        )
        box.running.append(came)
        connection, _ = agent.accept()
        with connection:
            data, fds, _, _ = socket.recv_fds(connection, 65536, 4)
    os.close(fds[0])
    said = json.loads(data)
    assert said["pid"] == came.pid
    assert said["state"]["id"] == "one"


def test_no_agent_is_looked_for_where_nothing_is_notified(box: Box, tmp_path: Path) -> None:
    """The specification has the path ignored then."""
    box.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": str(tmp_path / "nobody"),
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}],
    }
    assert box.create("true").notes == [
        "linux.seccomp.listenerPath: not used, for no rule has SCMP_ACT_NOTIFY"
    ]


def test_limits(box: Box) -> None:
    box.process["rlimits"] = [
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
    ]
    printed = box.run("ulimit -Sn; ulimit -Hn; ulimit -Sc")
    assert printed == "100\n200\n0\n"


def test_limits_too_tight_for_its_making_hold_in_the_end(box: Box) -> None:
    box.process["rlimits"] = [
        {"type": "RLIMIT_NOFILE", "soft": 3, "hard": 3},
        {"type": "RLIMIT_FSIZE", "soft": 100, "hard": 100},
    ]
    assert box.run("ulimit -n") == "3\n"


def test_a_right_that_this_host_lacks_is_named(box: Box) -> None:
    box.process["oomScoreAdj"] = -1000
    if _has(24):  # CAP_SYS_RESOURCE
        box.run()
        return
    assert "oom_score_adj -1000" in box.fails("oom_score_adj").message
    del box.process["oomScoreAdj"]
    box.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 1 << 20}]
    error = box.fails("hard")
    assert "RLIMIT_NOFILE" in error.message
    assert "CAP_SYS_RESOURCE" in error.hint


def _has(capability: int) -> bool:
    sets = capabilities(Path("/proc/self/status").read_text())
    return bool(sets["Eff"] >> capability & 1)


def test_the_score_of_the_oom_killer(box: Box) -> None:
    box.process["oomScoreAdj"] = 321
    assert box.run("cat /proc/self/oom_score_adj") == "321\n"


def test_personality_scheduler_and_io_priority(box: Box) -> None:
    box.linux["personality"] = {"domain": "LINUX32"}
    box.process["scheduler"] = {"policy": "SCHED_BATCH", "nice": 5}
    box.process["ioPriority"] = {"class": "IOPRIO_CLASS_IDLE", "priority": 3}
    made = box.create("uname -m; ionice; sleep 1000")
    box.start()
    assert os.sched_getscheduler(made.pid) == os.SCHED_BATCH
    assert os.getpriority(os.PRIO_PROCESS, made.pid) == 5
    while (printed := os.pread(box.output.fileno(), 100, 0)).count(b"\n") < 2:
        assert box.alive(made), printed
    assert printed.startswith(b"i686\nidle")


def test_it_has_a_session_and_a_keyring_of_its_own(box: Box) -> None:
    made = box.create("cat /proc/keys; sleep 1000")
    box.start()
    assert os.getsid(made.pid) == made.pid


def test_its_program_was_never_a_file_of_the_host(box: Box) -> None:
    made = box.create()  # CVE-2019-5736
    program = f"/proc/{made.pid}/exe"
    assert os.readlink(program) == "/memfd:ringlet-container (deleted)"
    with pytest.raises(OSError, match=r"busy|permitted"):
        os.open(program, os.O_WRONLY)
    fd = os.open(program, os.O_RDONLY)
    assert fcntl.fcntl(fd, fcntl.F_GET_SEALS) == 0xF
    os.close(fd)


def run_and_join(box: Box, script: str) -> list[str]:
    """What the script prints as process 1, and as a process that joins; null is its input."""
    seen = [box.run(script)]
    box.process["args"] = ["/bin/sleep", "1000"]
    made = box.create()
    box.start()
    config = check(box.config)
    process = config["process"] | {"args": ["/bin/sh", "-c", script]}
    null = os.open("/dev/null", os.O_RDONLY)
    joined = launch.execute(Execution(
        HostProcess(made.pid), config, process, cgroup=None,
        stdio=(null, box.output.fileno(), box.output.fileno()),
    ))  # fmt: skip
    os.close(null)
    assert os.waitpid(joined.pid, 0)[1] == 0
    os.close(joined.pidfd)
    seen.append(box.printed())
    os.kill(made.pid, 9)
    box.wait(made)
    return seen


def test_a_null_device_of_the_hosts_becomes_the_containers(box: Box) -> None:
    """With the host's, the command could change the mode of the host's /dev/null."""
    before = os.stat("/dev/null")
    script = (
        "stat -L -c %d:%i /proc/self/fd/0 /dev/null; chmod 600 /proc/self/fd/0 2> /tmp/why;"
        ": > /dev/null"
    )
    for printed in run_and_join(box, script):
        stream, own = printed.split()
        assert stream == own
    assert os.stat("/dev/null").st_mode == before.st_mode


def test_without_one_of_its_own_the_hosts_keeps_its_mode(box: Box, tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    del box.config["mounts"][1:]
    box.mount("/dev", source=str(tmp_path / "dev"), options=["bind"])
    # The mode that the device has already: nothing changes if the attack succeeds.
    script = "chmod 666 /proc/self/fd/0 && echo changed; echo word >&0; cat; echo end"
    for printed in run_and_join(box, script):
        assert "changed" not in printed
        assert printed.endswith("\nend\n")


@pytest.mark.needs_gcc
def test_nor_does_one_without_a_mount_namespace_change_it(box: Box) -> None:
    box.config["mounts"] = []
    box.linux["namespaces"] = [one for one in box.linux["namespaces"] if one["type"] != "mount"]
    add_call(box.rootfs)
    box.create(f"call {FCHMOD} 0 {0o666}; exit $?")
    box.start()
    assert box.wait(box.running[0]) in (errno.EROFS, errno.EPERM)
