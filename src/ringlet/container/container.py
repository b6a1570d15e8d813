"""A container for programs, with the life of a `Machine`.

    with Container(Workload(rootfs="rootfs", command=["ls", "/"])) as container:
        print(container.run().status)

To make a container resolves and opens everything that its configuration names. `start` lets the
command run, `wait` waits for its end, and `run` does both.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]
import os
import time
from contextlib import ExitStack, suppress
from select import POLLIN, poll
from threading import Lock, Timer

from ringlet.closing import Closing
from ringlet.container.cgroups import CgroupError, Cgroups
from ringlet.container.describe import describe, layer
from ringlet.container.launch import guard, launch
from ringlet.container.launch.description import Creation
from ringlet.container.launch.helper import LaunchError, Opened, open_pipes
from ringlet.container.reach import is_reached_by_others
from ringlet.errors import ConfigError, RingletError
from ringlet.host.workload import PIDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple

    from ringlet.container.cgroups import Cgroup
    from ringlet.container.spec.types import Config
    from ringlet.host.outcome import Usage
    from ringlet.host.workload import Workload
else:
    from ringlet.host.named_tuple import NamedTuple

TIMEOUT_STATUS = 124


class Timings:
    """When each step was over: CLOCK_MONOTONIC in nanoseconds; None for a step that isn't over."""

    __slots__ = ("cloned", "created", "end", "mounted", "pivoted", "started")

    def __init__(self) -> None:
        self.cloned: int | None = None  # the namespaces exist, and the ids are mapped
        self.mounted: int | None = None  # everything that the container sees is mounted
        self.pivoted: int | None = None  # the container has its own root
        self.created: int | None = None  # the container exists, and its init waits
        self.started: int | None = None  # the command runs
        self.end: int | None = None


class ContainerResult(NamedTuple):
    """How a container ended: a container's form of `Outcome`.

    `reason` is `exit`, `signal`, `timeout`, `stopped` or `killed`.
    """

    reason: str
    status: int
    usage: Usage
    oom_kills: int  # how many of its processes the kernel has killed because memory ran out


