"""A path of a namespace means another namespace when it is joined than when ringlet looked at it.

The host here is a UTS namespace of the test's own, whose host name an attacker wants to change.
"""

import ctypes
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringlet.container.launch import launch
from ringlet.container.launch.description import Creation
from ringlet.container.launch.helper import LaunchError
from ringlet.container.launch.plan import Plan
from ringlet.container.spec.config_json import check

from .box import Box

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_busybox]

_CLONE_NEWUTS = 0x4000000
_libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture(autouse=True)
def theirs() -> Iterator[str]:
    """The path of another's namespace; this process has one of its own until the test ends."""
    fds = []
    for name in ("theirs", "the-hosts"):
        fds.append(os.open("/proc/self/ns/uts", os.O_RDONLY | os.O_CLOEXEC))
        assert _libc.unshare(_CLONE_NEWUTS) == 0
        socket.sethostname(name)
    yield f"/proc/{os.getpid()}/fd/{fds[1]}"
    assert _libc.setns(fds[0], _CLONE_NEWUTS) == 0
    for fd in fds:
        os.close(fd)


def make(box: Box, theirs: str, link: Path) -> None:
    """The container, when the path has been exchanged after ringlet's look."""
    one = next(one for one in box.linux["namespaces"] if one["type"] == "uts")
    one["path"] = str(link)
    link.symlink_to(theirs)
    config = check(box.config)
    link.unlink()
    link.symlink_to(f"/proc/{os.getpid()}/ns/uts")
    creation = Creation(config, str(box.bundle), str(box.folder), None)
    made = launch.create(creation, on_runtime=lambda pid: None)
    os.kill(made.pid, 9)
    os.waitpid(made.pid, 0)
    os.close(made.pidfd)


@pytest.mark.parametrize("setting", ["hostname", "domainname", "sysctl"])
def test_a_namespace_of_the_hosts_is_not_set_up(
    box: Box, theirs: str, tmp_path: Path, setting: str
) -> None:
    if setting == "sysctl":
        box.linux["sysctl"] = {"kernel.domainname": "changed"}
    else:
        box.config[setting] = "changed"
    before = os.uname(), Path("/proc/sys/kernel/domainname").read_text()
    with pytest.raises(LaunchError, match="it is the host's") as caught:
        make(box, theirs, tmp_path / "link")
    assert caught.value.step == "apart"
    assert (os.uname(), Path("/proc/sys/kernel/domainname").read_text()) == before


def test_it_would_be(
    box: Box, theirs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = Plan.add
    monkeypatch.setattr(
        Plan,
        "add",
        lambda self, step, *words: None if step == "apart" else add(self, step, *words),
    )
    box.config["hostname"] = "changed"
    make(box, theirs, tmp_path / "link")
    assert os.uname().nodename == "changed"


def test_a_namespace_of_others_may_be_set_up(box: Box, theirs: str) -> None:
    one = next(one for one in box.linux["namespaces"] if one["type"] == "uts")
    one["path"] = theirs
    box.config["hostname"] = "changed"
    assert box.run("hostname") == "changed\n"
    assert os.uname().nodename == "the-hosts"
