"""The part of a plan that deals with files: the root, the mounts in the root, and devices.

Source: OCI Runtime Specification 1.3, config.md ("Mounts"), config-linux.md ("Default Devices",
"Dev symbolic links", "Rootfs Mount Propagation"); mount(8), mount_setattr(2).
"""

from __future__ import annotations

import os

from ringlet.container.launch.idmap import as_text, is_root_of_host
from ringlet.container.launch.labels import label_of
from ringlet.container.launch.privileges import has_user_namespace
from ringlet.container.spec.checkers import SpecError
from ringlet.container.spec.config_json import process_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.container.cgroups import Cgroup
    from ringlet.container.launch.plan import Plan
    from ringlet.container.spec.types import Config, Device, Mount
    from ringlet.errors import RingletError

_MS_REC = 1 << 14
_PROPAGATION = {"unbindable": 1 << 17, "private": 1 << 18, "slave": 1 << 19, "shared": 1 << 20}

# MOUNT_ATTR_...: the attributes that an option sets, and those that the option clears.
_ATIME = 0x70
_ATTRIBUTES = {
    "ro": (0x1, 0),
    "rw": (0, 0x1),
    "nosuid": (0x2, 0),
    "suid": (0, 0x2),
    "nodev": (0x4, 0),
    "dev": (0, 0x4),
    "noexec": (0x8, 0),
    "exec": (0, 0x8),
    "relatime": (0, _ATIME),
    "norelatime": (0, _ATIME),
    "noatime": (0x10, _ATIME),
    "atime": (0, _ATIME),
    "strictatime": (0x20, _ATIME),
    "nostrictatime": (0, _ATIME),
    "nodiratime": (0x80, 0),
    "diratime": (0, 0x80),
    "nosymfollow": (0x20_0000, 0),
    "symfollow": (0, 0x20_0000),
}
_WORDLESS = (
    "bind", "rbind", "defaults", "remount", "tmpcopyup", "idmap", "ridmap", "silent", "loud",
)  # fmt: skip
# File systems without a disk: the mount is made read-only, not the file system, which is shared.
_DISKLESS = ("proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2", "overlay", "bpf")
# The kernel has one instance of each: an option such as read-only would change the host's, too.
_SINGLE = (
    "debugfs", "tracefs", "securityfs", "configfs", "devtmpfs", "pstore", "efivarfs", "resctrl",
    "binfmt_misc", "fusectl", "selinuxfs", "smackfs", "xenfs",
)  # fmt: skip
_LABELLED = ("proc", "sysfs", "mqueue", "cgroup", "cgroup2")  # the kernel's policy labels each file
_CGROUPS = "/sys/fs/cgroup"

