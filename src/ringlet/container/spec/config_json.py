"""Checks config.json, the container's configuration, as a whole, before anything is made from it.

The result has the fields that the specification defines for Linux, each with a value that can be
used. Unknown fields and fields of other systems (`windows`, `solaris`, `zos`) are left out, as the
specification demands. Unknown values of known fields are refused.

Source: OCI Runtime Specification 1.3, config.md.
"""

from __future__ import annotations

import os

from ringlet.container.fast_json import loads
from ringlet.container.spec.checkers import (
    FieldError,
    SpecError,
    apply,
    array,
    flag,
    inside,
    mapping,
    nonempty,
    record,
    refuse,
    shown,
    string,
    text,
)
from ringlet.container.spec.linux import ID_MAPPINGS, linux, namespace
from ringlet.container.spec.names import OCI_VERSION
from ringlet.container.spec.process import hooks, process
from ringlet.container.spec.resources import resources
from ringlet.container.spec.sysctl import DOMAIN_NAME, shares, sysctl_path
from ringlet.host.named_file import read_named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ringlet.container.spec.types import Config, IdMapping, Mount, Process, Resources

__all__ = [
    "MAX_BYTES",
    "SpecError",
    "check",
    "check_process",
    "check_resources",
    "load",
    "process_of",
]

MAX_BYTES = 4 << 20  # of config.json: more than the kernel accepts as arguments and environment
_FILE = "config.json"
_HOST_NAME = 64  # the most bytes that the kernel accepts


def load(bundle: str) -> Config:
    """Returns the checked configuration of `bundle`/config.json. Raises SpecError."""
    path = os.path.join(bundle, _FILE)
    try:
        data = read_named(path, MAX_BYTES)
    except OSError as error:
        raise SpecError(
            f"{path}: {error.strerror}", "name the folder that it is in, or make one: ... spec"
        ) from None
    try:
        value = loads(data.decode())
    except ValueError as error:
        raise SpecError(f"{path}: it is not JSON: {error}", "correct it there") from None
    return check(value)


def check(value: object) -> Config:
    """Returns the checked configuration in `value`; doesn't change `value`. Raises SpecError."""
    known: Config = apply(_CONFIG, value, _FILE)
    return known


def check_process(value: object) -> Process:
    """Returns the checked process in `value`: `process` of config.json. Raises SpecError."""
    known: Process = apply(process, value, "", "process")
    return known


def check_resources(value: object) -> Resources:
    """Returns the checked limits in `value`: `linux.resources` of config.json. Raises SpecError."""
    known: Resources = apply(resources, value, "", "resources")
    return known


def process_of(config: Config) -> Process:
    """Returns the process to start. Raises SpecError if there is none: a container may lack one."""
    if "process" not in config:
        raise SpecError(
            f"{_FILE}: process: it is missing", "add it: a container can't be started without"
        )
    return config["process"]


def _version(value: object) -> str:
    version = text(value)
    core, plus, build = version.partition("+")
    core, dash, release = core.partition("-")
    numbers = core.split(".")
    releases = release.split(".") if dash else []
    labels = releases + (build.split(".") if plus else [])
    # A number has no leading zeros; a label has letters, digits and hyphens.
    if (
        not version.isascii()
        or len(numbers) != 3
        or not all(number.isdecimal() for number in numbers)
        or not all(label.replace("-", "0").isalnum() for label in labels)
        or any(n.isdecimal() and n != "0" and n.startswith("0") for n in numbers + releases)
    ):
        raise FieldError(f"{shown(version)} is no version", f"write it like {OCI_VERSION}")
    if numbers[0] != "1":
        raise FieldError(
            f"version {shown(version)} is not known", f"this runtime knows {OCI_VERSION}"
        )
    return version


def _host_name(value: object) -> str:
    name = nonempty(value)
    if len(os.fsencode(name)) > _HOST_NAME:
        raise FieldError(f"{shown(name)} is too long", f"the kernel takes {_HOST_NAME} bytes")
    return name


def _mountable(mount: Mount) -> None:
    options = mount.get("options", ())
    if "bind" in options or "rbind" in options:
        if not mount.get("source"):
            raise FieldError("a bind mount needs it", "name what is to be seen there", "source")
    elif mount.get("type") == "bind":
        raise FieldError("no option makes it one", 'add "rbind" or "bind" to options', "type")
    elif not mount.get("type") and "remount" not in options:
        raise FieldError("it is missing", 'name the file system, or add "rbind" to options', "type")
    if ("uidMappings" in mount) != ("gidMappings" in mount):
        raise FieldError("uidMappings and gidMappings are only together", "add the other")


def _host_names_of_its_own(config: Config) -> None:
    for key in ("hostname", "domainname"):
        if key in config and shares(config.get("linux", {}), "uts"):
            raise FieldError(
                "it would be the host's: the container has no UTS namespace of its own",
                'add {"type": "uts"} to linux.namespaces',
                key,
            )