class Container(Closing):
    """A container that exists and whose command doesn't run yet: a context manager, for one run.

    `stdio` are the descriptors of the command's standard streams. The command gets them as they
    are: pipes of its own are safe, a file or a socket may not be (docs/security.md). With `tty`,
    the other end of its terminal comes through the socket at `console_socket`. Raises
    `RingletError`.
    """

    def __init__(
        self,
        config: Workload,
        *,
        stdio: tuple[int, int, int] = (0, 1, 2),
        console_socket: str | None = None,
    ) -> None:
        self.config = config
        self.id = f"run-{os.urandom(6).hex()}"
        self.timings = Timings()
        self.result: ContainerResult | None = None
        self._was_started = False
        self._reason: str | None = None  # the reason of an end that the caller asked for
        self._lock = Lock()
        self._timer: Timer | None = None
        description, self.notes = describe(config)
        with ExitStack() as stack:
            self._open(stack, description, stdio, console_socket)
            self._stack = stack.pop_all()
        self.timings.created = time.monotonic_ns()

    def _open(
        self,
        stack: ExitStack,
        description: dict[str, Any],
        stdio: tuple[int, int, int],
        console_socket: str | None,
    ) -> None:
        # The configuration is already in the form that `spec.check` returns: a test checks this.
        config: Config = description  # type: ignore[assignment]
        cgroups = Cgroups.find()
        guard.expect([hierarchy.place(None, self.id) for hierarchy in cgroups.hierarchies])
        self.cgroup: Cgroup = cgroups.create(
            None, self.id, config["linux"]["resources"], may_lack=os.geteuid() != 0
        )
        self.notes += self.cgroup.notes
        stack.callback(self.cgroup.delete)
        if self.cgroup and "pids" not in config["linux"]["resources"]:
            self._limit_processes()
        ours, theirs = Opened(), Opened()
        stack.callback(ours.close)
        unmapped: set[str] = set() if os.geteuid() == 0 else {"/"}
        rootfs = None
        try:
            self._reports, self._orders = open_pipes(ours, theirs)
            if self.config.write:
                rootfs = self._open_rootfs()
            while True:
                try:
                    creation = Creation(
                        config,
                        "/",  # all paths of the configuration are absolute
                        self.id,
                        self.cgroup,
                        start=(theirs.fds[1], theirs.fds[0]),
                        stdio=stdio,
                        console_socket=console_socket,
                        root=rootfs,
                        idmap_root="/" not in unmapped,
                        layer=layer(self.config),
                    )
                    launched = launch.create(creation, on_runtime=guard.watch)
                    break
                except LaunchError as error:
                    if error.step != "idmap" or error.what in unmapped:
                        raise
                    unmapped.add(error.what)
                    self._without_ids(config, error.what)
        finally:
            if rootfs is not None:
                os.close(rootfs)
            theirs.close()
        self.pid, self._pidfd = launched.pid, launched.pidfd
        self.timings.cloned, self.timings.mounted, self.timings.pivoted = launched.stages
        stack.callback(os.close, self._pidfd)
        stack.callback(self._end)

    def _open_rootfs(self) -> int:
        """Opens a rootfs to write to. Raises `ConfigError` if files made there could harm us."""
        rootfs = os.open(self.config.rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        if not is_reached_by_others(rootfs):
            return rootfs
        os.close(rootfs)
        raise ConfigError(
            f"other users of this host reach {os.fsdecode(self.config.rootfs)}, where a "
            "setuid program that the container makes would be yours",
            "put it into a folder that you alone enter (chmod 700 on that), or leave out --write",
        )

    def _without_ids(self, config: Config, target: str) -> None:
        """Removes the ID mapping of the mount at `target`, whose file system can't map IDs."""
        for mount in config["mounts"]:
            if mount["destination"] == target and "idmap" in mount["options"]:
                mount["options"].remove("idmap")
        self.notes.append(
            f"what is in {'the rootfs' if target == '/' else target} belongs to nobody in there, "
            "and can't be written: its file system can't map IDs (ext4, xfs and btrfs can, tmpfs "
            "since Linux 6.3)"
        )

    def _limit_processes(self) -> None:
        """Sets the default limit of processes where a user without rights may set a limit."""
        try:
            self.cgroup.set({"pids": {"limit": PIDS}})
        except CgroupError:
            self.notes.append("its processes are not limited: that takes a pids controller")

    def start(self) -> None:
        """Lets the command run. Raises `RingletError`, with `status` 126 or 127 if it can't run."""
        if self._was_started:
            raise RingletError("this container has run already", "make a new one for each run")
        self._was_started = True
        launch.start_over(self._orders, self._reports)
        self.timings.started = time.monotonic_ns()
        if self.config.timeout is not None:
            self._timer = Timer(self.config.timeout, self._kill, ["timeout"])
            self._timer.daemon = True
            self._timer.start()

    def run(self) -> ContainerResult:
        """Lets the command run and waits for its end."""
        self.start()
        result = self.wait()
        assert result is not None
        return result

    def wait(self, timeout: float | None = None) -> ContainerResult | None:
        """Waits for the end; returns None if the end hasn't come after `timeout` seconds."""
        if not self._was_started:
            raise RingletError("this container was never started", "call start() or run() first")
        waiting = poll()
        waiting.register(self._pidfd, POLLIN)
        if not waiting.poll(None if timeout is None else max(0, int(timeout * 1000))):
            return None
        self._reap()
        return self.result

    def pause(self) -> None:
        """Stops all processes of the container, until `resume`."""
        self.cgroup.freeze()

    def resume(self) -> None:
        """Lets the processes of a paused container go on."""
        self.cgroup.thaw()

    def stop(self, timeout: float | None = None) -> ContainerResult:
        """Asks the command to end, by SIGTERM; after `timeout` seconds the command is killed.

        Without a `timeout`, the configuration's `stop_timeout` counts.
        """
        timeout = self.config.stop_timeout if timeout is None else timeout
        self._reason = self._reason or "stopped"
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGTERM)
        result = self.wait(timeout)
        if result is None:
            self.kill()
            result = self.wait()
            assert result is not None
        return result

    def kill(self) -> None:
        """Kills the container at once, and doesn't wait for its end."""
        self._kill("killed")

    def signal(self, number: int) -> None:
        """Signals the command, which is process 1: a signal without a handler is lost."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, number)

    def usage(self) -> Usage:
        """Returns how much the container has used so far, as its cgroup counts."""
        return self.cgroup.usage() if self.result is None else self.result.usage

    def stats(self) -> dict[str, Any]:
        """Returns all counters of the cgroup, as `ringlet-oci events --stats`, until `close`."""
        return self.cgroup.stats()

    def fileno(self) -> int:
        """Returns a descriptor for select, poll and asyncio, readable once the container ended."""
        return self._pidfd

    def _kill(self, reason: str) -> None:
        self._reason = self._reason or reason
        with suppress(ProcessLookupError):
            # The command is process 1: when process 1 ends, the kernel kills all other processes.
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        if self.cgroup.frozen:
            self.cgroup.thaw()

    def _reap(self) -> None:
        with self._lock:
            if self.result is not None:
                return
            _, status = os.waitpid(self.pid, 0)
            self.timings.end = time.monotonic_ns()
            if self._timer is not None:
                self._timer.cancel()
            code = os.waitstatus_to_exitcode(status)
            reason = self._reason or ("signal" if code < 0 else "exit")
            code = TIMEOUT_STATUS if reason == "timeout" else 128 - code if code < 0 else code
            oom_kills = self.cgroup.oom_kills()
            self.result = ContainerResult(reason, code, self.usage(), oom_kills)

    def _end(self) -> None:
        if self.result is None:
            self._kill("stopped")
            self._reap()

    def close(self) -> None:
        """Ends the container if it runs, and removes everything that was made for it."""
        self._stack.close()
