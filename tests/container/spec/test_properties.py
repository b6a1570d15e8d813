"""That nothing of the specification is left out without a word."""

from typing import Any

import pytest

from ringlet.container.spec.config_json import check

from ..configs import full, refusal

# Every property of version 1.3, as its JSON schema has them; [] is an item of an array.
PROPERTIES = """
ociVersion hostname domainname root.path root.readonly annotations vm
mounts[].destination mounts[].type mounts[].source mounts[].options
mounts[].uidMappings mounts[].gidMappings
hooks.prestart[].path hooks.createRuntime[].args hooks.createContainer[].env
hooks.startContainer[].timeout hooks.poststart hooks.poststop
process.terminal process.consoleSize.height process.consoleSize.width process.cwd process.env
process.args process.user.uid process.user.gid process.user.umask process.user.additionalGids
process.rlimits[].type process.rlimits[].soft process.rlimits[].hard process.apparmorProfile
process.capabilities.bounding process.capabilities.permitted process.capabilities.effective
process.capabilities.inheritable process.capabilities.ambient process.noNewPrivileges
process.oomScoreAdj process.selinuxLabel process.ioPriority.class process.ioPriority.priority
process.scheduler.policy process.scheduler.nice process.scheduler.priority
process.scheduler.flags process.scheduler.runtime process.scheduler.deadline
process.scheduler.period process.execCPUAffinity.initial process.execCPUAffinity.final
linux.namespaces[].type linux.namespaces[].path linux.uidMappings linux.gidMappings
linux.timeOffsets.boottime.secs linux.timeOffsets.monotonic.nanosecs
linux.devices[].type linux.devices[].path linux.devices[].major linux.devices[].minor
linux.devices[].fileMode linux.devices[].uid linux.devices[].gid
linux.netDevices.eth0.name linux.cgroupsPath linux.rootfsPropagation linux.sysctl
linux.maskedPaths linux.readonlyPaths linux.mountLabel linux.intelRdt
linux.memoryPolicy.mode linux.memoryPolicy.nodes linux.memoryPolicy.flags
linux.personality.domain linux.personality.flags
linux.seccomp.defaultAction linux.seccomp.defaultErrnoRet linux.seccomp.architectures
linux.seccomp.flags linux.seccomp.listenerPath linux.seccomp.listenerMetadata
linux.seccomp.syscalls[].names linux.seccomp.syscalls[].action linux.seccomp.syscalls[].errnoRet
linux.seccomp.syscalls[].args[].index linux.seccomp.syscalls[].args[].value
linux.seccomp.syscalls[].args[].valueTwo linux.seccomp.syscalls[].args[].op
linux.resources.unified linux.resources.pids.limit
linux.resources.devices[].allow linux.resources.devices[].type linux.resources.devices[].major
linux.resources.devices[].minor linux.resources.devices[].access
linux.resources.memory.limit linux.resources.memory.reservation linux.resources.memory.swap
linux.resources.memory.kernel linux.resources.memory.kernelTCP linux.resources.memory.swappiness
linux.resources.memory.disableOOMKiller linux.resources.memory.useHierarchy
linux.resources.memory.checkBeforeUpdate
linux.resources.cpu.shares linux.resources.cpu.quota linux.resources.cpu.burst
linux.resources.cpu.period linux.resources.cpu.realtimeRuntime linux.resources.cpu.idle
linux.resources.cpu.realtimePeriod linux.resources.cpu.cpus linux.resources.cpu.mems
linux.resources.blockIO.weight linux.resources.blockIO.leafWeight
linux.resources.blockIO.weightDevice[].weight linux.resources.blockIO.weightDevice[].leafWeight
linux.resources.blockIO.throttleReadBpsDevice[].rate
linux.resources.blockIO.throttleWriteBpsDevice[].rate
linux.resources.blockIO.throttleReadIOPSDevice[].rate
linux.resources.blockIO.throttleWriteIOPSDevice[].rate
linux.resources.hugepageLimits[].pageSize linux.resources.hugepageLimits[].limit
linux.resources.network.classID linux.resources.network.priorities[].name
linux.resources.network.priorities[].priority linux.resources.rdma
"""
REFUSED = {"vm": {}, "linux.intelRdt": {}, "linux.personality.flags": ["ANY"]}


def values_at(value: Any, path: list[str]) -> list[Any]:
    """What `value` has at the path, in any item of an array on the way."""
    if not path:
        return [value]
    name = path[0].removesuffix("[]")
    if not isinstance(value, dict) or name not in value:
        return []
    items = value[name] if path[0].endswith("[]") else [value[name]]
    return [found for item in items for found in values_at(item, path[1:])]


@pytest.mark.parametrize("path", PROPERTIES.split())
def test_each_property_of_the_specification_is_kept_or_refused(path: str) -> None:
    if path in REFUSED:
        assert refusal((path, REFUSED[path])).startswith(f"config.json: {path}")
    else:
        assert values_at(check(full()), path.split("."))
