"""READY=1 from inside a container, to whoever waits for it; the sender is busybox's logger."""

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .bundle import OCI, Bundle

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_busybox, pytest.mark.needs_cgroups]

# logger sends a datagram to /dev/log, which is the socket here
SAY = "ln -s $NOTIFY_SOCKET /dev/log; say() { busybox logger \"$(printf 'x\\n%s\\n' $1)\"; };"
LOOP = "while :; do sleep 0.01; done"


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket of a service manager, which has started us."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "service"))
        listener.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "service"))
        yield listener


@pytest.mark.parametrize("user", [False, True])
def test_start_waits_until_it_is_ready_and_tells_who_it_is(
    bundle: Bundle, service: socket.socket, user: bool
) -> None:
    if user:
        bundle.config["process"]["user"] = {"uid": 7, "gid": 7}
        bundle.rootfs.joinpath("log").symlink_to("run/notify/notify.sock")
        bundle.config["mounts"][1]["options"].append("mode=777")
    bundle.write(f"{SAY} say STOPPING=1; say MAINPID=1; sleep 0.3; say READY=1; {LOOP}")
    words = ["--bundle", str(bundle.path), "one"]
    assert bundle.oci("create", *words, capture_output=False).returncode == 0
    service.setblocking(False)
    with pytest.raises(BlockingIOError):
        service.recv(4096)
    answer = bundle.oci("start", "one")
    assert (answer.returncode, answer.stderr) == (0, "")
    pid = bundle.state()["pid"]
    assert service.recv(4096) == f"READY=1\nMAINPID={pid}".encode()
    with pytest.raises(BlockingIOError):  # it is all that was passed on
        service.recv(4096)
    assert bundle.oci("delete", "--force", "one").returncode == 0
    assert bundle.left() == []


def test_start_waits_no_longer_than_it_lives(bundle: Bundle, service: socket.socket) -> None:
    bundle.write("exit 3")
    words = ["--bundle", str(bundle.path), "one"]
    assert bundle.oci("create", *words, capture_output=False).returncode == 0
    assert bundle.oci("start", "one").returncode == 0
    service.setblocking(False)
    with pytest.raises(BlockingIOError):
        service.recv(4096)


def test_a_run_in_the_foreground_passes_it_on_while_it_runs(
    bundle: Bundle, service: socket.socket
) -> None:
    bundle.write(f"{SAY} say READY=1; {LOOP}")
    with subprocess.Popen(
        [*OCI, "--root", str(bundle.root), "run", "--bundle", str(bundle.path), "one"]
    ) as process:
        assert service.recv(4096) == b"READY=1"
        assert bundle.oci("kill", "one", "KILL").returncode == 0
        assert process.wait() == 137
    assert bundle.left() == []


def test_the_container_has_not_the_services_socket(bundle: Bundle, service: socket.socket) -> None:
    answer = bundle.run(
        "echo $NOTIFY_SOCKET; ls /run/notify; ls -ld /run/notify; echo > /run/notify/new"
    )
    assert answer.stdout.splitlines()[:2] == ["/run/notify/notify.sock", "notify.sock"]
    assert "Read-only file system" in answer.stderr
    assert "drwxr-xr-x" in answer.stdout


def test_what_an_engine_has_seen_to_is_left_to_it(bundle: Bundle, service: socket.socket) -> None:
    bundle.config["process"]["env"].append("NOTIFY_SOCKET=/theirs")
    answer = bundle.run("echo $NOTIFY_SOCKET; ls /run/notify")
    assert answer.stdout == "/theirs\n"


def test_one_that_is_gone_is_a_warning(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "@ringlet-nobody")
    bundle.write(f"{SAY} say READY=1; {LOOP}")
    words = ["--bundle", str(bundle.path), "one"]
    assert bundle.oci("create", *words, capture_output=False).returncode == 0
    answer = bundle.oci("start", "one")
    assert answer.returncode == 0
    assert "warning: NOTIFY_SOCKET @ringlet-nobody: Connection refused" in answer.stderr


def test_an_abstract_name_is_one_too(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0ringlet-test-{os.getpid()}")
        listener.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@ringlet-test-{os.getpid()}")
        assert bundle.run(f"{SAY} say READY=1; sleep 1").returncode == 0
        assert listener.recv(4096) == b"READY=1"
