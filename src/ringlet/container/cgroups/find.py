"""Finds the cgroup hierarchies of this host, and the cgroup of this process in each of them.

Controllers are looked for, never assumed: a controller may be alone in a hierarchy of version 1,
with others (cpu and cpuacct often are), in the hierarchy of version 2, or nowhere.

Source: cgroups(7); proc(5), /proc/pid/mountinfo and /proc/pid/cgroup.
"""

from __future__ import annotations

import errno
import os

from ringlet.container.cgroups.cgroup import Cgroup
from ringlet.container.cgroups.file_access import CgroupError, refused
from ringlet.container.cgroups.folders import Folders, Hierarchy
from ringlet.container.cgroups.limits import has_limits, set_devices, set_limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.container.spec.types import Resources

_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)

_found: tuple[tuple[bytes, bytes, int], list[Hierarchy]] | None = None  # of what, and for whom


class Cgroups:
    """The hierarchies of this host."""

    def __init__(self, hierarchies: list[Hierarchy]) -> None:
        self.hierarchies = hierarchies

    @classmethod
    def find(cls) -> Cgroups:
        """Finds the hierarchies in /proc/self/mountinfo and /proc/self/cgroup, if there are any."""
        global _found
        with (
            open("/proc/self/mountinfo", "rb", buffering=0) as mounts,
            open("/proc/self/cgroup", "rb", buffering=0) as own,
        ):
            seen = mounts.read(), own.read(), os.geteuid()
        if _found is None or _found[0] != seen:  # the hierarchies seldom change
            _found = seen, find_hierarchies(os.fsdecode(seen[0]), os.fsdecode(seen[1]))
        return cls(_found[1])

    def create(self, path: str | None, id: str, resources: Resources, *, may_lack: bool) -> Cgroup:
        """Makes a container's cgroup, a folder in each hierarchy, with its limits.

        `path` is linux.cgroupsPath. An absolute path begins at the mount point. A relative path
        begins at the cgroup of this process (with version 2 at its parent, since a cgroup with
        processes can't have limits below it). None is /ringlet-ID, below the uppermost cgroup that
        this user may write.

        With `may_lack`, as for a container without root, parts that need rights that this user
        hasn't are left out if `resources` has no limit that needs them: device rules, a hierarchy,
        or all hierarchies. `Cgroup.notes` lists the parts left out. Raises `CgroupError`, and
        leaves nothing then.
        """
        if path is not None:
            check_path(path)
        folders = Folders()
        lacking: dict[str, str] = {}
        try:
            for hierarchy in self.hierarchies:
                try:
                    folders.make(hierarchy, hierarchy.place(path, id), lacking)
                except OSError as error:
                    why = refused(f"no cgroup can be made in {hierarchy.mount}", error)
                    if error.errno not in _FORBIDDEN:
                        raise why from error
                    for controller in hierarchy.all_controllers():
                        lacking[controller] = why.message
            if not folders.version_1 and folders.unified is None:
                return self._without(resources, lacking, may_lack=may_lack)
            notes = set_limits(resources, folders.version_1, folders.unified, lacking)
            note = set_devices(resources, folders.version_1, folders.unified, may_lack=may_lack)
        except BaseException:
            folders.remove()
            raise
        notes += sorted(set(lacking.values()))
        cgroup = Cgroup(
            folders.version_1,
            folders.unified,
            parents=folders.parents,
            may_lack=may_lack,
            notes=[*notes, note] if note else notes,
        )
        cgroup.rules_devices = note is None
        return cgroup

    def _without(self, resources: Resources, lacking: dict[str, str], *, may_lack: bool) -> Cgroup:
        why = next(iter(lacking.values()), "this host has no cgroups mounted")
        if not may_lack or has_limits(resources):
            raise CgroupError(
                f"the container can't have its limits: {why}",
                "run as root; or in a cgroup delegated to you: "
                "systemd-run --user --scope -p Delegate=yes ringlet ...",
            )
        return Cgroup({}, None, parents=[], may_lack=True, notes=[f"no cgroup: {why}"])


def check_path(path: str) -> None:
    """Raises `CgroupError` unless the path names a cgroup below the place where the path begins."""
    names = [name for name in path.split("/") if name not in ("", ".")]
    if not names or ".." in names or "\0" in path or "\n" in path:
        raise CgroupError(
            f"linux.cgroupsPath: {path!r} is no cgroup of its own",
            "name one such as /ringlet/ID, without ..",
        )


def find_hierarchies(mountinfo: str, cgroup: str) -> list[Hierarchy]:
    """Returns the hierarchies in the text of these files of /proc, each at its first mount."""
    mounts = []
    for line in mountinfo.splitlines():
        if " - cgroup" not in line:  # there may be thousands of lines
            continue
        fields = line.split(" ")
        kind, _, options = fields[fields.index("-") + 1 :][:3]
        mounts.append((kind, set(options.split(",")), _unescape(fields[3]), _unescape(fields[4])))
    found = []
    for line in cgroup.splitlines():
        number, names, own = line.split(":", 2)
        controllers = tuple(names.split(",")) if names else ()
        version = 1 if controllers else 2
        if version == 2 and number != "0":
            continue
        kind = "cgroup" if version == 1 else "cgroup2"
        places = [
            Hierarchy(version, controllers, mount, mount if below is None else mount + below)
            for its_kind, options, root, mount in mounts
            if its_kind == kind and options.issuperset(controllers)
            for below in (_below(own, root),)
        ]
        # A bind mount may show only a part of the hierarchy, without this process's cgroup.
        places.sort(key=lambda it: it.own == it.mount)
        found += places[:1]
    return found


def _below(own: str, root: str) -> str | None:
    """Returns the path of `own` below `root`, "" for `root` itself; None if it isn't below."""
    root = root.rstrip("/")
    own = own.rstrip("/")
    if own == root:
        return ""
    if own.startswith(root + "/") and "/../" not in own + "/":
        return own[len(root) :]
    return None


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    import re

    return re.sub(r"\\([0-7]{3})", lambda it: chr(int(it[1], 8)), text)
