"""Checks `linux` of config.json, except for its resources.

Source: OCI Runtime Specification 1.3, config-linux.md; user_namespaces(7), time_namespaces(7);
set_mempolicy(2); Linux, kernel/user_namespace.c, ipc/ipc_sysctl.c and ipc/mq_sysctl.c,
net/core/dev.c (dev_valid_name, dev_alloc_name).
"""

from __future__ import annotations

from itertools import pairwise

from ringlet.container.spec.checkers import (
    INT64,
    UINT32,
    UINT64,
    FieldError,
    absolute,
    absolute_inside,
    array,
    integer,
    mapping,
    nonempty,
    one_of,
    record,
    refuse,
    shown,
    string,
    text,
    unique,
)
from ringlet.container.spec.names import (
    CLOCKS,
    DOMAINS,
    MEMORY_POLICIES,
    MEMORY_POLICY_FLAGS,
    NAMESPACES,
    PROPAGATIONS,
    SECCOMP_ACTIONS,
    SECCOMP_ARCHITECTURES,
    SECCOMP_FLAGS,
    SECCOMP_OPERATORS,
)
from ringlet.container.spec.process import ID
from ringlet.container.spec.resources import MAJOR, MINOR, cpu_list, resources
from ringlet.container.spec.sysctl import sysctl_of_its_own

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.container.spec.types import (
        Device,
        IdMapping,
        Linux,
        MemoryPolicy,
        Namespace,
        Seccomp,
        SeccompSyscall,
    )

_NO_ID = (1 << 32) - 1
_DEVICE_NAME = 15  # the most bytes that the kernel accepts
_TEMPLATE = "%d"  # in a new name: the kernel replaces this by a number


def namespace(linux: Linux, kind: str) -> Namespace | None:
    """Returns the namespace of this type that the container gets or joins; None for the host's."""
    return next((one for one in linux.get("namespaces", ()) if one["type"] == kind), None)


def _in_range(mapping: IdMapping) -> None:
    for first in (mapping["containerID"], mapping["hostID"]):
        if first + mapping["size"] > _NO_ID:
            raise FieldError(f"IDs above {_NO_ID - 1} don't exist", "lower it", "size")


def _apart(mappings: list[IdMapping]) -> None:
    for side in ("containerID", "hostID"):
        ranges = sorted((one[side], one["size"]) for one in mappings)
        for (first, size), (following, _) in pairwise(ranges):
            if following < first + size:
                raise FieldError(f"{side} {following} is in two entries", "keep them apart")


def _numbered(device: Device) -> None:
    for number in ("major", "minor"):
        if device["type"] != "p" and number not in device:
            raise FieldError("it is missing", "only a FIFO, of type p, has none", number)


def _mapped(linux: Linux) -> None:
    user = namespace(linux, "user")
    for key in ("uidMappings", "gidMappings"):
        if linux.get(key) and user is None:
            raise FieldError(
                "the container has no user namespace", 'add {"type": "user"} to namespaces', key
            )
        if not linux.get(key) and user is not None and "path" not in user:
            raise FieldError("a new user namespace needs it", "map at least the ID 0", key)


def _clocks_of_its_own(linux: Linux) -> None:
    time = namespace(linux, "time")
    if linux.get("timeOffsets") and (time is None or "path" in time):
        raise FieldError(
            "the container has no time namespace of its own",
            'add {"type": "time"} to namespaces',
            "timeOffsets",
        )


def _device_name(value: object) -> str:
    name = nonempty(value)
    odd = name in (".", "..") or any(c in "/:" or c.isspace() for c in name)
    if odd or len(name.encode(errors="surrogateescape")) > _DEVICE_NAME:
        raise FieldError(
            f"{shown(name)} is no name of a network device", "it is like eth0, 15 bytes at most"
        )
    return name


def _host_device(value: object) -> str:
    name = _device_name(value)
    if "%" in name:
        raise FieldError(f"{shown(name)} is no device's name", "only a new name can be a template")
    return name


def _new_name(value: object) -> str:
    name = _device_name(value)
    if "%" in name.replace(_TEMPLATE, "", 1):
        raise FieldError(f"{shown(name)} is no template", "write %d once, such as eth%d")
    return name


def _network_of_its_own(linux: Linux) -> None:
    """Checks that devices have a network namespace to move to, and that no two get one name."""
    devices = linux.get("netDevices", {})
    if devices and not any(one["type"] == "network" for one in linux.get("namespaces", ())):
        raise FieldError(
            "the container has no network namespace of its own",
            'add {"type": "network"} to namespaces',
            "netDevices",
        )
    seen = set()
    for device, more in devices.items():
        name = more.get("name", device)
        if name in seen and _TEMPLATE not in name:
            why = f"{shown(name)} is the name of another one, too"
            raise FieldError(why, "give each a name of its own", f"netDevices.{device}")
        seen.add(name)


