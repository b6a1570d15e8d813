"""`ringlet-oci` and `ringlet run` as an ordinary user: with one ID, and with a range of them."""

import json
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ringlet.container.cgroups import Cgroups

from ..nested.needs import lacks
from .box import namespace
from .engine import relay_terminal
from .rootfs import make_rootfs
from .user import FIRST, RANGES, User, has_newuidmap, somebody  # noqa: F401

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_busybox]

OCI = "from ringlet.oci.main import main; main()"
CLI = "from ringlet.cli import main; main()"


class Place:
    """The user's bundle, and the programs that run it."""

    def __init__(self, user: User, python: str) -> None:
        self.user = user
        self.python = python
        self.bundle = user.folder / "bundle"
        self.environment = user.environment
        with user.acting():
            self.rootfs = make_rootfs(self.bundle / "rootfs")
        done = self.oci("spec", "--rootless", "--bundle", str(self.bundle))
        assert done.returncode == 0, done.stderr
        self.config: Any = json.loads((self.bundle / "config.json").read_text())
        self.config["process"].update(terminal=False, rlimits=[])

    def words(self, program: str, *words: str) -> list[str]:
        return [self.python, "-c", program, *words]

    def oci(self, *words: str, **more: Any) -> Any:
        return self.user.run(*self.words(OCI, *words), **more)

    def ringlet(self, *words: str, **more: Any) -> Any:
        return self.user.run(*self.words(CLI, *words), **more)

    def write(self, script: str) -> None:
        self.config["process"]["args"] = ["/bin/sh", "-c", script]
        (self.bundle / "config.json").write_text(json.dumps(self.config))

    def run(self, script: str, **more: Any) -> Any:
        """`ringlet-oci run` of the shell's script."""
        self.write(script)
        return self.oci("run", "--bundle", str(self.bundle), "one", **more)

    def run_folder(self, *words: str) -> Any:
        """`ringlet run` in the root."""
        return self.ringlet("run", str(self.rootfs), *words)


@pytest.fixture
def place(somebody: User) -> Iterator[Place]:  # noqa: F811
    python = somebody.python()
    if python is None:
        lacks("a Python that other users may run")
    assert python is not None
    place = Place(somebody, python)
    yield place
    place.oci("delete", "--force", "one")
    assert place.oci("list", "--quiet").stdout == ""
    mounts = [path for path in Path("/proc").glob("[0-9]*/mountinfo") if _shows(path, somebody)]
    assert mounts == []


def _shows(mountinfo: Path, user: User) -> bool:
    try:
        return str(user.folder) in mountinfo.read_text()
    except OSError:  # it has ended
        return False


@pytest.fixture(params=["one", "ranges"])
def ids(request: pytest.FixtureRequest, place: Place) -> str:
    """Which IDs the user may map: its own, or those of a range besides."""
    kind: str = request.param
    if kind == "ranges" and not has_newuidmap():
        lacks("newuidmap and newgidmap: apt install uidmap")
    if kind == "one":
        for path in RANGES:
            path.write_text("")
    place.config["linux"].update(place.user.maps(ranges=kind == "ranges"))
    return kind


# ---- ringlet-oci ----


def test_the_life_of_a_container(place: Place, ids: str) -> None:
    place.write("echo hello; exec sleep 1000")
    done = place.oci("create", "--bundle", str(place.bundle), "--pid-file", "pid", "one")
    assert done.returncode == 0, done.stderr
    state = json.loads(place.oci("state", "one").stdout)
    assert (state["status"], state["owner"]) == ("created", place.user.uid)
    pid = int((place.user.folder / "pid").read_text())
    assert state["pid"] == pid
    for name in ("mnt", "uts", "ipc", "pid", "cgroup", "user"):
        assert namespace(pid, name) != namespace("self", name), name
    uid = place.user.uid
    assert f"\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n" in Path(f"/proc/{pid}/status").read_text()
    assert place.oci("start", "one").returncode == 0
    executed = place.oci("exec", "one", "/bin/sh", "-c", "id -u; cat /proc/1/cmdline; exit 4")
    assert executed.returncode == 4, executed.stderr
    assert executed.stdout == "0\nsleep\x001000\x00"
    assert json.loads(place.oci("ps", "--format", "json", "one").stdout) == [pid]
    if ids == "ranges":
        other = place.oci("exec", "--user", "7:8", "one", "/bin/id")
        assert other.stdout.startswith("uid=7 gid=8"), other.stderr
    assert place.oci("kill", "--all", "one", "KILL").returncode == 0
    done = place.oci("delete", "--force", "one")
    assert (done.returncode, done.stdout) == (0, "")
    assert "does not exist" in place.oci("state", "one").stderr


