"""Starts a container's processes: the helper is given its plan, and answers step by step.

The helper (csrc/container/container.c) is run from a sealed file in memory, so no process of a
container has this Python, or any file of the host, as its program (CVE-2019-5736). Python isn't
forked.

Source: posix_spawn(3), memfd_create(2), unix(7), user_namespaces(7).
"""

import errno
import os

# The module `socket` makes enums of it all, which takes longer than the rest of us.
from _socket import (
    AF_UNIX,
    SCM_CREDENTIALS,
    SO_PASSCRED,
    SOCK_CLOEXEC,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
    socketpair,
)
from fcntl import F_ADD_SEALS, F_DUPFD_CLOEXEC, fcntl

from ringlet.errors import RingletError
from ringlet.host import interrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ringlet.container.cgroups import Cgroup
    from ringlet.container.plan import Descriptors, Plan
    from ringlet.container.spec_types import Config, Process
    from ringlet.container.state import Process as Init

HELPER = os.path.join(os.path.dirname(os.path.dirname(__file__)), "_container", "container")
SOCKET = "start"  # in the state folder

_SEALS = 0xF  # F_SEAL_SEAL, SHRINK, GROW, WRITE
_MFD_EXEC = 0x10  # Linux 6.3; where vm.memfd_noexec is set, a program has to say that it is one
_REPORT = 8192
_CREDENTIALS = 64  # bytes: room for a struct ucred, unix(7)
_LEAST = 96  # descriptors: RLIMIT_NOFILE has to be above all their numbers
_HIGH = 64  # descriptors are moved up here, out of the way of their numbers in the helper


class Launched:
    """A container's process, a child of this one. The caller closes `pidfd`.

    `stages` are when each of plan.STAGES was over: CLOCK_MONOTONIC in nanoseconds.
    """

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.stages: tuple[int, ...] = ()
        self.notes: list[str] = []  # what of the configuration has no effect


class LaunchError(RingletError):
    """`step` failed, done to `what`.

    `status`: 127 no such command, 126 it can't be executed, 125 all else.
    """

    def __init__(
        self, message: str, hint: str, *, step: str = "", what: str = "", status: int = 125
    ) -> None:
        super().__init__(message, hint)
        self.step = step
        self.what = what
        self.status = status


