"""What `features` tells of is what configurations may have."""

import json
import resource
from typing import Any

import pytest

from ringlet.container.spec.config_json import SpecError, check
from ringlet.container.spec.features import features
from ringlet.container.spec.names import CAPABILITIES, RLIMITS

from ..configs import changed


@pytest.mark.parametrize("key", ["ociVersionMin", "ociVersionMax"])
def test_the_versions_are_accepted(key: str) -> None:
    assert check(changed(("ociVersion", features()[key])))


def test_its_names_are_accepted_and_no_others() -> None:
    linux = features()["linux"]
    seccomp = linux["seccomp"]
    rule = "linux.seccomp.syscalls[0]"
    args = [{"index": 0, "value": 1, "op": ""}]
    lists: list[tuple[str, list[str]]] = [
        (f"{rule}.action", seccomp["actions"]),
        ("linux.seccomp.architectures[0]", seccomp["archs"]),
        ("linux.seccomp.flags[0]", seccomp["supportedFlags"]),
    ]
    for path, names in lists:
        for name in names:
            assert check(changed((path, name)))
        with pytest.raises(SpecError):
            check(changed((path, f"{names[0]}_")))
    policy = linux["memoryPolicy"]
    for name in policy["flags"]:
        assert check(changed(("linux.memoryPolicy.flags", [name])))
    for name in policy["modes"]:
        few = name in ("MPOL_DEFAULT", "MPOL_LOCAL")
        assert check(changed(("linux.memoryPolicy", {"mode": name, "nodes": "" if few else "0"})))
    for name in seccomp["operators"]:
        assert check(changed((f"{rule}.args", args), (f"{rule}.args[0].op", name)))
    config: dict[str, Any] = {"ociVersion": "1.2.0", "root": {"path": "r"}}
    for name in linux["namespaces"]:
        namespaces = {"namespaces": [{"type": name, "path": "/run/ns"}]}
        assert check({**config, "linux": namespaces})
    for name in features()["hooks"]:
        hooks = {name: [{"path": "/bin/true"}]}
        assert check({**config, "hooks": hooks})["hooks"] == hooks


def test_the_kernels_numbers_are_the_order() -> None:
    assert (CAPABILITIES[0], CAPABILITIES[21], CAPABILITIES[40]) == (
        "CAP_CHOWN",
        "CAP_SYS_ADMIN",
        "CAP_CHECKPOINT_RESTORE",
    )

    for number, name in enumerate(RLIMITS):
        assert getattr(resource, name, number) == number


def test_what_is_refused_is_not_told_of_as_there() -> None:
    linux = features()["linux"]
    assert linux["intelRdt"] == {"enabled": False, "schemata": False, "monitoring": False}
    assert linux["netDevices"] == {"enabled": True}
    assert features()["ociVersionMax"] == "1.3.0"


def test_it_is_json_without_doubles() -> None:
    structure = features()
    assert json.loads(json.dumps(structure)) == structure
    for names in (structure["mountOptions"], structure["hooks"], structure["linux"]["namespaces"]):
        assert len(names) == len(set(names))
