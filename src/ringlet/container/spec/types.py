"""The types of a checked config.json, for type checkers. Programs have no need to import this.

Each name is the specification's; a field that the specification calls OPTIONAL is `NotRequired`.

Source: OCI Runtime Specification 1.3, config.md and config-linux.md.
"""

# ruff: noqa: D101 - what each is for is the specification's to say

from __future__ import annotations

from typing import Literal, TypedDict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NotRequired


class Root(TypedDict):
    path: str
    readonly: NotRequired[bool]


class IdMapping(TypedDict):
    containerID: int
    hostID: int
    size: int


class Mount(TypedDict):
    destination: str
    type: NotRequired[str]
    source: NotRequired[str]
    options: NotRequired[list[str]]
    uidMappings: NotRequired[list[IdMapping]]
    gidMappings: NotRequired[list[IdMapping]]


class Box(TypedDict):
    height: int
    width: int


class User(TypedDict):
    uid: int
    gid: int
    umask: NotRequired[int]
    additionalGids: NotRequired[list[int]]


class Capabilities(TypedDict):
    bounding: NotRequired[list[str]]
    effective: NotRequired[list[str]]
    permitted: NotRequired[list[str]]
    inheritable: NotRequired[list[str]]
    ambient: NotRequired[list[str]]


class Rlimit(TypedDict):
    type: str
    soft: int
    hard: int


class Scheduler(TypedDict):
    policy: str
    nice: NotRequired[int]
    priority: NotRequired[int]
    flags: NotRequired[list[str]]
    runtime: NotRequired[int]
    deadline: NotRequired[int]
    period: NotRequired[int]


# "class" is a keyword of Python.
IoPriority = TypedDict("IoPriority", {"class": str, "priority": int})


class CpuAffinity(TypedDict):
    initial: NotRequired[str]
    final: NotRequired[str]


class Process(TypedDict):
    user: User
    cwd: str
    args: list[str]
    env: NotRequired[list[str]]
    terminal: NotRequired[bool]
    consoleSize: NotRequired[Box]
    rlimits: NotRequired[list[Rlimit]]
    apparmorProfile: NotRequired[str]
    capabilities: NotRequired[Capabilities]
    noNewPrivileges: NotRequired[bool]
    oomScoreAdj: NotRequired[int]
    scheduler: NotRequired[Scheduler]
    selinuxLabel: NotRequired[str]
    ioPriority: NotRequired[IoPriority]
    execCPUAffinity: NotRequired[CpuAffinity]


class Hook(TypedDict):
    path: str
    args: NotRequired[list[str]]
    env: NotRequired[list[str]]
    timeout: NotRequired[int]


class Hooks(TypedDict):
    prestart: NotRequired[list[Hook]]
    createRuntime: NotRequired[list[Hook]]
    createContainer: NotRequired[list[Hook]]
    startContainer: NotRequired[list[Hook]]
    poststart: NotRequired[list[Hook]]
    poststop: NotRequired[list[Hook]]


NamespaceType = Literal["pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"]


class Namespace(TypedDict):
    type: NamespaceType
    path: NotRequired[str]


class TimeOffset(TypedDict):
    secs: NotRequired[int]
    nanosecs: NotRequired[int]


class TimeOffsets(TypedDict):
    monotonic: NotRequired[TimeOffset]
    boottime: NotRequired[TimeOffset]


class Device(TypedDict):
    """A device that the container gets. FIFOs ("p") have no numbers."""

    type: Literal["c", "b", "u", "p"]
    path: str
    major: NotRequired[int]
    minor: NotRequired[int]
    fileMode: NotRequired[int]
    uid: NotRequired[int]
    gid: NotRequired[int]


class DeviceRule(TypedDict):
    """A rule for which devices a container may use."""

    allow: bool
    type: NotRequired[str]
    major: NotRequired[int]
    minor: NotRequired[int]
    access: NotRequired[str]


class Memory(TypedDict):
    limit: NotRequired[int]
    reservation: NotRequired[int]
    swap: NotRequired[int]
    kernel: NotRequired[int]
    kernelTCP: NotRequired[int]
    swappiness: NotRequired[int]
    disableOOMKiller: NotRequired[bool]
    useHierarchy: NotRequired[bool]
    checkBeforeUpdate: NotRequired[bool]


