"""Starts a container's processes: the helper is given its plan, and answers step by step."""

from typing import NamedTuple

from ringlet.errors import RingletError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ringlet.container.cgroups.cgroup import Cgroup
    from ringlet.container.spec_types import Config, Process


class Launched(NamedTuple):
    """A container's process, a child of this one. The caller closes `pidfd`."""

    pid: int
    pidfd: int


class LaunchError(RingletError):
    """`step` failed. `status`: 127 no such command, 126 it can't be executed, 125 all else."""

    def __init__(self, message: str, hint: str, *, step: str = "", status: int = 125) -> None:
        super().__init__(message, hint)
        self.step = step
        self.status = status


def create(
    config: "Config",
    bundle: str,
    *,
    cgroup: "Cgroup | None",
    folder: str,
    on_runtime: "Callable[[int], None]",
    console_socket: str | None = None,
    preserve_fds: int = 0,
    stdio: tuple[int, int, int] = (0, 1, 2),
    no_pivot: bool = False,
    no_new_keyring: bool = False,
) -> Launched:
    """Makes the container; returns when its init waits for `start`.

    `folder`, the container's state folder (its name is the id), gets a socket, `start`.
    `on_runtime` is called with the init's process id once the namespaces are there and ids are
    mapped, before pivot_root; what it raises ends the init and is raised here.
    On any error nothing is left, the init is dead and reaped. Raises LaunchError.
    """
    raise NotImplementedError


def start(folder: str) -> None:
    """Lets the init of `create` go on to its command; returns when it has.

    Raises LaunchError if it can't: 126, 127, a startContainer hook, an init that is no more.
    """
    raise NotImplementedError


def execute(
    init_pid: int,
    config: "Config",
    process: "Process",
    *,
    cgroup: "Cgroup | None",
    console_socket: str | None = None,
    preserve_fds: int = 0,
    stdio: tuple[int, int, int] = (0, 1, 2),
) -> Launched:
    """One more process in a running container; returns when its command runs.

    `process` is checked. Raises LaunchError, also where the command can't be run (126, 127).
    """
    raise NotImplementedError
