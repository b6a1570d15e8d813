"""Finds the cgroup of a container whose `state.json` is damaged, for `delete --force`.

The container's configuration is a file of its own, and names the cgroup. The cgroup counts as the
container's only if all its processes are in other PID namespaces than this process: then none is a
process of the host, or of anybody who shares a cgroup with the host. And the cgroup must not be, or
contain, the cgroup of another container.

Source: pid_namespaces(7); OCI Runtime Specification 1.3, config-linux.md ("Cgroups Path").
"""

from __future__ import annotations

import os

from ringlet.container.cgroups import Cgroup, Cgroups
from ringlet.container.cgroups.find import check_path
from ringlet.container.spec import config_json
from ringlet.container.state import StateError
from ringlet.errors import RingletError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ringlet.container.state import Record, Store


def find_cgroup(container: Record, store: Store) -> dict[str, Any] | None:
    """Returns the cgroup, for `Cgroup.load`; None if there is none, or it may be another's."""
    try:
        path = config_json.load(container.folder).get("linux", {}).get("cgroupsPath")
        if path is not None:
            check_path(path)
    except RingletError:
        return None
    version_1, unified = {}, None
    for hierarchy in Cgroups.find().hierarchies:
        folder = hierarchy.place(path, container.id)
        if not os.path.isdir(folder):
            continue
        if hierarchy.version == 2:
            unified = folder
        else:
            version_1.update(dict.fromkeys(hierarchy.controllers, folder))
    found = Cgroup(version_1, unified, parents=[], may_lack=False, notes=[])
    if not found or not all(map(_is_of_another_namespace, found.processes())):
        return None
    ours = {*version_1.values(), *([unified] if unified else ())}
    for folder in _folders_of_others(container, store):
        if any(folder == one or folder.startswith(one + "/") for one in ours):
            return None
    return found.to_state()


def _folders_of_others(container: Record, store: Store) -> Iterator[str]:
    for id in store.ids():
        try:
            cgroup = store.look(id).data.get("cgroup") if id != container.id else None
        except (OSError, StateError):  # the other one is damaged, too, or has just been deleted
            continue
        if cgroup is not None:
            yield from cgroup["version_1"].values()
            if cgroup["unified"] is not None:
                yield cgroup["unified"]


def _is_of_another_namespace(pid: int) -> bool:
    try:
        theirs = os.stat(f"/proc/{pid}/ns/pid")
    except FileNotFoundError:  # the process has ended
        return True
    return not os.path.samestat(theirs, os.stat("/proc/self/ns/pid"))
