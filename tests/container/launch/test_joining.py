"""What a process that comes into a container is worth to those in there, from when they can see it.

The container has no user namespace, and its root CAP_SYS_PTRACE: nothing keeps it from stopping a
process that it sees, and from taking over what this one has. So there must be nothing to take.

Source: ptrace(2), "Ptrace access mode checking"; proc(5).
"""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ringlet.container.launch import helper, joined_pids, launch, privileges
from ringlet.container.launch.description import Execution
from ringlet.container.launch.plan import Plan
from ringlet.container.spec.config_json import SpecError, check
from ringlet.container.state import HostProcess

from ...until import until
from ..box import Box, namespace
from ..cgroups.inside import eventually

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_busybox, pytest.mark.needs_gcc]

CAPS = ["CAP_SYS_PTRACE", "CAP_KILL"]
PTRACE_AND_KILL = 1 << 19 | 1 << 5
COMES_IN: dict[str, Any] = {
    "cwd": "/tmp",
    "user": {"uid": 0, "gid": 0},
    "args": ["true"],
    "env": ["PATH=/bin"],
    "capabilities": {"bounding": ["CAP_KILL"]},
    "noNewPrivileges": True,
}


@pytest.fixture(scope="module")
def catcher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("catcher") / "catcher"
    source = Path(__file__).parents[1] / "catcher.c"
    words = ["gcc", "-O1", "-static", "-Wall", "-Wextra", "-Werror", source, "-o", program]
    subprocess.run(words, check=True)
    return program


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret-of-the-host"
    path.write_text("the host's")
    return path


class Caught:
    """What the catcher printed of each process."""

    def __init__(self, printed: str) -> None:
        self.processes = [one.splitlines() for one in printed.split("caught\n")[1:]]
        self.escapes = {line for one in self.processes for line in one if "escaped" in line}

    def numbers(self, field: str) -> set[int]:
        """The values of a field of /proc/PID/status that is a mask."""
        return {
            int(line.split()[1], 16)
            for one in self.processes
            for line in one
            if line.startswith(field)
        }

    def links(self, kind: str = "fd") -> set[str]:
        """Where descriptors of theirs lead, or other links."""
        return {
            line.split(" ", 2)[2]
            for one in self.processes
            for line in one
            if line.startswith(f"link {kind}/")
        }

    def read(self) -> set[str]:
        """Files and folders of /proc/PID that each of them had, and that could be read."""
        found = [
            {re.sub(r"\d+", "N", one[5:]) for one in lines if one.startswith("read ")}
            for lines in self.processes
        ]
        return set.intersection(*found)