@pytest.fixture
def delegated(place: Place) -> Iterator[Path]:
    """A cgroup of the user's, beside the container's."""
    found = [one.mount for one in Cgroups.find().hierarchies if one.version == 2]
    if not found:
        pytest.skip("this host has no cgroup of version 2")
    folder = Path(found[0], f"ringlet-delegated-{os.getpid()}")
    folder.mkdir()
    os.chown(folder, place.user.uid, place.user.gid)
    yield folder
    for made in folder.glob("*/"):
        made.rmdir()
    folder.rmdir()


def test_the_users_own_cgroups_are_read_only(place: Place, delegated: Path) -> None:
    place.run(f"mkdir {delegated}/new")
    assert not (delegated / "new").exists()


def test_they_would_be_writable_below_a_sys_that_is_read_only_alone(
    place: Place, delegated: Path
) -> None:
    mounts = place.config["mounts"]
    (sys,) = (one for one in mounts if one["destination"] == "/sys")
    sys["options"] = [one for one in sys["options"] if one != "rro"]
    place.run(f"mkdir {delegated}/new")
    assert (delegated / "new").exists()


def test_a_run_is_its_command(place: Place, ids: str) -> None:
    done = place.run("cat; echo why >&2; exit 3", input="through")
    assert (done.stdout, done.returncode) == ("through", 3)
    assert done.stderr.splitlines()[-1] == "why"


def test_that_there_is_no_cgroup_is_a_warning_and_a_limit_an_error(place: Place) -> None:
    done = place.run("true")
    assert done.returncode == 0
    assert "warning: no cgroup: no cgroup can be made in " in done.stderr
    place.config["linux"]["resources"] = {"pids": {"limit": 7}}
    done = place.run("true")
    assert done.returncode == 1
    assert "the container can't have its limits" in done.stderr
    assert "Delegate=yes" in done.stderr.splitlines()[-1]


def test_hooks_are_the_users(place: Place, ids: str) -> None:
    points = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart")
    (place.user.folder / "out").mkdir(mode=0o777)
    (place.user.folder / "out").chmod(0o777)
    script = f"cat > {place.user.folder}/out/$1; id -u >> {place.user.folder}/out/$1"
    place.config["hooks"] = {
        point: [{"path": "/bin/sh", "args": ["sh", "-c", script, "sh", point]}]
        for point in (*points, "poststop")
        if point != "startContainer"
    }
    place.config["root"]["readonly"] = False
    inside = {"path": "/bin/sh", "args": ["sh", "-c", "cat > /tmp/hook"]}
    place.config["hooks"]["startContainer"] = [inside]
    done = place.run("cat /tmp/hook")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "created"
    for point in ("prestart", "createRuntime", "poststart", "poststop"):
        text = (place.user.folder / "out" / point).read_text()
        state, _, uid = text.strip().rpartition("}")
        assert json.loads(state + "}")["id"] == "one"
        assert int(uid) == place.user.uid, point
    # In the container's namespaces, before its root is: as root there.
    assert (place.user.folder / "out/createContainer").read_text().endswith("0\n")


def test_a_terminal(place: Place, ids: str) -> None:
    place.config["process"]["terminal"] = True
    place.write("tty; id -u; test -t 0 && read word && echo got $word; exit 6")
    words = place.words(OCI, "run", "--bundle", str(place.bundle), "one")
    status, seen = relay_terminal(place.user.words(*words), [(b"0\r\n", b"word\r")])
    assert status == 6, seen
    assert b"/dev/pts/0\r\n" in seen
    assert b"got word\r" in seen


def test_capabilities_that_nobody_can_grant_are_a_warning(place: Place) -> None:
    for names in place.config["process"]["capabilities"].values():
        names += ["CAP_NOSUCH", "CAP_SYS_ADMIN"]
    done = place.run("grep CapEff /proc/self/status")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[1], 16) >> 21 & 1  # over what its user namespace owns
    (warning,) = (line for line in done.stderr.splitlines() if "capabilities" in line)
    assert warning.endswith("capabilities that can't be granted here are left out: 'CAP_NOSUCH'")


