"""Runs the helper, which carries out a plan, and reads its reports.

The helper (csrc/container/) is run from a sealed file in memory. So no process of a container has
this Python, or any file of the host, as its program (CVE-2019-5736). Python isn't forked.

Its reports come through a pipe, and orders go to it through another pipe. A socket would do both,
but a process in the container may take over one that comes in, with its descriptors. By a socket it
would reach this process, and so the descriptors of this process (SO_PEERPIDFD, pidfd_getfd(2)).

Source: posix_spawn(3), memfd_create(2), pipe(2) (O_DIRECT: packets).
"""

from __future__ import annotations

import errno
import os
from fcntl import F_ADD_SEALS, F_DUPFD_CLOEXEC, F_GETFL, fcntl
from select import POLLIN, poll
from stat import S_ISDIR
from time import monotonic

from ringlet.errors import RingletError
from ringlet.host import interrupt
from ringlet.host.process_stat import read_stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import (
        socket,
    )
    from collections.abc import Callable, Iterable
    from typing import TypeAlias

    from ringlet.container.launch.agent import Agent
    from ringlet.container.launch.plan import Descriptors, Plan

    Program: TypeAlias = tuple[int, int]  # its file: device and inode

HELPER = os.path.join(__file__.rpartition("/container/")[0], "_container", "container")

_SEALS = 0xF  # F_SEAL_SEAL, SHRINK, GROW, WRITE
_MFD_EXEC = 0x10  # Linux 6.3: needed for a file that is a program where vm.memfd_noexec is set
_REPORT = 8192
_ERRNO_MAX = 4095
ANSWER_SECONDS = 20.0  # how long a process that others have stopped may take to go on
_LOOK_MS = 100  # how often it is looked at
_LEAST = 96  # the least number of descriptors: RLIMIT_NOFILE has to be above all their numbers
_HIGH = 64  # where descriptors are moved to, so that their numbers in the helper are free


# The stages of a container's creation, in this order: the namespaces exist and the ids are mapped;
# everything is mounted; the root is the container's.
STAGES = ("clone", "mounts", "pivot")


class Launched:
    """A container's process, a child of this process. The caller closes `pidfd`.

    `stages` are the times when each of STAGES was over: CLOCK_MONOTONIC in nanoseconds.
    """

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.stages: tuple[int, ...] = ()
        self.notes: list[str] = []  # parts of the configuration that have no effect


class LaunchError(RingletError):
    """The error for a failed step: `step` failed for the object `what`.

    `status`: 127 if there is no such command, 126 if the command can't be executed, else 125.
    """

    def __init__(
        self, message: str, hint: str, *, step: str = "", what: str = "", status: int = 125
    ) -> None:
        super().__init__(message, hint)
        self.step = step
        self.what = what
        self.status = status


class Opened:
    """A list of descriptors to close."""

    def __init__(self) -> None:
        self.fds: list[int] = []

    def add(self, fd: int) -> int:
        """Notes `fd`, and returns it."""
        self.fds.append(fd)
        return fd

    def close(self) -> None:
        """Closes all noted descriptors."""
        for fd in self.fds:
            os.close(fd)
        self.fds.clear()


