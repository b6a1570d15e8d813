from typing import Any

import pytest

from ringlet.container.cgroups import v1


def written(resources: Any, controller: str, **files: str) -> dict[str, str]:
    look = {name.replace("__", "."): text for name, text in files.items()}.get
    return dict(v1.CONTROLLERS[controller](resources, look))


@pytest.mark.parametrize("controller", v1.CONTROLLERS)
def test_nothing_asked_is_nothing_written(controller: str) -> None:
    assert written({}, controller) == {}
    zeroes = {
        "memory": {"limit": 0, "swap": 0, "reservation": 0, "disableOOMKiller": False},
        "cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "idle": 0, "burst": 0},
        "blockIO": {"weight": 0, "weightDevice": []},
        "network": {"classID": 0, "priorities": []},
        "hugepageLimits": [],
    }
    assert written(zeroes, controller) == {}


def test_memory() -> None:
    memory = {"limit": 100, "swap": 200, "reservation": 50, "swappiness": 0, "kernelTCP": 10}
    assert written({"memory": {**memory, "disableOOMKiller": True}}, "memory") == {
        "memory.limit_in_bytes": "100",
        "memory.memsw.limit_in_bytes": "200",
        "memory.soft_limit_in_bytes": "50",
        "memory.kmem.tcp.limit_in_bytes": "10",
        "memory.swappiness": "0",
        "memory.oom_control": "1",
    }


def test_no_limit_of_memory_is_none_of_swap_where_swap_is_counted() -> None:
    unlimited = {"memory": {"limit": -1}}
    assert written(unlimited, "memory") == {"memory.limit_in_bytes": "-1"}
    counted = written(unlimited, "memory", memory__memsw__limit_in_bytes="1")
    assert counted["memory.memsw.limit_in_bytes"] == "-1"


def test_cpu_and_cpuset() -> None:
    cpu = {"shares": 512, "quota": -1, "period": 50000, "burst": 10, "cpus": "0-1", "mems": "0"}
    assert written({"cpu": {**cpu, "idle": 1}}, "cpu") == {
        "cpu.cfs_burst_us": "10",
        "cpu.cfs_period_us": "50000",
        "cpu.cfs_quota_us": "-1",
        "cpu.shares": "512",
        "cpu.idle": "1",
    }
    assert written({"cpu": cpu}, "cpuset") == {"cpuset.cpus": "0-1", "cpuset.mems": "0"}


@pytest.mark.parametrize(
    ("limit", "value"), [(10, "10"), (1, "1"), (0, "max"), (-1, "max"), (-5, "max")]
)
def test_pids(limit: int, value: str) -> None:
    assert written({"pids": {"limit": limit}}, "pids") == {"pids.max": value}


def test_weights_are_those_of_the_scheduler_that_the_kernel_has() -> None:
    wanted = {
        "blockIO": {
            "weight": 300,
            "leafWeight": 20,
            "weightDevice": [{"major": 8, "minor": 1, "weight": 400, "leafWeight": 30}],
        }
    }
    leaf = {"blkio.leaf_weight": "20", "blkio.leaf_weight_device": "8:1 30"}
    bfq = {"blkio.bfq.weight": "300", "blkio.bfq.weight_device": "8:1 400"}
    cfq = {"blkio.weight": "300", "blkio.weight_device": "8:1 400"}
    assert written(wanted, "blkio") == leaf | bfq
    assert written(wanted, "blkio", blkio__weight="500") == leaf | cfq


def test_throttles() -> None:
    device = [{"major": 8, "minor": 1, "rate": 600}]
    names = ("ReadBps", "WriteBps", "ReadIOPS", "WriteIOPS")
    assert written({"blockIO": {f"throttle{it}Device": device for it in names}}, "blkio") == {
        f"blkio.throttle.{it}_device": "8:1 600"
        for it in ("read_bps", "write_bps", "read_iops", "write_iops")
    }


def test_huge_pages_network_and_rdma() -> None:
    pages = {"hugepageLimits": [{"pageSize": "2MB", "limit": 100}]}
    assert written(pages, "hugetlb") == {"hugetlb.2MB.limit_in_bytes": "100"}
    assert written(pages, "hugetlb", hugetlb__2MB__rsvd__limit_in_bytes="1") == {
        "hugetlb.2MB.limit_in_bytes": "100",
        "hugetlb.2MB.rsvd.limit_in_bytes": "100",
    }
    network = {"network": {"classID": 1048577, "priorities": [{"name": "lo", "priority": 5}]}}
    assert written(network, "net_cls") == {"net_cls.classid": "1048577"}
    assert written(network, "net_prio") == {"net_prio.ifpriomap": "lo 5"}
    rdma = {"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}}}
    assert written(rdma, "rdma") == {"rdma.max": "mlx5_1 hca_handle=3 hca_object=10000"}