@pytest.mark.parametrize(
    ("part", "field", "module"),
    [
        ("process", "apparmorProfile", "AppArmor"),
        ("process", "selinuxLabel", "SELinux"),
        ("linux", "mountLabel", "SELinux"),
    ],
)
def test_a_label_is_refused_where_its_module_is_not(
    place: Place, part: str, field: str, module: str
) -> None:
    place.config[part][field] = ""
    assert place.run("true").returncode == 0
    there = {"AppArmor": "/sys/module/apparmor", "SELinux": "/sys/fs/selinux/enforce"}
    if os.path.exists(there[module]):
        pytest.skip(f"this host has {module}")
    place.config[part][field] = "label\n"
    done = place.run("true")
    assert done.returncode == 1
    assert f"{field} 'label\\n': {module} is not enabled on this host" in done.stderr


@pytest.mark.needs_podman
def test_podman_of_the_user(place: Place) -> None:
    if not has_newuidmap():
        lacks("newuidmap and newgidmap: apt install uidmap")
    runtime = place.user.folder / "ringlet-oci"
    path = f"PYTHONPATH={place.environment['PYTHONPATH']}"  # podman passes no such thing on
    runtime.write_text(f'#!/bin/sh\n{path} exec {shlex.join(place.words(OCI))} "$@"\n')
    runtime.chmod(0o755)
    options = ["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]
    options += ["--events-backend", "file", "--runtime", str(runtime)]
    words = ["run", "--rm", "--network", "none", "--user", "7:8", "--rootfs", str(place.rootfs)]
    script = "id -u; id -g; cat /proc/self/uid_map; exit 3"
    done = place.user.run("podman", *options, *words, "sh", "-c", script)
    for file in place.user.folder.glob("**/pause.pid"):  # what holds the namespaces of podman
        os.kill(int(file.read_text()), signal.SIGKILL)
    assert done.returncode == 3, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[:2] == [["7"], ["8"]]
    assert lines[2:] == [["0", str(place.user.uid), "1"], ["1", str(FIRST), "65536"]]


# ---- ringlet run ----


def test_a_command_in_a_container(place: Place, ids: str) -> None:
    place.bundle.chmod(0o700)
    script = "id -u; hostname; cat /proc/self/uid_map; ls /sys/class/net; touch /tmp/made; exit 3"
    done = place.run_folder("--write", "--", "sh", "-c", script)
    lines = [line.split() for line in done.stdout.splitlines()]
    assert done.returncode == 3, done.stderr
    assert lines[:3] == [["0"], ["ringlet"], ["0", str(place.user.uid), "1"]]
    assert lines[3:-1] == ([["1", str(FIRST), "65536"]] if ids == "ranges" else [])
    assert lines[-1] == ["lo"]
    assert (place.rootfs / "tmp/made").stat().st_uid == place.user.uid
    assert ("the container has one user" in done.stderr) == (ids == "one")
    assert "note: no cgroup: " in done.stderr


def test_another_user_takes_a_range(place: Place, ids: str) -> None:
    place.bundle.chmod(0o700)
    options = ["--user", "user", "--write"]
    done = place.run_folder(*options, "--", "sh", "-c", "id -u; id -G; touch /tmp/made")
    if ids == "ranges":
        assert done.stdout == "1000\n1000 7\n", done.stderr
        assert (place.rootfs / "tmp/made").stat().st_uid == FIRST + 999
        return
    assert done.returncode == 125
    message, hint = done.stderr.splitlines()[-2:]
    assert "the container has no user 1000: its users end at 0" in message
    assert "/etc/subuid" in hint
    assert "apt install uidmap" in hint


def test_nothing_is_left_of_what_is_written(place: Place, ids: str) -> None:
    with place.user.acting():
        (place.rootfs / "srv/a").mkdir(parents=True)
        (place.rootfs / "srv/a/file").write_text("of the image\n")
        (place.rootfs / "proc").rmdir()
    script = """
        set -e
        cd /srv; mv a b; cat b/file; rm -r b; mkdir a; ls a; chmod 700 /etc; touch /etc/made
        rm -r /home; ! ls /home 2>&-; stat -c '%a %u' / /etc
    """
    done = place.run_folder("sh", "-c", script)
    assert done.stdout == "of the image\n755 0\n700 0\n", done.stderr
    assert done.returncode == 0
    assert (place.rootfs / "srv/a/file").exists()
    assert "proc" not in os.listdir(place.rootfs)
    assert (place.rootfs / "home").exists()
    assert set(os.listdir(place.rootfs / "etc")) == {"passwd", "group"}


def test_a_root_that_others_reach_is_not_written(place: Place) -> None:
    done = place.run_folder("--write", "touch", "/made")  # the user's folder lets others through
    assert done.returncode == 125
    assert "other users of this host reach" in done.stderr
    assert not (place.rootfs / "made").exists()


def test_a_root_of_somebody_elses_runs_and_is_not_changed(place: Place, ids: str) -> None:
    os.chown(place.rootfs, 4321, 4321)
    done = place.run_folder("--", "sh", "-c", "touch /made && stat -c %u /made")
    assert done.stdout == "0\n", done.stderr
    assert not (place.rootfs / "made").exists()


def test_a_root_in_which_something_is_mounted_is_refused_and_why(place: Place) -> None:
    done = place.ringlet("run", "/", "true")
    message, hint = done.stderr.splitlines()[-2:]
    assert done.returncode == 125
    assert message.startswith("ringlet: layer /: ")
    assert "in which something is mounted (as /)" in hint


def test_without_newuidmap_there_is_one_user_and_a_note(place: Place) -> None:
    place.environment["PATH"] = str(place.user.folder)
    done = place.run_folder("--", "id", "-u")
    assert done.stdout == "0\n", done.stderr
    assert "newuidmap (apt install uidmap)" in done.stderr


def test_a_root_in_groups_that_it_hasnt_runs(place: Place, ids: str) -> None:
    (place.rootfs / "etc/group").write_text("root:x:0:root\nbin:x:1:root,bin\nadm:x:4:root\n")
    done = place.run_folder("--", "id", "-G")
    assert done.stdout == ("0 1 4\n" if ids == "ranges" else "0\n"), done.stderr


@pytest.mark.parametrize("limit", [["--memory", "64M"], ["--cpus", "0.5"], ["--pids", "1024"]])
def test_a_limit_that_is_asked_for_is_an_error_where_it_cant_be(
    place: Place, limit: list[str]
) -> None:
    done = place.run_folder(*limit, "--", "true")
    assert done.returncode == 125
    assert "the container can't have its limits" in done.stderr
    assert "Delegate=yes" in done.stderr


def test_what_it_may_have_is_what_is_asked_for(place: Place, ids: str) -> None:
    (place.user.folder / "data").mkdir()
    (place.user.folder / "data/file").write_text("of the host\n")
    os.chown(place.user.folder / "data", place.user.uid, place.user.gid)
    script = "pwd; echo $NAME; cat /data/file; touch /data/x /bin/x; cat /proc/net/dev | wc -l"
    options = ["--volume", "data:/data:ro", "--read-only", "--workdir", "/home", "--env", "NAME=v"]
    done = place.run_folder(*options, "--", "sh", "-c", script)
    assert done.stdout == "/home\nv\nof the host\n3\n", done.stderr
    assert done.stderr.count("Read-only file system") == 2


def test_the_hosts_network(place: Place) -> None:
    done = place.run_folder("--network", "host", "--", "ls", "/sys/class/net")
    assert done.stdout.split() == sorted(os.listdir("/sys/class/net")), done.stderr


def test_a_timeout_and_a_report(place: Place) -> None:
    done = place.run_folder("--timeout", "0.5", "--json", "--", "sleep", "1000")
    assert done.returncode == 124
    assert json.loads(done.stdout)["exit"] == {"reason": "timeout", "status": 124}


def test_nothing_of_it_stays(place: Place) -> None:
    place.environment["TMPDIR"] = str(place.user.folder / "temporary")
    with place.user.acting():
        (place.user.folder / "temporary").mkdir()
    assert place.run_folder("--", "true").returncode == 0
    assert place.run("true").returncode == 0
    assert os.listdir(place.user.folder / "temporary") == []
    shutil.rmtree(place.user.folder / "temporary")


def test_a_stream_is_not_opened_again_with_other_rights(place: Place) -> None:
    """The container's root is the user, and so may do with the user's files what the user may."""
    read, appended = place.user.folder / "read", place.user.folder / "appended"
    for path, text in ((read, "input"), (appended, "before\n")):
        path.write_text(text)
        os.chown(path, place.user.uid, place.user.gid)
    script = "echo worse > /proc/self/fd/0; cat; : > /proc/self/fd/1; echo after; exit 3"
    command = place.words(CLI, "run", str(place.rootfs), "sh", "-c", script)
    with read.open() as stdin, appended.open("a") as stdout:
        done = subprocess.run(
            place.user.words(*command), stdin=stdin, stdout=stdout, stderr=subprocess.PIPE,
            cwd=place.user.folder, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert read.read_text() == "input"
    # What is written to the pipe that it reads from, it reads itself.
    assert appended.read_text() in ("before\nworse\ninputafter\n", "before\ninputworse\nafter\n")


def test_all_output_arrives_through_a_pipe(place: Place) -> None:
    done = place.ringlet("run", str(place.rootfs), "sh", "-c", "seq 50000; seq 5 >&2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(number) for number in range(1, 50001)]
    assert "5" in done.stderr.split()