_DEVICES: tuple[Device, ...] = tuple(
    {"path": f"/dev/{name}", "type": "c", "major": major, "minor": minor, "fileMode": 0o666}
    for name, major, minor in (
        ("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9),
        ("tty", 5, 0),
    )
)  # fmt: skip
_LINKS = {
    "/dev/fd": "/proc/self/fd",
    "/dev/stdin": "/proc/self/fd/0",
    "/dev/stdout": "/proc/self/fd/1",
    "/dev/stderr": "/proc/self/fd/2",
    "/dev/ptmx": "pts/ptmx",
}


class _Options:
    """The options of a mount, sorted by how they are applied."""

    def __init__(self, options: list[str]) -> None:
        self.names = set(options)
        self.attributes = _Attributes(recursive=False)
        self.recursive = _Attributes(recursive=True)
        self.data: list[str] = []
        self.shared = bool(self.names & {"shared", "rshared"})
        for option in options:
            bare = option.removeprefix("r")
            if option in _ATTRIBUTES:
                self.attributes.apply(option)
            elif option in _PROPAGATION:
                self.attributes.propagation = _PROPAGATION[option]
            elif bare in _PROPAGATION:
                self.recursive.propagation = _PROPAGATION[bare]
            elif bare in _ATTRIBUTES and option not in _WORDLESS:
                self.recursive.apply(bare)
            elif option not in _WORDLESS:
                self.data.append(option)

    @property
    def idmap(self) -> bool | None:
        """Returns whether IDs are mapped: with all below (True), only here (False), not (None)."""
        return True if "ridmap" in self.names else False if "idmap" in self.names else None


class _Attributes:
    def __init__(self, *, recursive: bool) -> None:
        self.set = self.clear = self.propagation = 0
        self._recursive = recursive

    def apply(self, option: str) -> None:
        """Applies an option; the last option for an attribute counts."""
        on, off = _ATTRIBUTES[option]
        self.set = self.set & ~off | on
        self.clear = self.clear & ~on | off

    def add_to(self, plan: Plan, target: str, slot: int) -> None:
        if self.set or self.clear or self.propagation:
            clear = self.clear | (_ATIME if self.set & _ATIME else 0)
            words = (int(self._recursive), self.set, clear, self.propagation)
            plan.add("attributes", target, slot, *words)


def open_sources(
    plan: Plan,
    config: Config,
    bundle: str,
    *,
    known: int | None,
    idmap_root: bool,
    layer: str | None,
    devices: bool,
) -> list[int]:
    """Adds steps that copy the bound trees, and returns their slots.

    The root gets slot 0, and mount n gets slot n + 1.
    The root has to be the folder of the helper's descriptor `known`, if there is one.
    With a `layer`, changes of the root are thrown away; `layer` is the most that they may take.
    Without `devices`, device files of the image can't be used: no rule says which may be opened.
    If ringlet runs as root, the trees are copied on the host: the container's root may be unable to
    reach the trees, and can't map ids.
    """
    linux = config.get("linux", {})
    mappings = linux.get("uidMappings", []), linux.get("gidMappings", [])
    peers = _may_have_peers(config)
    plan.add("bind", "/", 0, root_of(config, bundle), 1, 0)
    of_run = layer is not None or known is not None  # `ringlet run`
    if known is not None:
        plan.add("same", "/", 0, known)
    _part(plan, "/", 0, private=of_run)
    if idmap_root:
        plan.add("idmap", "/", 0, 0, *map(as_text, mappings))
    if layer is not None:
        plan.add("layer", "/", 0, layer, int(is_root_of_host()))
    if of_run or not devices:
        plan.add("attributes", "/", 0, 0, _ATTRIBUTES["nodev"][0], 0, 0)
    slots = [0]
    for slot, mount in enumerate(config.get("mounts", ()), 1):
        options = _Options(mount.get("options", []))
        if not _is_bind(mount, options):
            continue
        slots.append(slot)
        target = mount["destination"]
        source = os.path.join(bundle, mount.get("source", ""))
        # Sources for `ringlet run` are resolved already: a link in one has been made since then.
        plan.add("bind", target, slot, source, int("rbind" in options.names), int(not of_run))
        if options.shared and peers:
            plan.add("peer", target, slot)
        else:
            _part(plan, target, slot, private=of_run)
        options.attributes.add_to(plan, target, slot)
        options.recursive.add_to(plan, target, slot)
        own = mount.get("uidMappings") or mappings[0], mount.get("gidMappings") or mappings[1]
        if options.idmap is not None or "uidMappings" in mount:
            plan.add("idmap", target, slot, int(bool(options.idmap)), *map(as_text, own))
    if of_run and is_root_of_host():
        # In its user namespace the container's root is nobody to a device of the host's root.
        owner = [mapping[0]["hostID"] for mapping in mappings]
        for slot, device in enumerate(linux.get("devices", ()), _first_node(config)):
            numbers = device.get("major", 0), device.get("minor", 0), device.get("fileMode", 0o666)
            plan.add("node", device["path"], slot, *numbers, *owner)
    return slots


def _first_node(config: Config) -> int:
    """Returns the slot of the first device that the container gets: after those of the mounts."""
    return len(config.get("mounts", ())) + 1


def root_of(config: Config, bundle: str) -> str:
    """Returns the path of the root, in which only the last part may be a link by now.

    The helper refuses a root that is a link, as runc does: whoever may swap it would have any
    folder of the host as the root.
    """
    root = os.path.join(bundle, config["root"]["path"]).rstrip("/") or "/"
    return os.path.join(os.path.realpath(os.path.dirname(root)), os.path.basename(root))


def _may_have_peers(config: Config) -> bool:
    """Returns whether mounts in a `shared` volume show on the host: if the root is shared, too.

    Engines write configurations for this rule, and runc follows it. Mounts in a user namespace are
    never peers of the host's mounts.
    """
    shared = config.get("linux", {}).get("rootfsPropagation") in ("shared", "rshared")
    return shared and not has_user_namespace(config)


def _part(plan: Plan, target: str, slot: int, *, private: bool) -> None:
    """Makes a copied tree a slave: the copy of a shared tree would show new mounts on the host.

    With `private`, the copy doesn't show new mounts of the host either: these mounts would have
    devices, and would be writable in a read-only volume.
    """
    plan.add("attributes", target, slot, 1, 0, 0, _PROPAGATION["private" if private else "slave"])


def build_root(
    plan: Plan, config: Config, bundle: str, *, cgroup: Cgroup | None, new: set[str]
) -> None:
    """Adds steps for the root and the mounts in it, before the container moves into the root."""
    linux = config.get("linux", {})
    label = label_of(linux, "mountLabel")
    plan.add("propagation", "/", _MS_REC | _PROPAGATION["slave"])
    plan.add("null")  # after `propagation`: otherwise a mount over it in here covers the host's
    plan.add("root", root_of(config, bundle), 0)
    for slot, mount in enumerate(config.get("mounts", ()), 1):
        options = _Options(mount.get("options", []))
        kind = mount.get("type")
        if kind in ("cgroup", "cgroup2") and not options.names & {"bind", "rbind", "remount"}:
            _mount_cgroups(plan, mount, options, cgroup, own="cgroup" in new)
        else:
            _add_mount(plan, mount, options, slot, label)
    slot = _first_node(config)
    devices = linux.get("devices", [])
    for device in _DEVICES:
        _add_device(plan, device, slot + len(devices), needed=False)
    for number, device in enumerate(devices):
        _add_device(plan, device, slot + number, needed=True)
    for path, target in _LINKS.items():
        plan.add("symlink", path, target)
    cwd = process_of(config)["cwd"]
    if cwd != "/":
        plan.add("folder", cwd)


def _is_bind(mount: Mount, options: _Options) -> bool:
    if "remount" in options.names:
        return False
    return bool(options.names & {"bind", "rbind"}) or mount.get("type") == "bind"


def protect(plan: Plan, config: Config) -> None:
    """Adds steps that hide paths or make them read-only, once everything is mounted."""
    linux = config.get("linux", {})
    for slot, mount in enumerate(config.get("mounts", ()), 1):
        if _is_made_ready(mount):
            plan.add("attributes", mount["destination"], slot, 0, _ATTRIBUTES["ro"][0], 0, 0)
    for path in linux.get("maskedPaths", ()):
        plan.add("mask", path)
    for path in linux.get("readonlyPaths", ()):  # copies, which include the masks in them
        plan.add("readonly", path)
    if config["root"].get("readonly"):
        plan.add("freeze_root")
    propagation = linux.get("rootfsPropagation")
    if propagation:
        recursive = propagation[1:] in _PROPAGATION and propagation[0] == "r"
        flag = _PROPAGATION[propagation[1:] if recursive else propagation]
        plan.add("propagation", "/", flag | _MS_REC * recursive)


def _add_mount(plan: Plan, mount: Mount, options: _Options, slot: int, label: str) -> None:
    target, kind = mount["destination"], mount.get("type", "none")
    if "remount" in options.names:
        plan.add("at", target, slot)
        options.attributes.add_to(plan, target, slot)
        options.recursive.add_to(plan, target, slot)
        return
    if not _is_bind(mount, options):
        attributes = options.attributes
        source = mount.get("source", kind)
        read_only = attributes.set & _ATTRIBUTES["ro"][0]
        data = options.data
        if data and kind in _SINGLE:
            why = f"{data[0]} would be an option of the host's {kind}, too"
            raise _cant_mount(target, why, "leave it out")
        if read_only and kind not in (*_DISKLESS, *_SINGLE):
            data = [*data, "ro"]
        if label and kind not in (*_LABELLED, *_SINGLE):
            data = [*data, f"context={label}"]
        writable = attributes.set & ~read_only
        if kind == "sysfs":
            plan.add("instead", target, "/sys")
        plan.add("filesystem", target, slot, kind, source, writable, *data)
        if "tmpcopyup" in options.names:
            plan.add("copyup", target, slot)
        if _is_made_ready(mount):
            read_only = 0  # `protect` does this, after all is made in the mount
        if read_only or attributes.propagation:
            plan.add("attributes", target, slot, 0, read_only, 0, attributes.propagation)
        options.recursive.add_to(plan, target, slot)
    links = int(kind not in ("proc", "sysfs"))
    plan.add("attach", target, slot, links, int(_is_made_ready(mount)))


def _is_made_ready(mount: Mount) -> bool:
    """Returns whether devices, links and the console are made in a mount before it is read-only."""
    if mount["destination"] != "/dev" or mount.get("type") != "tmpfs":
        return False
    options = _Options(mount.get("options", []))
    read_only = options.attributes.set & _ATTRIBUTES["ro"][0]
    return bool(read_only) and not options.names & {"bind", "rbind", "remount"}


def _mount_cgroups(
    plan: Plan, mount: Mount, options: _Options, cgroup: Cgroup | None, *, own: bool
) -> None:
    """Mounts the cgroup2 file system where only version 2 is used, else a folder per hierarchy."""
    target, attributes = mount["destination"], options.attributes.set | options.recursive.set
    propagation = options.attributes.propagation or options.recursive.propagation
    # Options of a cgroup file system apply to the whole hierarchy, and so to the host.
    unused = [*options.data, *options.names & {"tmpcopyup", "idmap", "ridmap"}]
    if unused:
        raise _cant_mount(target, f"{unused[0]} is no option of cgroups", "leave it out")
    if not cgroup:
        attributes |= _ATTRIBUTES["ro"][0]  # the container sees its starter's cgroup
    hierarchies = _hierarchies(cgroup)
    if mount.get("type") == "cgroup2" or list(hierarchies) == [""]:
        folder = hierarchies.get("", "")
        _mount_hierarchy(plan, target, folder, "", attributes, propagation, own=own)
        return
    plan.add("filesystem", target, 0, "tmpfs", "cgroup", attributes & ~1, "mode=755")
    if propagation:
        plan.add("attributes", target, 0, 0, 0, 0, propagation)
    plan.add("attach", target, 0, 1, 0)
    for name, folder in hierarchies.items():
        place = f"{target}/{name.removeprefix('name=') or 'unified'}"
        _mount_hierarchy(plan, place, folder, name, attributes, propagation, own=own)
        for part in name.split(","):
            if part != name:
                plan.add("symlink", f"{target}/{part}", name)
    if attributes & 1:
        plan.add("at", target, 0)
        plan.add("attributes", target, 0, 0, 1, 0, 0)


def _cant_mount(target: str, why: str, hint: str) -> RingletError:
    return SpecError(f"mounts: {target}: {why}", hint)


def _hierarchies(cgroup: Cgroup | None) -> dict[str, str]:
    """Returns the hierarchies' folders, by controllers joined by commas; version 2 has no name."""
    if not cgroup:
        return {"": _CGROUPS} if os.path.exists(f"{_CGROUPS}/cgroup.controllers") else {}
    folders: dict[str, list[str]] = {}
    for controller, folder in cgroup.version_1.items():
        folders.setdefault(folder, []).append(controller)
    found = {",".join(names): folder for folder, names in folders.items()}
    if cgroup.unified is not None:
        found[""] = cgroup.unified
    return found


def _mount_hierarchy(
    plan: Plan,
    target: str,
    folder: str,
    name: str,
    attributes: int,
    propagation: int,
    *,
    own: bool,
) -> None:
    if own:  # its cgroup namespace shows only the container's own part
        kind = "cgroup" if name else "cgroup2"
        controllers = [part.removeprefix("name=") and part for part in name.split(",") if part]
        options = ["none", *controllers] if name.startswith("name=") else controllers
        if not name and folder:
            plan.add("instead", target, folder)
        plan.add("filesystem", target, 0, kind, "cgroup", attributes, *options)
    elif not folder:
        raise _cant_mount(
            target,
            "the container has no cgroup of version 2",
            'add {"type": "cgroup"} to namespaces',
        )
    else:
        # A folder is bound. A cgroup file system mounted in the host's cgroup namespace applies its
        # options to the whole hierarchy, and the host would lose its `nsdelegate`.
        plan.add("bind", target, 0, folder, 1, 1)
        plan.add("attributes", target, 0, 1, attributes, 0, _PROPAGATION["slave"])
    if propagation:
        plan.add("attributes", target, 0, 0, 0, 0, propagation)
    plan.add("attach", target, 0, 1, 0)


def _add_device(plan: Plan, device: Device, slot: int, *, needed: bool) -> None:
    plan.add(
        "device",
        device["path"],
        device["type"],
        device.get("major", 0),
        device.get("minor", 0),
        device.get("fileMode", 0o666),
        device.get("uid", 0),
        device.get("gid", 0),
        int(needed),
        slot,
    )