@pytest.fixture(autouse=True)
def _there_is_time_to_catch_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What can be done with luck is done surely: each new process waits until it is caught."""
    go = helper._go

    def later(orders: int) -> None:
        if Trap.laid is not None:
            Trap.laid.await_catches()
        go(orders)

    monkeypatch.setattr(Trap, "laid", None)
    monkeypatch.setattr(helper, "_go", later)


@pytest.fixture
def trap(box: Box, catcher: Path, secret: Path) -> Iterator["Trap"]:
    trap = Trap(box, catcher, secret)
    yield trap
    trap.spring()


class Trap:
    """A container whose process 1 catches those that come in."""

    laid: "Trap | None" = None

    def __init__(self, box: Box, catcher: Path, secret: Path) -> None:
        self.box = box
        (box.rootfs / "bin/catcher").write_bytes(catcher.read_bytes())
        (box.rootfs / "bin/catcher").chmod(0o755)
        box.process["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), CAPS)
        box.process["args"] = ["catcher", str(secret), "/tmp/until"]
        self.made = box.create()
        box.start()
        until(lambda: self._count("ready\n"))
        Trap.laid = self

    def _count(self, word: str) -> int:
        return os.pread(self.box.output.fileno(), 1 << 24, 0).decode().count(word)

    def await_catches(self) -> None:
        """Waits until each process of ours that is seen in there by now was tried."""
        for pid in Path("/proc/thread-self/children").read_text().split():
            if int(pid) != self.made.pid and (number := self._number_of(pid)):
                until(lambda number=number: self._count(f"tried {number}\n"))  # type: ignore[misc]

    def _number_of(self, pid: str) -> int:
        """The process id that a child of ours has in there; 0 for process 1, and outside."""
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        ids = next(line for line in lines if line.startswith("NSpid:")).split()[1:]
        with suppress(PermissionError):  # of a process that is hidden from a user
            if namespace(int(pid), "pid") != namespace(self.made.pid, "pid"):
                return 0
        return int(ids[-1]) if len(ids) > 1 and ids[-1] != "1" else 0

    def execute(self, **more: Any) -> None:
        """A process comes in, as `exec` sends one."""
        process: Any = COMES_IN | more
        output = os.open("/dev/null", os.O_RDWR)
        try:
            came = launch.execute(
                Execution(
                    HostProcess(self.made.pid),
                    check(self.box.config),
                    process,
                    cgroup=None,
                    stdio=(output, output, output),
                )
            )
        finally:
            os.close(output)
        os.close(came.pidfd)
        os.waitpid(came.pid, 0)

    def spring(self) -> Caught:
        """What was caught; the container ends."""
        Trap.laid = None
        if self.made in self.box.running:
            (self.box.rootfs / "tmp/until").touch()
            self.box.wait(self.made)
            self.printed = self.box.printed()
        return Caught(self.printed)


def without(monkeypatch: pytest.MonkeyPatch, *steps: str) -> None:
    """Plans have none of these."""
    add = Plan.add
    monkeypatch.setattr(
        Plan,
        "add",
        lambda self, step, *words: None if step in steps else add(self, step, *words),
    )


# That there is nothing in them is seen, and not that they can't be looked at.
READ = {
    "fd", "map_files", "ns", "fdinfo", "fdinfo/N", "task/N/fd",
    *(where + name for where in ("", "task/N/") for name in ("environ", "cmdline", "maps", "auxv")),
}  # fmt: skip
SECCOMP: Any = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["acct"], "action": "SCMP_ACT_ERRNO"}],
}
# The helper's last steps need `clone`, so this one is set after them.
LATE: Any = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["clone"], "action": "SCMP_ACT_ERRNO"}],
}
SYS_ADMIN = 1 << 21


@pytest.mark.parametrize("no_new_privs", [True, False])
def test_a_process_that_comes_in_has_nothing_but_what_its_command_has(
    trap: Trap, no_new_privs: bool
) -> None:
    trap.box.linux["seccomp"] = SECCOMP
    theirs = {os.readlink(one) for one in Path(f"/proc/{trap.made.pid}/ns").iterdir()}
    trap.execute(noNewPrivileges=no_new_privs)
    caught = trap.spring()
    assert caught.processes
    assert caught.escapes == set()
    assert caught.read() >= READ
    assert caught.links("ns") == theirs
    for field in ("CapPrm", "CapEff", "CapInh", "CapAmb"):
        assert caught.numbers(field) == {0}
    assert caught.numbers("CapBnd") == {1 << 5}
    assert caught.numbers("Seccomp:") == {2}
    assert {link.partition(":")[0] for link in caught.links()} == {"/dev/null", "pipe"}


def test_who_comes_in_as_a_user_is_that_user_when_it_is_seen(trap: Trap) -> None:
    trap.execute(user={"uid": 1000, "gid": 1000})
    users = {
        line.split(maxsplit=1)[1]
        for one in trap.spring().processes
        for line in one
        if line.startswith("Uid:")
    }
    assert users == {"\t".join(["1000"] * 4)}


def forbids(*names: str) -> Any:
    rule = {"names": list(names), "action": "SCMP_ACT_ERRNO"}
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}


@pytest.mark.parametrize("no_new_privs", [False, True])
def test_a_filter_that_the_last_steps_would_break_is_refused_where_it_takes_a_right(
    trap: Trap, no_new_privs: bool
) -> None:
    """Until it is set, the process has none; and without no_new_privs it has CAP_SYS_ADMIN."""
    trap.box.linux["seccomp"] = forbids("clone")
    with pytest.raises(SpecError, match="CAP_SYS_PTRACE"):
        trap.execute(noNewPrivileges=no_new_privs)
    with pytest.raises(SpecError, match="CAP_SYS_PTRACE"):
        join(trap)


def test_nor_may_one_come_in_that_could_take_over_the_next(box: Box) -> None:
    """The container itself has no CAP_SYS_PTRACE; who comes in is given it."""
    box.linux["seccomp"] = forbids("clone")
    box.process["noNewPrivileges"] = False
    made = box.create("sleep 1000")
    box.start()
    held = {"bounding": ["CAP_SYS_PTRACE"], "permitted": ["CAP_SYS_PTRACE"]}
    process: Any = COMES_IN | {"capabilities": held, "noNewPrivileges": False}
    with pytest.raises(SpecError, match="CAP_SYS_PTRACE"):
        launch.execute(Execution(HostProcess(made.pid), check(box.config), process, cgroup=None))


class Later:
    """A container without CAP_SYS_PTRACE, and one that joins its process ids later, with it."""

    def __init__(self, box: Box, catcher: Path, secret: Path, seccomp: Any, **process: Any) -> None:
        box.process.update(process | {"args": ["sleep", "1000"]})
        box.linux["seccomp"] = seccomp
        self.first = box.create()
        self.config = check(box.config)
        del box.linux["seccomp"]
        for one in box.linux["namespaces"]:
            if one["type"] == "pid":
                one["path"] = f"/proc/{self.first.pid}/ns/pid"
        self.first_folder = box.folder
        box.folder = box.folder.with_name("two")
        box.folder.mkdir()
        self.trap = Trap(box, catcher, secret)

    def seen_of_init(self, field: str) -> set[int]:
        """A field of the first container's process 1, which the later one may trace."""
        status = Path(f"/proc/{self.first.pid}/status").read_text()
        return Caught(f"caught\n{status}").numbers(field)

    def catch_one(self, **process: Any) -> Caught:
        """What is caught of a process that comes in."""
        self.execute(**process)
        return self.trap.spring()

    def execute(self, **process: Any) -> int:
        """The status of a process that comes into the first container."""
        came = launch.execute(
            Execution(
                HostProcess(self.first.pid),
                self.config,
                COMES_IN | process,  # type: ignore[arg-type]
                cgroup=None,
            )
        )
        os.close(came.pidfd)
        return os.waitstatus_to_exitcode(os.waitpid(came.pid, 0)[1])


