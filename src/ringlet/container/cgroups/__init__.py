"""The control groups of a container: found, created, limited, frozen, counted and removed.

    cgroups = Cgroups.find()
    cgroup = cgroups.create(path, id, resources, may_lack=False)

A caller sees no difference between version 1, version 2 and both together (hybrid): each
controller is used in the hierarchy where this host has it.

Source: the kernel's admin-guide/cgroup-v1/ and admin-guide/cgroup-v2.rst; OCI runtime
specification, config-linux.md, "Control groups".
"""

from __future__ import annotations

from ringlet.container.cgroups.cgroup import Cgroup
from ringlet.container.cgroups.file_access import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.container.cgroups.find import Cgroups

__all__ = ["Cgroup", "CgroupError", "Cgroups"]


def __getattr__(name: str) -> type[Cgroups]:
    """Imports the code that makes cgroups at its first use: starts and ends don't need it."""
    if name != "Cgroups":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ringlet.container.cgroups.find import Cgroups

    return Cgroups