def create(
    config: "Config",
    bundle: str,
    *,
    cgroup: "Cgroup | None",
    folder: str,
    on_runtime: "Callable[[int], None]",
    on_mounted: "Callable[[], None] | None" = None,
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
    from ringlet.container.idmap import cgroup_owner, map_ids  # `start` needs none of it
    from ringlet.container.plan import Descriptors, creation

    opened = _Opened()
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
                    from ringlet.container.netdevices import move

                    move(config, pid)
            mapped = True
            on_runtime(pid)

        launched = _carry_out(plan, descriptors, stdio, on_child, b"R", on_mounted)
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
    while report := _receive(connection):
        seen = report[:1]
        if seen == b"E":
            raise _error(report)
    if seen != b"X":
        raise _ended("the container's process ended before it was the command")


def _ended(message: str) -> LaunchError:
    return LaunchError(message, "was it killed? `dmesg` may tell of memory that ran out")


def _not_waiting(error: OSError) -> LaunchError:
    return LaunchError(
        "the container can't be started: its process has ended or runs already",
        f"`state` tells; {error.strerror}",
    )


def execute(
    init: "Init",
    config: "Config",
    process: "Process",
    *,
    cgroup: "Cgroup | None",
    console_socket: str | None = None,
    preserve_fds: int = 0,
    stdio: tuple[int, int, int] = (0, 1, 2),
    bundle: str = "",
    id: str = "",
) -> Launched:
    """One more process in a running container; returns when its command runs.

    `process` is checked. `bundle` and `id` are for the agent of seccomp's notifications. Raises
    LaunchError, also where the command can't be run (126, 127).
    """
    from ringlet.container.plan import Descriptors, execution

    if not any(one["type"] == "mount" for one in config.get("linux", {}).get("namespaces", ())):
        raise LaunchError(
            "no process can join a container without a mount namespace: its root is not known",
            'create it with {"type": "mount"} in linux.namespaces',
        )
    opened = _Opened()
    try:
        try:
            pidfd = opened.add(os.pidfd_open(init.pid))
        except OSError:
            raise _has_ended() from None
        console = None if console_socket is None else opened.add(_connect(console_socket))
        unified = None if not cgroup else cgroup.unified_of(init.pid)
        namespaces = _others(init.pid)
        if not init.alive:  # its id may be another's by now; till here it was its own
            raise _has_ended()
        descriptors = Descriptors(preserve_fds)
        plan = execution(
            config,
            process,
            cgroup=cgroup,
            unified=unified,
            descriptors=descriptors,
            pidfd=pidfd,
            namespaces=namespaces,
            console=console,
            listener=_connect_listener(config, opened),
            bundle=bundle,
            id=id,
        )
        return _carry_out(plan, descriptors, stdio, _nothing, b"X")
    finally:
        opened.close()


def _has_ended() -> LaunchError:
    return LaunchError("the container has ended", "`state` tells")


def _others(pid: int) -> int:
    """The namespaces of `pid` that aren't ours."""
    from ringlet.container.plan import NAMESPACES

    names = {"mount": "mnt", "network": "net"}
    flags = 0
    for kind, flag in NAMESPACES.items():
        name = names.get(kind, kind)
        try:
            theirs = os.stat(f"/proc/{pid}/ns/{name}").st_ino
            if theirs != os.stat(f"/proc/self/ns/{name}").st_ino:
                flags |= flag
        except FileNotFoundError:
            continue  # a kernel without this kind
    return flags


class _Opened:
    """Descriptors to close."""

    def __init__(self) -> None:
        self._fds: list[int] = []

    def add(self, fd: int) -> int:
        self._fds.append(fd)
        return fd

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()


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


def _connect_listener(config: "Config", opened: _Opened) -> int | None:
    """To the agent that seccomp's notifications are for, where there can be any."""
    seccomp = config.get("linux", {}).get("seccomp")
    if seccomp is None or not any(
        rule["action"] == "SCMP_ACT_NOTIFY" for rule in seccomp.get("syscalls", ())
    ):
        return None
    path = seccomp.get("listenerPath")  # a filter that notifies is refused without one
    return opened.add(_connect(path)) if path else None


def _carry_out(
    plan: "Plan",
    descriptors: "Descriptors",
    stdio: tuple[int, int, int],
    on_child: "Callable[[int], None]",
    last: bytes,
    on_mounted: "Callable[[], None] | None" = None,
) -> Launched:
    """Runs the helper until it says `last`."""
    ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET)
    child: Launched | None = None
    helpers = []
    try:
        ours.setsockopt(SOL_SOCKET, SO_PASSCRED, 1)
        helpers.append(_spawn(plan, descriptors, stdio, theirs.fileno()))
        theirs.close()
        seen = b""
        while report := _receive_from(ours, helpers):
            seen = report[:1]
            if seen == b"E":
                raise _error(report)
            if seen in (b"H", b"P"):
                pid = int.from_bytes(report[1:5], "little")
                if seen == b"H":
                    helpers.append(pid)
                else:
                    child = Launched(pid, os.pidfd_open(pid))
                on_child(pid)
                _go(ours, pid)
            elif seen == b"M":
                if on_mounted is not None:
                    on_mounted()
                _go(ours, helpers[-1] if child is None else child.pid)
            elif child is not None and seen == last == b"R":
                child.stages = tuple(memoryview(report)[1:].cast("Q"))
                break
        if child is None or seen != last:
            raise _ended("the container's process ended while it was made")
        return child
    except BaseException:
        if child is not None:
            _end(child)
        raise
    finally:
        ours.close()
        theirs.close()
        for helper in helpers:
            os.waitpid(helper, 0)


def _receive_from(connection: socket, helpers: list[int]) -> bytes:
    """The next report; of new processes, only from one of `helpers`.

    A container's process has the connection, too, until it runs its command. Whoever has taken
    hold of it could else name any process of the host as the container's.
    """
    while True:
        try:
            with interrupt.waiting:
                report, about, _, _ = connection.recvmsg(_REPORT, _CREDENTIALS)
        except ConnectionResetError:
            return b""
        if report[:1] not in (b"H", b"P"):
            return report
        for level, kind, data in about:
            sender = int.from_bytes(data[:4], "little")
            if (level, kind) == (SOL_SOCKET, SCM_CREDENTIALS) and sender in helpers:
                return report


def run_alone(plan: "Plan", descriptors: "Descriptors", ours: socket, theirs: socket) -> None:
    """Runs the helper to its end, for a plan that makes no container. Raises LaunchError.

    `theirs`, which is closed, is in place of its streams, and what failed is said over it.
    """
    stream = theirs.fileno()
    helper = _spawn(plan, descriptors, (stream, stream, stream), stream)
    theirs.close()
    _, status = os.waitpid(helper, 0)
    if status:
        report = _receive(ours)
        raise _error(report) if report else _ended("ringlet's container helper ended too early")


def _go(connection: socket, pid: int) -> None:
    """Lets the process go on, whose id is `pid` in here."""
    try:
        connection.send(b"G" + pid.to_bytes(4, "little"))
    except BrokenPipeError:  # it has ended; what it reported before is still to be read
        pass


def _receive(connection: socket) -> bytes:
    try:
        with interrupt.waiting:
            return connection.recv(_REPORT)
    except ConnectionResetError:
        return b""


