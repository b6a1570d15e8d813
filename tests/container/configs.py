"""A configuration that has every field, and what is changed in it."""

import json
from typing import Any

import pytest

from ringlet.container.spec.config_json import SpecError, check

LEAVE_OUT = object()

_HOOK = {"path": "/bin/hook", "args": ["hook", "1"], "env": ["A=1"], "timeout": 5}
_NUMBERS = {"major": 8, "minor": 16}
_MAPPING = {"containerID": 0, "hostID": 100000, "size": 65536}

_FULL: dict[str, Any] = {
    "ociVersion": "1.3.0",
    "root": {"path": "rootfs", "readonly": True},
    "hostname": "box",
    "domainname": "box.test",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {
            "destination": "/data",
            "type": "none",
            "source": "/srv",
            "options": ["rbind", "ridmap", "ro"],
            "uidMappings": [_MAPPING],
            "gidMappings": [_MAPPING],
        },
        {"destination": "/tmp", "type": "tmpfs", "options": ["size=1m", "nosuid"]},
    ],
    "process": {
        "terminal": True,
        "consoleSize": {"height": 25, "width": 80},
        "user": {"uid": 1, "gid": 1, "umask": 0o22, "additionalGids": [5, 6]},
        "args": ["sh", "-c", "id"],
        "env": ["PATH=/bin", "EMPTY="],
        "cwd": "/",
        "capabilities": {
            "bounding": ["CAP_KILL", "CAP_BPF"],
            "effective": ["CAP_KILL"],
            "permitted": ["CAP_KILL"],
            "inheritable": [],
            "ambient": [],
        },
        "rlimits": [
            {"type": "RLIMIT_NOFILE", "soft": 512, "hard": 1024},
            {"type": "RLIMIT_CORE", "soft": 0, "hard": 2**64 - 1},
        ],
        "apparmorProfile": "profile",
        "selinuxLabel": "system_u:system_r:container_t:s0:c1,c2",
        "oomScoreAdj": -500,
        "noNewPrivileges": True,
        "scheduler": {
            "policy": "SCHED_OTHER",
            "nice": 5,
            "priority": 0,
            "flags": ["SCHED_FLAG_RESET_ON_FORK"],
            "runtime": 0,
            "deadline": 0,
            "period": 0,
        },
        "ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 4},
        "execCPUAffinity": {"initial": "7", "final": "0-3,7"},
    },
    "hooks": {
        "prestart": [_HOOK],
        "createRuntime": [_HOOK],
        "createContainer": [_HOOK],
        "startContainer": [_HOOK],
        "poststart": [_HOOK],
        "poststop": [{"path": "/bin/hook"}],
    },
    "annotations": {"com.example.key": ""},
    "linux": {
        "namespaces": [
            {"type": "pid"},
            {"type": "network", "path": "/run/netns/one"},
            {"type": "mount"},
            {"type": "ipc"},
            {"type": "uts"},
            {"type": "user"},
            {"type": "cgroup"},
            {"type": "time"},
        ],
        "uidMappings": [_MAPPING],
        "gidMappings": [_MAPPING],
        "timeOffsets": {
            "monotonic": {"secs": -5, "nanosecs": 999_999_999},
            "boottime": {"secs": 1},
        },
        "devices": [
            {
                "type": "c",
                "path": "/dev/fuse",
                "major": 10,
                "minor": 229,
                "fileMode": 0o20666,
                "uid": 0,
                "gid": 0,
            },
            {"type": "p", "path": "/dev/fifo"},
        ],
        "cgroupsPath": "/machine/one",
        "resources": {
            "devices": [
                {"allow": False, "access": "rwm"},
                {"allow": True, "type": "c", "major": 10, "minor": -1, "access": "rw"},
            ],
            "memory": {
                "limit": 1 << 29,
                "reservation": 1 << 28,
                "swap": 1 << 29,
                "kernel": -1,
                "kernelTCP": -1,
                "swappiness": 0,
                "disableOOMKiller": False,
                "useHierarchy": True,
                "checkBeforeUpdate": True,
            },
            "cpu": {
                "shares": 1024,
                "quota": 100000,
                "burst": 100000,
                "period": 500000,
                "realtimeRuntime": 950000,
                "realtimePeriod": 1000000,
                "cpus": "2-3",
                "mems": "0",
                "idle": 1,
            },
            "pids": {"limit": 32771},
            "blockIO": {
                "weight": 10,
                "leafWeight": 10,
                "weightDevice": [{**_NUMBERS, "weight": 500, "leafWeight": 300}],
                "throttleReadBpsDevice": [{**_NUMBERS, "rate": 600}],
                "throttleWriteBpsDevice": [{**_NUMBERS, "rate": 600}],
                "throttleReadIOPSDevice": [{**_NUMBERS, "rate": 600}],
                "throttleWriteIOPSDevice": [{**_NUMBERS, "rate": 2**64 - 1}],
            },
            "hugepageLimits": [{"pageSize": "2MB", "limit": 9223372036854772000}],
            "network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 500}]},
            "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}},
            "unified": {"memory.high": "1073741824"},
        },
        "netDevices": {"eth0": {"name": "net%d"}, "eth1": {}},
        "memoryPolicy": {
            "mode": "MPOL_BIND",
            "nodes": "0-3,7",
            "flags": ["MPOL_F_STATIC_NODES"],
        },
        "sysctl": {"net.ipv4.ip_forward": "1", "kernel.msgmax": "65536"},
        "seccomp": {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 38,
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"],
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "listenerPath": "/run/agent",
            "listenerMetadata": "more",
            "syscalls": [
                {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
                {
                    "names": ["personality"],
                    "action": "SCMP_ACT_ERRNO",
                    "errnoRet": 1,
                    "args": [
                        {
                            "index": 0,
                            "value": 2**64 - 1,
                            "valueTwo": 0,
                            "op": "SCMP_CMP_MASKED_EQ",
                        }
                    ],
                },
            ],
        },
        "rootfsPropagation": "rslave",
        "maskedPaths": ["/proc/kcore"],
        "readonlyPaths": ["/proc/sys"],
        "mountLabel": "system_u:object_r:container_file_t:s0:c1,c2",
        "personality": {"domain": "LINUX32", "flags": []},
    },
}


def full() -> dict[str, Any]:
    """A new one each time."""
    config: dict[str, Any] = json.loads(json.dumps(_FULL))
    return config


def parts(path: str) -> list[str | int]:
    """`a.b[0].c` as keys and numbers."""
    words = path.replace("[", ".[").split(".")
    return [int(word[1:-1]) if word.startswith("[") else word for word in words]


def changed(*changes: tuple[str, object]) -> dict[str, Any]:
    """The full configuration with other values at some paths."""
    config = full()
    for path, value in changes:
        *above, last = parts(path)
        holder: Any = config
        for part in above:
            holder = holder[part]
        if value is LEAVE_OUT:
            del holder[last]
        else:
            holder[last] = value
    return config


def refusal(*changes: tuple[str, object]) -> str:
    """The message by which the full configuration with these changes is refused."""
    with pytest.raises(SpecError) as caught:
        check(changed(*changes))
    assert caught.value.hint
    assert "\n" not in caught.value.message + caught.value.hint
    return caught.value.message


def refused_at(path: str, value: object, where: str | None = None) -> str:
    """Why `value` is refused: `where` is the path that the message has to name."""
    message = refusal((path, value))
    start = f"config.json: {path if where is None else where}: "
    assert message.startswith(start), message
    return message.removeprefix(start)
