"""The processes that `launch` makes, as data: each has its configuration and its surroundings.

These are no named tuples, which would take most of a millisecond of each `create` to define.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ringlet.container.cgroups import Cgroup
    from ringlet.container.launch.namespaces import Note
    from ringlet.container.spec.types import Config, Process
    from ringlet.container.state import HostProcess


class Creation:
    """A container to make. Its configuration is checked.

    bundle          the folder that relative paths of the configuration begin at
    folder          the container's state folder, whose name is the id; it gets FIFOs for `start`
    start           instead of the FIFOs: the init's ends of two pipes
    cgroup          the container's cgroup, which exists
    stdio           the standard streams of the init
    preserve_fds    how many of our descriptors after the standard streams the init keeps
    console_socket  the socket that gets the container's terminal
    no_pivot        whether the root is changed without pivot_root
    no_new_keyring  whether the init keeps our session keyring
    root            a descriptor of the folder that the root has to be
    idmap_root      whether the root's files belong to the container's users as to the host's
    layer           the most that changes of the root may take, in the form of tmpfs(5); the changes
                    are thrown away. None to make the changes in the root itself
    """

    def __init__(
        self,
        config: Config,
        bundle: str,
        folder: str,
        cgroup: Cgroup | None,
        *,
        start: tuple[int, int] | None = None,
        stdio: tuple[int, int, int] = (0, 1, 2),
        preserve_fds: int = 0,
        console_socket: str | None = None,
        no_pivot: bool = False,
        no_new_keyring: bool = False,
        root: int | None = None,
        idmap_root: bool = False,
        layer: str | None = None,
    ) -> None:
        self.config = config
        self.bundle = bundle
        self.folder = folder
        self.cgroup = cgroup
        self.start = start
        self.stdio = stdio
        self.preserve_fds = preserve_fds
        self.console_socket = console_socket
        self.no_pivot = no_pivot
        self.no_new_keyring = no_new_keyring
        self.root = root
        self.idmap_root = idmap_root
        self.layer = layer

    @property
    def id(self) -> str:
        """Returns the container's id."""
        return os.path.basename(self.folder)


def state_of(config: Config, bundle: str, id: str, status: str) -> dict[str, Any]:
    """Returns the state that the specification defines, without the process id."""
    return {
        "ociVersion": config["ociVersion"],
        "id": id,
        "status": status,
        "bundle": bundle,
        "annotations": config.get("annotations", {}),
    }


class Execution:
    """One more process for the running container whose first process is `init`.

    config          the container's configuration
    process         the configuration of the new process, which is checked
    cgroup          the cgroup that the new process joins
    namespaces      the namespaces that were noted when the container was made
    stdio           the standard streams of the new process
    preserve_fds    how many of our descriptors after the standard streams the new process keeps
    console_socket  the socket that gets the terminal of the new process
    bundle, id      the container's, for the agent of seccomp's notifications
    """

    def __init__(
        self,
        init: HostProcess,
        config: Config,
        process: Process,
        cgroup: Cgroup | None,
        *,
        namespaces: Note | None = None,
        stdio: tuple[int, int, int] = (0, 1, 2),
        preserve_fds: int = 0,
        console_socket: str | None = None,
        bundle: str = "",
        id: str = "",
    ) -> None:
        self.init = init
        self.config = config
        self.process = process
        self.cgroup = cgroup
        self.namespaces = namespaces
        self.stdio = stdio
        self.preserve_fds = preserve_fds
        self.console_socket = console_socket
        self.bundle = bundle
        self.id = id