@pytest.mark.parametrize("no_new_privs", [False, True])
def test_a_later_container_catches_none_without_its_filter(
    box: Box, catcher: Path, secret: Path, no_new_privs: bool
) -> None:
    """Neither the init that waits to be started, nor a process that comes in."""
    filter = forbids("faccessat", "newfstatat", "getuid", "acct")
    later = Later(box, catcher, secret, filter, noNewPrivileges=no_new_privs)
    assert later.seen_of_init("Seccomp:") == {2}
    assert later.seen_of_init("CapPrm:") == {0}
    caught = later.catch_one(noNewPrivileges=no_new_privs)
    assert caught.processes
    assert caught.numbers("Seccomp:") == {2}
    for field in ("CapPrm", "CapEff", "CapInh", "CapAmb"):
        assert caught.numbers(field) == {0}
    assert caught.escapes == set()


def test_one_that_gets_its_filter_when_it_is_seen_would_be_caught_without(
    box: Box, catcher: Path, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With CAP_SYS_ADMIN of the host: without no_new_privs, to set a filter takes this right."""
    later = Later(box, catcher, secret, SECCOMP, noNewPrivileges=False)
    monkeypatch.setattr(privileges.FilterSteps, "lets_a_process_begin", False)
    monkeypatch.setattr(privileges, "refuse_late", lambda *_: None)
    caught = later.catch_one(noNewPrivileges=False)
    assert 0 in caught.numbers("Seccomp:")
    assert SYS_ADMIN in caught.numbers("CapPrm:")


def test_an_init_has_a_filter_without_what_begins_a_process(
    box: Box, catcher: Path, secret: Path
) -> None:
    """Its own steps of this kind are done by then. A process that comes in is refused."""
    filter = forbids("clone", "setsid", "prctl", "prlimit64")
    later = Later(box, catcher, secret, filter, noNewPrivileges=True)
    assert later.seen_of_init("Seccomp:") == {2}
    with pytest.raises(SpecError, match="CAP_SYS_PTRACE"):
        later.execute()
    launch.start(str(later.first_folder), HostProcess(later.first.pid))
    assert later.seen_of_init("Seccomp:") == {2}


def test_no_process_that_a_later_container_catches_has_a_socket_to_the_agent(
    box: Box, catcher: Path, secret: Path, tmp_path: Path
) -> None:
    """It would be a handle to the agent: SO_PEERPIDFD, pidfd_getfd(2)."""
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(tmp_path / "agent"))
        agent.listen(32)
        rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}
        filter = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
        filter["listenerPath"] = str(tmp_path / "agent")
        later = Later(box, catcher, secret, filter, noNewPrivileges=True)
        caught = later.catch_one()
        assert caught.numbers("Seccomp:") == {2}
        assert not any(link.startswith(("socket:", "anon_inode:")) for link in caught.links())
        said = []
        for _ in range(2):
            connection, _ = agent.accept()
            with connection:
                data, fds, _, _ = socket.recv_fds(connection, 65536, 4)
            assert os.readlink(f"/proc/self/fd/{fds[0]}") == "anon_inode:seccomp notify"
            os.close(fds[0])
            said.append(json.loads(data)["state"]["status"])
        assert said == ["creating", "running"]


def test_a_thread_alone_that_may_trace_counts(box: Box) -> None:
    """Each thread has its own capabilities."""
    code = (
        "import ctypes, threading, time\n"
        "libc = ctypes.CDLL(None)\n"
        "threading.Thread(target=time.sleep, args=[1000], daemon=True).start()\n"
        "assert libc.prctl(24, 19) == 0\n"  # PR_CAPBSET_DROP, CAP_SYS_PTRACE
        "libc.syscall(126, ctypes.byref((ctypes.c_uint * 2)(0x20080522)), (ctypes.c_uint * 6)())\n"
        "print('', flush=True)\n"
        "time.sleep(1000)\n"
    )
    words = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", code]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as unshare:
        assert unshare.stdout is not None
        unshare.stdout.readline()
        child = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children").read_text().strip()
        try:
            assert joined_pids.has_tracer(f"/proc/{child}/ns/pid")
        finally:
            os.kill(int(child), 9)


def test_a_process_that_kept_its_descriptors_would_be_a_way_out(
    trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "close")
    trap.execute()
    assert any(line.startswith("escaped fd/") for line in trap.spring().escapes)


def test_a_process_that_kept_its_rights_would_be_taken_over(
    trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "capabilities", "bounding")
    trap.execute()
    assert min(trap.spring().numbers("CapPrm")) & 1 << 21


def test_a_process_without_its_filter_would_be_taken_over_to_call_anything(
    trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap.box.linux["seccomp"] = SECCOMP
    without(monkeypatch, "seccomp")
    trap.execute()
    assert trap.spring().numbers("Seccomp:") == {0}


def test_in_a_user_namespace_a_process_is_hidden_while_it_has_a_right(
    box: Box, catcher: Path, secret: Path
) -> None:
    """Its filter is set last, and until then it has CAP_SYS_ADMIN.

    Without `hidden` the kernel hides it too, since its ids change, unless fs.suid_dumpable is 1;
    that is a setting of the whole host.
    """
    box.new("user")
    box.linux["seccomp"] = LATE
    trap = Trap(box, catcher, secret)
    trap.execute(noNewPrivileges=False)
    assert SYS_ADMIN not in trap.spring().numbers("CapPrm")


def join(trap: Trap, **process: Any) -> Caught:
    """A container that is made in the process id namespace of the trap's."""
    box = trap.box
    path = f"/proc/{trap.made.pid}/ns/pid"
    box.linux["namespaces"] = [one for one in box.linux["namespaces"] if one["type"] != "pid"]
    box.linux["namespaces"].append({"type": "pid", "path": path})
    box.process.update(COMES_IN | {"args": ["sleep", "0.3"]} | process)
    made = box.create()
    time.sleep(0.3)  # it waits to be started, and is looked at again
    box.start()
    assert box.wait(made) == 0
    return trap.spring()


@pytest.mark.parametrize("no_new_privs", [True, False])
def test_the_init_of_a_container_that_shares_process_ids_has_nothing_either(
    trap: Trap, no_new_privs: bool
) -> None:
    trap.box.linux["seccomp"] = SECCOMP
    caught = join(trap, noNewPrivileges=no_new_privs)
    assert caught.processes
    assert caught.escapes == set()
    assert caught.read() >= READ
    for field in ("CapPrm", "CapEff", "CapInh", "CapAmb"):
        assert caught.numbers(field) == {0}
    assert caught.numbers("CapBnd") == {1 << 5}
    kinds = {link.partition(":")[0] for link in caught.links()}
    fifos = {str(trap.box.folder.parent / "one" / name) for name in launch.FIFOS}
    assert kinds <= {"/dev/null", "pipe", str(trap.box.output.name), *fifos} | {
        link for link in kinds if "deleted" in link
    }


def test_a_hook_of_the_hosts_is_not_seen_in_there(trap: Trap) -> None:
    """It has the host's root, and ringlet's rights."""
    trap.box.config["hooks"] = {
        "createContainer": [{"path": "/bin/sleep", "args": ["sleep", "0.5"]}]
    }
    assert join(trap).escapes == set()


def test_from_a_new_user_namespace_none_joins(trap: Trap) -> None:
    trap.box.new("user")
    with pytest.raises(SpecError, match="those in there could take it over"):
        join(trap)


@pytest.mark.parametrize("traces", [True, False])
def test_before_linux_6_17_none_joins_whose_procfs_could_be_caught(
    box: Box, monkeypatch: pytest.MonkeyPatch, traces: bool
) -> None:
    held = CAPS if traces else ["CAP_KILL"]
    box.process["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), held)
    first = box.create("sleep 1000")
    monkeypatch.setattr(joined_pids, "_release", lambda: (6, 12))
    path = f"/proc/{first.pid}/ns/pid"
    config = {"mounts": [{"type": "proc"}]}
    if traces:
        with pytest.raises(SpecError, match=r"before Linux 6\.17"):
            joined_pids.check(config, path)  # type: ignore[arg-type]
    else:
        joined_pids.check(config, path)  # type: ignore[arg-type]
    joined_pids.check({}, path)  # type: ignore[typeddict-item]
    joined_pids.check(config, "/proc/self/ns/pid")  # type: ignore[arg-type]


def test_hooks_of_the_host_are_not_taken_from_a_namespace_that_is_joined(box: Box) -> None:
    first = box.create("sleep 1000")
    box.linux["namespaces"][0]["path"] = f"/proc/{first.pid}/ns/mnt"
    box.config["hooks"] = {"createContainer": [{"path": "/bin/sh"}]}
    with pytest.raises(SpecError, match="programs of whoever is in there"):
        check(box.config)


def test_a_namespace_is_found_on_the_host_whatever_the_joined_ones_files_are(
    box: Box, tmp_path: Path
) -> None:
    """Whose mount namespace is joined could lead the path of the next one elsewhere."""
    first = box.create("sleep 1000")
    (tmp_path / "two").mkdir()
    box.folder = tmp_path / "two"
    path = f"/tmp/{tmp_path.name}-{os.getpid()}"
    theirs = Path(f"/proc/{first.pid}/root{path}")
    os.mkfifo(theirs)
    Path(path).touch()
    subprocess.run(["mount", "--bind", "/proc/self/ns/net", path], check=True)
    try:
        paths = {"mount": f"/proc/{first.pid}/ns/mnt", "network": path}
        kinds = [one["type"] for one in box.linux["namespaces"]]
        box.linux["namespaces"] = [
            {"type": kind} | ({"path": paths[kind]} if kind in paths else {}) for kind in kinds
        ]
        made = box.create("true")
        assert namespace(made.pid, "net") == namespace("self", "net")
    finally:
        subprocess.run(["umount", path], check=True)
        os.unlink(path)


def test_a_user_namespace_of_the_processs_own_keeps_nobody_out(box: Box) -> None:
    made = box.create("exec unshare -U sleep 1000")
    box.start()
    eventually(lambda: namespace(made.pid, "user") != namespace("self", "user"))
    process: Any = COMES_IN | {"args": ["readlink", "/proc/self/ns/user"]}
    came = launch.execute(Execution(
        HostProcess(made.pid), check(box.config), process, cgroup=None,
        stdio=(0, box.output.fileno(), box.output.fileno()),
    ))  # fmt: skip
    os.close(came.pidfd)
    assert os.waitpid(came.pid, 0)[1] == 0
    assert box.printed().strip() == namespace("self", "user")


def seen_by_another_root(box: Box, *, joins: bool) -> list[str]:
    """Where links of a process that becomes a container's lead, if uid 0 may know it."""
    box.new("user")
    seen = []
    words = ["setpriv", "--bounding-set=-sys_ptrace,-sys_admin", "readlink"]

    def look(pid: int) -> None:
        for name in ("root", "fd/0", "cwd"):
            done = subprocess.run(
                [*words, f"/proc/{pid}/{name}"], capture_output=True, text=True, check=False
            )
            seen.append(done.stdout)

    if joins:
        first = box.create("sleep 100")
        path = f"/proc/{first.pid}/ns/user"
        box.linux["namespaces"] = [one for one in box.linux["namespaces"] if one["type"] != "user"]
        box.linux["namespaces"].append({"type": "user", "path": path})
        del box.linux["uidMappings"], box.linux["gidMappings"]
        box.folder = box.folder.with_name("two")
        box.folder.mkdir()
    box.create("true", on_runtime=look)
    return seen


@pytest.mark.parametrize("joins", [False, True])
def test_roots_of_other_containers_cant_look_into_one_that_is_made(box: Box, joins: bool) -> None:
    """Uid 0 owns the new namespace, and so has all rights over who is in it: user_namespaces(7).

    Until its root is its own, the process has the host's, which /proc/PID/root is a way to.
    """
    assert seen_by_another_root(box, joins=joins) == [""] * 3


@pytest.mark.parametrize("joins", [False, True])
def test_into_one_that_isnt_hidden_they_would_look(
    box: Box, monkeypatch: pytest.MonkeyPatch, joins: bool
) -> None:
    without(monkeypatch, "hidden")
    assert seen_by_another_root(box, joins=joins)[0] == "/\n"


def test_an_init_that_waits_to_be_started_has_its_commands_rights_alone(box: Box) -> None:
    """Who has got in by `exec` before sees it."""
    box.process.update(COMES_IN)
    box.linux["seccomp"] = SECCOMP
    for no_new_privs in (True, False):
        box.process["noNewPrivileges"] = no_new_privs
        made = box.create()
        status = Path(f"/proc/{made.pid}/status").read_text()
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert {fields[name] for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")} == {"0" * 16}
        assert int(fields["CapBnd"], 16) == 1 << 5
        fds = f"/proc/{made.pid}/fd"
        # It closes its pipe to ringlet after it has said that it is ready.
        eventually(lambda fds=fds: len(os.listdir(fds)) == 5)  # type: ignore[misc]
        links = {os.readlink(f"{fds}/{fd}") for fd in os.listdir(fds)}
        assert {link.partition(":")[0] for link in links if "deleted" not in link} == {
            "/dev/null",
            *(str(box.folder / name) for name in launch.FIFOS),
        }
        os.kill(made.pid, 9)
        box.wait(made)
        box.forget()
