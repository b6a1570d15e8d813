"""Makes a container's processes: a plan for each, which the helper carries out.

Source: OCI Runtime Specification 1.3, runtime.md ("Lifecycle"); unix(7), user_namespaces(7).
"""

from __future__ import annotations

import os

# The module `socket` makes enums of it all, which takes longer than the rest of us.
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_SEQPACKET, SOCK_STREAM, socket

from ringlet.container.launch.helper import (
    LaunchError,
    Opened,
    carry_out,
    ended,
    error_of,
    receive,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ringlet.container.cgroups import Cgroup
    from ringlet.container.launch.helper import (
        Launched,
    )
    from ringlet.container.launch.namespaces import Note
    from ringlet.container.spec.types import Config, Process
    from ringlet.container.state import Process as Init

SOCKET = "start"  # in the state folder


def create(
    config: Config,
    bundle: str,
    *,
    cgroup: Cgroup | None,
    folder: str,
    on_runtime: Callable[[int], None],
    on_mounted: Callable[[], None] | None = None,
    console_socket: str | None = None,
    preserve_fds: int = 0,
    stdio: tuple[int, int, int] = (0, 1, 2),
    no_pivot: bool = False,
    no_new_keyring: bool = False,
    root: int | None = None,
    idmap_root: bool = False,
    layer: str | None = None,
    connection: int | None = None,
) -> Launched:
    """Makes the container; returns when its init waits for `start`.

    `folder`, the container's state folder (its name is the id), gets a socket, `start`; none does
    if the init is given a `connection` to whoever calls `start_over`.
    `on_runtime` is called with the init's process id once the namespaces are there and ids are
    mapped; where a helper is in the namespaces before the init, with the helper's id, and then the
    init's. `on_mounted` is called when all is mounted, before pivot_root, if the configuration has
    hooks for that moment. What they raise ends the init and is raised here. The root has
    to be the folder of the descriptor `root`, if there is one. With `idmap_root`, files of the root
    belong to the container's users as they do to the host's. With a `layer`, the most that it may
    hold as tmpfs(5) has it, changes of the root are thrown away.
    On any error nothing is left, the init is dead and reaped. Raises LaunchError.
    """
    from ringlet.container.launch.idmap import cgroup_owner, map_ids  # `start` needs none of it
    from ringlet.container.launch.plan import Descriptors, creation

    opened = Opened()
    try:
        waiting = opened.add(_listen(folder)) if connection is None else connection
        console = None if console_socket is None else opened.add(_connect(console_socket))
        listener = _connect_listener(config, opened)
        descriptors = Descriptors(preserve_fds)
        plan = creation(
            config,
            bundle,
            id=os.path.basename(folder),
            cgroup=cgroup,
            descriptors=descriptors,
            start=waiting,
            console=console,
            listener=listener,
            root=root,
            idmap_root=idmap_root,
            layer=layer,
            no_pivot=no_pivot,
            no_new_keyring=no_new_keyring,
        )

        mapped = False

        def on_child(pid: int) -> None:
            nonlocal mapped
            if not mapped:
                map_ids(pid, config)
                owner = cgroup_owner(config)
                if cgroup and owner is not None:
                    cgroup.delegate(owner)
                if config.get("linux", {}).get("netDevices"):
                    from ringlet.container.launch.netdevices import move

                    move(config, pid)
            mapped = True
            on_runtime(pid)

        launched = carry_out(plan, descriptors, stdio, on_child, b"R", on_mounted)
        launched.notes = plan.notes
        return launched
    except BaseException:
        if connection is None:
            _remove(os.path.join(folder, SOCKET))
        raise
    finally:
        opened.close()


def start(folder: str) -> None:
    """Lets the init of `create` go on to its command; returns when it has.

    Raises LaunchError if it can't: 126, 127, a startContainer hook, an init that is no more.
    """
    place = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    connection = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    try:
        try:
            connection.connect(f"/proc/self/fd/{place}/{SOCKET}")  # a path may be too long
            connection.send(b"S")
        except OSError as error:
            raise _not_waiting(error) from None
        _remove(os.path.join(folder, SOCKET))
        _hear_start(connection)
    finally:
        connection.close()
        os.close(place)


def start_over(connection: socket) -> None:
    """As `start`, by the other end of the init's connection."""
    try:
        connection.send(b"S")
    except OSError as error:
        raise _not_waiting(error) from None
    _hear_start(connection)


def _hear_start(connection: socket) -> None:
    seen = b""
    while report := receive(connection):
        seen = report[:1]
        if seen == b"E":
            raise error_of(report)
    if seen != b"X":
        raise ended("the container's process ended before it was the command")


def _not_waiting(error: OSError) -> LaunchError:
    return LaunchError(
        "the container can't be started: its process has ended or runs already",
        f"`state` tells; {error.strerror}",
    )


def execute(
    init: Init,
    config: Config,
    process: Process,
    *,
    cgroup: Cgroup | None,
    namespaces: Note | None = None,
    console_socket: str | None = None,
    preserve_fds: int = 0,
    stdio: tuple[int, int, int] = (0, 1, 2),
    bundle: str = "",
    id: str = "",
) -> Launched:
    """One more process in a running container; returns when its command runs.

    `process` is checked. `namespaces` are those that were noted when the container was made.
    `bundle` and `id` are for the agent of seccomp's notifications. Raises LaunchError, also where
    the command can't be run (126, 127).
    """
    from ringlet.container.launch.namespaces import find
    from ringlet.container.launch.plan import Descriptors, execution

    if not any(one["type"] == "mount" for one in config.get("linux", {}).get("namespaces", ())):
        raise LaunchError(
            "no process can join a container without a mount namespace: its root is not known",
            'create it with {"type": "mount"} in linux.namespaces',
        )
    opened = Opened()
    try:
        console = None if console_socket is None else opened.add(_connect(console_socket))
        unified = None if not cgroup else cgroup.unified_of(init.pid)
        joined = find(init.pid, config, namespaces, opened)
        if not init.alive:  # its id may be another's by now; till here it was its own
            raise LaunchError("the container has ended", "`state` tells")
        descriptors = Descriptors(preserve_fds)
        plan = execution(
            config,
            process,
            cgroup=cgroup,
            unified=unified,
            descriptors=descriptors,
            namespaces=joined,
            console=console,
            listener=_connect_listener(config, opened),
            bundle=bundle,
            id=id,
        )
        return carry_out(plan, descriptors, stdio, _nothing, b"X")
    finally:
        opened.close()


def _listen(folder: str) -> int:
    place = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    waiting = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    try:
        waiting.bind(f"/proc/self/fd/{place}/{SOCKET}")
        waiting.listen(1)
        return waiting.detach()
    finally:
        waiting.close()
        os.close(place)


def _connect(path: str) -> int:
    connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    try:
        connection.connect(path)
        return connection.detach()
    except OSError as error:
        raise LaunchError(
            f"nobody listens at the socket {path}: {error.strerror}", "check the path"
        ) from None
    finally:
        connection.close()


def _connect_listener(config: Config, opened: Opened) -> int | None:
    """To the agent that seccomp's notifications are for, where there can be any."""
    seccomp = config.get("linux", {}).get("seccomp")
    if seccomp is None or not any(
        rule["action"] == "SCMP_ACT_NOTIFY" for rule in seccomp.get("syscalls", ())
    ):
        return None
    path = seccomp.get("listenerPath")  # a filter that notifies is refused without one
    return opened.add(_connect(path)) if path else None


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:  # then it's gone
        pass


def _nothing(pid: int) -> None:
    pass
