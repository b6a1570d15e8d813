"""What `spec` writes."""

import json
import os

import pytest

from ringlet.container.spec.default import default


def kinds(rootless: bool) -> set[str]:
    return {one["type"] for one in default(rootless=rootless)["linux"]["namespaces"]}


def test_root_gets_its_own_network_and_no_devices() -> None:
    assert kinds(False) == {"pid", "network", "ipc", "uts", "mount", "cgroup"}
    assert default()["linux"]["resources"] == {"devices": [{"allow": False, "access": "rwm"}]}


def test_rootless_is_root_of_its_user_alone_without_limits() -> None:
    config = default(rootless=True)
    assert kinds(True) == {"pid", "ipc", "uts", "mount", "cgroup", "user"}
    own = [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
    assert config["linux"]["uidMappings"] == own
    assert "resources" not in config["linux"]
    assert not any("gid=5" in mount.get("options", ()) for mount in config["mounts"])
    sys = next(mount for mount in config["mounts"] if mount["destination"] == "/sys")
    assert {"rbind", "rro", "rnosuid", "rnodev", "rnoexec"} <= set(sys["options"])


@pytest.mark.parametrize("rootless", [False, True])
def test_it_is_a_shell_that_gains_nothing(rootless: bool) -> None:
    config = default(rootless=rootless)
    assert config["process"]["args"] == ["sh"]
    assert config["process"]["noNewPrivileges"]
    assert config["root"] == {"path": "rootfs", "readonly": True}
    assert json.loads(json.dumps(config)) == config