def carry_out(
    plan: Plan,
    descriptors: Descriptors,
    stdio: tuple[int, int, int],
    on_child: Callable[[int], None],
    last: bytes,
    on_mounted: Callable[[], None] | None = None,
    agent: Agent | None = None,
) -> Launched:
    """Runs the helper until it sends the report `last`; passes its filter's listener on."""
    _check_kept((*stdio, *range(3, descriptors.first)))
    ours, theirs = Opened(), Opened()
    child: Launched | None = None
    helpers: list[int] = []
    try:
        reports, orders = open_pipes(ours, theirs)
        helpers.append(_spawn(plan, descriptors, stdio, *theirs.fds))
        theirs.close()
        seen = b""
        # Of the processes of these plans, the last one is seen by others before it is made.
        seen_early = last == b"X" or plan.clones > 1
        while True:
            if child is not None and seen_early and not _says_more(reports, child.pid):
                if last != b"X":
                    raise _unreadable()
                if agent is not None:
                    agent.pass_on(child.pid)
                seen = last
                break
            if not (report := receive(reports)):
                break
            seen = report[:1]
            if seen == b"E":
                raise error_of(report)
            if agent is not None and child is not None:
                agent.pass_on(child.pid)
            if seen == b"P" and child is None:
                pid = int.from_bytes(report[1:5], "little", signed=True)
                if pid in helpers or not _is_child(pid):
                    continue
                if len(helpers) < plan.clones:
                    helpers.append(pid)
                else:
                    child = Launched(pid, os.pidfd_open(pid))
                    if agent is not None:
                        agent.pass_on(pid)
                on_child(pid)
                _go(orders)
            elif seen == b"M":
                if on_mounted is not None:
                    on_mounted()
                on_mounted = None  # hooks of the host run once, even if this report is repeated
                _go(orders)
            elif child is not None and seen == last == b"R":
                if len(report) != 1 + 8 * len(STAGES):
                    raise _unreadable()
                child.stages = tuple(memoryview(report)[1:].cast("Q"))
                break
        if child is None or seen != last:
            raise ended("the container's process ended while it was made")
        return child
    except BaseException:
        if child is not None:
            _end(child)
        for helper in helpers:  # a helper may be waiting: for a hook, or for a FIFO
            os.kill(helper, 9)  # SIGKILL, without the import of `signal`
        raise
    finally:
        ours.close()
        theirs.close()
        for helper in helpers:
            os.waitpid(helper, 0)


def _says_more(reports: int, pid: int) -> bool:
    """Waits for a report of a process, or the end of reports; returns False if it runs its command.

    Others in the container see the process before it does. They may hold its pipe open, or write
    to it without end. Raises LaunchError if they keep the process stopped.
    """
    waiting = poll()
    waiting.register(reports, POLLIN)
    end = monotonic() + ANSWER_SECONDS
    while True:
        if program_of(pid) not in (None, _helpers_program()):
            return False
        with interrupt.waiting:
            if waiting.poll(_LOOK_MS):
                return True
        if read_stat(pid)[0] not in (b"T", b"t"):
            end = monotonic() + ANSWER_SECONDS
        elif monotonic() > end:
            raise LaunchError(
                "the process doesn't go on: another process in the container has stopped it",
                "try again; kill the container if it happens again",
            )


def program_of(pid: int) -> Program | None:
    """Returns what tells the program of a process from others; None if we may not know it."""
    try:
        status = os.stat(f"/proc/{pid}/exe")
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _helpers_program() -> Program:
    status = os.fstat(_helper_fd())
    return status.st_dev, status.st_ino


def _check_kept(fds: Iterable[int]) -> None:
    """Raises LaunchError if the command would have a descriptor from which paths lead to the host.

    The descriptor of a folder is such a one, and a descriptor opened with O_PATH may be that of a
    folder, or of a tree of mounts (CVE-2024-21626).
    """
    for fd in fds:
        try:
            leads_out = S_ISDIR(os.fstat(fd).st_mode) or fcntl(fd, F_GETFL) & os.O_PATH
        except OSError:
            raise LaunchError(
                f"descriptor {fd}, which is to be handed on, isn't open",
                "hand on open descriptors alone: --preserve-fds and LISTEN_FDS count from 3",
            ) from None
        if leads_out:
            raise LaunchError(
                f"descriptor {fd} is a folder, or a path that isn't opened to be read: the "
                "container would reach the host's files from there",
                "hand on files, pipes and sockets; a folder is mounted",
            )


def open_pipes(ours: Opened, theirs: Opened) -> tuple[int, int]:
    """Opens pipes for reports and for orders; returns our ends, those to read and to write.

    The helper's ends are added to `theirs` in the same order. Each report is a packet. Who holds an
    end may fill its pipe; so writes of ours don't wait.
    """
    reports, report_to = os.pipe2(os.O_CLOEXEC | os.O_DIRECT)
    ours.add(reports)
    theirs.add(report_to)
    order_from, orders = os.pipe2(os.O_CLOEXEC | os.O_DIRECT)
    ours.add(orders)
    theirs.add(order_from)
    os.set_blocking(orders, False)
    return reports, orders


