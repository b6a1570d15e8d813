"""`linux.resources`: ranges, names and what goes together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.container.spec.checkers import FieldError
from ringlet.container.spec.config_json import SpecError, check_resources
from ringlet.container.spec.resources import cpu_list

INT64 = (1 << 63) - 1
UINT64 = (1 << 64) - 1


@pytest.mark.parametrize(
    ("kind", "key", "low", "high"),
    [
        ("memory", "limit", -1, INT64),
        ("memory", "reservation", -1, INT64),
        ("memory", "swap", -1, INT64),
        ("memory", "kernel", -1, INT64),
        ("memory", "swappiness", 0, 100),
        ("cpu", "shares", 0, UINT64),
        ("cpu", "quota", -1 - INT64, INT64),
        ("cpu", "period", 0, UINT64),
        ("cpu", "realtimeRuntime", -1 - INT64, INT64),
        ("cpu", "idle", 0, 1),
        ("pids", "limit", -1 - INT64, INT64),
        ("blockIO", "weight", 0, 65535),
        ("network", "classID", 0, (1 << 32) - 1),
    ],
)
def test_numbers_have_a_range(kind: str, key: str, low: int, high: int) -> None:
    for inside in (low, high):
        limits = {kind: {key: inside}}
        assert check_resources(limits) == limits
    for outside in (low - 1, high + 1):
        with pytest.raises(SpecError, match=rf"(?m)^resources\.{kind}\.{key}: .* is out of range$"):
            check_resources({kind: {key: outside}})


@pytest.mark.parametrize(
    ("limits", "where"),
    [
        ({"memory": {"limit": 2, "swap": 1}}, "memory.swap"),
        ({"cpu": {"quota": 2, "burst": 3}}, "cpu.burst"),
        ({"cpu": {"cpus": "3-1"}}, "cpu.cpus"),
        ({"cpu": {"mems": "all"}}, "cpu.mems"),
        ({"devices": [{"allow": True, "type": "u"}]}, "devices[0].type"),
        ({"devices": [{"allow": True, "access": "rx"}]}, "devices[0].access"),
        ({"devices": [{"allow": True, "access": "a"}]}, "devices[0].access"),
        ({"devices": [{"allow": 1}]}, "devices[0].allow"),
        ({"devices": [{"allow": True, "major": 4096}]}, "devices[0].major"),
        ({"hugepageLimits": [{"pageSize": "64kB", "limit": 1}]}, "hugepageLimits[0].pageSize"),
        ({"hugepageLimits": [{"pageSize": "0MB", "limit": 1}]}, "hugepageLimits[0].pageSize"),
        ({"hugepageLimits": [{"pageSize": "MB", "limit": 1}]}, "hugepageLimits[0].pageSize"),
        ({"hugepageLimits": [{"pageSize": "2MB", "limit": -1}]}, "hugepageLimits[0].limit"),
        ({"rdma": {"mlx5_1": {}}}, "rdma.mlx5_1"),
        ({"rdma": {"mlx5_1": {"hcaHandles": "not a uint32"}}}, "rdma.mlx5_1.hcaHandles"),
        ({"rdma": {"a b": {"hcaHandles": 1}}}, "rdma['a b']"),
        ({"unified": {"../cgroup.procs": "1"}}, "unified['../cgroup.procs']"),
        ({"unified": {"": "1"}}, "unified['']"),
        ({"unified": {"..": "1"}}, "unified['..']"),
        ({"network": {"priorities": [{"name": "a b", "priority": 1}]}},
         "network.priorities[0].name"),
        ({"blockIO": {"weightDevice": [{"major": 8, "minor": 0}]}}, "blockIO.weightDevice[0]"),
    ],
)  # fmt: skip
def test_limits_that_can_not_be(limits: object, where: str) -> None:
    with pytest.raises(SpecError) as caught:
        check_resources(limits)
    assert caught.value.message.startswith(f"resources.{where}: ")
    assert caught.value.hint


@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"memory": {"limit": -1, "swap": -1}},
        {"memory": {"limit": 5, "swap": 0}},
        {"pids": {}},
        {"memory": {"limit": 5, "swap": -1}},
        {"cpu": {"quota": -1, "burst": 100}},
        {"cpu": {"quota": 0, "burst": 100}},
        {"cpu": {"cpus": "", "mems": "0-1,3"}},
        {"devices": [{"allow": True, "type": "", "access": "", "major": -1}]},
        {"devices": [{"allow": True, "type": "c", "access": "rwa"}]},
        {"devices": [{"allow": False, "type": "a", "access": "mwr"}]},
        {"rdma": {}, "unified": {}, "network": {}},
        {"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "leafWeight": 1}]}},
    ],
)
def test_limits_that_engines_write(limits: object) -> None:
    assert check_resources(limits) == limits


@given(st.lists(st.tuples(st.integers(0, 9999), st.integers(0, 9999)), min_size=1))
def test_lists_of_processors(ranges: list[tuple[int, int]]) -> None:
    listed = ",".join(
        f"{min(pair)}" if pair[0] == pair[1] else f"{min(pair)}-{max(pair)}" for pair in ranges
    )
    assert cpu_list(listed) == listed


@given(st.text("0123-, \n\u0661x", max_size=12))
def test_a_list_of_processors_has_numbers_alone(listed: str) -> None:
    try:
        cpu_list(listed)
    except FieldError:
        return
    words = listed.replace("-", ",").split(",") if listed else []
    assert all(word.strip(" ").isascii() and word.strip(" ").isdecimal() for word in words)
