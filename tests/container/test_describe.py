"""What is made of a container's description is a configuration that the specification has."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from ringlet.container.describe import CAPABILITIES, describe
from ringlet.container.spec.config_json import check
from ringlet.errors import ConfigError
from ringlet.host.workload import Workload


def described(**values: Any) -> dict[str, Any]:
    return describe(Workload(**{"rootfs": "/", "command": ["sh"], **values}))[0]


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"memory": 64 << 20, "cpus": 1.5, "pids": 7},
        {"network": "host", "read_only": True, "tty": True},
        {"devices": ["/dev/null"]},
        {"nesting": True},
        {"volumes": ["/tmp:/data:ro"], "env": {"A": "b"}, "workdir": "/tmp", "hostname": "box"},
        {"user": "1000:1000"},
    ],
)
def test_a_description_is_as_a_check_would_leave_it(values: dict[str, Any]) -> None:
    config = described(**values)
    assert check(config) == config


def test_another_user_than_root_has_no_capability() -> None:
    capabilities = described(user="1000")["process"]["capabilities"]
    assert capabilities["effective"] == capabilities["permitted"] == []
    assert capabilities["ambient"] == capabilities["inheritable"] == []
    assert set(capabilities["bounding"]) == set(CAPABILITIES)


def test_no_container_gains_privileges_or_runs_unfiltered() -> None:
    for values in ({}, {"network": "host"}, {"user": "5"}):
        config = described(**values)
        assert config["process"]["noNewPrivileges"]
        assert config["linux"]["seccomp"]["defaultAction"] == "SCMP_ACT_ERRNO"
        assert "/proc/kcore" in config["linux"]["maskedPaths"]
        assert {"type": "user"} in config["linux"]["namespaces"]


def test_a_volume_that_isnt_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="absent"):
        described(volumes=[f"{tmp_path}/absent:/data"])


def device(tmp_path: Path, mode: int) -> str:
    path = tmp_path / "null"
    os.mknod(path, stat.S_IFCHR | mode, os.makedev(1, 3))
    path.chmod(mode)
    return str(path)


@pytest.mark.needs_root
@pytest.mark.parametrize("mode", [0o666, 0o600])
def test_a_device_changes_no_user_of_the_container(tmp_path: Path, mode: int) -> None:
    path = device(tmp_path, mode)
    linux = described(devices=[path])["linux"]
    assert linux["devices"] == [{"path": path, "type": "c", "major": 1, "minor": 3}]
    rule = {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rw"}
    assert linux["resources"]["devices"] == [rule]
    for key in ("uidMappings", "gidMappings"):
        assert linux[key] == described()["linux"][key]
        assert all(one["hostID"] > 0 for one in linux[key])


@pytest.mark.parametrize("path", ["/no/device", "/etc/passwd", "dev/null", "/dev"])
def test_what_is_no_device_is_refused(path: str) -> None:
    with pytest.raises(ConfigError):
        described(devices=[path])


def test_nesting_gives_the_right_to_make_containers_and_no_other() -> None:
    usual, nesting = described(), described(nesting=True)
    for name in ("bounding", "effective", "permitted"):
        more = set(nesting["process"]["capabilities"][name])
        assert more - set(usual["process"]["capabilities"][name]) == {"CAP_SYS_ADMIN"}
    assert nesting["process"]["noNewPrivileges"]
    assert nesting["linux"]["namespaces"] == usual["linux"]["namespaces"]
    allowed = {name for one in nesting["linux"]["seccomp"]["syscalls"] for name in one["names"]}
    assert {"pivot_root", "unshare", "mount"} <= allowed
    assert not allowed & {"bpf", "fsopen", "perf_event_open", "init_module", "add_key"}


def test_a_container_that_makes_containers_gets_no_device() -> None:
    with pytest.raises(ConfigError, match="gets no device"):
        described(nesting=True, devices=["/dev/null"])


def test_a_container_that_makes_containers_gets_no_volume_to_write(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="could write"):
        described(nesting=True, volumes=[f"{tmp_path}:/data"])


def test_the_hosts_network_isnt_for_a_container_that_makes_containers() -> None:
    with pytest.raises(ConfigError, match="the host's network"):
        described(network="host", nesting=True)