class Cpu(TypedDict):
    shares: NotRequired[int]
    quota: NotRequired[int]
    burst: NotRequired[int]
    period: NotRequired[int]
    realtimeRuntime: NotRequired[int]
    realtimePeriod: NotRequired[int]
    cpus: NotRequired[str]
    mems: NotRequired[str]
    idle: NotRequired[int]


class Pids(TypedDict):
    limit: NotRequired[int]


class WeightDevice(TypedDict):
    major: int
    minor: int
    weight: NotRequired[int]
    leafWeight: NotRequired[int]


class ThrottleDevice(TypedDict):
    major: int
    minor: int
    rate: int


class BlockIO(TypedDict):
    weight: NotRequired[int]
    leafWeight: NotRequired[int]
    weightDevice: NotRequired[list[WeightDevice]]
    throttleReadBpsDevice: NotRequired[list[ThrottleDevice]]
    throttleWriteBpsDevice: NotRequired[list[ThrottleDevice]]
    throttleReadIOPSDevice: NotRequired[list[ThrottleDevice]]
    throttleWriteIOPSDevice: NotRequired[list[ThrottleDevice]]


class HugepageLimit(TypedDict):
    pageSize: str
    limit: int


class NetworkPriority(TypedDict):
    name: str
    priority: int


class Network(TypedDict):
    classID: NotRequired[int]
    priorities: NotRequired[list[NetworkPriority]]


class Rdma(TypedDict):
    hcaHandles: NotRequired[int]
    hcaObjects: NotRequired[int]


class Resources(TypedDict):
    devices: NotRequired[list[DeviceRule]]
    memory: NotRequired[Memory]
    cpu: NotRequired[Cpu]
    pids: NotRequired[Pids]
    blockIO: NotRequired[BlockIO]
    hugepageLimits: NotRequired[list[HugepageLimit]]
    network: NotRequired[Network]
    rdma: NotRequired[dict[str, Rdma]]
    unified: NotRequired[dict[str, str]]


class NetDevice(TypedDict):
    """A network device of the host; `name` is its name in the container."""

    name: NotRequired[str]


class MemoryPolicy(TypedDict):
    mode: str
    nodes: NotRequired[str]
    flags: NotRequired[list[str]]


class SeccompArg(TypedDict):
    index: int
    value: int
    valueTwo: NotRequired[int]
    op: str


class SeccompSyscall(TypedDict):
    names: list[str]
    action: str
    errnoRet: NotRequired[int]
    args: NotRequired[list[SeccompArg]]


class Seccomp(TypedDict):
    defaultAction: str
    defaultErrnoRet: NotRequired[int]
    architectures: NotRequired[list[str]]
    flags: NotRequired[list[str]]
    listenerPath: NotRequired[str]
    listenerMetadata: NotRequired[str]
    syscalls: NotRequired[list[SeccompSyscall]]


class Personality(TypedDict):
    domain: Literal["LINUX", "LINUX32"]
    flags: NotRequired[list[str]]


class Linux(TypedDict):
    namespaces: NotRequired[list[Namespace]]
    uidMappings: NotRequired[list[IdMapping]]
    gidMappings: NotRequired[list[IdMapping]]
    timeOffsets: NotRequired[TimeOffsets]
    devices: NotRequired[list[Device]]
    cgroupsPath: NotRequired[str]
    resources: NotRequired[Resources]
    netDevices: NotRequired[dict[str, NetDevice]]
    memoryPolicy: NotRequired[MemoryPolicy]
    sysctl: NotRequired[dict[str, str]]
    seccomp: NotRequired[Seccomp]
    rootfsPropagation: NotRequired[str]
    maskedPaths: NotRequired[list[str]]
    readonlyPaths: NotRequired[list[str]]
    mountLabel: NotRequired[str]
    personality: NotRequired[Personality]


class Config(TypedDict):
    ociVersion: str
    root: Root
    mounts: NotRequired[list[Mount]]
    process: NotRequired[Process]  # a container without one can be created, but not started
    hostname: NotRequired[str]
    domainname: NotRequired[str]
    hooks: NotRequired[Hooks]
    annotations: NotRequired[dict[str, str]]
    linux: NotRequired[Linux]
