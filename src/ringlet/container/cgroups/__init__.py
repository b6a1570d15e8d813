"""Control groups of a container: found, created, limited, frozen, counted, removed.

    cgroups = Cgroups.find()
    cgroup = cgroups.create(path, id, resources, may_lack=False)

Version 1, version 2 and the two together (hybrid) are one to the caller: each controller is
used where this host has it.

Source: the kernel's admin-guide/cgroup-v1/ and admin-guide/cgroup-v2.rst; OCI runtime
specification, config-linux.md, "Control groups".
"""

from ringlet.container.cgroups.cgroup import Cgroup
from ringlet.container.cgroups.files import CgroupError
from ringlet.container.cgroups.find import Cgroups

__all__ = ["Cgroup", "CgroupError", "Cgroups"]
