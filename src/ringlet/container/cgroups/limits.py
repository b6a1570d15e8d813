"""Sets linux.resources: each limit with the controller that this host has for it."""

from __future__ import annotations

import errno

from ringlet.container.cgroups import v1
from ringlet.container.cgroups.file_access import CgroupError, read, refused, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.container.spec.types import Resources

_VERSION_2 = {"blkio": "io"}  # controllers with other names in version 2
_RESOURCES = {  # the resources of a controller, where the names differ
    "cpuset": "cpu",
    "blkio": "blockIO",
    "hugetlb": "hugepageLimits",
    "net_cls": "network",
    "net_prio": "network",
}
_NO_LIMIT = ("-1", "max")


def set_limits(
    resources: Resources, version_1: dict[str, str], unified: str | None, lacking: dict[str, str]
) -> list[str]:
    """Sets the limits of `resources` in the container's folders; returns notes of ignored ones.

    `version_1` has a folder for each controller, and `unified` is the folder of version 2.
    `lacking` has the reason why a controller can't be used. Raises `CgroupError`.
    """
    controllers: list[str] = []
    if unified is not None:
        controllers = (read(unified, "cgroup.controllers") or "").split()
    for name, writes_of in v1.CONTROLLERS.items():
        name_2 = _VERSION_2.get(name, name)
        folder = version_1.get(name)
        if folder is not None:
            write_all(folder, writes_of(resources, _looking_at(folder)))
        elif unified is not None and name_2 in controllers:
            from ringlet.container.cgroups import v2

            look = _looking_at(unified)
            write_all(unified, v2.CONTROLLERS[name_2](resources, look))
        else:
            for file, value in writes_of(resources, _see_nothing):
                if value not in _NO_LIMIT:
                    resource = _RESOURCES.get(name, name)
                    what = f"linux.resources.{resource} ({file} {value})"
                    raise _lacks(what, name, lacking)
    if resources.get("unified"):
        _set_unified(resources, unified, controllers, lacking)
    return _notes(resources, version_1)


def _looking_at(folder: str) -> v1.Look:
    return lambda name: read(folder, name)


def _see_nothing(name: str) -> None:
    return None


def _set_unified(
    resources: Resources, unified: str | None, controllers: list[str], lacking: dict[str, str]
) -> None:
    from ringlet.container.cgroups import v2

    for file, value in v2.unified(resources):
        controller = file.partition(".")[0]
        if unified is None:
            raise CgroupError(
                f"unified: {file} can't be set: this host has no cgroup version 2",
                "mount -t cgroup2 none /sys/fs/cgroup/unified; or leave it out",
            )
        if controller not in ("cgroup", *controllers) and read(unified, file) is None:
            raise _lacks(f"unified: {file}", controller, lacking)
        write_all(unified, [(file, value)])
        if file == "cpuset.cpus.partition" and "invalid" in (now := read(unified, file) or ""):
            # The kernel accepts the value, and then shows in the file why it has no effect.
            raise CgroupError(
                f"unified: {file} {value} has no effect: {now.strip()}",
                "give it CPUs that no other cgroup has, below a partition, or leave it out",
            )


def has_limits(resources: Resources) -> bool:
    """Returns whether any limit needs a controller. Device rules don't count."""
    return bool(resources.get("unified")) or any(
        value not in _NO_LIMIT
        for writes_of in v1.CONTROLLERS.values()
        for _, value in writes_of(resources, _see_nothing)
    )


def set_devices(
    resources: Resources, version_1: dict[str, str], unified: str | None, *, may_lack: bool
) -> str | None:
    """Allows the devices of `resources` and the default devices, and no others.

    With `may_lack`, returns the reason if missing rights or cgroups prevent this. Raises
    `CgroupError`.
    """
    from ringlet.container.cgroups import devices

    rules = devices.rules_of(resources.get("devices"))
    folder = version_1.get("devices")
    try:
        if folder is not None:
            devices.allow_version_1(folder, rules)
        elif unified is not None:
            from ringlet.container.cgroups import bpf, device_filter

            try:
                bpf.replace_filter(unified, device_filter.compile(rules))
            except OSError as error:
                raise refused("the device rules can't be set by bpf(2)", error) from error
        else:
            raise CgroupError(
                "the device rules can't be set: this host has no cgroups for them",
                "mount -t cgroup -o devices none /sys/fs/cgroup/devices, or cgroup version 2",
            )
    except CgroupError as error:
        if may_lack and error.errno in (0, errno.EPERM, errno.EACCES, errno.ENOSYS):
            return error.message
        raise
    return None


def _lacks(what: str, controller: str, lacking: dict[str, str]) -> CgroupError:
    why = lacking.get(controller)
    if why is not None:
        return CgroupError(
            f"{what} can't be set: {why}",
            "run as root, or in a cgroup delegated to you with this controller: "
            "systemd-run --user --scope -p Delegate=yes",
        )
    return CgroupError(
        f"{what} can't be set: this host has no {controller} controller",
        f"mount -t cgroup -o {controller} none /sys/fs/cgroup/{controller}, have it enabled in "
        "cgroup.subtree_control above the container's cgroup, or leave the limit out",
    )


def _notes(resources: Resources, version_1: dict[str, str]) -> list[str]:
    notes = []
    if resources.get("memory", {}).get("kernel"):
        notes.append("memory.kernel is ignored: kernels since 5.16 have no such limit")
    if resources.get("memory", {}).get("useHierarchy") is False:
        notes.append("memory.useHierarchy is ignored: cgroups are always hierarchical")
    for rule in resources.get("devices") or ():
        if "a" in (access := rule.get("access", "")):
            notes.append(f"devices: the a of access {access} is ignored: it is no access")
    weight = resources.get("blockIO", {}).get("weight")
    if weight and "blkio" in version_1 and read(version_1["blkio"], "blkio.weight") is None:
        notes.append("blockIO.weight counts only on disks that the BFQ scheduler serves")
    return notes
