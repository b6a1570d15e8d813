"""Makes a container's processes: a plan for each, which the helper carries out.

Source: OCI Runtime Specification 1.3, runtime.md ("Lifecycle"); unix(7), user_namespaces(7).
"""

from __future__ import annotations

import os

# The module `socket` turns its constants into enums: that takes longer than ringlet's own imports.
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, socket
from fcntl import F_SETFL, fcntl
from select import POLLIN, poll
from time import monotonic

from ringlet.container.launch import helper
from ringlet.container.launch.helper import (
    LaunchError,
    Opened,
    carry_out,
    ended,
    error_of,
    nobody_listens,
    program_of,
    receive,
)
from ringlet.host import interrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ringlet.container.launch.agent import Agent
    from ringlet.container.launch.description import Creation, Execution
    from ringlet.container.launch.helper import Launched, Program
    from ringlet.container.spec.types import Config
    from ringlet.container.state import HostProcess

# FIFOs in the state folder: the init reads the word to start, and reports how the start goes.
FIFOS = ("start", "report")
_LOOK_SECONDS = 0.1  # how often `start` looks at an init
_LAST_REPORTS = 64  # how many reports of an init that has ended are read


def create(
    creation: Creation,
    *,
    on_runtime: Callable[[int], None],
    on_mounted: Callable[[], None] | None = None,
) -> Launched:
    """Makes the container; returns when its init waits for `start`, or for `start_over`.

    `on_runtime` is called with the init's process id once the namespaces exist and the ids are
    mapped. If a helper is in the namespaces before the init, `on_runtime` is called with the
    helper's id first, and then with the init's. `on_mounted` is called when all is mounted, before
    pivot_root, if the configuration has hooks for that moment. An exception of either ends the init
    and is raised here.
    On any error nothing is left, and the init is dead and reaped. Raises LaunchError.
    """
    from ringlet.container.launch.idmap import cgroup_owner, map_ids  # `start` doesn't need these
    from ringlet.container.launch.plan import Descriptors, plan_creation

    config, cgroup = creation.config, creation.cgroup
    agent = _find_agent(config, creation.bundle, creation.id, "creating")
    opened = Opened()
    try:
        plan = plan_creation(
            creation,
            descriptors := Descriptors(creation.preserve_fds),
            start=creation.start or _make_fifos(creation.folder, opened),
            console=_connect_console(creation.console_socket, opened),
            listener=None if agent is None else agent.theirs,
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

        launched = carry_out(plan, descriptors, creation.stdio, on_child, b"R", on_mounted, agent)
        launched.notes = plan.notes
        return launched
    except BaseException:
        if creation.start is None:
            _remove_fifos(creation.folder)
        raise
    finally:
        opened.close()
        if agent is not None:
            agent.close()


def start(folder: str, init: HostProcess, *, has_hooks: bool = False) -> None:
    """Lets the init of `create` go on to its command; returns when the command runs.

    A process that has come into the container may have opened the FIFOs, too: it may hold them
    open, and take or write words. Others may stop the init. So this looks at the init itself, and
    doesn't wait for ever, unless the container `has_hooks`: startContainer hooks, which take time.
    Raises LaunchError if the command can't run: status 126 or 127, a failed startContainer hook, or
    an init that has ended or doesn't go on.
    """
    paths = [os.path.join(folder, name) for name in FIFOS]
    opened = Opened()
    flags = os.O_NONBLOCK | os.O_CLOEXEC  # not to wait for an init that has ended
    try:
        ours = program_of(init.pid)
        try:
            orders = opened.add(os.open(paths[0], os.O_WRONLY | flags))
            reports = opened.add(os.open(paths[1], os.O_RDONLY | flags))
            os.write(orders, b"S")
        except OSError as error:
            raise _not_waiting(error) from None
        waiting = poll()
        waiting.register(reports, POLLIN)
        end = monotonic() + helper.ANSWER_SECONDS
        look = monotonic() + _LOOK_SECONDS
        seen = b""
        while True:
            with interrupt.waiting:
                waiting.poll(_LOOK_SECONDS * 1000)
            report = _next_report(reports)
            if report == b"":
                break
            seen = _judge(report) if report else seen
            if (now := monotonic()) < look:
                continue
            look = now + _LOOK_SECONDS
            if _runs_another(init, ours):
                return
            if not init.alive:
                for _ in range(_LAST_REPORTS):  # it may have said why
                    _judge(_next_report(reports) or b"")
                raise _ended_early()
            if has_hooks and not init.is_stopped:
                end = now + helper.ANSWER_SECONDS
            elif now > end:
                raise LaunchError(
                    "the container's process doesn't go on: another process has stopped it, or has "
                    "taken the word to start",
                    f"who came in by `exec`, or shares its process ids? kill -KILL {init.pid}",
                )
        if seen != b"X" and not _runs_another(init, ours):
            raise _ended_early()
    finally:
        _remove_fifos(folder)
        opened.close()


def _next_report(reports: int) -> bytes | None:
    """Returns the next report; empty at the end of them; None if none has come."""
    try:
        return receive(reports)
    except BlockingIOError:
        return None


def start_over(orders: int, reports: int) -> None:
    """Does the same as `start`, over our ends of pipes that only the init has."""
    try:
        os.write(orders, b"S")
    except OSError as error:
        raise _not_waiting(error) from None
    seen = b""
    while report := receive(reports):
        seen = _judge(report)
    if seen != b"X":
        raise _ended_early()


def _judge(report: bytes) -> bytes:
    """Returns the report's kind. Raises the error that the report tells of."""
    if report[:1] == b"E":
        raise error_of(report)
    return report[:1]


def _runs_another(init: HostProcess, ours: Program | None) -> bool:
    """Returns whether the init runs a program that isn't the helper."""
    return program_of(init.pid) not in (None, ours) and init.alive


def _ended_early() -> LaunchError:
    return ended("the container's process ended before it was the command")


def _not_waiting(error: OSError) -> LaunchError:
    return LaunchError(
        "the container can't be started: its process has ended or runs already",
        f"`state` tells; {error.strerror}",
    )


def execute(execution: Execution) -> Launched:
    """Runs one more process in a running container; returns when its command runs.

    Raises LaunchError, also if the command can't be run (126, 127).
    """
    from ringlet.container.launch.namespaces import find
    from ringlet.container.launch.plan import Descriptors, plan_execution

    init, config, cgroup = execution.init, execution.config, execution.cgroup
    if not any(one["type"] == "mount" for one in config.get("linux", {}).get("namespaces", ())):
        raise LaunchError(
            "no process can join a container without a mount namespace: its root is not known",
            'create it with {"type": "mount"} in linux.namespaces',
        )
    agent = _find_agent(config, execution.bundle, execution.id, "running")
    opened = Opened()
    try:
        console = _connect_console(execution.console_socket, opened)
        unified = None if not cgroup else cgroup.unified_of(init.pid)
        joined = find(init.pid, config, execution.namespaces, opened)
        if not init.alive:  # up to here, its id was its own; by now another process may have it
            raise LaunchError("the container has ended", "`state` tells")
        plan = plan_execution(
            execution,
            descriptors := Descriptors(execution.preserve_fds),
            namespaces=joined,
            unified=unified,
            console=console,
            listener=None if agent is None else agent.theirs,
        )
        return carry_out(plan, descriptors, execution.stdio, _nothing, b"X", agent=agent)
    finally:
        opened.close()
        if agent is not None:
            agent.close()


def _make_fifos(folder: str, opened: Opened) -> tuple[int, int]:
    """Makes the FIFOs; returns the init's ends. They have no peer, as a socket has (helper.py).

    The init can wait for a word as long as it may write to the FIFO, too: there is no end of it.
    """
    orders, reports = (os.path.join(folder, name) for name in FIFOS)
    for path in (orders, reports):
        os.mkfifo(path, 0o600)
    order_from = opened.add(os.open(orders, os.O_RDWR | os.O_CLOEXEC))
    reader = os.open(reports, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        report_to = opened.add(os.open(reports, os.O_WRONLY | os.O_CLOEXEC))
    finally:
        os.close(reader)
    fcntl(report_to, F_SETFL, os.O_WRONLY | os.O_DIRECT)  # each report is a packet
    return order_from, report_to


def _remove_fifos(folder: str) -> None:
    for name in FIFOS:
        try:
            os.unlink(os.path.join(folder, name))
        except FileNotFoundError:  # the file is gone already
            pass


def _connect(path: str) -> int:
    connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    try:
        connection.connect(path)
        return connection.detach()
    except OSError as error:
        raise nobody_listens(path, error) from None
    finally:
        connection.close()


def _connect_console(path: str | None, opened: Opened) -> int | None:
    return None if path is None else opened.add(_connect(path))


def _find_agent(config: Config, bundle: str, id: str, status: str) -> Agent | None:
    if "listenerPath" not in config.get("linux", {}).get("seccomp", {}):
        return None
    from ringlet.container.launch.agent import find
    from ringlet.container.launch.description import state_of

    return find(config, state_of(config, bundle, id, status))


def _nothing(pid: int) -> None:
    pass
