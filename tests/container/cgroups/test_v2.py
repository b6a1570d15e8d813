from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.container.cgroups import CgroupError, v2


def written(resources: Any, controller: str, **files: str) -> dict[str, str]:
    look = {name.replace("__", "."): text for name, text in files.items()}.get
    return dict(v2.CONTROLLERS[controller](resources, look))


@pytest.mark.parametrize("controller", v2.CONTROLLERS)
def test_nothing_asked_is_nothing_written(controller: str) -> None:
    assert written({}, controller) == {}
    nothing = {
        "memory": {"limit": 0, "swap": 0, "disableOOMKiller": False, "kernelTCP": -1},
        "cpu": {"shares": 0, "quota": 0, "period": 0, "idle": 0, "burst": 0},
        "blockIO": {"weight": 0, "weightDevice": [{"major": 8, "minor": 1, "weight": 0}]},
    }
    assert written(nothing, controller) == {}


@pytest.mark.parametrize(
    ("limit", "swap", "swap_max"),
    [(100, 300, "200"), (100, 100, "0"), (100, -1, "max"), (-1, 0, "max"), (-1, 50, "50")],
)
def test_swap_is_that_of_both_less_memory(limit: int, swap: int, swap_max: str) -> None:
    of = written({"memory": {"limit": limit, "swap": swap}}, "memory", memory__swap__max="max")
    assert of["memory.swap.max"] == swap_max


def test_an_update_of_swap_alone_is_beside_the_limit_that_is_set() -> None:
    assert written({"memory": {"swap": 300}}, "memory", memory__max="100\n") == {
        "memory.swap.max": "200"
    }


@pytest.mark.parametrize("limit", [0, 200])
def test_swap_less_than_memory_is_refused(limit: int) -> None:
    with pytest.raises(CgroupError, match=r"memory.swap 100 is of memory and swap together"):
        written({"memory": {"limit": limit, "swap": 100}}, "memory")


def test_a_limit_of_swap_and_memory_without_one_of_memory_is_refused() -> None:
    with pytest.raises(CgroupError, match=r"memory.swap 100 is of memory and swap together"):
        written({"memory": {"swap": 100}}, "memory", memory__max="max\n")
    with pytest.raises(CgroupError, match=r"memory.swap 100 is of memory and swap together"):
        written({"memory": {"swap": 100}}, "memory")


@pytest.mark.parametrize("swap", [100, -1])
def test_without_swap_there_is_none_to_limit(swap: int) -> None:
    assert written({"memory": {"limit": 100, "swap": swap}}, "memory") == {"memory.max": "100"}


def test_a_limit_below_the_usage_is_refused_if_that_is_asked() -> None:
    wanted = {"memory": {"limit": 100, "checkBeforeUpdate": True}}
    assert written(wanted, "memory", memory__current="100")
    with pytest.raises(CgroupError, match=r"memory.limit 100 is below the 101 bytes in use"):
        written(wanted, "memory", memory__current="101")


@pytest.mark.parametrize(
    ("controller", "resources", "name"),
    [
        ("memory", {"memory": {"swappiness": 0}}, "memory.swappiness"),
        ("memory", {"memory": {"disableOOMKiller": True}}, "memory.disableOOMKiller"),
        ("memory", {"memory": {"kernelTCP": 4096}}, "memory.kernelTCP"),
        ("cpu", {"cpu": {"realtimeRuntime": 1}}, "cpu.realtimeRuntime"),
        ("io", {"blockIO": {"leafWeight": 10}}, "blockIO.leafWeight"),
    ],
)
def test_what_has_no_counterpart_is_refused(controller: str, resources: Any, name: str) -> None:
    with pytest.raises(CgroupError, match=f"^{name} has no counterpart"):
        written(resources, controller)


@pytest.mark.parametrize(
    ("cpu", "value"),
    [
        ({"quota": 5000, "period": 10000}, "5000 10000"),
        ({"quota": 5000}, "5000"),
        ({"quota": -1}, "max"),
        ({"period": 20000}, "7000 20000"),
    ],
)
def test_bandwidth(cpu: Any, value: str) -> None:
    assert written({"cpu": cpu}, "cpu", cpu__max="7000 100000\n") == {"cpu.max": value}


@pytest.mark.parametrize(("shares", "weight"), [(2, 1), (1024, 100), (262144, 10000), (512, 59)])
def test_shares(shares: int, weight: int) -> None:
    assert written({"cpu": {"shares": shares}}, "cpu") == {"cpu.weight": str(weight)}


@given(st.integers(1, 1 << 64), st.integers(1, 1 << 64))
def test_more_shares_are_no_less_weight_and_every_weight_is_one(one: int, other: int) -> None:
    assert (
        1 <= v2.weight_of_shares(min(one, other)) <= v2.weight_of_shares(max(one, other)) <= 10000
    )


def test_io() -> None:
    device = {"major": 8, "minor": 1}
    wanted = {
        "blockIO": {
            "weight": 1000,
            "weightDevice": [{**device, "weight": 10}],
            "throttleReadBpsDevice": [{**device, "rate": 600}],
            "throttleWriteIOPSDevice": [{"major": 8, "minor": 2, "rate": 0}],
        }
    }
    io = v2.io(wanted, {"io.bfq.weight": ""}.get)  # type: ignore[arg-type]
    assert io[:2] == [("io.bfq.weight", "default 1000"), ("io.bfq.weight", "8:1 10")]
    assert v2.io(wanted, lambda name: None) == [  # type: ignore[arg-type]
        ("io.weight", "default 10000"),
        ("io.weight", "8:1 1"),
        ("io.max", "8:1 rbps=600"),
        ("io.max", "8:2 wiops=max"),
    ]


def test_unified_is_written_line_by_line() -> None:
    wanted: Any = {"unified": {"io.max": "8:0 rbps=1\n8:16 wiops=2\n", "memory.high": "5"}}
    odd: Any = {"unified": {"memory.high": "5\x0b6\u2028"}}
    assert v2.unified(odd) == [("memory.high", "5\x0b6\u2028")]  # one line to the kernel
    assert v2.unified(wanted) == [
        ("io.max", "8:0 rbps=1"),
        ("io.max", "8:16 wiops=2"),
        ("memory.high", "5"),
    ]


@pytest.mark.parametrize(
    "name", ["../memory.max", "/etc/passwd", "cgroup.procs", "cgroup.kill", "memory", "..", ""]
)
def test_unified_writes_to_nothing_but_limits(name: str) -> None:
    with pytest.raises(CgroupError, match="is no limit of a cgroup"):
        v2.unified({"unified": {name: "1"}})