def _is_child(pid: int) -> bool:
    """Returns whether the process is a child of this process.

    A container's process has the pipe for reports, too, until it runs its command. Without this
    check a program that has taken over that process could name any process of the host as the
    container's. Only containers of `ringlet-oci` can be seen by others so early, and `ringlet-oci`
    has no children but helpers and that process itself.
    """
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except OSError:
        return False
    return True


def run_alone(plan: Plan, descriptors: Descriptors, ours: socket, theirs: socket) -> None:
    """Runs the helper to its end, for a plan that makes no container. Raises LaunchError.

    `theirs` is used as the helper's streams, carries the report of a failure, and is closed here.
    """
    stream = theirs.fileno()
    helper = _spawn(plan, descriptors, (stream, stream, stream), stream, stream)
    theirs.close()
    _, status = os.waitpid(helper, 0)
    if status:
        report = receive(ours.fileno())
        raise error_of(report) if report else ended("ringlet's container helper ended too early")


def _go(orders: int) -> None:
    """Lets the process go on that waits."""
    try:
        os.write(orders, b"G")
    except BrokenPipeError:  # the process has ended; its earlier reports are still to be read
        pass
    except BlockingIOError:  # somebody in the container has filled the pipe
        raise _unreadable() from None


def receive(reports: int) -> bytes:
    """Returns the next report; empty if no report will come."""
    try:
        with interrupt.waiting:
            return os.read(reports, _REPORT)
    except ConnectionResetError:
        return b""


def _end(child: Launched) -> None:
    try:
        os.kill(child.pid, 9)  # a child's id isn't used again until the child is waited for
    except ProcessLookupError:  # the process has ended
        pass
    os.waitpid(child.pid, 0)
    os.close(child.pidfd)


_helper = -1


def _helper_fd() -> int:
    """Returns a descriptor of the helper's program, in a file that nobody can change."""
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
    """Raises LaunchError if this process may not have as many descriptors as a launch needs."""
    limit = os.sysconf("SC_OPEN_MAX")  # RLIMIT_NOFILE
    if 0 <= limit < _LEAST:
        raise LaunchError(
            f"RLIMIT_NOFILE is {limit}: to start a process takes {_LEAST} descriptors",
            "raise it: ulimit -n 1024",
        )


def _spawn(
    plan: Plan, descriptors: Descriptors, stdio: tuple[int, int, int], reports: int, orders: int
) -> int:
    check_descriptors()
    data, size = plan.encode()
    opened = Opened()
    try:
        memory = os.memfd_create("plan", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        numbers = [descriptors.give(fd) for fd in (opened.add(memory), reports, orders)]
        os.write(memory, data)
        fcntl(memory, F_ADD_SEALS, _SEALS)
        given = {number: fd for fd, number in descriptors.numbers.items()}
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


def error_of(report: bytes) -> LaunchError:
    """Returns the error for the helper's report of a failed step."""
    number = int.from_bytes(report[1:5], "little")
    parts = report[5:].split(b"\0")[:3]
    if len(parts) != 3 or number > _ERRNO_MAX:
        return _unreadable()
    # The text of a hook or of the kernel may have several lines, and any control characters.
    step, what, operation = (
        "".join(c if c.isprintable() else " " for c in os.fsdecode(part)).strip() for part in parts
    )
    words = os.strerror(number)
    if step in ("command", "exec"):
        status = 127 if number == errno.ENOENT else 126
        # In lower case: engines find in these words why a command can't be run.
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
    "layer": "a user's rootfs can't be a folder in which something is mounted (as /); and where "
    "overlayfs can't be had, --write (write = true) keeps changes in the rootfs",
    "clone": "does this kernel allow the namespaces? `sysctl user.max_user_namespaces`",
    "hook": "the hook's own output may tell",
}


def _unreadable() -> LaunchError:
    return LaunchError(
        "what the process of the container said while it was made can't be read",
        "did something in there take hold of it? leave out CAP_SYS_PTRACE",
    )


def ended(message: str) -> LaunchError:
    """Returns the error for a process that has ended without a report."""
    return LaunchError(message, "was it killed? `dmesg` may tell of memory that ran out")


def nobody_listens(path: str, error: OSError) -> LaunchError:
    """Returns the error for a socket of an engine to which ringlet can't connect."""
    return LaunchError(f"nobody listens at the socket {path}: {error.strerror}", "check the path")
