"""What the caller of `Runtime` asks for, as data: a container, or one more process in it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ringlet.container.spec.types import Process


class CreateRequest:
    """A container to create.

    bundle          the folder that has the configuration
    console_socket  the socket that gets the container's terminal
    pid_file        the file that gets the process id of the container's init
    preserve_fds    how many of our descriptors the container keeps, after `listen_fds`
    listen_fds      how many of our descriptors after the standard streams the container keeps as
                    sockets of services; the variables of sd_listen_fds(3) tell the container so
    no_pivot        whether the root is changed without pivot_root
    no_new_keyring  whether the init keeps our session keyring
    """

    def __init__(
        self,
        bundle: str,
        *,
        console_socket: str | None = None,
        pid_file: str | None = None,
        preserve_fds: int = 0,
        listen_fds: int = 0,
        no_pivot: bool = False,
        no_new_keyring: bool = False,
    ) -> None:
        self.bundle = bundle
        self.console_socket = console_socket
        self.pid_file = pid_file
        self.preserve_fds = preserve_fds
        self.listen_fds = listen_fds
        self.no_pivot = no_pivot
        self.no_new_keyring = no_new_keyring


class ExecRequest:
    """One more process to run in a container.

    edit            makes the process's configuration of that of the container's first process
    console_socket  the socket that gets the terminal of the process
    pid_file        the file that gets the process id
    preserve_fds    how many of our descriptors after the standard streams the process keeps
    ignore_paused   whether the process is made in a paused container, too
    cgroups         where below the container's cgroup the process runs, as in `Cgroup.below`
    """

    def __init__(
        self,
        edit: Callable[[Process], Process],
        *,
        console_socket: str | None = None,
        pid_file: str | None = None,
        preserve_fds: int = 0,
        ignore_paused: bool = False,
        cgroups: Sequence[str] = (),
    ) -> None:
        self.edit = edit
        self.console_socket = console_socket
        self.pid_file = pid_file
        self.preserve_fds = preserve_fds
        self.ignore_paused = ignore_paused
        self.cgroups = cgroups
