"""Process 1 leaves its namespaces, and waits for the container's root to come into its own."""

import os
from typing import Any

import pytest

from ringlet.container.launch import launch, namespaces
from ringlet.container.launch.description import Execution
from ringlet.container.launch.helper import Launched, LaunchError, Opened
from ringlet.container.spec.config_json import check
from ringlet.container.state import HostProcess

from ..box import Box, namespace
from ..bundle import Bundle
from ..cgroups.inside import eventually

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_busybox]

USER = {"uid": 1000, "gid": 1000}
ROOT: Any = {
    "cwd": "/", "user": {"uid": 0, "gid": 0}, "args": ["true"], "env": ["PATH=/bin"],
}  # fmt: skip
# A user without rights has all rights in a user namespace of its own. There it mounts.
OVERMOUNTS = r"""
exec unshare -U -r -m sh -c "
    mount -t tmpfs none /dev; cp /bin/busybox /dev
    printf '#!/bin/busybox sh\n/bin/busybox echo evil, by \$(/bin/busybox id -u)\n' > /dev/true
    chmod 755 /dev/true; mount --bind /dev /bin; /bin/busybox touch /tmp/ready
    exec /bin/busybox sleep 1000"
"""


Noted = dict[str, list[int]]


@pytest.fixture(params=[False, True], ids=["the host's users", "its own users"])
def attacked(box: Box, request: pytest.FixtureRequest) -> tuple[Launched, Noted]:
    """A container that waits for its prey, and the namespaces that were made for it."""
    if request.param:
        box.new("user")
    (box.rootfs / "tmp").chmod(0o777)
    box.process["user"] = USER
    made = box.create(OVERMOUNTS)
    noted = namespaces.note(made.pid)
    box.start()
    eventually((box.rootfs / "tmp/ready").exists)
    return made, noted


def execute(box: Box, made: Launched, noted: Noted | None, *words: str) -> str:
    """What the command prints, run by the container's root."""
    output = box.output.fileno()
    came = launch.execute(
        Execution(
            HostProcess(made.pid),
            check(box.config),
            ROOT | {"args": words},
            cgroup=None,
            namespaces=noted,
            stdio=(output, output, output),
        )
    )
    os.close(came.pidfd)
    os.waitpid(came.pid, 0)
    return box.printed()


def refused(box: Box, made: Launched, noted: Noted | None) -> None:
    with pytest.raises(LaunchError, match=r"has left the (mount|user) namespace"):
        execute(box, made, noted, "true")


def test_no_process_joins_namespaces_that_process_1_has_made(
    box: Box, attacked: tuple[Launched, Noted]
) -> None:
    refused(box, *attacked)


def test_nor_where_an_older_ringlet_noted_none(box: Box, attacked: tuple[Launched, Noted]) -> None:
    refused(box, attacked[0], None)


def test_nor_where_they_have_got_the_numbers_of_the_containers(
    box: Box, attacked: tuple[Launched, Noted]
) -> None:
    """The kernel gives the number of a namespace that is gone to the next that is made."""
    made, noted = attacked
    theirs = namespaces.note(made.pid)
    assert theirs["mount"][:2] != noted["mount"][:2]
    refused(box, made, {kind: theirs[kind][:2] + noted[kind][2:] for kind in noted})


def test_a_process_that_isnt_compared_would_run_a_program_of_process_1s(
    box: Box, attacked: tuple[Launched, Noted], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, noted = attacked
    monkeypatch.setattr(namespaces, "_look", lambda fd: [])
    assert execute(box, made, {kind: [] for kind in noted}, "true").startswith("evil, by ")


@pytest.mark.parametrize("is_noted", [True, False])
@pytest.mark.parametrize("user", [True, False])
def test_a_process_joins_all_that_was_made_for_the_container(
    box: Box, is_noted: bool, user: bool
) -> None:
    box.new("time", *(["user"] if user else []))
    made = box.create("sleep 1000")
    noted = namespaces.note(made.pid) if is_noted else None
    kinds = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
    script = "for one in {} time; do readlink /proc/self/ns/$one; done".format(" ".join(kinds))
    for start in (lambda: None, box.start):  # while it waits, and while its command runs
        start()
        *printed, time = execute(box, made, noted, "sh", "-c", script).splitlines()
        assert printed == [namespace(made.pid, kind) for kind in kinds]
        assert time == namespace(made.pid, "time_for_children") != namespace("self", "time")


def test_of_a_process_that_has_ended_none_are_found(box: Box) -> None:
    """A kind that isn't there is not one that the kernel lacks."""
    made = box.create("true")
    noted = namespaces.note(made.pid)
    box.start()
    eventually(lambda: not box.alive(made))  # and nobody has waited for it
    with pytest.raises(LaunchError, match="has ended"):
        namespaces.note(made.pid)
    with pytest.raises(LaunchError, match="has ended"):
        namespaces.find(made.pid, check(box.config), noted, Opened())


@pytest.mark.needs_cgroups
def test_an_engine_is_told_why_nobody_comes_in(bundle: Bundle) -> None:
    (bundle.rootfs / "bin/unshare").symlink_to("busybox")
    bundle.config["process"]["user"] = USER
    del bundle.config["linux"]["seccomp"]  # else process 1 makes no namespace at all
    bundle.write("exec unshare -U -m sleep 1000")
    words = ["--bundle", str(bundle.path), "one"]
    assert bundle.oci("create", *words).returncode == 0
    pid = bundle.state()["pid"]
    assert bundle.oci("exec", "--user", "0", "one", "true").returncode == 0
    bundle.oci("start", "one")
    eventually(lambda: namespace(pid, "user") != namespace("self", "user"))
    log = bundle.path / "log"
    answer = bundle.oci(
        "--log", str(log), "--log-format", "json", "exec", "--user", "0", "one", "true"
    )
    assert answer.returncode == 255
    assert '"level":"error"' in log.read_text().replace(" ", "")
    assert "has left the mount namespace" in log.read_text()
    # None of these goes by what process 1 is in.
    for command in ("pause", "resume", "ps", "kill"):
        assert bundle.oci(command, "one").returncode == 0
    assert bundle.oci("events", "--stats", "one").returncode == 0