def _mounts_of_its_own(config: Config) -> None:
    """Refuses changes of mounts without a mount namespace: the mounts would be the starter's."""
    linux = config.get("linux", {})
    if namespace(linux, "mount") is not None:
        return
    for place, value in (
        ("mounts", config.get("mounts")),
        ("root.readonly", config["root"].get("readonly")),
        *(
            (f"linux.{key}", linux.get(key))
            for key in ("maskedPaths", "readonlyPaths", "rootfsPropagation", "devices")
        ),
        ("process.terminal", config.get("process", {}).get("terminal")),
    ):
        if value:
            raise FieldError(
                "it takes a mount namespace of the container's own",
                'add {"type": "mount"} to linux.namespaces, or leave this out',
                place,
            )
    sets: Any = config.get("process", {}).get("capabilities", {})
    held = {name for names in sets.values() for name in names}
    for name in sorted(held & {"CAP_SYS_ADMIN", "CAP_SYS_CHROOT"}):
        raise FieldError(
            f"with {name} a process gets out of a root without a mount namespace of its own",
            f'leave out {name}, or add {{"type": "mount"}} to linux.namespaces',
            "process.capabilities",
        )


def _joined_namespaces_can_be_trusted(config: Config) -> None:
    """Refuses joined namespaces whose processes could misuse the host's rights of the launch."""
    linux = config.get("linux", {})
    user, pid = namespace(linux, "user"), namespace(linux, "pid")
    if user is not None and "path" not in user and pid is not None and "path" in pid:
        raise FieldError(
            "from a new user namespace no process can join the pid namespace of another one last "
            "of all, and until then those in there could take it over",
            "join the user namespace that the pid namespace belongs to, or make none",
            "linux.namespaces",
        )
    mount = namespace(linux, "mount")
    if mount is not None and "path" in mount and config.get("hooks", {}).get("createContainer"):
        raise FieldError(
            "in a mount namespace that is joined they are programs of whoever is in there, and "
            "would have the host's rights",
            "use createRuntime hooks, or a mount namespace of its own",
            "hooks.createContainer",
        )


def _one_domain_name(config: Config) -> None:
    """Refuses a kernel parameter that would replace `domainname`, because it is set later."""
    name = config.get("domainname")
    for parameter, value in config.get("linux", {}).get("sysctl", {}).items():
        if name not in (None, value) and sysctl_path(parameter) == DOMAIN_NAME:
            raise FieldError(
                f"{shown(value)} is not `domainname`, {shown(name)}",
                "leave one of the two out",
                f"linux.sysctl[{shown(parameter)}]",
            )


def _hooks_can_start(config: Config) -> None:
    """Refuses SCHED_DEADLINE with hooks: only RESET_ON_FORK lets it have children (sched(7))."""
    scheduler = config.get("process", {}).get("scheduler")
    if (
        scheduler is not None
        and scheduler["policy"] == "SCHED_DEADLINE"
        and "SCHED_FLAG_RESET_ON_FORK" not in scheduler.get("flags", ())
        and config.get("hooks", {}).get("startContainer")
    ):
        raise FieldError(
            "a process of SCHED_DEADLINE can't start the startContainer hooks",
            "add SCHED_FLAG_RESET_ON_FORK to flags",
            "process.scheduler",
        )


def _mounts_can_map(config: Config) -> None:
    if namespace(config.get("linux", {}), "user") is not None:
        return
    for number, mount in enumerate(config.get("mounts", ())):
        wanted = {"idmap", "ridmap"}.intersection(mount.get("options", ()))
        if wanted and not mount.get("uidMappings"):
            raise FieldError(
                f"{wanted.pop()} has no mapping to use: the container has no user namespace",
                "add uidMappings and gidMappings",
                f"mounts[{number}].options",
            )


def _user_is_mapped(config: Config) -> None:
    linux = config.get("linux", {})
    user_namespace = namespace(linux, "user")
    if "process" not in config or user_namespace is None or "path" in user_namespace:
        return
    user = config["process"]["user"]
    for key, number, mappings in (
        ("uid", user["uid"], linux["uidMappings"]),
        ("gid", user["gid"], linux["gidMappings"]),
        *(("additionalGids", gid, linux["gidMappings"]) for gid in user.get("additionalGids", ())),
    ):
        if not _is_mapped(number, mappings):
            raise FieldError(
                f"{number} is not mapped in the container's user namespace",
                "add it to linux.uidMappings or gidMappings, or choose one that is there",
                f"process.user.{key}",
            )


def _is_mapped(number: int, mappings: list[IdMapping]) -> bool:
    return any(0 <= number - one["containerID"] < one["size"] for one in mappings)


_MOUNT = record(
    {"destination": inside},
    {
        "type": text,
        "source": text,
        "options": array(text),
        "uidMappings": ID_MAPPINGS,
        "gidMappings": ID_MAPPINGS,
    },
    (_mountable,),
)
_CONFIG = record(
    {"ociVersion": _version, "root": record({"path": nonempty}, {"readonly": flag})},
    {
        "mounts": array(_MOUNT),
        "process": process,
        "hostname": _host_name,
        "domainname": _host_name,
        "hooks": hooks,
        "annotations": mapping(nonempty, string),
        "linux": linux,
        # A user who asks for a virtual machine must not get a container, which shares the host's
        # kernel.
        "vm": refuse("containers are not run in virtual machines", "use ringlet boot for those"),
    },
    (
        _host_names_of_its_own,
        _one_domain_name,
        _hooks_can_start,
        _joined_namespaces_can_be_trusted,
        _mounts_can_map,
        _user_is_mapped,
        _mounts_of_its_own,
    ),
)
