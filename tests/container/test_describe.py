"""What is made of a container's description is a configuration that the specification has."""

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
