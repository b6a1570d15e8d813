"""Network devices of the host that a container gets; each test has a network of its own."""

import os
import shlex
import subprocess
from typing import Any

import pytest

from ..bundle import OCI, Bundle

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_busybox, pytest.mark.needs_cgroups]

# two ends of a cable, of which one is to go
CABLE = "busybox ip link add cable type veth"
ADDRESSES = (
    "busybox ip addr add 10.9.8.7/24 brd 10.9.8.255 dev cable;"
    "busybox ip addr add fd00::5/64 dev cable; busybox ip link set cable mtu 1300 up"
)


def run(bundle: Bundle, devices: Any, setup: str, script: str, after: str = "") -> Any:
    """`ringlet-oci run`, in a network namespace that `setup` has prepared and `after` looks at."""
    bundle.config["linux"]["netDevices"] = devices
    bundle.write(script)
    words = [*OCI, "--root", str(bundle.root), "run", "--bundle", str(bundle.path), "one"]
    shell = f"{setup}\n{shlex.join(words)}\nstatus=$?\n{after}\nexit $status"
    return subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-c", shell],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("user", [False, True])
def test_a_device_comes_with_its_name_addresses_and_size_and_is_up(
    bundle: Bundle, user: bool
) -> None:
    if user:
        mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        bundle.config["linux"]["namespaces"].append({"type": "user"})
        bundle.config["linux"].update(uidMappings=mapping, gidMappings=mapping)
        os.chown(bundle.rootfs, 100000, 100000)
    answer = run(
        bundle,
        {"cable": {}},
        f"{CABLE}; {ADDRESSES}",
        "busybox ip addr show dev cable",
        "busybox ip link show dev cable",
    )
    assert answer.returncode == 0, answer.stderr
    assert ",UP" in answer.stdout
    assert "mtu 1300" in answer.stdout
    assert "inet 10.9.8.7/24 brd 10.9.8.255 scope global cable" in answer.stdout
    assert "inet6 fd00::5/64 scope global" in answer.stdout
    assert "can't find device 'cable'" in answer.stderr  # the host hasn't it any more


@pytest.mark.parametrize(("new", "seen"), [("eth0", "eth0"), ("net%d", "net")])
def test_a_device_is_renamed_also_by_a_template(bundle: Bundle, new: str, seen: str) -> None:
    script = "busybox ip addr"
    answer = run(bundle, {"cable": {"name": new}}, f"{CABLE}; {ADDRESSES}", script)
    assert answer.returncode == 0, answer.stderr
    assert f": {seen}" in answer.stdout
    assert "cable" not in answer.stdout
    assert "10.9.8.7/24" in answer.stdout


def test_an_index_that_is_taken_there_is_no_hindrance(bundle: Bundle) -> None:
    for one in bundle.config["linux"]["namespaces"]:
        if one["type"] == "network":
            one["path"] = "/dev/shm/theirs"
    # the joined namespace has devices of the same indices, 2 and 3
    joined = "mount -t tmpfs none /dev/shm; : > /dev/shm/theirs; mount --make-rprivate /;"
    joined += "unshare --net=/dev/shm/theirs busybox ip link add other type veth"
    script = "busybox ip addr; busybox ip link show other"
    answer = run(bundle, {"cable": {}}, f"{joined}; {CABLE}; {ADDRESSES}", script)
    assert answer.returncode == 0, answer.stderr
    assert "10.9.8.7/24" in answer.stdout


@pytest.mark.parametrize(
    ("devices", "why"),
    [
        ({"absent": {}}, "network device absent: No such device"),
        ({"cable": {}, "absent": {}}, "network device absent: No such device"),
        ({"cable": {"name": "lo"}}, "network device cable: File exists"),
        ({"lo": {"name": "eth0"}}, "network device lo: Invalid argument"),
    ],
)
def test_a_device_that_cant_be_had_is_named_and_nothing_is_left(
    bundle: Bundle, devices: Any, why: str
) -> None:
    answer = run(bundle, devices, CABLE, "true", "busybox ip link show dev cable")
    assert answer.returncode == 1
    assert why in answer.stderr
    assert "cable" in answer.stdout  # it's still the host's
    assert bundle.left() == []
