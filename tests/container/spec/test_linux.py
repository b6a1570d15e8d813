"""`linux` but for its resources: namespaces and what needs them, mappings, devices, seccomp."""

from typing import Any

import pytest

from ringlet.container.spec.config_json import check

from ..configs import LEAVE_OUT, changed, full, refusal, refused_at


def without(*kinds: str) -> list[dict[str, str]]:
    return [one for one in full()["linux"]["namespaces"] if one["type"] not in kinds]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("linux.namespaces[0].type", "net"),
        ("linux.namespaces[0].path", "run/netns"),
        ("linux.namespaces[0].path", ""),
        ("linux.devices[0].type", "a"),
        ("linux.devices[0].path", "dev/fuse"),
        ("linux.devices[0].major", 4096),
        ("linux.devices[0].minor", 1 << 20),
        ("linux.devices[0].minor", -1),
        ("linux.devices[0].fileMode", 1 << 32),
        ("linux.devices[0].uid", (1 << 32) - 1),
        ("linux.cgroupsPath", ""),
        ("linux.rootfsPropagation", "public"),
        ("linux.maskedPaths[0]", "proc"),
        ("linux.readonlyPaths[0]", ""),
        ("linux.personality.domain", "BSD"),
        ("linux.seccomp.defaultAction", "SCMP_ACT_NOTHING"),
        ("linux.seccomp.architectures[0]", "SCMP_ARCH_VAX"),
        ("linux.seccomp.flags[0]", "SECCOMP_FILTER_FLAG_NEW_LISTENER"),
        ("linux.seccomp.syscalls[0].names", []),
        ("linux.seccomp.syscalls[0].names[0]", ""),
        ("linux.seccomp.syscalls[0].action", "allow"),
        ("linux.seccomp.syscalls[0].errnoRet", -1),
        ("linux.seccomp.syscalls[1].args[0].index", 6),
        ("linux.seccomp.syscalls[1].args[0].value", 1 << 64),
        ("linux.seccomp.syscalls[1].args[0].op", "SCMP_CMP_XX"),
        ("linux.seccomp.listenerPath", ""),
        ("linux.timeOffsets.monotonic.nanosecs", 1_000_000_000),
        ("linux.timeOffsets.monotonic.secs", 1 << 63),
        ("linux.intelRdt", {"closID": "one"}),
        ("linux.intelRdt", {"schemata": ["L3:0=7f0"]}),
        ("linux.intelRdt", {"enableMonitoring": True}),
        ("linux.memoryPolicy.mode", "MPOL_NONE"),
        ("linux.memoryPolicy.nodes", "all"),
        ("linux.memoryPolicy.nodes", "3-1"),
        ("linux.memoryPolicy.flags[0]", "MPOL_F_MOVE"),
        ("linux.netDevices.eth0.name", ""),
        ("linux.netDevices.eth0.name", "sixteen-bytes-ab"),
        ("linux.netDevices.eth0.name", "a/b"),
        ("linux.netDevices.eth0.name", "a b"),
        ("linux.netDevices.eth0.name", "a%s"),
        ("linux.netDevices.eth0.name", "a%d%d"),
        ("linux.netDevices", {"net%d": {}}),
        ("linux.netDevices", {"..": {}}),
        ("linux.sysctl", {"net.core.somaxconn": 5}),
    ],
)
def test_values_that_can_not_be(path: str, value: object) -> None:
    assert refusal((path, value)).startswith(f"config.json: {path}")


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        ({"mode": "MPOL_DEFAULT", "nodes": "0"}, "nodes"),
        ({"mode": "MPOL_LOCAL", "nodes": "0"}, "nodes"),
        ({"mode": "MPOL_BIND"}, "nodes"),
        ({"mode": "MPOL_INTERLEAVE", "nodes": ""}, "nodes"),
        ({"nodes": "0"}, "mode"),
    ],
)
def test_a_memory_policy_has_the_nodes_of_its_mode(policy: object, field: str) -> None:
    assert refused_at("linux.memoryPolicy", policy, f"linux.memoryPolicy.{field}")


@pytest.mark.parametrize("mode", ["MPOL_DEFAULT", "MPOL_LOCAL", "MPOL_PREFERRED"])
def test_some_memory_policies_need_no_nodes(mode: str) -> None:
    assert check(changed(("linux.memoryPolicy", {"mode": mode})))


def test_network_devices_have_a_namespace_to_go_to_and_a_name_each() -> None:
    spaces = [("linux.namespaces", without("network")), ("linux.sysctl", {})]
    why = "config.json: linux.netDevices: the container has no network namespace of its own"
    assert refusal(*spaces) == why
    twice = {"eth0": {"name": "a"}, "a": {}}
    assert "another one" in refused_at("linux.netDevices", twice, "linux.netDevices.a")
    assert check(changed(("linux.netDevices", {"a": {"name": "n%d"}, "b": {"name": "n%d"}})))


