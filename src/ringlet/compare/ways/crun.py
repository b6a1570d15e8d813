"""crun, a container runtime in C, with the same bundles as runc.

Source: crun(1).
"""

from __future__ import annotations

from ringlet.compare.ways import runc


class Way(runc.Way):
    """The workload in an OCI bundle, run by `crun run`."""

    name = "crun"
    title = "crun"
    about = "A container runtime in C, with the namespaces, limits and filter of ringlet's."
    program = "crun"
    package = "crun"