def _end(child: Launched) -> None:
    try:
        os.kill(child.pid, 9)  # a child's id stays its own until it is waited for
    except ProcessLookupError:  # it has ended
        pass
    os.waitpid(child.pid, 0)
    os.close(child.pidfd)


_helper = -1


def _helper_fd() -> int:
    """The helper's program, in a file that nobody can change."""
    global _helper
    if _helper < 0:
        try:
            with open(HELPER, "rb", buffering=0) as file:
                program = file.read()
        except FileNotFoundError:
            raise LaunchError(
                "ringlet's container helper isn't built",
                "run `make` in the checkout, or install ringlet again",
            ) from None
        flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
        try:
            fd = os.memfd_create("ringlet-container", flags | _MFD_EXEC)
        except OSError:
            fd = os.memfd_create("ringlet-container", flags)
        os.write(fd, program)
        fcntl(fd, F_ADD_SEALS, _SEALS)
        _helper = _moved(fd)
    return _helper


def _moved(fd: int) -> int:
    high = fcntl(fd, F_DUPFD_CLOEXEC, _HIGH)
    os.close(fd)
    return high


def check_descriptors() -> None:
    """Raises LaunchError where this process may not have as many as it takes."""
    limit = os.sysconf("SC_OPEN_MAX")  # RLIMIT_NOFILE
    if 0 <= limit < _LEAST:
        raise LaunchError(
            f"RLIMIT_NOFILE is {limit}: to start a process takes {_LEAST} descriptors",
            "raise it: ulimit -n 1024",
        )


def _spawn(
    plan: "Plan", descriptors: "Descriptors", stdio: tuple[int, int, int], control: int
) -> int:
    check_descriptors()
    data, size = plan.encode()
    opened = _Opened()
    try:
        memory = os.memfd_create("plan", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        given = {descriptors.give(fd): fd for fd in (opened.add(memory), control)}
        numbers = list(given)
        os.write(memory, data)
        fcntl(memory, F_ADD_SEALS, _SEALS)
        given |= {number: fd for fd, number in descriptors.numbers.items()}
        given |= dict(enumerate(stdio))
        least = max(_HIGH, max(given) + 1)
        high = {fd: opened.add(fcntl(fd, F_DUPFD_CLOEXEC, least)) for fd in set(given.values())}
        actions = [(os.POSIX_SPAWN_DUP2, high[fd], number) for number, fd in given.items()]
        words = ["ringlet-container", *map(str, numbers), str(size)]
        return os.posix_spawn(
            f"/proc/self/fd/{_helper_fd()}",
            words,
            {},
            file_actions=actions,
            setsigmask=[],
            setsigdef=range(1, 32),
        )
    finally:
        opened.close()


def _error(report: bytes) -> LaunchError:
    """What the helper says of a step that failed."""
    number = int.from_bytes(report[1:5], "little")
    parts = report[5:].split(b"\0")[:3]
    # A hook's words, or the kernel's, may be several lines; and control characters of anybody's.
    step, what, operation = (
        "".join(c if c.isprintable() else " " for c in os.fsdecode(part)).strip() for part in parts
    )
    words = os.strerror(number)
    if step in ("command", "exec"):
        status = 127 if number == errno.ENOENT else 126
        # In small letters, by which engines know why a command can't be run.
        message = f"{what}: {words.lower()}"
        if step == "command" and number == errno.ENOENT and "/" not in what:
            message = f"{what}: {operation}"
        if number == errno.ENOENT:
            hint = "is it in the container's root, and in PATH?"
        else:
            hint = "is it a program, for this processor, that the user may execute?"
        return LaunchError(message, hint, step=step, status=status)
    subject = f"{step} {what}".rstrip()
    return LaunchError(
        f"{subject}: {operation}: {words}",
        _HINTS.get(step, "see the configuration"),
        step=step,
        what=what,
    )


_HINTS = {
    "oom_score_adj": "below 0 it takes CAP_SYS_RESOURCE, which this host doesn't give",
    "hard": "to raise a hard limit takes CAP_SYS_RESOURCE, which this host doesn't give",
    "cgroup": "is the cgroup there, and may this user move processes to it?",
    "bind": "is the source there?",
    "filesystem": "who may mount proc owns the pid namespace, sysfs network, mqueue ipc",
    "idmap": "it takes root, and a file system that can: ext4, xfs, btrfs; tmpfs since Linux 6.3",
    "same": "somebody has put another folder there: is it in one that others can write?",
    "layer": "where overlayfs can't be had, --write (write = true) keeps changes in the rootfs",
    "clone": "does this kernel allow the namespaces? `sysctl user.max_user_namespaces`",
    "hook": "the hook's own output may tell",
}


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:  # then it's gone
        pass


def _nothing(pid: int) -> None:
    pass