def test_a_namespace_is_there_once() -> None:
    message = refused_at("linux.namespaces", [{"type": "pid"}] * 2, "linux.namespaces[1].type")
    assert message == "pid is there twice"


def test_mappings_need_a_user_namespace_and_a_new_one_needs_them() -> None:
    message = refusal(("linux.namespaces", without("user")))
    assert message.startswith("config.json: linux.uidMappings: the container has no user")
    for key in ("uidMappings", "gidMappings"):
        for nothing in ([], LEAVE_OUT):
            assert "needs it" in refused_at(f"linux.{key}", nothing)
    joined = [*without("user"), {"type": "user", "path": "/proc/1/ns/user"}]
    none = [("linux.uidMappings", LEAVE_OUT), ("linux.gidMappings", LEAVE_OUT)]
    assert check(changed(("linux.namespaces", joined), *none))


def mapping(inside: int, outside: int, size: int) -> dict[str, int]:
    return {"containerID": inside, "hostID": outside, "size": size}


@pytest.mark.parametrize(
    "mappings",
    [
        [mapping(0, 0, 2**32 - 1)],
        [mapping(1, 2**32 - 2, 1), mapping(0, 1000, 1), mapping(2, 0, 1000)],
        [mapping(number, number, 1) for number in range(340)],
    ],
)
def test_mappings_that_the_kernel_takes(mappings: list[dict[str, int]]) -> None:
    user = ("process.user", {"uid": 0, "gid": 0})
    assert check(changed(("linux.uidMappings", mappings), ("linux.gidMappings", mappings), user))


@pytest.mark.parametrize(
    ("mappings", "where"),
    [
        ([mapping(0, 0, 0)], "[0].size"),
        ([mapping(0, 0, 2**32)], "[0].size"),
        ([mapping(1, 0, 2**32 - 1)], "[0].size"),
        ([mapping(0, 2**32 - 2, 2)], "[0].size"),
        ([mapping(2**32 - 1, 0, 1)], "[0].containerID"),
        ([mapping(0, 0, 10), mapping(9, 100, 10)], ""),
        ([mapping(0, 9, 10), mapping(100, 0, 10)], ""),
        ([mapping(number, number, 1) for number in range(341)], ""),
    ],
)
def test_mappings_that_it_refuses(mappings: list[dict[str, int]], where: str) -> None:
    assert refused_at("linux.uidMappings", mappings, f"linux.uidMappings{where}")


def test_clocks_need_a_new_time_namespace() -> None:
    joined = [*without("time"), {"type": "time", "path": "/proc/1/ns/time"}]
    for namespaces in (without("time"), joined):
        assert "timeOffsets" in refusal(("linux.namespaces", namespaces))
        change = ("linux.timeOffsets", LEAVE_OUT)
        assert check(changed(("linux.namespaces", namespaces), change))
    message = refused_at("linux.timeOffsets", {"realtime": {}}, "linux.timeOffsets.realtime")
    assert message == "unknown clock 'realtime'"


def test_only_a_fifo_has_no_number() -> None:
    for kind in ("c", "b", "u"):
        refused_at("linux.devices[1].type", kind, "linux.devices[1].major")


@pytest.mark.parametrize("name", ["private", "shared", "rslave", "runbindable"])
def test_propagations(name: str) -> None:
    assert check(changed(("linux.rootfsPropagation", name)))


def test_no_flag_of_a_personality_is_known() -> None:
    assert refused_at("linux.personality.flags", ["X"], "linux.personality.flags[0]")


@pytest.mark.parametrize("action", ["SCMP_ACT_ALLOW", "SCMP_ACT_KILL", "SCMP_ACT_NOTIFY"])
def test_only_some_actions_return_an_errno(action: str) -> None:
    where = "linux.seccomp.syscalls[1].errnoRet"
    assert refused_at("linux.seccomp.syscalls[1].action", action, where)
    where = "linux.seccomp.defaultErrnoRet"
    assert refused_at("linux.seccomp.defaultAction", action, where)


def test_a_traced_call_may_return_one() -> None:
    assert check(changed(("linux.seccomp.syscalls[1].action", "SCMP_ACT_TRACE")))


def test_metadata_is_for_a_listener() -> None:
    message = refusal(("linux.seccomp.listenerPath", LEAVE_OUT))
    assert message == "config.json: linux.seccomp.listenerMetadata: there is no listenerPath"


def test_a_joined_namespace_is_accepted_for_each_type() -> None:
    config: dict[str, Any] = {"ociVersion": "1.2.0", "root": {"path": "rootfs"}}
    kinds = [one["type"] for one in full()["linux"]["namespaces"]]
    config["linux"] = {"namespaces": [{"type": kind, "path": "/run/ns"} for kind in kinds]}
    assert check(config) == config