def _nodes_of_the_policy(policy: MemoryPolicy) -> None:
    """Checks the nodes: two modes have none, MPOL_PREFERRED may, others must (set_mempolicy(2))."""
    mode, nodes = policy["mode"], policy.get("nodes")
    if nodes and mode in ("MPOL_DEFAULT", "MPOL_LOCAL"):
        raise FieldError(f"{mode} has none", "leave it out, or choose another mode", "nodes")
    if not nodes and mode not in ("MPOL_DEFAULT", "MPOL_LOCAL", "MPOL_PREFERRED"):
        raise FieldError(f"{mode} needs it", 'name the memory nodes, such as "0-3,7"', "nodes")


_ERRNO_HINT = "only SCMP_ACT_ERRNO and SCMP_ACT_TRACE do"
_WITH_ERRNO = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")


def _errno_of_action(rule: SeccompSyscall) -> None:
    if "errnoRet" in rule and rule["action"] not in _WITH_ERRNO:
        raise FieldError(f"{rule['action']} returns none", _ERRNO_HINT, "errnoRet")


def _whole_profile(seccomp: Seccomp) -> None:
    if "defaultErrnoRet" in seccomp and seccomp["defaultAction"] not in _WITH_ERRNO:
        raise FieldError(f"{seccomp['defaultAction']} returns none", _ERRNO_HINT, "defaultErrnoRet")
    if "listenerMetadata" in seccomp and "listenerPath" not in seccomp:
        raise FieldError("there is no listenerPath", "add one, or leave it out", "listenerMetadata")


_ACTION = one_of("action", SECCOMP_ACTIONS)
_ARGUMENT = record(
    {"index": integer(0, 5), "value": UINT64, "op": one_of("operator", SECCOMP_OPERATORS)},
    {"valueTwo": UINT64},
)
_SECCOMP = record(
    {"defaultAction": _ACTION},
    {
        "defaultErrnoRet": UINT32,
        "architectures": array(one_of("architecture", SECCOMP_ARCHITECTURES)),
        "flags": array(one_of("flag", SECCOMP_FLAGS)),
        "listenerPath": nonempty,
        "listenerMetadata": string,
        "syscalls": array(
            record(
                {"names": array(nonempty, least=1), "action": _ACTION},
                {"errnoRet": UINT32, "args": array(_ARGUMENT)},
                (_errno_of_action,),
            )
        ),
    },
    (_whole_profile,),
)
_SIZE = integer(1, _NO_ID)
ID_MAPPINGS = array(
    record({"containerID": ID, "hostID": ID, "size": _SIZE}, rules=(_in_range,)),
    (_apart,),
    most=340,
)
_DEVICE = record(
    {"type": one_of("type", ("c", "b", "u", "p")), "path": absolute_inside},
    # Engines copy the mode of a device on the host, including the bits of the file type.
    {"major": MAJOR, "minor": MINOR, "fileMode": UINT32, "uid": ID, "gid": ID},
    (_numbered,),
)
_MEMORY_POLICY = record(
    {"mode": one_of("mode", MEMORY_POLICIES)},
    {"nodes": cpu_list, "flags": array(one_of("flag", MEMORY_POLICY_FLAGS))},
    (_nodes_of_the_policy,),
)
_OFFSET = record({}, {"secs": INT64, "nanosecs": integer(0, 999_999_999)})
_NAMESPACE = record({"type": one_of("namespace", NAMESPACES)}, {"path": absolute})
_FLAG = refuse("no flag is known", "leave it out")

linux = record(
    {},
    {
        "namespaces": array(_NAMESPACE, (unique("type"),)),
        "uidMappings": ID_MAPPINGS,
        "gidMappings": ID_MAPPINGS,
        "timeOffsets": mapping(one_of("clock", CLOCKS), _OFFSET),
        "devices": array(_DEVICE),
        "cgroupsPath": nonempty,
        "resources": resources,
        "netDevices": mapping(_host_device, record({}, {"name": _new_name})),
        "memoryPolicy": _MEMORY_POLICY,
        "sysctl": mapping(nonempty, text),
        "seccomp": _SECCOMP,
        "rootfsPropagation": one_of(
            "propagation", (*PROPAGATIONS, *(f"r{name}" for name in PROPAGATIONS))
        ),
        "maskedPaths": array(absolute_inside),
        "readonlyPaths": array(absolute_inside),
        "mountLabel": text,
        "personality": record({"domain": one_of("domain", DOMAINS)}, {"flags": array(_FLAG)}),
        "intelRdt": refuse("Intel RDT is not supported", "leave it out"),
    },
    (_mapped, _clocks_of_its_own, _network_of_its_own, sysctl_of_its_own),
)
